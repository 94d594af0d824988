#!/usr/bin/env bash
# Downloads Apache Kafka's jars to .cache/ with Maven. The tests use its tools, and the benchmark compares with it.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/debian.sh
kafka_version=4.3.1
kafka_jars=.cache/kafka-$kafka_version

needed=()
need_command java default-jre-headless
[ -e "$kafka_jars/.complete" ] || need_command mvn maven
install_debian_packages "Apache Kafka cannot be installed" || true
[ -e "$kafka_jars/.complete" ] || ! command -v mvn >/dev/null || {
    echo "downloading Apache Kafka $kafka_version (Maven)"
    mvn -q -B -f tests/interop/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$PWD/$kafka_jars" && touch "$kafka_jars/.complete"
}
[ -e "$kafka_jars/.complete" ] || {
    echo "Apache Kafka's jars could not be downloaded: tests and benchmarks that need them are skipped" >&2
    exit 1
}
