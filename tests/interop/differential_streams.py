"""Requests about streams groups (KIP-1071) for the comparison with Apache Kafka. The first assignment is not delayed."""

from __future__ import annotations

from typing import Any

from differential_cases import TOPIC, Case, Values, commit, configs, groups_named, join, new_topic

BEAT, DESCRIBE = 88, 89
NOTHING: list[Values] = []

# fmt: off


def beat(group: str, member: str, epoch: int, owned: dict[str, list[int]] | None = None, **fields: Any) -> Values:
    """A heartbeat of a member that has these active tasks; None: it does not say."""
    rows = None if owned is None else [{"subtopology_id": each, "partitions": owned[each]} for each in owned]
    return {
        "group_id": group, "member_id": member, "member_epoch": epoch, "endpoint_information_epoch": 0, "instance_id": None,
        "rack_id": None, "rebalance_timeout": -1, "topology": None, "active_tasks": rows,
        "standby_tasks": None if owned is None else [], "warmup_tasks": None if owned is None else [], "process_id": None,
        "user_endpoint": None, "client_tags": None, "task_offsets": None, "task_end_offsets": None, "shutdown_application": False,
    } | fields


def topic_info(name: str, partitions: int = 0, replication: int = 1, **settings: str) -> Values:
    return {"name": name, "partitions": partitions, "replication_factor": replication,
            "topic_configs": [{"key": key.replace("_", "."), "value": value} for key, value in settings.items()]}


def part(name: str, sources: list[str], **fields: Any) -> Values:
    return {"subtopology_id": name, "source_topics": sources, "source_topic_regex": [], "state_changelog_topics": [],
            "repartition_sink_topics": [], "repartition_source_topics": [], "copartition_groups": []} | fields


def together(*indexes: int) -> Values:
    return {"source_topics": list(indexes), "source_topic_regex": [], "repartition_source_topics": []}


def topology(*parts: Values, epoch: int = 0) -> Values:
    return {"epoch": epoch, "subtopologies": list(parts)}


SIMPLE = topology(part("0", ["streams-in"]))


def enter(group: str, member: str, its_topology: Values | None = SIMPLE, **fields: Any) -> Values:
    """A member joins."""
    return beat(group, member, 0, {}, **{"rebalance_timeout": 5000, "topology": its_topology, "process_id": "P1"} | fields)


def one(tasks: dict[str, list[int]]) -> list[Values]:
    return [{"subtopology_id": each, "partitions": tasks[each]} for each in tasks]


def status_codes(answer: Values) -> list[int]:
    """Kafka's first answer has the error of a creation if that has failed by then; the next one has it for sure."""
    return [status["status_code"] for status in answer["status"] or ()]


def offsets(member: str, epoch: int) -> Values:
    """OffsetFetch of a member."""
    return {"groups": [{"group_id": "sg", "member_id": member, "member_epoch": epoch, "topics": [
        {"name": "streams-in", "partition_indexes": [0]}]}], "require_stable": False}


def looping(name: str) -> Values:
    return part("0", [], repartition_source_topics=[topic_info(name)], repartition_sink_topics=[name])


