"""Requests about cordoned log directories (KIP-1066). The last ones of the table: topics stay where they were put."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from differential_cases import BROKER, Case, State, Values, alter, configs, legacy, new_topic, new_topic_assigned

KEY = "cordoned.log.dirs"
SET, DELETE, APPEND, SUBTRACT = range(4)


# fmt: off
def cordon(name: str, text: str | None, operation: int = SET, *, settle: bool = False, broker: str = "1",
           validate: bool = False) -> Case:
    """A change of the key; {0} and {1} are the log directories."""
    def values(state: State) -> Values:
        value = None if text is None else text.format(*state.log_dirs)
        return alter(BROKER, broker, (KEY, operation, value), validate=validate)

    return Case(f"cordon {name}", 44, 1, values, settle=settle)


def move(name: str, directory: int | str, topic: str = "cordoned") -> Case:
    def values(state: State) -> Values:
        path = state.log_dirs[directory] if isinstance(directory, int) else directory
        return {"dirs": [{"path": path, "topics": [{"name": topic, "partitions": [0]}]}]}

    return Case(f"cordon: move {name}", 34, 2, values)


def cordoned_dirs(name: str, version: int = 5) -> Case:
    return Case(f"cordon: dirs {name}", 35, version, {"topics": None}, view=where("cordoned", "assigned-cordoned"))


def where(*names: str) -> Callable[[Values], Any]:
    """Which directories are cordoned, and which of these topics are in them."""
    def view(answer: Values) -> Any:
        return [(result["log_dir"], result.get("is_cordoned"), sorted(
            topic["name"] for topic in result["topics"] if topic["name"] in names)) for result in answer["results"]]

    return view


CORDON = [
    cordoned_dirs("before"),
    cordoned_dirs("v4", 4),
    Case("cordon: key", 32, 4, configs((BROKER, "1", [KEY]))),
    cordon("an unknown directory", "/nowhere"),
    cordon("two unknown directories", "/nowhere,{0},relative"),
    cordon("with a slash", "{0}/"),
    cordon("all and one", "*,{0}"),
    cordon("all twice", "*,*", validate=True),
    cordon("one twice", "{0},{0}", validate=True),
    cordon("of all brokers", "{0}", broker=""),
    cordon("all, validated", "*", validate=True),
    cordoned_dirs("after validation"),
    cordon("the first", "{0}", settle=True),
    Case("cordon: key of the first", 32, 4, configs((BROKER, "1", [KEY]))),
    cordoned_dirs("the first"),
    Case("cordon: create", 19, 7, new_topic("cordoned"), settle=True),
    cordoned_dirs("after create"),
    move("to the first", 0),
    move("to the second, where it is", 1),
    move("to an unknown directory", "/nowhere"),
    move("an unknown topic to the first", 0, "nowhere"),
    cordon("the second too", "{1}", APPEND, settle=True),
    cordoned_dirs("both"),
    Case("cordon: create nowhere", 19, 7, new_topic("later")),
    Case("cordon: create two replicas nowhere", 19, 7, new_topic("later", 2, 2)),
    Case("cordon: create nowhere, validated", 19, 7, new_topic("later", validate=True)),
    Case("cordon: create too many nowhere", 19, 7, new_topic("later", 20000)),
    Case("cordon: create assigned nowhere", 19, 7, new_topic_assigned("assigned-cordoned", {0: [1]}), settle=True),
    Case("cordon: metadata of a new topic", 3, 12, {"topics": [{"name": "later"}], "allow_auto_topic_creation": True},
         view=lambda answer: answer["topics"]),
    Case("cordon: grow nowhere", 37, 3, {"topics": [{"name": "cordoned", "count": 2, "assignments": None}], "timeout": 5000}),
    Case("cordon: grow assigned", 37, 3, {"topics": [{"name": "cordoned", "count": 2, "assignments": [{"broker_ids": [1]}]}],
                                          "timeout": 5000}),
    move("nowhere", 1),
    cordon("all but the second", "{1}", SUBTRACT, settle=True),
    cordoned_dirs("the first again"),
    cordon("all", "*", settle=True),
    cordoned_dirs("all"),
    cordon("by name after all", "{0}", APPEND),
    cordon("none", "", settle=True),
    cordoned_dirs("none"),
    Case("cordon: legacy, unknown", 33, 2, legacy("1", (KEY, "/nowhere"), kind=BROKER)),
    cordon("the key goes", None, DELETE, settle=True),
    cordoned_dirs("at the end"),
]
# fmt: on
