#!/usr/bin/env bash
# Installs kafka-cy in a fresh Debian as a new user does, once with pip from a wheel and once with `make`, and runs a short
# job with each. Usage, as root: scripts/clean-root.sh [WHEEL]. Without a wheel, it builds one first.
#
# It needs debootstrap, and works in a temporary folder (1.5 GB, removed afterwards). The job runs in a network namespace of its
# own, so the default ports are free. SUITE and MIRROR name another Debian; a release newer than Debian 12 shows newer versions of Python.
# TEST=1 goes on with `make test`, which needs port 9092 and those of the stack. PIP_* and *_proxy variables reach the commands,
# and the certificate authorities in SSL_CERT_FILE are trusted.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "scripts/clean-root.sh: run it as root" >&2; exit 1; }
for program in debootstrap ip unshare; do
    command -v $program >/dev/null || { echo "scripts/clean-root.sh: $program is missing (apt-get install debootstrap iproute2)" >&2; exit 1; }
done
wheel=$(realpath "${1:-/nonexistent}" 2>/dev/null || true)
if [ ! -f "$wheel" ]; then
    make wheels
    wheel=$(realpath "$(ls -t dist/kafka_cy-*.whl | head -1)")
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# inside ROOT NETWORK COMMAND...: runs the command in the root; NETWORK is "net", or "lo" for nothing but a loopback device.
inside() {
    local root=$folder/$1 network=$2 variables=()
    shift 2
    mapfile -t variables < <(env | grep -iE '^(PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT)|https?_proxy|no_proxy)=' || true)
    if [ -n "${SSL_CERT_FILE:-}" ]; then
        cp "$SSL_CERT_FILE" "$root/etc/extra-certificates.pem"
        for name in SSL_CERT_FILE PIP_CERT CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS; do
            variables+=("$name=/etc/extra-certificates.pem")
        done
    fi
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    local namespaces=(--mount --pid --fork --kill-child)
    [ "$network" = net ] || namespaces+=(--net)
    unshare "${namespaces[@]}" sh -c '
        mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev"
        [ "$1" = net ] || ip link set lo up
        root=$0; shift
        exec chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
    ' "$root" "$network" "${variables[@]}" "$@"
}

# A broker with its default settings, and the tools and a client against it. $1: the folder of the commands.
# shellcheck disable=SC2016
job='set -e
export PATH=$1:$PATH
mkdir /root/job && cd /root/job
kafka-cy --version
python -m kafka_cy --version >/dev/null
kafka-cy server >out 2>log &
for try in $(seq 100); do grep -q "kafka-cy ready" out && break; sleep 0.1; done
grep "kafka-cy ready" out || { cat log; exit 1; }
kafka-cy topics create orders --partitions 3
echo "ann:3 apples" | kafka-cy produce --topic orders --property parse.key=true --property key.separator=:
kafka-cy consume --topic orders --group shop --from-beginning --max-messages 1 --property print.key=true
kafka-cy groups describe shop
python -c "import kafka_cy
with kafka_cy.Broker() as broker: print(\"a second broker:\", broker.bootstrap_servers)"
kill -TERM $! && wait $!
'

echo "== a fresh Debian"
debootstrap --variant=minbase --include=ca-certificates "${SUITE:-bookworm}" "$folder/pip" "${MIRROR:-http://deb.debian.org/debian}" >"$folder/log" ||
    { tail -20 "$folder/log"; exit 1; }
echo "127.0.0.1 localhost" >"$folder/pip/etc/hosts"
cp -a "$folder/pip" "$folder/source"

echo "== pip, with $(basename "$wheel")"
cp "$wheel" "$folder/pip/root"
inside pip net sh -ec 'apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    python3 -m venv /root/kafka-env && /root/kafka-env/bin/pip install -q --disable-pip-version-check /root/*.whl'
inside pip lo sh -c "$job" sh /root/kafka-env/bin

echo "== from source"
git clone -q . "$folder/source/root/kafka-cy"
inside source net sh -ec 'apt-get update -qq && apt-get install -y -qq --no-install-recommends git make python3 >/dev/null
    cd /root/kafka-cy && make build >/root/build.log 2>&1 || { tail -20 /root/build.log; exit 1; }'
inside source lo sh -c "$job" sh /root/kafka-cy/.venv/bin
if [ "${TEST:-}" ]; then
    inside source net make -C /root/kafka-cy test PYTEST_ARGS="${PYTEST_ARGS:-}"
fi
echo "kafka-cy works in a fresh Debian: with pip, and from source"