REFUSED = {
    "no member": enter("sg", ""),
    "no group": enter("", "m"),
    "static": enter("sg", "m", instance_id="i"),
    "rack": enter("sg", "m", rack_id=""),
    "task offsets": enter("sg", "m", task_offsets=[]),
    "task end offsets": enter("sg", "m", task_end_offsets=[]),
    "warmup tasks": enter("sg", "m", warmup_tasks=one({"0": [0]})),
    "no timeout": enter("sg", "m", rebalance_timeout=-1),
    "no topology": enter("sg", "m", None),
    "no tasks": enter("sg", "m", active_tasks=None),
    "tasks": enter("sg", "m", active_tasks=one({"0": [0]})),
    "standby tasks": enter("sg", "m", standby_tasks=one({"0": [0]})),
    "leave as static": beat("sg", "m", -2),
    "epoch -3": beat("sg", "m", -3),
    "unknown group": beat("sg", "m", 1),
    "leave unknown group": beat("sg", "m", -1),
    "some tasks": beat("sg", "m", 1, {}, warmup_tasks=None),
    "topology later": beat("sg", "m", 1, topology=SIMPLE),
    "regex": enter("sg", "m", topology(part("0", [], source_topic_regex=["a.*"]))),
    "internal topic": enter("sg", "m", topology(part("0", ["__consumer_offsets"]))),
    "bad name": enter("sg", "m", topology(part("0", ["a b"]))),
    "no sources": enter("sg", "m", topology(part("0", []))),
    "fixed changelog": enter("sg", "m", topology(part("0", ["streams-in"], state_changelog_topics=[topic_info("c", 2)]))),
    "no sink": enter("sg", "m", topology(part("0", ["streams-in"], repartition_source_topics=[topic_info("r")]))),
    "loop": enter("sg", "m", topology(looping("r"))),
}
COUNTS = topology(part("0", ["streams-in"], state_changelog_topics=[topic_info("s-changelog", cleanup_policy="compact")]))
CHAIN = topology(
    part("0", ["streams-in"], repartition_sink_topics=["s-rep"]),
    part("1", [], repartition_source_topics=[topic_info("s-rep", retention_ms="-1")],
         state_changelog_topics=[topic_info("s-store")]),
)

