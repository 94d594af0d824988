"""Which brokers host the partitions of a new topic in a cluster (AdminUtils of Kafka 3.9): leaders in turn, followers shifted, and,
where brokers have racks, each replica of a partition in another rack as far as there are enough."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence


class RacksMissing(ValueError):
    """Some brokers have a rack and others have none."""


def assign(
    racks: Mapping[int, str | None], partitions: int, replication: int, first: int = 0, first_replica: int | None = None
) -> Iterator[list[int]]:
    """The replicas of each new partition, made when they are asked for. `racks` by broker id; there are enough brokers.

    `first`: how many partitions the topic has; `first_replica`: the first replica of its partition 0. Raises RacksMissing, at once.
    """
    known = {broker_id: rack for broker_id, rack in racks.items() if rack is not None}
    if known and len(known) < len(racks):
        raise RacksMissing("Not all brokers have rack information for replica rack aware assignment.")
    if first_replica is None:
        start, shift = random.randrange(len(racks)), random.randrange(len(racks))
    else:
        places = [place for place, each in enumerate(sorted(racks)) if each >= first_replica]
        start = shift = places[0] if places else 0
    ordered = _alternated(known) if known else sorted(racks)
    return _assigned(ordered, known, range(first, first + partitions), replication, start, shift)


def _assigned(
    ordered: Sequence[int], known: Mapping[int, str], partitions: range, replication: int, start: int, shift: int
) -> Iterator[list[int]]:
    for partition in partitions:
        if partition > 0 and partition % len(ordered) == 0:
            shift += 1
        place = (partition + start) % len(ordered)
        if known:
            yield _in_racks(ordered, known, place, shift, replication)
        else:
            others = [ordered[_place(place, shift, each, len(ordered))] for each in range(replication - 1)]
            yield [ordered[place], *others]


def _place(first: int, shift: int, replica: int, count: int) -> int:
    return (first + 1 + (shift + replica) % (count - 1)) % count


def _in_racks(ordered: Sequence[int], racks: Mapping[int, str], place: int, shift: int, replication: int) -> list[int]:
    count = len(set(racks.values()))
    chosen, used = [ordered[place]], {racks[ordered[place]]}
    tried = 0
    while len(chosen) < replication:
        broker_id = ordered[_place(place, shift * count, tried, len(ordered))]
        tried += 1
        if (racks[broker_id] not in used or len(used) == count) and broker_id not in chosen:
            chosen.append(broker_id)
            used.add(racks[broker_id])
    return chosen


def _alternated(racks: Mapping[int, str]) -> list[int]:
    """The brokers of the racks in turn."""
    by_rack: dict[str, list[int]] = {}
    for broker_id in sorted(racks):
        by_rack.setdefault(racks[broker_id], []).append(broker_id)
    rounds = range(max(len(each) for each in by_rack.values()))
    return [by_rack[rack][number] for number in rounds for rack in sorted(by_rack) if number < len(by_rack[rack])]
