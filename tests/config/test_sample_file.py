"""The commented sample: `server.properties` of the repository, which is also shipped in the package."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from kafka_cy.config import BrokerConfig

ROOT = Path(__file__).parents[2]


def sample_text() -> str:
    return files("kafka_cy.config").joinpath("server.properties").read_text()


def test_the_sample_is_accepted_without_a_warning() -> None:
    config = BrokerConfig.load(str(ROOT / "server.properties"), {})
    assert config.warnings == []
    assert config.log_dirs == ["./data"]
    assert [str(each) for each in config.listeners] == ["PLAINTEXT://127.0.0.1:9092"]


def test_the_repository_and_the_package_have_the_same_sample() -> None:
    assert (ROOT / "server.properties").read_text() == sample_text()


def test_every_example_in_a_comment_is_a_known_key(tmp_path: Path) -> None:
    # Each one alone: an SSL listener, for example, would need a certificate.
    shown = re.findall(r"^#([a-z][a-z.]*=.*)$", sample_text(), re.MULTILINE)
    assert len(shown) > 10
    for line in shown:
        key, _, value = line.partition("=")
        assert BrokerConfig.load(None, {key: value}).warnings == [], line
