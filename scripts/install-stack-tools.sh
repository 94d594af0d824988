#!/usr/bin/env bash
# Installs the programs that `make stack` runs in addition to the broker.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/debian.sh

needed=()
need_command prometheus prometheus
need_command prometheus-alertmanager prometheus-alertmanager
need_command java default-jre-headless
need_file /usr/share/java/zookeeper.jar zookeeper
install_debian_packages "make stack cannot run"
