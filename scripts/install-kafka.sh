#!/usr/bin/env bash
# Downloads Apache Kafka's jars to .cache/ with Maven. The tests use its tools, and the benchmark compares with it.
# install-kafka.sh flink: also those of Apache Flink, which only make exactly-once needs.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/debian.sh
kafka_version=4.3.1

# Folder of jars and the pom that names them. The folder holds a copy of the pom that it was made from.
poms=(
    "kafka-$kafka_version tests/interop/kafka/pom.xml"
    "kafka-connect-$kafka_version tests/interop/connect/pom.xml"
    "kafka-3.9.2 tests/cluster/kafka/pom.xml"
)
[ "${1:-}" != flink ] || poms+=("flink-2.2.0 tests/interop/flink/pom.xml")

complete() { cmp -s "$2" ".cache/$1/.complete"; }

all_complete() {
    local each
    for each in "${poms[@]}"; do
        # shellcheck disable=SC2086
        complete $each || return 1
    done
}

download() {
    echo "downloading ${1%-*} ${1##*-} (Maven)"
    try_again mvn -q -B -f "$2" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$PWD/.cache/$1" &&
        cp "$2" ".cache/$1/.complete"
}

needed=()
need_command javac default-jdk-headless
all_complete || need_command mvn maven
install_debian_packages "Apache Kafka cannot be installed" || true
if command -v mvn >/dev/null; then
    for each in "${poms[@]}"; do
        # shellcheck disable=SC2086
        complete $each || download $each || true
    done
fi
all_complete || {
    echo "Apache Kafka's jars${1:+ or those of $1} could not be downloaded: tests and benchmarks that need them are skipped" >&2
    exit 1
}
