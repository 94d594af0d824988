"""GSSAPI on the side of the client, for connections to other brokers, with tickets that this broker gets with its key tab.

Only the thread of the renewal asks the KDC. It gets a ticket-granting ticket and the tickets of the brokers that are known, and
replaces all together before the first of them ends (KerberosLogin, which renews the former only). If it does not get that of a
broker, the one from before stays in use, and it asks again every RETRY_S. Connections use what is there.
"""

from __future__ import annotations

import ctypes
import itertools
import random
import time
from collections.abc import Generator
from functools import partial
from typing import Any, Final, NamedTuple

from gssapi import raw
from gssapi.raw.misc import GSSError

from kafka_cy.security.sasl.kerberos import credential_store, error_text
from kafka_cy.security.sasl.renewal import RETRY_S, Renewal, RenewalFailed

HOSTS_MAX: Final = 1000
_KERBEROS: Final = raw.MechType.kerberos
_FLAGS: Final = [raw.RequirementFlag.integrity]  # as Java: without mutual authentication, which the offer of a layer replaces
_NO_LAYER: Final = b"\x01\x00\x00\x00"
_NO_KEY: Final = 2**32 - 1_765_328_189  # "No credentials cache found": without a key, one is looked for
_numbers = itertools.count()
try:
    _krb5 = ctypes.CDLL("libkrb5.so.3")  # python-gssapi has loaded it
except OSError as error:
    raise ImportError(f"libkrb5 of MIT: {error}") from None


def _destroy(cache: str) -> None:
    """Free a cache of tickets in memory, which GSSAPI cannot do."""
    context, found = ctypes.c_void_p(), ctypes.c_void_p()
    if _krb5.krb5_init_context(ctypes.byref(context)):
        return
    if not _krb5.krb5_cc_resolve(context, cache.encode(), ctypes.byref(found)):
        _krb5.krb5_cc_destroy(context, found)
    _krb5.krb5_free_context(context)


class TicketSettings(NamedTuple):
    """Keys `sasl.kerberos.*`."""

    window_factor: float = 0.8
    window_jitter: float = 0.05
    min_time_before_relogin_s: float = 60


class Tickets:
    """The tickets of one login to the KDC. Made and filled by the thread of the renewal; then any thread may use them.

    Memory: a cache of a few KiB, and as much for each broker, until the last connection that uses it has logged in.
    """

    def __init__(self, principal: str, key_tab: str) -> None:
        """Get a ticket-granting ticket. Raises GSSError."""
        # A new cache: MIT's library keeps to itself why it did not replace the tickets of a cache that has some.
        cache = self._cache = f"MEMORY:kafka-cy-{next(_numbers)}"
        self._asks: Any = None
        self._uses: Any = None
        name = raw.import_name(principal.encode(), raw.NameType.kerberos_principal)
        store = credential_store(client_keytab=key_tab, ccache=cache)
        begin_s = time.monotonic()
        credential = raw.acquire_cred_from(store, name, mechs=[_KERBEROS], usage="initiate").creds
        self.ends_s = begin_s + (raw.inquire_cred(credential, name=False, usage=False, mechs=False).lifetime or 0)
        # A credential is locked while the KDC is asked with it: connections have one of their own.
        self._asks, self._uses = (
            raw.acquire_cred_from(credential_store(ccache=cache), name, mechs=[_KERBEROS], usage="initiate").creds for _ in range(2)
        )
        self.host_ends_s: dict[str, float] = {}
        self.kept: dict[str, Tickets] = {}  # of earlier logins, for hosts of which the KDC gives no new ticket
        self.used: set[str] = set()  # hosts that a connection asked for

    def __del__(self) -> None:
        self._asks = self._uses = None
        _destroy(self._cache)

    def get(self, service: str, host: str) -> None:
        """Get the ticket of a broker. Raises GSSError."""
        begin_s = time.monotonic()
        result = raw.init_sec_context(_target(service, host), self._asks, mech=_KERBEROS, flags=_FLAGS)
        self.host_ends_s[host] = begin_s + (result.lifetime or 0)

    def begin(self, service: str, host: str) -> tuple[Any, bytes]:
        """A context, and its token for the broker; the KDC is not asked while the ticket lasts. Raises GSSError."""
        result = raw.init_sec_context(_target(service, host), self._uses, mech=_KERBEROS, flags=_FLAGS)
        if result.more_steps or not result.token:
            raise ValueError("the context does not come about")
        return result.context, result.token

    def of_host(self, host: str) -> Tickets | None:
        """Those that have a ticket of this host which lasts: these, or earlier ones that are kept."""
        now_s = time.monotonic()
        if now_s < self.host_ends_s.get(host, 0.0):
            return self
        kept = self.kept.get(host)
        return kept if kept is not None and now_s < kept.host_ends_s[host] else None

    @property
    def first_end_s(self) -> float:
        """When the first of them ends."""
        return min((self.ends_s, *self.host_ends_s.values()))


def _target(service: str, host: str) -> Any:
    return raw.import_name(f"{service}@{host}".encode(), raw.NameType.hostbased_service)


