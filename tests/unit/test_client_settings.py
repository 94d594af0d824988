"""Settings of Kafka's clients, converted for librdkafka."""

from __future__ import annotations

from kafka_cy.tools.client import librdkafka_settings


def test_pem_stores_get_librdkafkas_names() -> None:
    assert librdkafka_settings(
        {
            "security.protocol": "SSL",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": "ca.pem",
            "ssl.keystore.type": "pem",
            "ssl.keystore.location": "own.pem",
            "ssl.key.password": "secret",
        }
    ) == {
        "security.protocol": "SSL",
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "own.pem",
        "ssl.key.location": "own.pem",
        "ssl.key.password": "secret",
    }
    inline = {"ssl.truststore.certificates": "A", "ssl.keystore.certificate.chain": "B", "ssl.keystore.key": "C"}
    types = {"ssl.truststore.type": "PEM", "ssl.keystore.type": "PEM"}
    assert librdkafka_settings({**inline, **types}) == {
        "ssl.ca.pem": "A",
        "ssl.certificate.pem": "B",
        "ssl.key.pem": "C",
    }


def test_everything_else_stays() -> None:
    settings = {
        "ssl.keystore.location": "own.p12",
        "ssl.keystore.password": "x",
        "linger.ms": "5",
        "ssl.ca.location": "a",
    }
    assert librdkafka_settings(settings) == settings
    assert librdkafka_settings({**settings, "ssl.keystore.type": "PKCS12"}) == settings