STREAMS = [
    Case("create streams topics", 19, 7, {**new_topic("streams-in", 2), "topics": [
        *new_topic("streams-in", 2)["topics"], *new_topic("streams-wide", 3)["topics"]]}, settle=True),
    *(Case(f"streams {name}", BEAT, 0, values) for name, values in REFUSED.items()),
    Case("describe streams unknown", DESCRIBE, 0, {"group_ids": ["sg", ""], "include_authorized_operations": True}),
    Case("streams join", BEAT, 0, enter("sg", "m", endpoint_information_epoch=-1)),
    Case("streams rejoin", BEAT, 0, enter("sg", "m")),
    Case("streams steady", BEAT, 0, beat("sg", "m", 2)),
    Case("streams newer topology", BEAT, 0, enter("sg", "n", topology(part("0", ["streams-in"]), epoch=1))),
    Case("streams other topology", BEAT, 0, enter("sg", "n", topology(part("0", ["streams-wide"])))),
    Case("streams epoch too high", BEAT, 0, beat("sg", "m", 9)),
    Case("streams unknown member", BEAT, 0, beat("sg", "who", 2)),
    Case("streams unknown member leaves", BEAT, 0, beat("sg", "who", -1)),
    Case("streams unknown subtopology", BEAT, 0, beat("sg", "m", 2, {"7": [0]})),
    Case("streams unknown task", BEAT, 0, beat("sg", "m", 2, {"0": [5]})),
    Case("streams second", BEAT, 0, enter("sg", "n", process_id="P2", client_tags=[{"key": "zone", "value": "a"}])),
    Case("streams revoke", BEAT, 0, beat("sg", "m", 2, {"0": [0, 1]})),
    Case("streams not revoked", BEAT, 0, beat("sg", "m", 2)),
    Case("describe streams reconciling", DESCRIBE, 0, {"group_ids": ["sg"], "include_authorized_operations": False}),
    Case("streams revoked", BEAT, 0, beat("sg", "m", 2, {"0": [0]})),
    Case("streams lost answer", BEAT, 0, beat("sg", "m", 2, {"0": [0]})),
    Case("streams lost answer, other tasks", BEAT, 0, beat("sg", "m", 2, {"0": [1]})),
    Case("streams previous epoch", BEAT, 0, beat("sg", "m", 2)),
    Case("streams gets", BEAT, 0, beat("sg", "n", 3, {})),
    Case("describe streams", DESCRIBE, 0, {"group_ids": ["sg"], "include_authorized_operations": True}),
    Case("list streams", 16, 5, {"states_filter": [], "types_filter": ["streams"]}, view=groups_named("sg")),
    *(Case(f"streams commit {member} {epoch} {partition}", 8, 9, commit(
        "sg", 5, topic="streams-in", partition=partition, generation=epoch, member=member))
      for member, epoch, partition in (
          ("m", 3, 0), ("m", 2, 0), ("m", 2, 1), ("n", 2, 1), ("n", 4, 1), ("", -1, 0), ("who", 3, 0))),
    Case("streams commit v8", 8, 8, commit("sg", 5, topic="streams-in", generation=3, member="m")),
    *(Case(f"streams offsets {member} {epoch}", 9, 9, offsets(member, epoch))
      for member, epoch in (("m", 3), ("m", 2), ("who", 3), ("", -1))),
    Case("streams describe classic", 15, 6, {"groups": ["sg"]}),
    Case("streams join classic", 11, 9, join("sg")),
    Case("streams delete", 42, 2, {"groups_names": ["sg"]}),
    Case("streams delete offset", 47, 0, {"group_id": "sg", "topics": [
        {"name": "streams-in", "partitions": [{"partition_index": 0}]}]}),
    Case("streams shutdown", BEAT, 0, beat("sg", "m", 3, shutdown_application=True)),
    Case("streams told to shut down", BEAT, 0, beat("sg", "n", 3)),
    Case("streams leave", BEAT, 0, beat("sg", "n", -1)),
    Case("streams leave too", BEAT, 0, beat("sg", "m", -1)),
    Case("describe streams empty", DESCRIBE, 0, {"group_ids": ["sg"], "include_authorized_operations": False}),
    Case("streams join again", BEAT, 0, enter("sg", "o")),
    Case("streams leave again", BEAT, 0, beat("sg", "o", -1)),
    Case("streams delete empty", 42, 2, {"groups_names": ["sg"]}),
    Case("streams deleted", DESCRIBE, 0, {"group_ids": ["sg"], "include_authorized_operations": False}),
    # topics
    Case("streams missing sources", BEAT, 0, enter("sm", "m", topology(part("0", ["x5", "x4", "x3", "x2", "x1"])))),
    Case("describe streams not ready", DESCRIBE, 0, {"group_ids": ["sm"], "include_authorized_operations": False}),
    Case("streams different partitions", BEAT, 0, enter("sd", "m", topology(
        part("0", ["streams-in", "streams-wide"], copartition_groups=[together(0, 1)])))),
    Case("streams internal topics", BEAT, 0, enter("si", "m", COUNTS), settle=True),
    Case("streams internal topics there", BEAT, 0, beat("si", "m", 2, {})),
    Case("streams changelog", 32, 4, configs((TOPIC, "s-changelog", ["cleanup.policy", "retention.ms"]))),
    Case("describe streams ready", DESCRIBE, 0, {"group_ids": ["si"], "include_authorized_operations": False}),
    Case("streams wrong changelog", BEAT, 0, enter("sw", "m", topology(
        part("0", ["streams-wide"], state_changelog_topics=[topic_info("s-changelog")])))),
    Case("streams chain", BEAT, 0, enter("sc", "m", CHAIN), settle=True, view=lambda answer: answer["error_code"]),
    Case("streams chain there", BEAT, 0, beat("sc", "m", 2, {})),
    Case("describe streams chain", DESCRIBE, 0, {"group_ids": ["sc"], "include_authorized_operations": False}),
    Case("streams too many replicas", BEAT, 0, enter("sr", "m", topology(
        part("0", ["streams-in"], state_changelog_topics=[topic_info("r-changelog", 0, 3)]))), settle=True,
        view=status_codes),
    Case("streams too many replicas told", BEAT, 0, beat("sr", "m", 2)),
    Case("streams bad setting", BEAT, 0, enter("sb", "m", topology(
        part("0", ["streams-in"], state_changelog_topics=[topic_info("b-changelog", cleanup_policy="shred")]))), settle=True,
        view=status_codes),
    Case("streams bad setting told", BEAT, 0, beat("sb", "m", 2)),
    # endpoints
    Case("streams endpoint", BEAT, 0, enter("se", "m", user_endpoint={"host": "here", "port": 80}, endpoint_information_epoch=-1)),
    Case("streams endpoint told", BEAT, 0, beat("se", "m", 2, endpoint_information_epoch=5)),
    Case("streams endpoint known", BEAT, 0, beat("se", "m", 2)),
]
# fmt: on
