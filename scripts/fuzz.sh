#!/usr/bin/env bash
# Runs the tests marked `fuzz` on an address-sanitizer build for a bounded time. Usage: scripts/fuzz.sh VENV SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$PWD/$1 seconds=$2
KAFKA_CY_SANITIZE=address "$venv/bin/python" setup.py -q build
library=$(echo build/address/lib.*)
# Python itself is not instrumented, so the runtime must be preloaded. Python leaks on purpose, so leak detection is off.
export LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS PYTHONMALLOC PYTHONPATH KAFKA_CY_FUZZ_SECONDS
LD_PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libstdc++.so)
ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
PYTHONMALLOC=malloc
PYTHONPATH=$PWD/$library
KAFKA_CY_FUZZ_SECONDS=$seconds
cd build/address # not the root of the project, where `import kafka_cy` would find the ordinary build
exec "$venv/bin/python" -m pytest -p no:cacheprovider -c ../../pyproject.toml --rootdir ../.. -m fuzz ../../tests
