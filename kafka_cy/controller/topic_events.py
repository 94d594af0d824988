"""Events of topics: they appear, get partitions, are to be deleted, or their ISR was changed by an old leader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from kafka_cy.cluster.store import Children, Delete, Get, Node, Operation, Set, StoreError
from kafka_cy.cluster.znodes import DELETE_TOPICS, TOPICS, new_id, topic_path
from kafka_cy.controller.nodes import ISR_CHANGES, partitions_of, topic_data, topic_of
from kafka_cy.controller.partition_machine import Election
from kafka_cy.controller.partition_state import ReplicaAssignment, TopicPartition
from kafka_cy.controller.parts import Parts
from kafka_cy.controller.term_store import pieces


class TopicEvents:
    """Owner: the controller's thread. Lifetime: one term."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._context = parts.context
        self._unreadable: set[str] = set()

    def on_topics(self, path: str) -> None:
        """Watch of /brokers/topics."""
        self._parts.put("TopicChange", self.changed)

    def _on_topic(self, path: str) -> None:
        """Watch of a topic's node."""
        self._parts.put("PartitionModifications", lambda: self.modified(path.rpartition("/")[2]))

    def on_deletions(self, path: str) -> None:
        """Watch of /admin/delete_topics."""
        self._parts.put("TopicDeletion", self._deletions)

    def on_isr_changes(self, path: str) -> None:
        """Watch of /isr_change_notification."""
        self._parts.put("IsrChangeNotification", self._isr_changes)

    async def read(self, names: list[str]) -> list[TopicPartition]:
        """Learn topics, watch them, give an id to those that lack one; the partitions that were not known before."""
        new: list[TopicPartition] = []
        for some in pieces(names):
            new += await self._read(some)
        return new

    async def _read(self, names: Sequence[str]) -> list[TopicPartition]:
        nodes: list[Node | None] = await self._parts.store.read(
            [Get(topic_path(name), self._on_topic) for name in names]
        )
        found: dict[str, tuple[dict[int, ReplicaAssignment], UUID | None]] = {}
        without_id: dict[str, Node] = {}
        for name, node in zip(names, nodes, strict=True):
            if node is None:
                continue
            try:
                found[name] = topic_of(node)
            except ValueError as error:
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    self._parts.around.warning(f"topic {name} is left out: {error}")
                continue
            self._unreadable.discard(name)
            await self._parts.pace.looked(len(found[name][0]))
            if found[name][1] is None and self._parts.settings.protocol.uses_topic_ids:
                without_id[name] = node
        ids = await self._give_ids(without_id, found)
        new: list[TopicPartition] = []
        for name, (assignments, topic_id) in found.items():
            self._context.topics.setdefault(name, {})
            if name not in self._context.topic_ids:
                self._context.set_topic_id(name, topic_id or ids.get(name))
            for index, assignment in sorted(assignments.items()):
                partition = TopicPartition(name, index)
                if not self._context.assignment(partition).replicas:
                    self._context.assign(partition, assignment)
                    new.append(partition)
                await self._parts.pace.looked()
        return new

    async def _give_ids(
        self, nodes: Mapping[str, Node], found: Mapping[str, tuple[dict[int, ReplicaAssignment], UUID | None]]
    ) -> dict[str, UUID]:
        """Ids of topics that a broker with an older inter.broker.protocol.version created; or the id that is known."""
        ids = {name: self._context.topic_ids.get(name) or new_id() for name in nodes}
        changes: list[list[Operation]] = [
            [Set(topic_path(name), topic_data(found[name][0], ids[name]), node.version)] for name, node in nodes.items()
        ]
        outcomes = await self._parts.store.write(changes)
        return {
            name: ids[name]
            for name, outcome in zip(nodes, outcomes, strict=True)
            if not isinstance(outcome, StoreError)
        }

    async def changed(self) -> None:
        """/brokers/topics changed."""
        names: list[str] | None = (await self._parts.store.read([Children(TOPICS, self.on_topics)]))[0]
        there = set(names or ())
        for name in sorted(self._context.topics.keys() - there):
            self._context.remove_topic(name)
        await self._create(await self.read(sorted(there - self._context.topics.keys())))

    async def _create(self, partitions: list[TopicPartition]) -> None:
        """New partitions get a leader."""
        if not partitions:
            return
        await self._parts.partitions.to_new(partitions)
        replicas = self._context.replicas(partitions)
        await self._parts.replicas.to_new(replicas)
        await self._parts.partitions.to_online(partitions, Election.OFFLINE)
        await self._parts.replicas.to_online(replicas)

    async def modified(self, name: str) -> None:
        """A topic's node changed: it may have new partitions. What a reassignment writes there is known already."""
        if name not in self._context.topics:
            await self.changed()
            return
        if name in self._context.deleting:
            await self._restore(name)
            return
        await self._create(await self.read([name]))

    async def _restore(self, name: str) -> None:
        """A topic that is being deleted gets no new partitions: the node is written back."""
        node: Node | None = (await self._parts.store.read([Get(topic_path(name), self._on_topic)]))[0]
        if node is None:
            return
        try:
            assignments, topic_id = topic_of(node)
        except ValueError:
            return
        known = self._context.topics[name]
        if assignments.keys() - known.keys():
            self._parts.around.warning(f"topic {name} is being deleted and gets no new partitions")
            data = topic_data(known, self._context.topic_ids.get(name) or topic_id)
            await self._parts.store.write([[Set(topic_path(name), data, node.version)]])

    async def _deletions(self) -> None:
        """/admin/delete_topics changed."""
        names: list[str] | None = (await self._parts.store.read([Children(DELETE_TOPICS, self.on_deletions)]))[0]
        recorded = set(names or ()) - self._context.deleting
        if recorded - self._context.topics.keys():
            await self.changed()  # a topic that was created just before: its own event is not handled yet
        await self.deletions(sorted(recorded))

    async def deletions(self, names: list[str]) -> None:
        """Begin recorded deletions, or go on with those that an earlier controller began."""
        missing = [name for name in names if name not in self._context.topics]
        refused = missing
        if names and not self._parts.settings.delete_topic_enable:
            refused = names
            self._parts.around.warning(f"delete.topic.enable is false: the recorded deletions of {sorted(names)} are cancelled")
        await self._parts.store.write([[Delete(f"{DELETE_TOPICS}/{name}")] for name in refused])
        topics = set(names) - set(refused)
        if not topics:
            return
        self._parts.around.info(f"topics to delete: {sorted(topics)}")
        self._context.deleting.update(topics)
        reassigned = {each.topic for each in self._context.being_reassigned}
        self._parts.deletion.mark_ineligible(reassigned, "a reassignment runs")
        await self._parts.deletion.enqueue(topics)

    async def _isr_changes(self) -> None:
        """Leaders with inter.broker.protocol.version before 2.7 wrote new ISRs themselves."""
        names: list[str] | None = (await self._parts.store.read([Children(ISR_CHANGES, self.on_isr_changes)]))[0]
        paths = [f"{ISR_CHANGES}/{name}" for name in names or ()]
        nodes: list[Node | None] = await self._parts.store.read([Get(path) for path in paths])
        partitions: set[TopicPartition] = set()
        for path, node in zip(paths, nodes, strict=True):
            try:
                partitions.update(partitions_of(node) if node is not None else ())
            except ValueError as error:
                self._parts.around.warning(f"{path}: {error}")
        known = sorted(each for each in partitions if each in self._context.states)
        states, _ = await self._parts.states.read(known)
        self._context.states.update(states)
        if known:
            self._parts.batch.add_update_metadata(self._context.registered_ids(), known)
            await self._parts.batch.send()
        await self._parts.store.write([[Delete(path)] for path in paths])
        await self._parts.reassignments.complete_if_possible(known)
