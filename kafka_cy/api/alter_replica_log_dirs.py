"""AlterReplicaLogDirs: moves partitions between the log directories of this broker.

The response says whether the move was started; DescribeLogDirs shows its progress. A move to another directory that runs is given
up. A partition that is already in the directory gets no error. A cordoned directory (KIP-1066) is INVALID_REPLICA_ASSIGNMENT,
also for what is in it. A topic name that is too long for the folder of the copy is INVALID_TOPIC_EXCEPTION.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, may_cluster
from kafka_cy.api.change_lines import log_each
from kafka_cy.api.change_pieces import ENTRIES_AT_ONCE, add_task, with_lines
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.log_dir import FOLDER_NAME_MAX

if TYPE_CHECKING:
    from kio.schema.alter_replica_log_dirs.v2.request import AlterReplicaLogDirsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import MovesLogs


@handler(api_key=34)
def handle(request: Request[AlterReplicaLogDirsRequest], context: MovesLogs) -> dict[str, Any] | None:
    """Respond with one result for each partition, by topic. Many partitions are worked on in slices."""
    count = sum(len(topic.partitions) for directory in request.body.dirs for topic in directory.topics)
    results: list[dict[str, Any]] = []
    moves: list[dict[str, Any]] = []

    def steps() -> Iterator[None]:
        paths: dict[str, dict[int, str]] = {}  # for a partition that is named twice, the last directory counts
        for directory in request.body.dirs:
            for topic in directory.topics:
                if topic.partitions:
                    yield from _note(paths.setdefault(topic.name, {}), topic.partitions, directory.path)
        allowed = may_cluster(request, Operation.ALTER)
        dirs = {os.path.abspath(directory): directory for directory in context.logs.log_dirs}  # noqa: PTH100
        for name, wanted in paths.items():
            rows: list[dict[str, Any]] = []
            results.append({"topic_name": name, "partitions": rows})
            for index, path in wanted.items():
                code = _move(name, index, path, dirs, context) if allowed else CLUSTER_DENIED
                rows.append({"partition_index": index, "error_code": code})
                if code is ErrorCode.NONE:
                    moves.append({"topic": name, "partition": index, "log_dir": path})
                yield

    def lines() -> None:
        log_each(context.log, "move to a log directory accepted", moves, request.sender)

    work = with_lines(steps(), lines)
    if count > AT_ONCE_MAX:
        request.respond_long(
            lambda ready: add_task(request, context.slices, work, lambda: ready(lambda: {"results": results}))
        )
        return None
    for _ in work:
        pass
    return {"results": results}


def _note(wanted: dict[int, str], partitions: Iterable[int], path: str) -> Iterator[None]:
    """Note the path that is wanted for each partition, a few in each step."""
    for index in partitions:
        wanted[index] = path
        if len(wanted) % ENTRIES_AT_ONCE == 0:
            yield


def _move(name: str, index: int, path: str, dirs: dict[str, str], context: MovesLogs) -> ErrorCode:
    """`dirs`: the log directories by their absolute paths."""
    if len(f"{name}-{index}.{'0' * 32}-future") > FOLDER_NAME_MAX:
        return ErrorCode.INVALID_TOPIC_EXCEPTION  # as in Kafka: no folder can have the name that the copy would get
    known = context.cluster.topics.get(name)
    if not path.startswith("/"):
        return ErrorCode.LOG_DIR_NOT_FOUND
    target = dirs.get(os.path.normpath(path))
    if target is None:
        return ErrorCode.LOG_DIR_NOT_FOUND
    if target in context.logs.offline_dirs:
        return ErrorCode.KAFKA_STORAGE_ERROR
    if target in context.logs.cordoned_dirs:
        return ErrorCode.INVALID_REPLICA_ASSIGNMENT
    if known is None or not 0 <= index < len(known.partitions):
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    from kafka_cy.storage.hosted_partition import STATE_OFFLINE
    from kafka_cy.storage.log import StorageFailure

    hosted = context.logs.partitions.get((name, index))  # also if another broker leads it
    if hosted is None or hosted.state == STATE_OFFLINE:
        return ErrorCode.REPLICA_NOT_AVAILABLE

    try:
        context.logs.move(name, index, target)
    except (OSError, StorageFailure):
        return ErrorCode.KAFKA_STORAGE_ERROR
    return ErrorCode.NONE
