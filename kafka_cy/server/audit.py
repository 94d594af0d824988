"""What the authorizer decides, for the operator: lines of the broker's log, and those of the file kafkacy.audit.log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from kafka_cy.api.authorization import request_name
from kafka_cy.authorizer.audit import Decision, audit_line

if TYPE_CHECKING:
    from kafka_cy.network.server import ReactorDenial
    from kafka_cy.server.audit_file import AuditFile
    from kafka_cy.server.log import BrokerLog

LINES_PER_S_MAX: Final = 100  # of denials, in the broker's log; each costs a control thread some 30 microseconds
LINES_OF_ONE_PER_S_MAX: Final = 50  # of these, of one principal
MORE: Final = "more requests were denied than the log has lines for"
UNKNOWN_RULE: Final = "that is not known any more"  # the ACLs have changed since a reactor decided, or a name was too long for it


class BrokerAudit:
    """See Audit. As Kafka's kafka.authorizer.logger, the log gets denials at INFO and what is allowed at DEBUG.

    Equal denials of one address are one line a minute (BrokerLog.repeated). Any Python thread; a count may be a little too low if
    two threads count at the same moment.
    """

    def __init__(
        self, log: BrokerLog, file: AuditFile | None = None, *, file_has_allowed: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`now()`: seconds."""
        self._log, self._now = log, now
        self._file, self._file_has_allowed = file, file_has_allowed
        self.denied = 0  # also those that neither the log nor the file got
        self._lost = 0  # denials of reactors for which their ring had no room
        self._second, self._lines = 0, 0
        self._lines_of = Counter[str]()  # by principal, in this second

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
        self.denied += 1
        if self._has_line(decision.principal):
            self._log.repeated("info", audit_line(decision, rule()), {}, decision.host)
        else:
            self._log.repeated("info", MORE, {})

    def take_reactor_denials(
        self, denials: Iterable[ReactorDenial], lost: int, rule: Callable[[Decision, int], str | None]
    ) -> None:
        """What reactors have denied, each once for a connection, resource and operation; and how many denials they could not keep.

        `rule(decision, acls_generation)` is what has decided; None: it is not known any more.
        """
        for each in denials:
            api, kind = request_name(each.api_key), each.resource_type
            decision = Decision(False, each.user, each.host, each.operation, kind, each.name, api, each.client_id)
            self.decided(decision, partial(_rule_of_reactor, each, decision, rule))
        if lost:
            self.denied += lost
            self._lost += lost
            self._log.repeated("info", MORE, {}, count=lost)

    def _has_line(self, principal: str) -> bool:
        second = int(self._now())
        if second != self._second:
            self._second, self._lines, self._lines_of = second, 0, Counter()
        if self._lines >= LINES_PER_S_MAX or self._lines_of[principal] >= LINES_OF_ONE_PER_S_MAX:
            return False
        self._lines += 1
        self._lines_of[principal] += 1
        return True

    @property
    def dropped(self) -> int:
        """Lines that the file did not get."""
        return self._file.dropped + self._lost if self._file is not None else 0

    def stop(self) -> None:
        """Write what waits for the file."""
        if self._file is not None:
            self._file.stop()


def _rule_of_reactor(denial: ReactorDenial, decision: Decision, rule: Callable[[Decision, int], str | None]) -> str:
    return (None if denial.cut else rule(decision, denial.acls_generation)) or UNKNOWN_RULE
