"""DescribeLogDirs: each log directory with its partitions and sizes; from version 4 on its disk's sizes; from version 5 on
whether it is cordoned (KIP-1066), which clusters below metadata.version 4.3-IV0 do not know.

A failed directory is listed with KAFKA_STORAGE_ERROR and nothing else. A partition that is being moved to another
directory appears there a second time, as a future replica with the number of offsets it still lacks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import CLUSTER_DENIED, may_cluster
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.features import CORDON_LEVEL_MIN, METADATA_VERSION
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kio.schema.describe_log_dirs.v5.request import DescribableLogDirTopic, DescribeLogDirsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesLogDirs

PARTITIONS_AT_ONCE_MAX = 32  # described on the loop; a response with more is built on another thread


@handler(api_key=35)
def handle(request: Request[DescribeLogDirsRequest], context: DescribesLogDirs) -> dict[str, Any] | None:
    """All partitions (null), or those that were named."""
    if not may_cluster(request, Operation.DESCRIBE):
        return {"error_code": CLUSTER_DENIED, "results": []}
    asked, logs = request.body.topics, context.logs
    if (len(logs.partitions) if asked is None else sum(1 + len(topic.partitions) for topic in asked)) <= PARTITIONS_AT_ONCE_MAX:
        return _response(context, asked)
    request.respond_long(lambda ready: ready(lambda: _response(context, asked)))
    return None


def _response(context: DescribesLogDirs, asked: Sequence[DescribableLogDirTopic] | None) -> dict[str, Any]:
    """Any thread."""
    logs, levels = context.logs, context.cluster.features.levels
    cordoned = logs.cordoned_dirs if levels.get(METADATA_VERSION, 0) >= CORDON_LEVEL_MIN else ()
    wanted = None if asked is None else {(topic.topic, index) for topic in asked for index in topic.partitions}
    rows: dict[str, list[tuple[str, int, int, int, bool]]] = {}
    for directory, topic, index, size, lag, future in logs.describe(wanted):
        rows.setdefault(directory, []).append((topic, index, size, lag, future))
    results = []
    for directory in logs.log_dirs:
        if directory in logs.offline_dirs:
            results.append({"error_code": ErrorCode.KAFKA_STORAGE_ERROR, "log_dir": directory, "topics": []})
        else:
            row = _directory(directory, rows.get(directory, []))
            results.append(row | {"is_cordoned": directory in cordoned})
    return {"error_code": ErrorCode.NONE, "results": results}


def _directory(directory: str, rows: list[tuple[str, int, int, int, bool]]) -> dict[str, Any]:
    topics: dict[str, list[dict[str, Any]]] = {}
    for topic, index, size, lag, future in sorted(rows):
        topics.setdefault(topic, []).append(
            {"partition_index": index, "partition_size": size, "offset_lag": lag, "is_future_key": future}
        )
    total, usable = -1, -1
    try:
        disk = os.statvfs(directory)
        total, usable = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    except OSError:
        pass  # -1 says that the sizes are not known
    return {
        "error_code": ErrorCode.NONE,
        "log_dir": directory,
        "topics": [{"name": name, "partitions": partitions} for name, partitions in topics.items()],
        "total_bytes": total,
        "usable_bytes": usable,
    }
