#!/usr/bin/env bash
# Installs third-party programs that the tests use: kcat, Apache Kafka's Java tools, kafkajs, an OIDC provider, Prometheus, its Pushgateway,
# Alertmanager, ZooKeeper, Chromium, the OpenTelemetry collector, Helm, a Kerberos KDC, and Sphinx for the website of the documentation.
# The script prints the names of programs that it cannot install; their tests are skipped (in CI they fail).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/debian.sh

needed=()
need_command kcat kcat
need_command curl curl
need_command openssl openssl
need_command krb5kdc krb5-kdc
need_command kadmin.local krb5-admin-server
need_command kinit krb5-user
compgen -G '/usr/lib/*/sasl2/libgssapiv2.so' >/dev/null || needed+=(libsasl2-modules-gssapi-mit) # for kcat
need_command systemd-analyze systemd
need_command unshare util-linux
need_command readelf binutils
need_command javac default-jdk-headless
need_command node nodejs
need_command npm npm
need_command rsvg-convert librsvg2-bin
need_command chromium chromium
need_command chromedriver chromium-driver
need_command prometheus-pushgateway prometheus-pushgateway
install_debian_packages "some tests will be skipped" || true
scripts/install-stack-tools.sh || true
scripts/install-kafka.sh || true
scripts/docs.sh "${PYTHON:-python3}" install || echo "Sphinx could not be installed: the test of the website will be skipped" >&2

if { [ ! -d tests/interop/js/node_modules/kafkajs ] || [ ! -d tests/interop/js/node_modules/oidc-provider ]; } &&
    command -v npm >/dev/null; then
    echo "downloading kafkajs and oidc-provider (npm)"
    (cd tests/interop/js && try_again npm install --no-audit --no-fund --silent) ||
        echo "kafkajs and oidc-provider could not be downloaded: their tests will be skipped" >&2
fi
if ! command -v helm >/dev/null && [ ! -x .cache/bin/helm ] && command -v go >/dev/null; then
    echo "building Helm (Go)"
    GOBIN=$PWD/.cache/bin try_again go install helm.sh/helm/v3/cmd/helm@v3.19.0 >/dev/null 2>&1 ||
        echo "Helm could not be built: the tests of the chart will be skipped" >&2
fi
if [ ! -x .cache/otelcol/otelcol-test ] && command -v go >/dev/null; then
    echo "building the OpenTelemetry collector (Go)"
    try_again go run go.opentelemetry.io/collector/cmd/builder@v0.130.0 --config tests/interop/otel/builder.yaml >/dev/null 2>&1 ||
        echo "the OpenTelemetry collector could not be built: its test will be skipped" >&2
fi
