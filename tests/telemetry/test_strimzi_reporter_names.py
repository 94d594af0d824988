"""The names of Strimzi's Metrics Reporter (kafkacy.metrics.persec.total.enable)."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from kafka_cy import Broker
from tests.telemetry.test_metrics_live import page, shown_names, value, values


def test_the_topic_counters_of_strimzis_metrics_reporter_if_they_are_wanted() -> None:
    def of_topics(names: set[str], suffix: str) -> set[str]:
        prefix = "kafka_server_brokertopicmetrics_"
        return {name.removesuffix(suffix) for name in names if name.startswith(prefix) and name.endswith(suffix)}

    with Broker() as default:
        assert not of_topics(shown_names(default)[0], "persec_total")
    with Broker({"kafkacy.metrics.persec.total.enable": "true"}) as strimzi:
        shown, _ = shown_names(strimzi)
        found = values(strimzi)
        openmetrics = page(strimzi, accept="application/openmetrics-text; version=1.0.0")
    persec = of_topics(shown, "persec")
    assert of_topics(shown, "persec_total") == persec and len(persec) > 15
    for name in persec:
        each = {labels: count for (full, labels), count in found.items() if full == f"{name}persec_total"}
        assert each == {labels: count for (full, labels), count in found.items() if full == f"{name}persec"}
    assert value(found, "kafka_server_brokertopicmetrics_messagesinpersec_total", topic="known") == 1
    assert found["kafka_controller_controllerstats_uncleanleaderelectionspersec_total", ()] == 0
    assert "kafka_server_brokertopicmetrics_messagesinpersec_total" in {each.name for each in parse_openmetrics(openmetrics)}
