"""Reads topics and their settings from the output of `kafka-topics.sh --describe`.

    Topic: payments  TopicId: ...  PartitionCount: 3  ReplicationFactor: 1  Configs: cleanup.policy=compact,delete

Fields are separated by tabs (a file written by hand may have spaces). `PartitionCount` may be missing. Lines of single
partitions and all other lines are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_TOPIC_LINE = re.compile(r"Topic:\s*(\S+)(?P<rest>(?:\s.*)?)", re.DOTALL)
_COUNT = re.compile(r"(?:^|\s)PartitionCount:\s*(\S+)")
_CONFIGS = re.compile(r"(?:^|\s)Configs:(.*)", re.DOTALL)
_PARTITION = re.compile(r"(?:^|\s)Partition:\s*\d+\s")


class BadSettingsFile(ValueError):
    """A line cannot be parsed; the text names the line."""


class DescribedTopic(NamedTuple):
    """One topic of the file. `partition_count` is None if the file does not give it."""

    partition_count: int | None
    configs: dict[str, str]


def read_topic_settings(lines: Iterable[str]) -> dict[str, DescribedTopic]:
    """Topics by name. Raises BadSettingsFile, also for a file without topics, which is probably a mistake."""
    topics: dict[str, DescribedTopic] = {}
    for number, line in enumerate(lines, 1):
        match = _TOPIC_LINE.match(line)
        if match is None or _PARTITION.search(match["rest"]):
            continue
        name, rest = match[1], match["rest"]
        if name in topics:
            raise BadSettingsFile(f"line {number} describes topic {name} a second time")
        count = _COUNT.search(rest)
        if count is not None and not (count[1].isascii() and count[1].isdecimal() and int(count[1]) > 0):
            raise BadSettingsFile(f"line {number}: {count[1]} is not a number of partitions")
        configs = _CONFIGS.search(rest)
        settings = _parse_configs(configs[1].strip(), number) if configs is not None else {}
        topics[name] = DescribedTopic(int(count[1]) if count is not None else None, settings)
    if not topics:
        raise BadSettingsFile("it has no line that starts with 'Topic:'")
    return topics


def _parse_configs(text: str, number: int) -> dict[str, str]:
    """Parse key=value,key=value; a part without '=' continues a list: cleanup.policy=compact,delete."""
    settings: dict[str, str] = {}
    name = ""
    for part in text.split(",") if text else []:
        key, equals, value = part.partition("=")
        if equals and re.fullmatch(r"[a-z][a-z0-9.]*", key.strip()):
            name = key.strip()
            settings[name] = value.strip()
        elif name:
            settings[name] += f",{part.strip()}"
        else:
            raise BadSettingsFile(f"line {number}: {part!r} is not KEY=VALUE")
    return settings