class KerberosLogin:
    """Makes the messages of logins; any thread.

    Limits: HOSTS_MAX brokers, those included of which there was no ticket in the last RETRY_S; one question to the KDC at a time,
    and in RETRY_S one about each broker of which it gives no ticket.
    """

    def __init__(self, principal: str, key_tab: str, service: str, settings: TicketSettings) -> None:
        self._principal, self._key_tab, self._service, self._settings = principal, key_tab, service, settings
        self._due_s = 0.0  # when all tickets are replaced
        self._asking: set[str] = set()
        self._failures: dict[str, tuple[str, float]] = {}  # why there is no ticket of a host, and until when nobody asks again
        self.renewal = Renewal("kerberos-ticket", self._renew)

    # -- the thread of the renewal --

    def _renew(self) -> tuple[Tickets, float]:
        tickets: Tickets | None = getattr(self.renewal, "value", None)
        if tickets is not None and tickets.kept and time.monotonic() < self._due_s:
            problem = self._get_missing(tickets)
        else:
            tickets, problem = self._log_in(tickets)
        if problem:
            raise RenewalFailed(problem)
        return tickets, max(0.5, self._due_s - time.monotonic())

    def _log_in(self, before: Tickets | None) -> tuple[Tickets, str]:
        """New tickets, and why some that were there before are missing."""
        begin_s, problem = time.monotonic(), ""
        try:
            tickets = Tickets(self._principal, self._key_tab)
        except GSSError as error:
            no_key = f"no key of {self._principal} in {self._key_tab}"
            raise RenewalFailed(no_key if error.min_code == _NO_KEY else error_text(error)) from None
        self._failures.clear()
        for host in sorted(before.used | before.kept.keys()) if before is not None else ():
            text = self._get(tickets, host)
            kept = before.of_host(host) if before is not None and text else None
            if kept is not None:
                tickets.kept[host], problem = kept, text
            elif text:
                self.renewal.failures += 1
        self._due_s = begin_s + self._due_in_s(tickets.first_end_s - begin_s)
        self.renewal.value = tickets  # also if some are missing
        if before is not None:
            before.kept.clear()  # else those that are kept would keep others
        return tickets, problem

    def _get_missing(self, tickets: Tickets) -> str:
        """Get those in whose place earlier ones are kept. Returns why some are still missing."""
        problem = ""
        for host in sorted(tickets.kept):
            text = self._get(tickets, host)
            if not text or tickets.of_host(host) is None:
                del tickets.kept[host]  # there is a new one, or the earlier one has ended: whoever connects asks, or is told
            else:
                problem = text
        return problem

    def _due_in_s(self, lifetime_s: float) -> float:
        """sasl.kerberos.min.time.before.relogin holds if the tickets last for it."""
        settings = self._settings
        share = settings.window_factor + settings.window_jitter * random.random()
        due_s = lifetime_s * min(share, 1.0)
        least_s = settings.min_time_before_relogin_s
        return max(due_s, least_s if least_s < lifetime_s else 0.0, 0.5)

    def _get(self, tickets: Tickets, host: str) -> str:
        """Get the ticket of a host. Returns why there is none."""
        try:
            tickets.get(self._service, host)
        except GSSError as error:
            reason = error_text(error)
        except Exception as error:  # noqa: BLE001 a fault of ours: without a note, connections would ask again and again
            reason = type(error).__name__
        else:
            self._failures.pop(host, None)
            return ""
        text = f"no ticket of {self._service}@{host}: {reason}"
        self._note_failure(host, text)
        return text

    def _note_failure(self, host: str, text: str) -> None:
        """Nobody asks for this host again for RETRY_S."""
        now_s = time.monotonic()
        for other in [other for other, (_, until_s) in self._failures.items() if until_s <= now_s]:
            del self._failures[other]
        self._failures[host] = (text, now_s + RETRY_S)

    def _get_asked(self, host: str) -> None:
        try:
            self.renewal.failures += bool(self._get(self.renewal.value, host))
        finally:
            self._asking.discard(host)

    # -- threads that connect --

    def begin(self, host: str) -> Generator[bytes | None, bytes, None]:
        """See BrokerLogin."""
        while (tickets := self._tickets_of(host)) is None:
            yield None
        try:
            context, token = tickets.begin(self._service, host)
            answer = yield token
            offer = raw.unwrap(context, answer).message
            if len(offer) != len(_NO_LAYER) or not offer[0] & _NO_LAYER[0]:
                raise ValueError("the broker offers no login without a security layer")
            yield raw.wrap(context, _NO_LAYER, confidential=False).message
        except GSSError as error:
            raise ValueError(error_text(error)) from None

    def _tickets_of(self, host: str) -> Tickets | None:
        """Those with one of this broker. None: it has been asked for. Raises ValueError if there will be none."""
        tickets: Tickets = self.renewal.value
        now_s = time.monotonic()
        if now_s >= tickets.ends_s:
            raise ValueError(f"this broker's ticket has ended: {self.renewal.problem or 'a new one is being asked for'}")
        if len(tickets.used) < HOSTS_MAX:
            tickets.used.add(host)
        found = tickets.of_host(host)
        if found is not None:
            return found
        text, until_s = self._failures.get(host, ("", 0.0))
        if now_s < until_s:
            raise ValueError(text)
        if host in self._asking:
            return None
        failed = {other for other, (_, until_s) in list(self._failures.items()) if now_s < until_s}
        known = len(self._asking) + len(failed.union(list(tickets.host_ends_s)))
        if host not in tickets.host_ends_s and known >= HOSTS_MAX:
            raise ValueError(f"there are tickets of {HOSTS_MAX} hosts already")
        self._asking.add(host)
        self.renewal.run(partial(self._get_asked, host))
        return None
