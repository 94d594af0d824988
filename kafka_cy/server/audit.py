"""What the authorizer decides, for the operator: lines of the broker's log, and those of the file kafkacy.audit.log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from kafka_cy.api.authorization import request_name
from kafka_cy.authorizer.acls import Operation, ResourceType
from kafka_cy.authorizer.audit import Decision, audit_line
from kafka_cy.network.authorization import denials

if TYPE_CHECKING:
    from kafka_cy.network.server import LogEvent
    from kafka_cy.server.audit_file import AuditFile
    from kafka_cy.server.log import BrokerLog

LINES_PER_S_MAX: Final = 100  # of denials, in the broker's log; each costs a control thread some 30 microseconds
MORE: Final = "more requests were denied than the log has lines for"
#: What a reactor says of a denial (network/authorization.pyx). It cuts users to 40 bytes, so none looks like the rest of the line.
_DENIAL: Final = re.compile(r"Principal = User:(.*?) is Denied operation = (\w+) on resource = (\w+):LITERAL:(.*)", re.DOTALL)
_TYPES: Final = {
    "Topic": ResourceType.TOPIC, "Cluster": ResourceType.CLUSTER, "TransactionalId": ResourceType.TRANSACTIONAL_ID,
}  # fmt: skip


class BrokerAudit:
    """See Audit. As Kafka's kafka.authorizer.logger, the log gets denials at INFO and what is allowed at DEBUG.

    Equal denials of one address are one line a minute (BrokerLog.repeated). Any Python thread; a count may be a little too low if
    two threads count at the same moment.
    """

    def __init__(
        self, log: BrokerLog, file: AuditFile | None = None, *, file_has_allowed: bool = True,
        now: Callable[[], float] = time.monotonic, denials: Callable[[], int] = denials,
    ) -> None:  # fmt: skip
        """`now()`: seconds. `denials()`: how many reactors have reported."""
        self._log, self._now = log, now
        self._file, self._file_has_allowed = file, file_has_allowed
        self._denials, self._denials_before = denials, denials()
        self._denied = 0  # by control threads
        self._arrived = self._lost = 0  # of what reactors reported; the ring of their log events may be full
        self._second, self._lines = 0, 0

    def wants(self, allowed: bool) -> bool:
        """See Audit."""
        return not allowed or self._log.writes_debug or (self._file is not None and self._file_has_allowed)

    def decided(self, decision: Decision, rule: Callable[[], str]) -> None:
        """See Audit."""
        if self._file is not None and (not decision.allowed or self._file_has_allowed):
            self._file.add(decision)
        if decision.allowed:
            if self._log.writes_debug:
                self._log.debug(audit_line(decision, rule()))
            return
        self._denied += 1
        if self._has_line():
            self._log.repeated("info", audit_line(decision, rule()), {}, decision.host)
        else:
            self._log.repeated("info", MORE, {})

    def reactor_denied(self, event: LogEvent) -> None:
        """What a reactor says, if it is of a denial: once for each connection, topic and operation. The log has its line."""
        found = _DENIAL.fullmatch(event.message)
        if found is None:
            return
        self._arrived += event.events
        if self._file is not None:
            user, operation, kind, name = found.groups()
            host, api = event.peer.rpartition(":")[0].strip("[]"), request_name(event.api_key) if event.api_key is not None else ""
            self._file.add(Decision(False, user, host, Operation[operation], _TYPES[kind], name, api, None, event.events))

    def take_reactor_events(self, events: Iterable[LogEvent], reported: int) -> None:
        """What reactors say, of which some are denials; `reported`: by `reactor_denials`, before the events were taken."""
        for event in events:
            self.reactor_denied(event)
        self._lost = max(self._lost, reported - self._arrived)

    @property
    def reactor_denials(self) -> int:
        """Denials that reactors have reported."""
        return self._denials() - self._denials_before

    @property
    def denied(self) -> int:
        """All denials, also those that neither the log nor the file got."""
        return self._denied + self.reactor_denials

    def _has_line(self) -> bool:
        second = int(self._now())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        return self._lines <= LINES_PER_S_MAX

    @property
    def dropped(self) -> int:
        """Lines that the file did not get."""
        return self._file.dropped + self._lost if self._file is not None else 0

    def stop(self) -> None:
        """Write what waits for the file."""
        if self._file is not None:
            self._file.stop()
