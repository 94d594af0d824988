"""SASL/GSSAPI (RFC 4752) with MIT Kerberos, on the side of the server: what Java's GssKrb5Server and Kafka's callbacks do.

Everything that a client proves is in its tokens, and the key is in the key tab: no KDC is asked. The messages are the tokens of the
context, an offer of no security layer, and the client's choice. The authorization id in the choice is ignored, as in Kafka.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from gssapi import raw
from gssapi.raw.misc import GSSError

from kafka_cy.security.sasl.kerberos_keys import MECHANISM
from kafka_cy.security.sasl.kerberos_names import KerberosShortNamer, NoLocalName, parse_kerberos_name
from kafka_cy.security.sasl.server import Step, Success, invalid_credentials

TOKEN_BYTES_MAX: Final = 64 << 10  # as in Java; the largest ones have the groups of a user in Active Directory
CONTEXT_TOKENS_MAX: Final = 4  # of a client; Kerberos needs one
REASON_CHARS_MAX: Final = 300

_NO_LAYER: Final = 1
_OFFER: Final = bytes((_NO_LAYER, 1, 0, 0))  # no layer; Java's broker says 64 KiB, which without a layer means nothing

# Minor codes of MIT's library: its base and the number of the error in RFC 4120. As Kafka's KerberosError says, the client may try
# again after these: KDC_ERR_CLIENT_NOTYET, KRB_AP_ERR_TKT_NYV, KRB_AP_ERR_REPEAT. Its connection closes without an answer.
_ERROR_BASE: Final = -1_765_328_384
_TRY_AGAIN: Final = frozenset(_ERROR_BASE + number for number in (21, 33, 34))


class KerberosAcceptor:
    """The key of the broker, and the names of its users. Immutable; any thread. The key tab is read with each login."""

    def __init__(self, principal: str, key_tab: str | None, rules: list[str]) -> None:
        """`key_tab`: a path; None: the one that krb5.conf names. Raises LookupError without a key, ValueError for a wrong rule."""
        name = raw.import_name(principal.encode(), raw.NameType.kerberos_principal)
        store = credential_store() if key_tab is None else credential_store(keytab=key_tab)
        kerberos = [raw.MechType.kerberos]
        try:
            self.credential: Any = raw.acquire_cred_from(store, name, mechs=kerberos, usage="accept").creds
        except GSSError as error:
            raise LookupError(error_text(error)) from None
        self.namer = KerberosShortNamer(default_realm(), rules)


def credential_store(**values: str) -> dict[bytes | str, bytes | str]:
    """In bytes: of texts, python-gssapi passes on the address of bytes that are freed already."""
    return {name.encode(): os.fsencode(value) for name, value in values.items()}


def default_realm() -> str:
    """Of krb5.conf; empty if there is none."""
    try:
        name = raw.import_name(b"user", raw.NameType.kerberos_principal)
        whole = raw.display_name(raw.canonicalize_name(name, raw.MechType.kerberos), name_type=False).name
    except GSSError:
        return ""
    return whole.decode("utf-8", "replace").partition("@")[2]


def error_text(error: GSSError) -> str:
    """What Kerberos says; not what GSSAPI says about it, if there is more."""
    texts = error.get_all_statuses(error.min_code, False) if error.min_code else []
    texts = texts or error.get_all_statuses(error.maj_code, True)
    return "; ".join(texts)[:REASON_CHARS_MAX]


class KerberosServer:
    """See SaslServer. Memory: a context of a few KiB, until the authentication ends."""

    def __init__(self, acceptor: KerberosAcceptor) -> None:
        self._acceptor = acceptor
        self._next: Callable[[bytes], Step] | None = self._accept
        self._context: Any = None
        self._context_tokens = 0
        self._name = ""

    def step(self, token: bytes) -> Step:
        """Take a token of the context, the empty message after it, or the choice."""
        now, self._next = self._next, None  # a message that fails ends the authentication
        if now is None:
            raise invalid_credentials(MECHANISM, "a message after the end")
        if len(token) > TOKEN_BYTES_MAX:
            raise invalid_credentials(MECHANISM, f"a token of more than {TOKEN_BYTES_MAX} bytes")
        try:
            return now(token)
        except GSSError as error:
            failed = invalid_credentials(MECHANISM, error_text(error))
            failed.may_try_again = error.min_code - (2**32 if error.min_code >= 2**31 else 0) in _TRY_AGAIN
            raise failed from None

    def _accept(self, token: bytes) -> Step:
        self._context_tokens += 1
        if not token or self._context_tokens > CONTEXT_TOKENS_MAX:
            raise invalid_credentials(MECHANISM, "the context does not come about")
        result = raw.accept_sec_context(token, self._acceptor.credential, self._context)
        self._context = result.context
        answer = result.token or b""
        if result.more_steps:
            self._next = self._accept
            return Step(answer)
        self._name = self._user(result.initiator_name)
        if not answer:  # the client does not want the broker to prove who it is
            return self._offer(b"")
        self._next = self._offer
        return Step(answer)

    def _user(self, initiator: Any) -> str:
        """In Kafka, a principal without a user name gets an answer first, and its connection closes with the next request."""
        display = raw.display_name(initiator, name_type=False).name
        try:
            principal = display.decode()
            if "\\" in principal:  # a component with / or @ in it
                raise NoLocalName(f"Malformed Kerberos name: {principal}")
            return self._acceptor.namer.short_name(parse_kerberos_name(principal))
        except (UnicodeDecodeError, NoLocalName) as error:
            raise invalid_credentials(MECHANISM, str(error)[:REASON_CHARS_MAX]) from None

    def _offer(self, token: bytes) -> Step:
        if token:
            raise invalid_credentials(MECHANISM, "Handshake expecting no response data from client")
        self._next = self._choice
        return Step(raw.wrap(self._context, _OFFER, confidential=False).message)

    def _choice(self, token: bytes) -> Step:
        choice = raw.unwrap(self._context, token).message
        if len(choice) < len(_OFFER):
            raise invalid_credentials(MECHANISM, "the choice of a security layer is too short")
        if choice[0] != _NO_LAYER:
            raise invalid_credentials(MECHANISM, f"Client selected unsupported protection: {choice[0]}")
        self._context = None
        return Step(b"", Success(self._name), is_silent=True)
