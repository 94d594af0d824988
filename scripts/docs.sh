#!/usr/bin/env bash
# Builds the website of the documentation in build/site, with a virtual environment of its own.
# Usage: scripts/docs.sh PYTHON [install]: with install, only create the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/debian.sh
venv=.cache/docs-venv
if [ ! -e $venv/.installed ] || [ pyproject.toml -nt $venv/.installed ]; then
    "$1" -m venv $venv
    # The generator only, not the package: reading its documentation needs no compiler.
    packages=$("$1" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
    # shellcheck disable=SC2086
    try_again $venv/bin/pip install -q --disable-pip-version-check $packages
    touch $venv/.installed
fi
[ "${2:-}" = install ] || $venv/bin/python scripts/docs_site/build.py build/site
