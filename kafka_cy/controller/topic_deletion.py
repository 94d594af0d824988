"""Deletion of topics: their replicas stop, are deleted on every broker, then the nodes go.

A topic waits (is ineligible) while one of its replicas is dead, its log directory offline, or a reassignment of it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kafka_cy.cluster.store import Children, Delete, NoNodeError, NotEmptyError, Operation, Results, StoreError
from kafka_cy.cluster.znodes import DELETE_TOPICS, topic_path
from kafka_cy.controller.context import ControllerContext, Replica, ReplicaStatus
from kafka_cy.controller.pace import Pace
from kafka_cy.controller.replica_machine import ReplicaMachine
from kafka_cy.controller.request_batch import RequestBatch
from kafka_cy.controller.term_store import TermStore, pieces

_STATUS = ReplicaStatus
REMOVED_AT_ONCE = 20  # topics


class TopicDeletion:
    """Owner: the controller's thread. Lifetime: one term."""

    def __init__(
        self,
        context: ControllerContext,
        store: TermStore,
        replicas: ReplicaMachine,
        batch: RequestBatch,
        pace: Pace,
        resume_later: Callable[[], object],
        info: Callable[[str], object],
        warning: Callable[[str], object],
    ) -> None:
        """`resume_later()`: call `resume` in some time. It is called again only after that."""
        self._context = context
        self._store = store
        self._replicas = replicas
        self._batch = batch
        self._pace = pace
        self._resume_later = resume_later
        self._resumes_later = False
        self._info = info
        self._warning = warning

    def mark_ineligible(self, topics: Iterable[str], reason: str) -> None:
        """Topics that are being deleted have to wait."""
        for topic in sorted(set(topics) & self._context.deleting):
            if topic not in self._context.deletion_ineligible:
                self._info(f"the deletion of topic {topic} waits: {reason}")
                self._context.deletion_ineligible.add(topic)

    async def enqueue(self, topics: Iterable[str]) -> None:
        """The deletion of topics was recorded."""
        self._context.deleting.update(topics)
        await self.resume()

    async def resume_for(self, topics: Iterable[str]) -> None:
        """What these topics waited for may have come."""
        waiting = set(topics) & self._context.deleting
        if waiting:
            self._context.deletion_ineligible -= waiting
            await self.resume()

    async def replicas_failed(self, replicas: Iterable[Replica]) -> None:
        """Replicas of topics that are being deleted are dead, or could not be deleted."""
        failed = [each for each in replicas if each.partition.topic in self._context.deleting]
        if failed:
            known = [each for each in failed if self._status(each) is not _STATUS.DELETION_SUCCESSFUL]
            deletable = {_STATUS.OFFLINE, _STATUS.DELETION_STARTED, _STATUS.DELETION_INELIGIBLE}
            await self._replicas.to_offline([each for each in known if self._status(each) not in deletable])
            await self._replicas.deletion_failed(known)
            self.mark_ineligible({each.partition.topic for each in failed}, "a replica is offline or was not deleted")
            await self.resume()

    async def replicas_deleted(self, replicas: Iterable[Replica]) -> None:
        """Brokers deleted these replicas."""
        deleted = [each for each in replicas if each.partition.topic in self._context.deleting]
        await self._replicas.deletion_successful([each for each in deleted if self._status(each) is _STATUS.DELETION_STARTED])
        await self.resume()

    async def resume(self) -> None:
        """Go on with every recorded deletion as far as it can."""
        retry: list[str] = []
        begin: list[str] = []
        done: list[str] = []
        for topic in sorted(self._context.deleting):
            statuses = await self._statuses(topic)
            if statuses <= {_STATUS.DELETION_SUCCESSFUL}:
                done.append(topic)
            elif _STATUS.DELETION_STARTED not in statuses and topic not in self._context.deletion_ineligible:
                if _STATUS.DELETION_INELIGIBLE in statuses:
                    retry.append(topic)
                begin.append(topic)
        for some in pieces(done, REMOVED_AT_ONCE):
            await self._remove_nodes(some)
        failed = [
            replica for replica in self._replicas_of(retry) if self._status(replica) is _STATUS.DELETION_INELIGIBLE
        ]
        if failed:
            await self._replicas.to_offline(failed)
        if begin:
            await self._begin(begin)

    async def _begin(self, topics: list[str]) -> None:
        for partition in self._context.partitions(set(topics) - self._context.deletion_begun):
            self._context.partition_status.pop(partition, None)
            self._context.without_leader.discard(partition)
            await self._pace.looked()
        self._context.deletion_begun.update(topics)
        self._batch.add_update_metadata(self._context.registered_ids(), self._context.partitions(topics))
        await self._batch.send()
        live: list[Replica] = []
        dead: list[Replica] = []
        for replica in self._replicas_of(topics):
            if not self._context.is_online(replica.broker_id, replica.partition):
                dead.append(replica)
            elif self._status(replica) is not _STATUS.DELETION_SUCCESSFUL:
                live.append(replica)
            await self._pace.looked()
        if dead:
            self.mark_ineligible({each.partition.topic for each in dead}, "a replica is offline")
            stopped = {_STATUS.OFFLINE, _STATUS.DELETION_STARTED, _STATUS.DELETION_INELIGIBLE}
            await self._replicas.to_offline([each for each in dead if self._status(each) not in stopped])
            await self._replicas.deletion_failed(dead)
        await self._replicas.to_offline(live)
        await self._replicas.start_deletion(live)

    async def resume_again(self) -> None:
        """Nodes could not be deleted some time ago."""
        self._resumes_later = False
        await self.resume()

    async def _remove_nodes(self, topics: Sequence[str]) -> None:
        """All replicas are deleted: the nodes go, bottom up, and the record of the deletion last.

        One level begins when the one below is gone: after a lost connection a later change may be applied before an earlier one is
        repeated.
        """
        failed = await self._remove_partitions(topics)
        for path in ("/brokers/topics/{}/partitions", "/brokers/topics/{}", "/config/topics/{}", DELETE_TOPICS + "/{}"):
            left = [topic for topic in topics if topic not in failed]
            changes: list[list[Operation]] = [[Delete(path.format(topic))] for topic in left]
            for topic, change, outcome in zip(left, changes, await self._delete(changes), strict=True):
                if self._is_refused(change, outcome):
                    failed.add(topic)
        for topic in topics:
            if topic not in failed:
                self._context.remove_topic(topic)
                self._info(f"topic {topic} is deleted")
        if failed and not self._resumes_later:
            self._resumes_later = True
            self._resume_later()

    async def _remove_partitions(self, topics: Sequence[str]) -> set[str]:
        """The topics of which not all partitions could be removed."""
        children: list[list[str] | None] = await self._store.read(
            [Children(f"{topic_path(topic)}/partitions") for topic in topics]
        )
        owners = [topic for topic, indices in zip(topics, children, strict=True) for _ in indices or ()]
        paths = [
            f"{topic_path(topic)}/partitions/{index}"
            for topic, indices in zip(topics, children, strict=True)
            for index in indices or ()
        ]
        changes: list[list[Operation]] = [[Delete(f"{path}/state"), Delete(path)] for path in paths]
        outcomes = await self._delete(changes)
        halves = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, NoNodeError)]  # without a state
        for index, outcome in zip(halves, await self._delete([changes[i][1:] for i in halves]), strict=True):
            outcomes[index] = outcome
        refused = zip(owners, changes, outcomes, strict=True)
        return {topic for topic, change, outcome in refused if self._is_refused(change, outcome)}

    async def _delete(self, changes: Sequence[Sequence[Operation]]) -> list[Results | StoreError]:
        """Delete nodes. Somebody else may have put others below: they are deleted, too (Kafka: deleteRecursive)."""
        outcomes = await self._store.write(changes)
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, NotEmptyError):
                last = changes[index][-1]
                await self._delete_below(last.path)
                outcomes[index] = (await self._store.write([[last]]))[0]
        return outcomes

    async def _delete_below(self, path: str) -> None:
        levels = [[path]]
        while levels[-1]:
            found: list[list[str] | None] = await self._store.read([Children(each) for each in levels[-1]])
            levels.append([f"{each}/{name}" for each, names in zip(levels[-1], found, strict=True) for name in names or ()])
        self._warning(f"{path} has nodes that are not Kafka's: they are deleted with it")
        for level in reversed(levels[1:]):  # what is refused here refuses the deletion of `path`
            await self._store.write([[Delete(each)] for each in level])

    def _is_refused(self, change: Sequence[Operation], outcome: Results | StoreError) -> bool:
        if not isinstance(outcome, StoreError) or isinstance(outcome, NoNodeError):
            return False
        self._warning(f"{change[-1].path} cannot be deleted: {type(outcome).__name__}: {outcome}")
        return True

    def _replicas_of(self, topics: Iterable[str]) -> list[Replica]:
        return self._context.replicas(self._context.partitions(topics))

    def _status(self, replica: Replica) -> ReplicaStatus | None:
        return self._context.replica_status.get(replica)

    async def _statuses(self, topic: str) -> set[ReplicaStatus | None]:
        """Those that the topic's replicas have."""
        found: set[ReplicaStatus | None] = set()
        for partition in self._context.partitions([topic]):
            found.update(map(self._status, self._context.replicas([partition])))
            await self._pace.looked()
        return found
