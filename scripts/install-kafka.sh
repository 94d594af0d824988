#!/usr/bin/env bash
# Apache Kafka's jars in .cache/, by Maven: for the tests with its tools, and for the benchmark beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/debian.sh
kafka_version=4.3.1
kafka_jars=.cache/kafka-$kafka_version

needed=()
need_command java default-jre-headless
[ -e "$kafka_jars/.complete" ] || need_command mvn maven
install_debian_packages "Apache Kafka cannot be had" || true
[ -e "$kafka_jars/.complete" ] || ! command -v mvn >/dev/null || {
    echo "fetching Apache Kafka $kafka_version (Maven)"
    mvn -q -B -f tests/interop/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$PWD/$kafka_jars" && touch "$kafka_jars/.complete"
}
[ -e "$kafka_jars/.complete" ] || {
    echo "Apache Kafka's jars could not be fetched: what needs them is left out" >&2
    exit 1
}
