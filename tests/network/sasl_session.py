"""One client of a SaslServerUnderTest, and what Kafka's SaslServerAuthenticator would do with each of its frames.

`say` builds frames, right and wrong ones, and `judge` reads what comes back for each: the connection must be in the state that the
model says, and only a client that knows a secret may be served, as the user whose secret it is.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from mutation import mutate

from .conftest_network import COLD, ECHO
from .sasl_server import API_VERSIONS, AUTHENTICATE, CANARY, HANDSHAKE, Dialogue

FIRST, TOKENS, RAW, OPEN, CLOSED = "first", "tokens", "raw", "open", "closed"
UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE, SASL_AUTHENTICATION_FAILED = 33, 34, 58
FLEXIBLE_FROM = {API_VERSIONS: 3, AUTHENTICATE: 2}
VERSIONS_MAX = {API_VERSIONS: 4, HANDSHAKE: 1, AUTHENTICATE: 2}
# Larger than what a mechanism takes, and smaller than a frame may be.
GIANTS = (4097, 32_769, 65_537)


class Frame(NamedTuple):
    """`data` has no length before it. `is_raw`: a bare token. `is_next`: the token that an honest client sends now."""

    api_key: int
    version: int
    data: bytes
    mechanism: str = ""
    is_raw: bool = False
    is_next: bool = False


class Size(NamedTuple):
    """A length that no frame may have."""

    size: int


def sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def request(api_key: int, version: int, body: bytes) -> bytes:
    flexible = version >= FLEXIBLE_FROM.get(api_key, 99)
    return struct.pack(">hhi", api_key, version, 7) + string("t") + (b"\0" if flexible else b"") + body


def compact(data: bytes) -> bytes:
    size, head = len(data) + 1, bytearray()
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + data


def authenticate(token: bytes, version: int) -> bytes:
    return request(AUTHENTICATE, version, compact(token) + b"\0" if version > 1 else sized(token))


class Session:
    """`begin(user, knows)` makes what a client of `mechanism` says; with `knows`, it has the right secret."""

    def __init__(
        self, port: int, chance: random.Random, mechanism: str, user: str, begin: Callable[[str, bool], Dialogue], *,
        knows: bool, with_token: bool, mechanisms: tuple[str, ...],
    ) -> None:  # fmt: skip
        """`with_token`: a delegation token. `mechanisms`: those of the server."""
        self.chance, self.mechanism, self.begin, self.knows = chance, mechanism, begin, knows
        self.with_token, self.mechanisms, self.claimed = with_token, mechanisms, user
        self.may_be = {user} if knows else set()
        self.entered_with = ""  # the mechanism; empty: nobody has logged in
        self.user: str | None = None  # who has, as far as this client knows
        self.expires = False
        self.state = FIRST
        self.asked_versions = self.is_last = False
        self.sent: list[bytes] = []  # tokens of this client, which others steal
        self._converse("", user, knows)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)

    def _converse(self, mechanism: str, user: str, knows: bool) -> None:
        self.talks, self.is_clean = mechanism, mechanism == self.mechanism
        self.speaks_for = user if knows else None
        self.dialogue: Dialogue = self.begin(user, knows)
        self.next: bytes | None = next(self.dialogue)

    # -- what is said --

    def say(self, victim: Session) -> list[Frame | Size]:
        """Some frames that are sent together; often the next one of an honest client."""
        frames: list[Frame | Size] = []
        while self.chance.random() < 0.05:
            frames.append(self._wrong(victim))
        frames.append(self._right() if self.chance.random() < 0.93 else self._wrong(victim))
        return frames

    def _right(self) -> Frame:
        if self.state == FIRST or (self.state == OPEN and self.expires and self.chance.random() < 0.3):
            return self._handshake(self.mechanism, self.chance.choice((0, 1, 1)))
        if self.state == OPEN or self.next is None:
            api_key = self.chance.choice((ECHO, COLD))
            return Frame(api_key, 0, request(api_key, 0, CANARY))
        return self._token(self.next, is_next=True)

    def _token(self, token: bytes, *, is_next: bool = False) -> Frame:
        self.sent.append(token)
        version = self.chance.randrange(3)
        is_raw = self.state == RAW
        return Frame(AUTHENTICATE, version, token if is_raw else authenticate(token, version), is_raw=is_raw, is_next=is_next)

    def _handshake(self, mechanism: str, version: int) -> Frame:
        return Frame(HANDSHAKE, version, request(HANDSHAKE, version, string(mechanism)), mechanism)

    def _wrong(self, victim: Session) -> Frame | Size:
        kind = self.chance.randrange(9)
        if kind == 0:
            version = self.chance.choice((0, 3, 4, 9))
            return Frame(API_VERSIONS, version, request(API_VERSIONS, version, compact(b"a") * 2 + b"\0" if version > 2 else b""))
        if kind == 1:
            mechanism = self.chance.choice((*self.mechanisms, self.mechanism.lower(), "", "ANONYMOUS"))
            return self._handshake(mechanism, self.chance.choice((0, 1, 1, 2)))
        if kind == 2:
            api_key = self.chance.choice((ECHO, COLD))
            return Frame(api_key, 0, request(api_key, 0, CANARY))
        if kind == 3:
            return Size(self.chance.choice((-1, 1 << 30)))
        if kind == 4:  # an API that there is not
            return Frame(99, 0, struct.pack(">h", 99) + self.chance.randbytes(self.chance.randrange(8, 60)))
        return self._token(self._wrong_token(kind, victim))

    def _wrong_token(self, kind: int, victim: Session) -> bytes:
        if kind == 5 and victim.sent:
            if victim.mechanism in ("PLAIN", "OAUTHBEARER"):  # whose token is the secret itself
                self.may_be |= victim.may_be
            return self.chance.choice(victim.sent)
        if kind == 6 and self.sent:
            return self.chance.choice(self.sent)
        if kind == 7:
            return (self.next or b"\0ann\0")[:1] + b"x" * self.chance.choice(GIANTS)
        return mutate(self.chance, self.next or b"n,,n=ann,r=x", [*self.sent, *victim.sent, b"\0ann\0wrong"])

    def send(self, frames: list[Frame | Size]) -> None:
        """In pieces of any size. The server may have closed the connection meanwhile."""
        data = b"".join(struct.pack(">i", each.size) if isinstance(each, Size) else sized(each.data) for each in frames)
        try:
            while data:
                size = self.chance.choice((1, 3, 17, len(data), len(data)))
                self.socket.sendall(data[:size])
                data = data[size:]
        except ConnectionError:
            pass

    def send_half(self, frames: list[Frame | Size]) -> None:
        """And leave."""
        data = b"".join(sized(each.data) for each in frames if isinstance(each, Frame))
        try:
            self.socket.sendall(data[: self.chance.randrange(len(data) + 1)])
        except ConnectionError:
            pass
        self.close()

    def close(self) -> None:
        self.socket.close()
        self.state = CLOSED

    # -- what comes back --

    def read(self) -> bytes | None:
        """A frame; None: the connection was closed."""
        head = self._exactly(4)
        return None if head is None else self._exactly(struct.unpack(">i", head)[0])

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionError:
                part = b""
            if not part:
                assert not data, "half an answer"
                return None
            data += part
        return data

    def judge(self, frame: Frame | Size, *, is_last: bool = True) -> None:
        """Read what follows from a frame, and go into the state after it. `is_last`: nothing was sent with it, behind it."""
        self.is_last = is_last
        if self.state == CLOSED:
            return
        if isinstance(frame, Size):
            self._closes()
        elif frame.is_raw and self.state != RAW:
            self.close()  # a frame before it had another effect than this client believed
        elif self.state == FIRST:
            self._judge_first(frame)
        elif self.state == OPEN:
            self._judge_open(frame)
        elif self.state == RAW:
            self._judge_raw(frame)
        elif frame.api_key == AUTHENTICATE:
            self._judge_token(frame)
        elif frame.api_key in (API_VERSIONS, HANDSHAKE) and frame.version <= VERSIONS_MAX[frame.api_key]:
            self._fails(ILLEGAL_SASL_STATE)
        else:
            self._closes()

    def _closes(self) -> None:
        answer = self.read()
        assert answer is None, f"{self.state}: {answer!r}"
        self.close()

    def _fails(self, error: int) -> None:
        """An answer that begins with the error, and the end."""
        answer = self.read()
        assert answer is not None and struct.unpack_from(">h", answer, 4) == (error,), f"{self.state}: {answer!r}"
        self._closes()

    def _ordinary_answer(self) -> bytes | None:
        """Of a request that the next one does not wait for: if that one ends the connection, the answer may be lost."""
        answer = self.read()
        if answer is None:
            assert not self.is_last
            self.close()
        return answer

    def _judge_first(self, frame: Frame) -> None:
        if frame.api_key == API_VERSIONS and not self.asked_versions:
            answer = self._ordinary_answer()
            assert answer is None or CANARY not in answer
            self.asked_versions = frame.version <= VERSIONS_MAX[API_VERSIONS]
        elif frame.api_key == HANDSHAKE and frame.version <= 1:
            self._judge_handshake(frame)
        else:
            self._closes()

    def _judge_handshake(self, frame: Frame) -> None:
        if frame.mechanism not in self.mechanisms:
            self._fails(UNSUPPORTED_SASL_MECHANISM)
            return
        answer = self.read()
        assert answer is not None and struct.unpack_from(">h", answer, 4) == (0,), f"{answer!r}"
        user, knows = self.claimed, self.knows
        if self.entered_with and self.mechanism != "GSSAPI" and self.chance.random() < 0.3:
            user, knows = self.chance.choice(("ann", "bob")), True
        self._converse(frame.mechanism, user, knows)
        self.state = TOKENS if frame.version else RAW

    def _judge_open(self, frame: Frame) -> None:
        if self.expires and frame.api_key == HANDSHAKE:
            self._judge_handshake(frame) if frame.version <= 1 else self._closes()
        elif frame.api_key == 99 or (frame.api_key == HANDSHAKE and frame.version > 1):
            self._closes()
        else:
            answer = self._ordinary_answer()
            if answer is None:
                return
            if frame.api_key == COLD:
                assert answer[4:].startswith(CANARY), f"{answer!r}"
                self._is(answer[4:].removeprefix(CANARY).decode())
            elif frame.api_key == ECHO:
                assert answer[4:] == CANARY

    def _is(self, user: str) -> None:
        assert user in self.may_be and self.user in (None, user), f"{user} instead of {self.user} or {self.may_be}"
        self.user = user

    def _judge_token(self, frame: Frame) -> None:
        answer = self.read()
        if answer is None:  # the mechanism is not that of the session; or Kerberos, which may be tried again
            assert self._has_no_conversation() or self.talks == "GSSAPI", self.talks
            self.close()
            return
        at = 5 if frame.version > 1 else 4
        (error,) = struct.unpack_from(">h", answer, at)
        if error:
            assert error == SASL_AUTHENTICATION_FAILED and not self._must_succeed(frame), f"{self.talks}: {answer!r}"
            self._closes()
            return
        self._goes_on(frame, token_in(answer[at + 2 :], frame.version))

    def _judge_raw(self, frame: Frame) -> None:
        if self._must_succeed(frame) and self.talks == "GSSAPI" and self._is_last():
            self._opens()  # without an answer
            return
        answer = self.read()
        if answer is None:
            assert not self._must_succeed(frame), self.talks
            self.close()
            return
        self._goes_on(frame, answer)

    def _has_no_conversation(self) -> bool:
        return bool(self.entered_with) and self.talks != self.entered_with

    def _must_succeed(self, frame: Frame) -> bool:
        """Whether an honest client has sent the right token, in the name of the user whom the connection is of."""
        if not (frame.is_next and frame.is_raw == (self.state == RAW) and self.is_clean and self.speaks_for is not None):
            return False
        if self._has_no_conversation():
            return False
        return not self._is_last() or not self.entered_with or self.user == self.speaks_for

    def _is_last(self) -> bool:
        return self.talks in ("PLAIN", "OAUTHBEARER") or self.next is None or self.next.startswith((b"c=", b"\x05"))

    def _goes_on(self, frame: Frame, answer: bytes) -> None:
        self.is_clean = self.is_clean and frame.is_next  # a token of before may be that of another user of this client
        if answer.startswith(b"v=") if self.talks.startswith("SCRAM") else not answer:
            self._opens()
            return
        if self.is_clean:
            try:
                self.next = self.dialogue.send(answer)
            except StopIteration:
                self.next = None

    def _opens(self) -> None:
        assert self.may_be, f"{self.talks}: a client without a secret has logged in"
        if self.is_clean and self.speaks_for is not None:
            self._is(self.speaks_for)
        self.entered_with, self.state = self.talks, OPEN
        self.expires = self.with_token or self.talks in ("PLAIN", "SCRAM-SHA-512", "OAUTHBEARER")


def token_in(body: bytes, version: int) -> bytes:
    """The server's token in a SaslAuthenticate response, after the error."""
    if version <= 1:
        (size,) = struct.unpack_from(">h", body)
        at = 2 + max(size, 0)
        (size,) = struct.unpack_from(">i", body, at)
        return body[at + 4 : at + 4 + size]
    size, at = compact_size(body, 0)
    size, at = compact_size(body, at + size)
    return body[at : at + size]


def compact_size(body: bytes, at: int) -> tuple[int, int]:
    size = shift = 0
    while True:
        byte = body[at]
        at += 1
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return max(size - 1, 0), at
