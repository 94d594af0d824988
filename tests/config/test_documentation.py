"""Every key has a sentence."""

from kafka_cy.config import definitions, documentation
from kafka_cy.config.kafkacy_keys import DYNAMIC_ONLY_KEYS


def test_every_key_has_a_sentence_and_every_sentence_a_key() -> None:
    broker = {*definitions.broker_key_names(), *(row[0] for row in DYNAMIC_ONLY_KEYS)}
    assert set(documentation.broker_texts()) == broker
    assert set(documentation.TOPIC_TEXTS) == set(definitions.topic_key_names())
    assert set(documentation.GROUP_TEXTS) == set(definitions.group_key_names())
    assert set(documentation.CLIENT_METRICS_TEXTS) == set(definitions.client_metrics_key_names())


def test_sentences_are_sentences() -> None:
    for texts in (documentation.broker_texts(), documentation.TOPIC_TEXTS, documentation.GROUP_TEXTS):
        for name, text in texts.items():
            assert text.endswith(".") and len(text) > 10, name


def test_no_key_stands_in_two_files() -> None:
    from kafka_cy.config import broker_documentation_a, broker_documentation_l, broker_documentation_s

    modules = (broker_documentation_a, broker_documentation_l, broker_documentation_s)
    assert sum(len(module.TEXTS) for module in modules) == len(documentation.broker_texts())
