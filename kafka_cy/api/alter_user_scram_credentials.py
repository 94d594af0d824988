"""AlterUserScramCredentials (API 51, KIP-554): stores and removes SCRAM credentials of users.

They are stored with or without a listener that asks for SASL, as in Kafka. The rules are those of its ScramControlManager: an
error concerns one user, and the other users of the request are changed. Deviations: the sizes of names, salts and passwords have
a limit, and so has the number of users. Users are changed a few in each transaction, and others are served in between: after a
crash, a part of the users of a large request that was not answered may be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka_cy.api.authorization import CLUSTER_DENIED, MESSAGES, may_cluster
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_lines import ID_CHARS_MAX, log_each
from kafka_cy.api.change_pieces import PIECE_ENTITIES, add_task, one_answer, stored_together, with_lines
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.config_changes import ChangeRefused
from kafka_cy.cluster.features import METADATA_VERSION
from kafka_cy.cluster.scram_credentials import (
    ITERATIONS_MAX,
    ITERATIONS_MIN,
    MECHANISMS,
    credential_text,
    new_credential,
)
from kafka_cy.cluster.znodes import sanitize
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.alter_user_scram_credentials.v0.request import (
        AlterUserScramCredentialsRequest,
        ScramCredentialUpsertion,
    )

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesConfigs
    from kafka_cy.cluster.config_changes import Edit

METADATA_VERSION_MIN: Final = 11  # 3.5-IV2
BYTES_MAX: Final = 1024  # of a user's name, a salt, a salted password
DOES_NOT_EXIST: Final = "Attempt to delete a user credential that does not exist"
CHECKED_AT_ONCE: Final = 128  # mentions of users


class _Change(NamedTuple):
    """An accepted change of one user: the new credential, or none for a deletion."""

    mechanism: int
    upsertion: ScramCredentialUpsertion | None


class _Refused(ChangeRefused):
    """A user's credentials are not changed."""


@handler(api_key=51)
def handle(
    request: Request[AlterUserScramCredentialsRequest], context: ChangesConfigs
) -> dict[str, Any] | None:
    """One result for each user, in the order in which the request names them: deletions, then upsertions."""
    body = request.body
    count = len(body.deletions) + len(body.upsertions)
    if not may_cluster(request, Operation.ALTER):
        refused = _Refused(CLUSTER_DENIED, MESSAGES[CLUSTER_DENIED])
        return one_answer(request, count, lambda: _all_refused(body, refused))
    if count > RECORDS_PER_REQUEST_MAX:
        too_many = _Refused(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)
        request.respond_long(lambda ready: ready(lambda: _all_refused(body, too_many)))
        return None
    alteration = _Alteration(request, context)
    if count > PIECE_ENTITIES:
        request.respond_long(alteration.alter_many)
        return None
    for _ in alteration.steps():
        pass
    context.config_changes.when_answered(lambda: request.respond(alteration.response()))
    return None


def _all_refused(body: AlterUserScramCredentialsRequest, refused: _Refused) -> dict[str, Any]:
    names = dict.fromkeys([each.name for each in body.deletions] + [each.name for each in body.upsertions])
    return {"results": [_result(name, refused) for name in names]}


