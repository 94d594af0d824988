"""The clients of a history that only read, and those that commit how far they have read."""

from __future__ import annotations

from collections.abc import Iterator

from raw_client import Closed

from .actors import World
from .history import OffsetCommit, OffsetRead, Outcome, Partition, Read
from .members import CLASSIC, NO_MEMBERS, REFUSED, Member

WAITS_MS = (0, 0, 20, 100)
MIN_BYTES = (1, 1, 300, 1 << 20)  # the last one: no fetch gets so much


class Reader:
    """Reads one partition from its beginning, again and again. Some of its fetches wait for more."""

    def __init__(self, world: World, partition: Partition, *, committed: bool) -> None:
        self.world = world
        self.partition = partition
        self.committed = committed
        name = world.name(f"reader-{partition.topic}-{partition.index}")
        self.chance = world.chance(name)
        self.client = world.connect(name)

    def steps(self) -> Iterator[None]:
        offset = 0
        while True:
            wait_ms, min_bytes = self.chance.choice(WAITS_MS), self.chance.choice(MIN_BYTES)
            try:
                error, records, following = self.client.fetch(
                    self.partition, offset, committed=self.committed, max_wait_ms=wait_ms, min_bytes=min_bytes
                )
            except (Closed, OSError):
                yield
                continue
            if error:
                self.world.surprise("Fetch", "a reader", error)
            self.world.history.reads.append(Read(self.world.now(), self.partition, self.committed, records))
            # At the end it waits for more, or begins again.
            offset = 0 if following == offset and self.chance.random() < 0.5 else following
            yield


class Consumer:
    """Reads results and commits its offsets with OffsetCommit, in the group that transforms if that has room for others.

    Two of them commit for the same partitions. In a classic group each one that joins interrupts all others.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.name = world.name("consumer")
        self.chance = world.chance(self.name)
        self.client = world.connect(self.name)
        kind = NO_MEMBERS if world.group_kind == CLASSIC else world.group_kind
        self.member = Member(self.client, consumer_group(world), kind, self.name, [world.outputs[0].topic])

    def steps(self) -> Iterator[None]:
        while True:
            try:
                self._step()
            except (Closed, OSError):
                pass
            yield

    def _step(self) -> None:
        world, partition = self.world, self.chance.choice(self.world.outputs)
        if self.member.needs_to_join or self.chance.random() < 0.1:
            error = self.member.join() if self.member.needs_to_join else self.member.beat()
        elif self.chance.random() < 0.5:
            begin = world.now()
            error, offset = self.client.committed_offset(self.member.group, partition)
            if not error:
                world.history.offset_reads.append(OffsetRead(partition, offset, begin, world.now()))
        else:
            self._commit(partition)
            return
        if error and error not in REFUSED:
            world.surprise("OffsetFetch or a heartbeat", self.name, error)

    def _commit(self, partition: Partition) -> None:
        """Any offset: what counts is that no acknowledged commit is lost."""
        identity = self.member.identity(self.chance)
        commit = OffsetCommit(partition, self.chance.randrange(1_000_000), self.world.now())
        self.world.history.commits.append(commit)
        error = self.client.commit_plainly(self.member.group, partition, commit.offset, identity)
        commit.outcome, commit.end = Outcome.FAILED if error else Outcome.OK, self.world.now()
        if not error and self.member.never_was(identity):
            self.world.history.surprises.append(f"OffsetCommit of {self.name} with a wrong epoch was accepted")
        if error in REFUSED and self.member.kind != NO_MEMBERS:
            self.member.lost()
        elif error:
            self.world.surprise("OffsetCommit", self.name, error)


def consumer_group(world: World) -> str:
    return f"{world.group}-plain" if world.group_kind == CLASSIC else world.group
