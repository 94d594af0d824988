from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.api import fetch_session_cache

from .harness import Connection, HotServer


@pytest.fixture
def hot_server(tmp_path: Path) -> Iterator[HotServer]:
    fetch_session_cache.set_slots(1000)       # no sessions of earlier tests
    server = HotServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def connection(hot_server: HotServer) -> Iterator[Connection]:
    client = hot_server.connect()
    yield client
    client.close()