class _Alteration:
    """The changes of one request. All users are checked before the first one is changed."""

    def __init__(self, request: Request[AlterUserScramCredentialsRequest], context: ChangesConfigs) -> None:
        self._request = request
        self._context = context
        self._outcomes: dict[str, _Change | ChangeRefused] = {}
        self._lines: list[dict[str, str]] = []

    def alter_many(self, ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        """Work between other requests; `ready(make)` at the end."""
        def altered() -> None:
            self._context.config_changes.when_answered(lambda: ready(self.response))

        add_task(self._request, self._context.slices, self.steps(), altered)

    def steps(self) -> Iterator[object]:
        """The work, with the lines of the log about what has changed."""
        return with_lines(self._alter(), lambda: self._context.config_changes.when_ended(self._write_lines))

    def _alter(self) -> Iterator[None]:
        """Check, then change. Each step takes about a millisecond, and stores its changes."""
        body, outcomes = self._request.body, self._outcomes
        named: list[tuple[Any, Any]] = [(each, None) for each in body.deletions]
        named += [(each, each) for each in body.upsertions]
        for place, (each, upsertion) in enumerate(named):
            outcomes[each.name] = _outcome(self._context, outcomes.get(each.name), each, upsertion)
            if place % CHECKED_AT_ONCE == CHECKED_AT_ONCE - 1:
                yield
        changes = [(name, outcome) for name, outcome in outcomes.items() if isinstance(outcome, _Change)]
        for begin in range(0, len(changes), PIECE_ENTITIES):
            with stored_together(self._context.config_changes.batch(), self._lines):
                for name, change in changes[begin : begin + PIECE_ENTITIES]:
                    try:
                        edit = _edit_of(change)
                    except _Refused as refused:
                        outcomes[name] = refused
                        continue
                    changed = partial(self._changed, name, change)
                    self._context.config_changes.change("users", sanitize(name), edit, changed)
            yield

    def _changed(self, name: str, change: _Change, refused: ChangeRefused | None) -> None:
        if refused is not None:
            self._outcomes[name] = refused
            return
        setting, what = MECHANISMS[change.mechanism][0], "set" if change.upsertion else "removed"
        self._lines.append({"name": name[:ID_CHARS_MAX], "mechanism": setting, "change": what})

    def _write_lines(self) -> None:
        log_each(self._context.log, "SCRAM credential changed", self._lines, self._request.sender)

    def response(self) -> dict[str, Any]:
        """Any thread."""
        return {"results": [_result(name, outcome) for name, outcome in self._outcomes.items()]}


def _result(name: str, outcome: _Change | ChangeRefused) -> dict[str, Any]:
    if isinstance(outcome, ChangeRefused):
        return {"user": name, "error_code": outcome.code, "error_message": outcome.message}
    return {"user": name, "error_code": ErrorCode.NONE, "error_message": None}


def _outcome(
    context: ChangesConfigs, before: _Change | ChangeRefused | None, each: Any, upsertion: ScramCredentialUpsertion | None
) -> _Change | ChangeRefused:
    """What becomes of a user with this mention: the first error counts, and a second change is one."""
    if isinstance(before, ChangeRefused):
        return before
    version = context.cluster.features.levels.get(METADATA_VERSION, 0)
    if version < METADATA_VERSION_MIN and not context.config.is_member:  # a cluster with ZooKeeper has no metadata.version
        return _Refused(ErrorCode.UNSUPPORTED_VERSION, "The current metadata.version does not support SCRAM")
    if before is not None:
        message = "A user credential cannot be altered twice in the same request"
        return _Refused(ErrorCode.DUPLICATE_RESOURCE, message)
    try:
        _check(context, each, upsertion)
    except _Refused as refused:
        return refused
    return _Change(each.mechanism, upsertion)


def _check(context: ChangesConfigs, each: Any, upsertion: ScramCredentialUpsertion | None) -> None:
    if not each.name:
        raise _Refused(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Username must not be empty")
    if each.mechanism not in MECHANISMS:
        raise _Refused(ErrorCode.UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism")
    if upsertion is None:
        if context.config.is_member:
            return  # ZooKeeper may know of a credential that was stored through another broker
        if MECHANISMS[each.mechanism][0] not in context.cluster.config("users", sanitize(each.name)):
            raise _Refused(ErrorCode.RESOURCE_NOT_FOUND, DOES_NOT_EXIST)
        return
    if upsertion.iterations < ITERATIONS_MIN:
        raise _Refused(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Too few iterations")
    if upsertion.iterations > ITERATIONS_MAX:
        raise _Refused(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Too many iterations")
    if max(len(each.name.encode()), len(upsertion.salt), len(upsertion.salted_password)) > BYTES_MAX:
        message = f"Name, salt and salted password have at most {BYTES_MAX} bytes each"
        raise _Refused(ErrorCode.UNACCEPTABLE_CREDENTIAL, message)


def _edit_of(change: _Change) -> Edit:
    """What the change makes of the settings of its user. Raises _Refused."""
    setting, upsertion = MECHANISMS[change.mechanism][0], change.upsertion
    if upsertion is None:
        return partial(_without, setting)
    if not upsertion.salted_password:
        raise _Refused(ErrorCode.UNKNOWN_SERVER_ERROR, None)  # Kafka's answer: there is no HMAC with an empty key
    key = new_credential(change.mechanism, upsertion.salt, upsertion.salted_password, upsertion.iterations)
    text = credential_text(key)
    return lambda settings: {**settings, setting: text}


def _without(setting: str, settings: dict[str, str]) -> dict[str, str]:
    if settings.pop(setting, None) is None:  # another request removed it meanwhile
        raise _Refused(ErrorCode.RESOURCE_NOT_FOUND, DOES_NOT_EXIST)
    return settings
