"""Every API before and during authentication: the connection ends as in Kafka, and nothing but SASL's own requests is handled.

The reactors have the handlers of a broker; a request that one of them answers, or that reaches another loop than that of
authentication, fails a test.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from kafka_cy.api import api_versions, hot
from kafka_cy.api.registry import ApiRange, advertised
from kafka_cy.protocol.bridge import encode_response
from tests.adversity.examples import example_request

from .conftest_network import Client
from .sasl_server import API_VERSIONS, AUTHENTICATE, HANDSHAKE, SaslServerUnderTest, dialogue
from .sasl_session import authenticate, sized, string

ROWS = advertised(unstable=True)
OTHERS = [row for row in ROWS if row.api_key not in (API_VERSIONS, HANDSHAKE, AUTHENTICATE)]
ILLEGAL_SASL_STATE = 34
QUEUES = (0, 1, 2)  # of the other loops


@pytest.fixture(scope="module")
def under_test() -> Iterator[SaslServerUnderTest]:
    """Nobody takes what reaches another loop."""
    api_versions.set_table([(row.api_key, row.version_min, row.version_max) for row in ROWS])
    hot.register_all()
    apis = [tuple(row) for row in ROWS if row.api_key not in (HANDSHAKE, AUTHENTICATE)]
    started = SaslServerUnderTest(apis, queues=())
    yield started
    started.stop()


def frame_of(row: ApiRange, version: int) -> bytes:
    body = example_request(row.api_key, version) if version == row.version_max else bytes(8)
    head = row.api_key.to_bytes(2) + version.to_bytes(2) + (7).to_bytes(4) + string("t")
    return sized(head + (b"\0" if version >= row.flexible_from else b"") + body)


def versions_request() -> bytes:
    return sized(API_VERSIONS.to_bytes(2) + bytes(2) + (7).to_bytes(4) + string("t"))


def handshake(mechanism: str, version: int = 1) -> bytes:
    return sized(HANDSHAKE.to_bytes(2) + version.to_bytes(2) + (7).to_bytes(4) + string("t") + string(mechanism))


def token(data: bytes) -> bytes:
    return sized(authenticate(data, 1))


def said(under_test: SaslServerUnderTest, talks: Iterable[Iterable[bytes]]) -> list[list[bytes]]:
    """For each client, the answers to its frames, sent together, until the server closes its connection."""
    clients = []
    for frames in talks:
        clients.append(Client(under_test.port))
        clients[-1].send(b"".join(frames))
    return [answers_of(client) for client in clients]


def answers_of(client: Client) -> list[bytes]:
    answers = []
    try:
        while True:
            answers.append(client.receive()[1])
    except EOFError as end:
        assert end.args == (b"",), "half an answer"
    except ConnectionError:
        pass
    finally:
        client.close()
    return answers


def nothing_was_handled(under_test: SaslServerUnderTest) -> bool:
    return all(under_test.server.take_requests(0.0, queue) == [] for queue in QUEUES) and under_test.faults == []


SCRAM_FIRST = token(b"n,,n=ann,r=abc")
SIZE = (-1).to_bytes(4, signed=True)  # it ends every connection
WRONG = token(b"\0ann\0wrong")
#: What comes before, and how many answers that has.
ORDERS = {
    "first": ((), {0}),
    "after ApiVersions": ((versions_request(),), {1}),
    "after a failure": ((handshake("PLAIN"), WRONG), {2}),
    "after an unknown mechanism": ((handshake("NONE"),), {1}),
    "as a bare token": ((handshake("PLAIN", 0),), {1}),
    "as the second bare token": ((handshake("SCRAM-SHA-256", 0), sized(b"n,,n=ann,r=abc")), {2}),
}
IN_PLACE_OF_A_TOKEN = {
    "PLAIN": (handshake("PLAIN"),),
    "OAUTHBEARER": (handshake("OAUTHBEARER"),),
    "SCRAM": (handshake("SCRAM-SHA-512"), SCRAM_FIRST),
}


def check_illegal(got: list[bytes], before: int, row: ApiRange, version: int) -> None:
    """The answer is that of the request, with ILLEGAL_SASL_STATE; requests of brokers have none."""
    where = f"API {row.api_key} version {version}: {got}"
    try:
        expected = encode_response(row.api_key, version, {"error_code": ILLEGAL_SASL_STATE})
    except KeyError:
        assert len(got) == before, where
        return
    assert len(got) == before + 1 and got[-1] == (b"\0" if version >= row.flexible_from else b"") + expected, where


@pytest.mark.parametrize("order", ORDERS)
def test_no_other_request_is_handled_or_answered(under_test: SaslServerUnderTest, order: str) -> None:
    before, answers = ORDERS[order]
    asked = [(row, version) for row in OTHERS for version in {row.version_min, row.version_max}]
    talks = ((*before, frame_of(*each), versions_request()) for each in asked)
    for each, got in zip(asked, said(under_test, talks), strict=True):
        assert len(got) in answers, f"{each}: {got}"
    assert nothing_was_handled(under_test)


@pytest.mark.parametrize("mechanism", IN_PLACE_OF_A_TOKEN)
def test_in_the_place_of_a_token(under_test: SaslServerUnderTest, mechanism: str) -> None:
    before = IN_PLACE_OF_A_TOKEN[mechanism]
    asked = [(row, version) for row in OTHERS for version in {row.version_min, row.version_max}]
    talks = ((*before, frame_of(*each), versions_request()) for each in asked)
    for (row, version), got in zip(asked, said(under_test, talks), strict=True):
        check_illegal(got, len(before), row, version)
    assert nothing_was_handled(under_test)


def test_between_the_steps_of_a_prolongation(under_test: SaslServerUnderTest) -> None:
    """Who has logged in, and is about to do so again."""
    right = token(next(dialogue("PLAIN", "ann", "", knows=True)))
    before = (handshake("PLAIN"), right, handshake("PLAIN"))
    talks = ((*before, frame_of(row, row.version_max), versions_request()) for row in OTHERS)
    for row, got in zip(OTHERS, said(under_test, talks), strict=True):
        check_illegal(got, len(before), row, row.version_max)
    assert nothing_was_handled(under_test)


def test_in_any_order(under_test: SaslServerUnderTest) -> None:
    chance = random.Random(1)
    own = [versions_request(), handshake("PLAIN"), handshake("PLAIN", 0), handshake("GSSAPI"), WRONG, SCRAM_FIRST]
    talks = []
    for _ in range(300):
        row = chance.choice(OTHERS)
        middle = frame_of(row, chance.choice((row.version_min, row.version_max)))
        talks.append([*chance.choices(own, k=chance.randrange(4)), middle, *chance.choices(own, k=2), SIZE])
    said(under_test, talks)
    assert nothing_was_handled(under_test)
