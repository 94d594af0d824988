"""Requests and changes as kazoo sends them, answers and errors as the metadata store's callers get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kazoo import exceptions
from kazoo.protocol import serialization
from kazoo.protocol.states import ZnodeStat
from kazoo.security import ACL

from kafka_cy.cluster.store import (
    BadVersionError,
    Check,
    ConnectionLost,
    Create,
    Delete,
    NoAuthError,
    NoChildrenForEphemeralsError,
    Node,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    Operation,
    OutcomeUnknown,
    Results,
    SessionExpired,
    StoreBroken,
    StoreError,
)

EPHEMERAL, SEQUENTIAL = 1, 2  # flags of a create
NODE_ERRORS: dict[type[Exception], type[StoreError]] = {
    exceptions.NoNodeError: NoNodeError,
    exceptions.NoAuthError: NoAuthError,
    exceptions.NodeExistsError: NodeExistsError,
    exceptions.BadVersionError: BadVersionError,
    exceptions.NotEmptyError: NotEmptyError,
    exceptions.NoChildrenForEphemeralsError: NoChildrenForEphemeralsError,
}
#: Of operations that are fine by themselves, in a change that another operation made fail.
NOT_REFUSED = (exceptions.RolledBackError, exceptions.RuntimeInconsistency)
#: The request was refused as a whole and not applied: the connection is one of an ended or moved session.
SESSION_ENDED = (exceptions.SessionExpiredError,)
#: A request as a whole that ZooKeeper cannot read; it did nothing.
NOT_READ = (exceptions.MarshallingError, exceptions.UnimplementedError, exceptions.BadArgumentsError)
#: ZooKeeper refused the request before it did anything; it may be sent again.
NOT_APPLIED = (exceptions.SessionMovedError, exceptions.ThrottledOpError)


def node_of(data: bytes | None, stat: ZnodeStat) -> Node:
    """A node as ZooKeeper describes it."""
    return Node(data, stat.version, stat.czxid, stat.ephemeralOwner, stat.ctime)


def change_of(chroot: str, operations: Sequence[Operation], acl_of: Callable[[str], list[ACL]]) -> list[Any]:
    """The operations of a transaction. `acl_of(path)`: the ACL of a new node."""
    made: list[Any] = []
    for operation in operations:
        path = full_path(chroot, operation.path)
        if isinstance(operation, Create):
            flags = EPHEMERAL * operation.ephemeral + SEQUENTIAL * operation.sequential
            made.append(serialization.Create(path, operation.data, acl_of(operation.path), flags))
        elif isinstance(operation, Delete):
            made.append(serialization.Delete(path, operation.version))
        elif isinstance(operation, Check):
            made.append(serialization.CheckVersion(path, operation.version))
        else:
            made.append(serialization.SetData(path, operation.data, operation.version))
    return made


def results_of(chroot: str, operations: Sequence[Operation], replies: Sequence[Any]) -> Results:
    """The results of a transaction's operations. Raises the StoreError of the operation that was refused."""
    for index, reply in enumerate(replies):
        if isinstance(reply, Exception) and not isinstance(reply, NOT_REFUSED):
            error = NODE_ERRORS.get(type(reply), StoreError)(_about(reply, operations[index].path))
            error.operation = index
            raise error
    results: Results = []
    for operation, reply in zip(operations, replies, strict=True):
        if isinstance(reply, Exception):
            raise StoreBroken(f"ZooKeeper refused a change and did not say which operation ({_about(reply, operation.path)})")
        if isinstance(operation, Create):
            results.append(reply[len(chroot) :])
        else:
            results.append(reply.version if isinstance(reply, ZnodeStat) else None)
    return results


def error_of(fault: BaseException, *, changes: bool, path: str = "") -> StoreError:
    """The error of a request that was sent. `changes`: it was a change, which may have been applied if the reply is lost.

    `path`: of the node that a read has asked for.
    """
    if isinstance(fault, NOT_APPLIED):
        return ConnectionLost(_about(fault, ""))
    if isinstance(fault, SESSION_ENDED):
        return SessionExpired("the session in ZooKeeper has ended")
    refused = isinstance(fault, NOT_READ) or (
        isinstance(fault, exceptions.ZookeeperError)
        and fault.code <= exceptions.APIError.code
        and not isinstance(fault, exceptions.AuthFailedError)
    )
    if refused:
        kind = NoAuthError if isinstance(fault, exceptions.NoAuthError) else StoreError
        return kind(f"ZooKeeper refused a request: {_about(fault, path)}")
    text = "the connection to ZooKeeper was lost" if isinstance(fault, exceptions.ConnectionLoss) else _about(fault, "")
    return OutcomeUnknown(text) if changes else ConnectionLost(text)


def full_path(chroot: str, path: str) -> str:
    """The path in ZooKeeper of a node of the cluster. Raises StoreError for what ZooKeeper does not allow."""
    if path == "/":
        return chroot or "/"
    parts = path.split("/")
    if parts[0] or any(part in ("", ".", "..") for part in parts[1:]):
        raise StoreError(f"ZooKeeper does not allow the path {path!r}")
    return chroot + path


def split_chroot(connect: str) -> tuple[str, str]:
    """`zookeeper.connect` as (`host:port,host:port`, chroot). The chroot is empty or begins with a slash."""
    hosts, slash, path = connect.strip().partition("/")
    return hosts, f"/{path.strip('/')}" if slash and path.strip("/") else ""


def _about(fault: BaseException, path: str) -> str:
    name = type(fault).__name__
    return f"{name} of {path}" if path else name
