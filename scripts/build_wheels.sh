#!/usr/bin/env bash
# Builds one wheel per interpreter that installs on any Linux with the machine's architecture and a C library at least as new
# as this machine's; lz4, zstd, snappy and OpenSSL are inside. Usage: scripts/build_wheels.sh FOLDER PYTHON...
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
shift
tools=build/wheel-tools

# auditwheel copies the libraries into the wheel and names it manylinux; patchelf edits the extensions for it.
if ! command -v auditwheel >/dev/null || ! command -v patchelf >/dev/null; then
    [ -x $tools/bin/auditwheel ] || {
        "$1" -m venv $tools
        $tools/bin/python -m pip install -q --disable-pip-version-check 'auditwheel>=6.8' patchelf
    }
    export PATH="$PWD/$tools/bin:$PATH"
fi

for python in "$@"; do
    if ! "$python" -c 'import Cython, setuptools, wheel' 2>/dev/null; then
        venv=build/wheel-python-$("$python" -c 'import sys; print(sys.implementation.cache_tag)')
        [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
        python=$venv/bin/python
        "$python" -m pip install -q --disable-pip-version-check 'setuptools>=77' wheel 'cython==3.3.1'
    fi
    raw=$(mktemp -d)
    "$python" -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$raw" .
    auditwheel repair -w "$folder" "$raw"/*.whl >/dev/null
    rm -r "$raw"
done
ls -l "$folder"/*.whl
