"""Events of brokers: they come, go, come back, change their endpoints, shut down, or lose a log directory."""

from __future__ import annotations

from kafka_cy.cluster.store import Children, Delete, Get, Node, Operation
from kafka_cy.cluster.znodes import BROKER_IDS
from kafka_cy.controller.context import Broker, Replica
from kafka_cy.controller.nodes import LOG_DIR_EVENTS, broker_of, failed_log_dir_of
from kafka_cy.controller.partition_machine import Election
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.controller.parts import Parts
from kafka_cy.protocol.controller_messages.controlled_shutdown import ControlledShutdownResponse, RemainingPartition
from kafka_cy.protocol.errors import ErrorCode


class BrokerEvents:
    """Owner: the controller's thread. Lifetime: one term."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._context = parts.context
        self._refused: dict[int, str] = {}  # registrations that cannot be used, and why

    def on_ids(self, path: str) -> None:
        """Watch of /brokers/ids."""
        self._parts.put("BrokerChange", self.changed)

    def _on_broker(self, path: str) -> None:
        """Watch of a registration."""
        self._parts.put("BrokerModifications", lambda: self._modified(int(path.rpartition("/")[2])))

    def on_log_dir_events(self, path: str) -> None:
        """Watch of /log_dir_event_notification."""
        self._parts.put("LogDirChange", self._log_dir_events)

    async def read(self, names: list[str]) -> dict[int, Broker]:
        """The registrations that can be used. Watches them."""
        ids = sorted(int(name) for name in names if name.isdigit())
        nodes: list[Node | None] = await self._parts.store.read(
            [Get(f"{BROKER_IDS}/{broker_id}", self._on_broker) for broker_id in ids]
        )
        found: dict[int, Broker] = {}
        for broker_id, node in zip(ids, nodes, strict=True):
            if node is None:
                continue
            broker, problem = self._usable(broker_id, node)
            if broker is not None:
                found[broker_id] = broker
                self._refused.pop(broker_id, None)
            elif self._refused.get(broker_id) != problem:
                self._refused[broker_id] = problem
                self._parts.around.warning(f"broker {broker_id} is left out: {problem}")
        return found

    def _usable(self, broker_id: int, node: Node) -> tuple[Broker | None, str]:
        """Kafka's controller fails at every broker change while such a registration exists; ours does without that broker."""
        try:
            broker = broker_of(broker_id, node)
        except ValueError as error:
            return None, str(error)
        listener = self._parts.settings.inter_broker_listener
        if broker.endpoint(listener) is None:
            return None, f"it has no listener {listener} (inter.broker.listener.name)"
        return broker, ""

    async def changed(self) -> None:
        """/brokers/ids changed. The same id with another epoch is a failure and then a start."""
        names: list[str] | None = (await self._parts.store.read([Children(BROKER_IDS, self.on_ids)]))[0]
        registered = await self.read(names or [])
        known, channels = self._context.brokers, self._parts.channels
        new = {id_: each for id_, each in registered.items() if id_ not in known}
        bounced = {id_: each for id_, each in registered.items() if id_ in known and each.epoch > known[id_].epoch}
        dead = sorted(known.keys() - registered.keys())
        if not new and not bounced and not dead:
            return
        self._parts.around.info(
            f"brokers came: {sorted(new)}, came back: {sorted(bounced)}, went: {dead}, live now: {sorted(registered)}"
        )
        for broker in (*new.values(), *bounced.values()):
            channels.add(broker)
        for broker_id in dead:
            channels.remove(broker_id)
        if new:
            self._context.brokers.update(new)
            await self._started(sorted(new))
        if bounced:
            await self._failed(sorted(bounced))
            self._context.brokers.update(bounced)
            await self._started(sorted(bounced))
        if dead:
            await self._failed(dead)

    async def _started(self, broker_ids: list[int]) -> None:
        """New brokers hear everything; partitions without a leader may have one now."""
        context, batch = self._context, self._parts.batch
        for broker_id in broker_ids:
            context.offline_dir_partitions.pop(broker_id, None)
        batch.add_update_metadata([each for each in context.registered_ids() if each not in broker_ids], [])
        await batch.send()
        batch.add_update_metadata(broker_ids, context.partitions())
        await batch.send()
        replicas = await self._parts.replicas_on(broker_ids)
        await self._parts.replicas_online(replicas)
        await self._parts.partitions.elect_missing()
        targeted = [
            each
            for each in context.being_reassigned
            if not set(broker_ids).isdisjoint(context.assignment(each).target_replicas)
        ]
        await self._parts.reassignments.resume(targeted)
        await self._parts.deletion.resume_for({each.partition.topic for each in replicas})

    async def _failed(self, broker_ids: list[int]) -> None:
        for broker_id in broker_ids:
            self._context.brokers.pop(broker_id, None)
            self._context.offline_dir_partitions.pop(broker_id, None)
            self._context.shutting_down.discard(broker_id)
        await self._parts.replicas_offline(await self._parts.replicas_on(broker_ids))

    async def _modified(self, broker_id: int) -> None:
        """A registration changed: its endpoints may be others."""
        known = self._context.brokers.get(broker_id)
        found = (await self.read([str(broker_id)])).get(broker_id)
        if known is None and found is not None:  # it could not be used before
            await self.changed()
            return
        if known is None or found is None or found.epoch != known.epoch or found == known:
            return  # what comes and goes is heard from /brokers/ids
        self._context.brokers[broker_id] = found
        self._parts.channels.replace(found)
        await self._parts.tell_brokers()

    async def _log_dir_events(self) -> None:
        """Log directories failed: the brokers tell which replicas are offline when they are asked for all of them."""
        names: list[str] | None = (await self._parts.store.read([Children(LOG_DIR_EVENTS, self.on_log_dir_events)]))[0]
        paths = [f"{LOG_DIR_EVENTS}/{name}" for name in names or ()]
        nodes: list[Node | None] = await self._parts.store.read([Get(path) for path in paths])
        brokers: set[int] = set()
        for path, node in zip(paths, nodes, strict=True):
            try:
                broker_id = failed_log_dir_of(node) if node is not None else None
            except ValueError as error:
                self._parts.around.warning(f"{path}: {error}")
                continue
            if broker_id in self._context.brokers:
                brokers.add(broker_id)
        await self._parts.replicas_online(await self._parts.replicas_on(brokers))
        await self.forget(paths)

    async def forget(self, paths: list[str]) -> None:
        """Delete notifications that were read."""
        changes: list[list[Operation]] = [[Delete(path)] for path in paths]
        await self._parts.store.write(changes)

    async def controlled_shutdown(self, broker_id: int, broker_epoch: int) -> ControlledShutdownResponse:
        """A broker wants to go: its leaders move, its replicas leave the ISRs. The response names what it still leads."""
        context = self._context
        broker = context.brokers.get(broker_id)
        if broker is None:
            return ControlledShutdownResponse(ErrorCode.BROKER_NOT_AVAILABLE)
        if broker_epoch != -1 and broker_epoch < broker.epoch:
            return ControlledShutdownResponse(ErrorCode.STALE_BROKER_EPOCH)
        context.shutting_down.add(broker_id)
        self._parts.around.info(f"broker {broker_id} shuts down")
        led: list[TopicPartition] = []
        followed: list[TopicPartition] = []
        for partition, _ in await self._parts.replicas_on([broker_id]):
            state = context.states.get(partition)
            replicated = len(context.assignment(partition).replicas) > 1 and partition.topic not in context.deleting
            if state is not None and replicated:
                (led if state.leader == broker_id else followed).append(partition)
            await self._parts.pace.looked()
        await self._parts.elect(led, Election.CONTROLLED_SHUTDOWN)
        for partition in followed:
            self._parts.batch.add_stop_replica(broker_id, partition, delete=False)
            await self._parts.pace.looked()
        await self._parts.batch.send()
        await self._parts.replicas.to_offline([Replica(each, broker_id) for each in followed])
        # Partitions without another replica stay, and are not named (ControllerContext.partitionLeadersOnBroker).
        remaining = [RemainingPartition(*each) for each in led if context.states[each].leader == broker_id]
        return ControlledShutdownResponse(ErrorCode.NONE, tuple(remaining))
