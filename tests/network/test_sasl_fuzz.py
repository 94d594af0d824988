"""Conversations with every SASL mechanism, two at a time: right and wrong frames in any order, against a model of what Kafka does.

Whatever a client sends, others are served, the connection ends as Kafka ends it, and nobody is served who does not know a secret,
or as another user. `make fuzz` runs this under the address sanitizer. KAFKA_CY_FUZZ_SECONDS sets the duration, KAFKA_CY_FUZZ_SEED
the random seed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from kafka_cy.security.sasl.server import SaslServer
from tests.kerberos import REALM, Realm, missing_program, running_realm
from tests.waiting import wait_until

from .conftest_network import COLD, ECHO
from .sasl_server import API_VERSIONS, CANARY, MECHANISMS, NAMED, Dialogue, SaslServerUnderTest, dialogue
from .sasl_session import CLOSED, Frame, Session, request

SECONDS = float(os.environ.get("KAFKA_CY_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("KAFKA_CY_FUZZ_SEED", str(random.randrange(1 << 30))))
pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(SECONDS + 120, func_only=True)]

FOR_KERBEROS_S = 10.0  # a KDC takes a second to start
SESSIONS, STEPS = 2, 24
APIS: list[tuple[int, int, int, int | None]] = [(ECHO, 0, 9, 5), (COLD, 0, 9, 5), (API_VERSIONS, 0, 4, 3)]


def kerberos_dialogue(realm: Realm) -> Dialogue:
    from gssapi import raw

    from kafka_cy.security.sasl.kerberos import credential_store

    store = credential_store(ccache=f"FILE:{realm.folder}/tickets-ann")
    credential = raw.acquire_cred_from(store, usage="initiate").creds
    target = raw.import_name(f"kafka/localhost@{REALM}".encode(), raw.NameType.kerberos_principal)
    made = raw.init_sec_context(target, credential, mech=raw.MechType.kerberos, flags=[raw.RequirementFlag.integrity])
    offer = yield made.token
    try:
        raw.unwrap(made.context, offer)
    except raw.misc.GSSError:
        return
    yield raw.wrap(made.context, b"\x01\0\0\0", confidential=False).message


@contextmanager
def kerberos(folder: Any) -> Iterator[tuple[Realm, Callable[[], SaslServer]] | None]:
    try:
        import gssapi  # noqa: F401
    except ImportError:
        yield None
        return
    if SECONDS < FOR_KERBEROS_S or missing_program() is not None:
        yield None
        return
    from kafka_cy.security.sasl.kerberos import KerberosAcceptor, KerberosServer

    with running_realm(folder) as realm, pytest.MonkeyPatch.context() as patch:
        for name in ("KRB5_CONFIG", "KRB5RCACHENAME"):
            patch.setenv(name, realm.environment[name])
        realm.log_in("ann")
        acceptor = KerberosAcceptor(f"kafka/localhost@{REALM}", str(realm.key_tab), ["DEFAULT"])
        yield realm, lambda: KerberosServer(acceptor)


class Conversations:
    def __init__(self, under_test: SaslServerUnderTest, realm: Realm | None) -> None:
        self.server, self.realm = under_test, realm
        self.mechanisms = MECHANISMS if realm is None else (*MECHANISMS, "GSSAPI")
        self.chance = random.Random(SEED)
        self.rounds = self.steps = self.opened = 0

    def begin(self) -> Session:
        chance = self.chance
        mechanism, user = chance.choice(self.mechanisms), chance.choice(("ann", "bob", NAMED))
        with_token = mechanism.startswith("SCRAM") and user != NAMED and chance.random() < 0.3
        knows = chance.random() < 0.6
        nonce = f"{chance.getrandbits(64):x}"

        def made(user: str, knows: bool) -> Dialogue:
            return dialogue(mechanism, user, nonce, knows=knows, with_token=with_token)

        if mechanism == "GSSAPI":
            assert self.realm is not None
            user, knows, made = "ann", True, lambda user, knows: kerberos_dialogue(self.realm)  # type: ignore[arg-type, assignment]
        return Session(
            self.server.port, chance, mechanism, user, made, knows=knows, with_token=with_token, mechanisms=self.mechanisms
        )

    def round(self, witness: Session) -> None:
        """Two clients in turn, and somebody else in between."""
        sessions = [self.begin() for _ in range(SESSIONS)]
        witnessed_at = self.chance.randrange(STEPS)
        for step in range(STEPS):
            alive = [each for each in sessions if each.state != CLOSED]
            if not alive:
                break
            session = self.chance.choice(alive)
            self.talk(session, sessions[0] if session is sessions[1] else sessions[1])
            if step == witnessed_at:
                ask(witness)
        for session in sessions:
            self.opened += bool(session.entered_with)
            session.close()
        self.rounds += 1

    def talk(self, session: Session, victim: Session) -> None:
        frames = session.say(victim)
        if self.chance.random() < 0.01:
            session.send_half(frames)
            return
        session.send(frames)
        for place, frame in enumerate(frames, 1):
            session.judge(frame, is_last=place == len(frames))
            self.steps += 1


def ask(witness: Session) -> None:
    """Somebody who has logged in is served."""
    frame = Frame(COLD, 0, request(COLD, 0, b""))
    witness.send([frame])
    witness.judge(frame)


def logged_in(port: int) -> Session:
    made = partial(dialogue, "PLAIN", nonce="")
    witness = Session(
        port, random.Random(1), "PLAIN", "ann", lambda user, knows: made(user, knows=knows),
        knows=True, with_token=False, mechanisms=MECHANISMS,
    )  # fmt: skip
    for _ in range(2):
        frame = witness._right()
        witness.send([frame])
        witness.judge(frame)
    assert witness.user == "ann"
    return witness


def test_conversations(probe: Any, tmp_path: Any) -> None:
    with kerberos(tmp_path) as found:
        realm, extra = (None, {}) if found is None else (found[0], {"GSSAPI": found[1]})
        under_test = SaslServerUnderTest(APIS, extra=extra)
        try:
            run(under_test, Conversations(under_test, realm))
        finally:
            under_test.stop()


def run(under_test: SaslServerUnderTest, conversations: Conversations) -> None:
    witness = logged_in(under_test.port)
    until = time.monotonic() + SECONDS
    try:
        while time.monotonic() < until or conversations.rounds < 20:
            conversations.round(witness)
    except BaseException:
        print(f"seed {SEED}, round {conversations.rounds}")
        raise
    counters = under_test.server.counters
    wait_until(lambda: counters()["connections"] == 1, "the end of the connections")
    wait_until(lambda: len(under_test.authenticator) == 0, "the end of the conversations")
    assert counters()["queued_request_bytes"] == 0 and under_test.faults == []
    assert under_test.users <= {"ann", "bob", NAMED} and CANARY.decode() not in under_test.text.getvalue()
    assert "error in the broker" not in under_test.text.getvalue()
    assert conversations.opened > conversations.rounds // 10
    witness.close()
    print(f"{conversations.rounds} rounds, {conversations.steps} frames, {conversations.opened} logins; seed {SEED}")
