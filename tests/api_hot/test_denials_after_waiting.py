"""A denial that is found after a request has waited. The request's client id is gone then; the connection's is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kafka_cy.network import jobs
from tests.waiting import wait_until

from .acls import DESCRIBE, TOPIC_DENIED, WRITE, Acls
from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_authorization import denials
from .test_list_offsets_jobs import fill, rows, send
from .test_produce import batch
from .test_produce import request as produce_request
from .test_produce_jobs import large

REACTORS = 1
PRODUCE, LIST_OFFSETS = 0, 2
CLIENT_IDS = [b"hot-tests", b"", None]


@pytest.fixture(autouse=True)
def _jobs_run_in_the_end() -> Iterator[None]:
    yield
    jobs.resume_jobs()


@pytest.mark.parametrize("client_id", CLIENT_IDS)
def test_produce_after_a_batch_with_a_job(hot_server: HotServer, connection: Connection, client_id: bytes | None) -> None:
    acls = Acls(hot_server)
    for name in ("mine", "other"):
        hot_server.create_topic(name)
    acls.allow(WRITE, "mine")
    jobs.pause_jobs()
    values = produce_request(9, hot_server, {("mine", 0): large(), ("other", 0): batch()})
    connection.send(PRODUCE, 9, encode_request(PRODUCE, 9, values), client_id=client_id)
    wait_until(lambda: jobs.waiting_jobs() == 1, "the batch is with a job")
    assert denials(hot_server) == []
    jobs.resume_jobs()
    answer = connection.answer(PRODUCE, 9)
    assert [topic["partition_responses"][0]["error_code"] for topic in answer["responses"]] == [0, TOPIC_DENIED]
    (denial,) = denials(hot_server)
    assert denial.name == "other" and denial.client_id == (None if client_id is None else client_id.decode())


@pytest.mark.parametrize("client_id", CLIENT_IDS)
def test_list_offsets_after_a_look_up(hot_server: HotServer, connection: Connection, client_id: bytes | None) -> None:
    """Only the last of the names without a topic is remembered as told, so the first is told again with the response."""
    acls = Acls(hot_server)
    hot_server.create_topic("t")
    fill(hot_server)
    acls.allow(DESCRIBE, "t")
    jobs.pause_jobs()
    send(connection, ("t", 0, 1100), ("x", 0, 1100), ("y", 0, 1100), client_id=client_id)
    wait_until(lambda: jobs.waiting_jobs() == 1, "the look-up is with a job")
    jobs.resume_jobs()
    assert [row[2] for row in rows(connection.answer(LIST_OFFSETS, 11))] == [0, TOPIC_DENIED, TOPIC_DENIED]
    told = denials(hot_server)
    assert {denial.name for denial in told} == {"x", "y"}
    assert {denial.client_id for denial in told} == {None if client_id is None else client_id.decode()}
