#!/usr/bin/env bash
# Creates the virtual environment and builds the extensions. Usage: scripts/build.sh PYTHON VENV [test]
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2 extra=${3:-}
source scripts/debian.sh

needed=()
need_command gcc gcc
need_command make make
need_header zlib.h zlib1g-dev
need_header lz4frame.h liblz4-dev
need_header zstd.h libzstd-dev
need_header snappy-c.h libsnappy-dev
need_header openssl/ssl.h libssl-dev
[ "$extra" != test ] || need_header gssapi/gssapi_ext.h libkrb5-dev
need_command "$python" python3
if command -v "$python" >/dev/null; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || needed+=(python3-venv)
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        needed+=(python3-dev)
else
    needed+=(python3-venv python3-dev)
fi
install_debian_packages "kafka-cy cannot be built"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "kafka-cy needs Python 3.11 or newer; $python is $("$python" --version 2>&1). Set PYTHON=..." >&2
    exit 1
}

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
stamp=$venv/.installed${extra:+-$extra}
install=
[ -e "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ] || install=yes
if [ "$install" ]; then
    echo "installing kafka-cy in $venv"
    # The build tools are installed in the environment, so that a later build of one changed file needs no download.
    try_again "$venv/bin/python" -m pip install -q --disable-pip-version-check --upgrade 'setuptools>=77' wheel 'cython==3.3.1'
fi
"$venv/bin/python" setup.py -q build_ext --inplace
if [ "$install" ]; then
    # Takes the extensions that have just been built.
    KAFKA_CY_PACKAGES=${KAFKA_CY_PACKAGES:-} try_again "$venv/bin/python" -m pip install -q --disable-pip-version-check \
        --no-build-isolation --config-settings editable_mode=compat -e ".[bench,otel${extra:+,$extra}]"
    touch "$stamp"
fi
"$venv/bin/python" -m compileall -q kafka_cy # otherwise the first start would do it
