from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.api import fetch_session_cache
from kafka_cy.network import jobs

from .harness import Connection, HotServer


@pytest.fixture
def hot_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HotServer]:
    """With as many reactors as the module's REACTORS says (2). A test may leave jobs paused."""
    fetch_session_cache.set_slots(1000)       # no sessions of earlier tests
    server = HotServer(tmp_path, getattr(request.module, "REACTORS", 2))
    yield server
    jobs.resume_jobs()
    server.stop()


@pytest.fixture
def connection(hot_server: HotServer) -> Iterator[Connection]:
    client = hot_server.connect()
    yield client
    client.close()
