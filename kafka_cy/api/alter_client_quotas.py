"""AlterClientQuotas (API 49, KIP-546): sets and removes quotas of users, client ids and addresses.

All quotas of an entity change, or none. What a request changes is stored before the response. The name of a host must have an
address, so a request that names one waits for the DNS. Deviation: entities are changed a few in each transaction, and others are
served in between; after a crash, a part of a large request that was not answered may be stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.authorization import CLUSTER_DENIED, MESSAGES, may_cluster
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_lines import log_each, settings_text
from kafka_cy.api.change_pieces import PIECE_ENTITIES, add_task, one_answer, stored_together, with_lines
from kafka_cy.api.client_quotas import Names, QuotaRefused, changed_quotas, checked_entity, checked_quotas
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.config_changes import ChangeRefused
from kafka_cy.cluster.quota_entities import CLIENT_ID, IP, QuotaEntity, shown, stored_at
from kafka_cy.network.host_names import HostLookups, numeric_address
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.alter_client_quotas.v1.request import AlterClientQuotasRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesQuotas

LOOKED_AT_ONCE: Final = 128  # entries

_lookups = HostLookups()
_Key = tuple[tuple[str, str | None], ...]  # the names of an entry, in an order of their own


@handler(api_key=49)
def handle(request: Request[AlterClientQuotasRequest], context: ChangesQuotas) -> dict[str, Any] | None:
    """Respond with one result for each entity."""
    if not may_cluster(request, Operation.ALTER_CONFIGS):
        return one_answer(request, len(request.body.entries), lambda: _denied(request.body))
    alteration = _Alteration(request, context)
    if len(request.body.entries) > PIECE_ENTITIES:
        request.respond_long(alteration.alter_many)
        return None
    alteration.alter_few()
    return None


def _denied(body: AlterClientQuotasRequest) -> dict[str, Any]:
    keys = dict.fromkeys(_key(_names(entry)) for entry in body.entries)
    return {"entries": [_result(key, CLUSTER_DENIED, MESSAGES[CLUSTER_DENIED]) for key in keys]}


def _names(entry: Any) -> Names:
    """The names of an entry by type. If a type is there twice, the last one counts, as in Kafka."""
    return {each.entity_type: each.entity_name for each in entry.entity}


class _Alteration:
    """The changes of one request. Each entity is changed once at most."""

    def __init__(self, request: Request[AlterClientQuotasRequest], context: ChangesQuotas) -> None:
        self._request = request
        self._context = context
        self._changes = context.config_changes
        self._validate_only = bool(request.body.validate_only)
        self._hosts: set[str] = set()
        self._addresses: Mapping[str, set[bytes]] = {}
        self._count = 0  # quotas that are set or removed
        self._results: dict[_Key, tuple[ErrorCode, str | None]] = {}
        self._lines: list[dict[str, Any]] = []

    def alter_few(self) -> None:
        """Do all at once, when the addresses of hosts are known."""
        for _ in self._look():
            pass

        def alter() -> None:
            for _ in self._steps():
                pass
            self._changes.when_answered(lambda: self._request.respond(self._response()))

        if not self._find_addresses(alter):
            alter()

    def alter_many(self, ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        """Work between other requests; `ready(make)` at the end."""
        request, slices = self._request, self._context.slices

        def altered() -> None:
            self._changes.when_answered(lambda: ready(self._response))

        def alter() -> None:
            add_task(request, slices, self._steps(), altered)

        def looked() -> None:
            if not self._find_addresses(alter):
                alter()

        add_task(request, slices, self._look(), looked)

    def _steps(self) -> Iterator[object]:
        return with_lines(self._alter(), lambda: self._changes.when_ended(self._write_lines))

    # -- steps of about a millisecond --

    def _look(self) -> Iterator[None]:
        """Find the hosts that are named, and how much is asked for."""
        for place, entry in enumerate(self._request.body.entries):
            self._count += len(entry.ops)
            host = _names(entry).get(IP)
            if host and numeric_address(host) is None:
                self._hosts.add(host)
            if place % LOOKED_AT_ONCE == LOOKED_AT_ONCE - 1:
                yield

    def _find_addresses(self, then: Callable[[], object]) -> bool:
        """Call `then` on the loop when the addresses of the hosts are known. False: there is nothing to wait for."""
        if not self._hosts or self._count > RECORDS_PER_REQUEST_MAX:
            return False

        def found(addresses: Mapping[str, set[bytes]]) -> None:
            self._addresses = addresses
            then()

        guarded, post = self._request.guarded(found), self._context.loop.call_soon_threadsafe
        return _lookups.add(self._hosts, lambda addresses: post(guarded, addresses))

    def _alter(self) -> Iterator[None]:
        """Check and change the entities. Each step stores its changes."""
        entries = self._request.body.entries
        is_excessive = self._count > RECORDS_PER_REQUEST_MAX
        for begin in range(0, len(entries), PIECE_ENTITIES):
            with stored_together(self._changes.batch(), self._lines):
                for entry in entries[begin : begin + PIECE_ENTITIES]:
                    names = _names(entry)
                    key = _key(names)
                    try:
                        if is_excessive:
                            raise QuotaRefused(TOO_MANY_RECORDS, ErrorCode.POLICY_VIOLATION)
                        if key in self._results or len({op.key for op in entry.ops}) < len(entry.ops):
                            raise QuotaRefused(f"Ignoring duplicate entity ClientQuotaEntity(entries={{{_java_map(key)}}})")
                        self._alter_entity(entry, names, key)
                    except QuotaRefused as refused:
                        self._results[key] = (refused.code, refused.message)
            yield

    def _is_host(self, host: str) -> bool:
        return bool(numeric_address(host) or self._addresses.get(host))

    def _alter_entity(self, entry: Any, names: Names, key: _Key) -> None:
        """Check one entity, and change it. Raises QuotaRefused."""
        entity = checked_entity(names, self._is_host)
        operations = checked_quotas(entity, {op.key: None if op.remove else op.value for op in entry.ops})
        change = _Change(entity, operations, validate_only=self._validate_only)
        self._results[key] = (ErrorCode.NONE, None)
        self._changes.change(*stored_at(entity), change.edit, partial(self._changed, change, key))

    def _changed(self, change: _Change, key: _Key, refused: ChangeRefused | None) -> None:
        if refused is not None:
            self._results[key] = (refused.code, refused.message)
        elif change.details:
            self._lines.append({"entity": shown(change.entity), **change.details})

    # -- the end --

    def _write_lines(self) -> None:
        log_each(self._context.log, "client quotas changed", self._lines, self._request.sender)

    def _response(self) -> dict[str, Any]:
        """Any thread."""
        return {"entries": [_result(key, *outcome) for key, outcome in self._results.items()]}


class _Change:
    """A change of one entity. `details`: of what the last `edit` has changed, for the log."""

    def __init__(self, entity: QuotaEntity, operations: Mapping[str, str | None], *, validate_only: bool) -> None:
        self.entity, self._operations, self._validate_only = entity, operations, validate_only
        self.details: dict[str, str] = {}

    def edit(self, before: dict[str, str]) -> dict[str, str] | None:
        """The settings of the entity; only those that are named change."""
        if self._validate_only:
            return None
        after = changed_quotas(before, self._operations)
        values = {key: text for key, text in after.items() if before.get(key) != text}
        removed = [key for key in before if key not in after]
        self.details = {"set": settings_text(values)} if values else {}
        if removed:
            self.details["removed"] = ", ".join(removed)
        return after


def _result(key: _Key, code: ErrorCode, message: str | None) -> dict[str, Any]:
    entity = [{"entity_type": kind, "entity_name": name} for kind, name in key]
    return {"error_code": code, "error_message": message, "entity": entity}


def _key(names: Names) -> _Key:
    """The names in the order in which Kafka shows them."""
    return tuple(sorted(names.items(), key=lambda each: (each[0] != CLIENT_ID, each[0] == IP)))


def _java_map(key: _Key) -> str:
    return ", ".join(f"{kind}={'null' if name is None else name}" for kind, name in key)
