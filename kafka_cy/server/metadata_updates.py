"""UpdateMetadata as a broker takes it: into the cache, to the reactors, and to all who listen (ReplicaManager in Kafka)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.cluster.member_cache import PARTITION_INDEX_MAX, UNTOLD_MAX
from kafka_cy.cluster.metadata_cache import TopicsChanged
from kafka_cy.protocol.controller_messages.update_metadata import LEADER_DURING_DELETE
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.base.slices import Slices
    from kafka_cy.cluster.member_cache import MemberCache
    from kafka_cy.cluster.stored_configs import StoredConfigs
    from kafka_cy.cluster.topics import Topic
    from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataRequest
    from kafka_cy.server.log import BrokerLog
    from kafka_cy.server.published_topics import PublishedTopics

NO_EPOCH = -1
PARTITIONS_AT_ONCE = 500
WAITING_MAX = 10  # updates; a controller waits for each answer, and those of earlier epochs are answered when a later one comes
Done = Callable[[ErrorCode], object]


class Waiting:
    """An update that was not refused, and is not answered."""

    def __init__(self, request: UpdateMetadataRequest, done: Done) -> None:
        self.request, self.done = request, done


class MetadataUpdates:
    """Owner: the controller's thread. Updates are taken one after the other, as they come. Limit: WAITING_MAX.

    A controller waits for each answer. If none comes in time, it tells the same once more; that is taken once, and the last request
    gets the answer. Another update comes while one waits only from a later controller, or if this broker has registered again.
    """

    def __init__(
        self,
        cache: MemberCache,
        configs: StoredConfigs,
        published: PublishedTopics,
        slices: Slices,
        log: BrokerLog,
        updated: Callable[[int], object],
    ) -> None:
        """`updated(controller epoch)`: brokers or topics have changed."""
        self.controller_epoch = 0  # the largest that was seen
        self.broker_epoch = NO_EPOCH  # of this broker's registration
        self._waiting: deque[Waiting] = deque()  # the first one is looked at, or taken
        self._cache, self._configs, self._published, self._slices = cache, configs, published, slices
        self._log, self._updated = log, updated

    def topics_without_settings(self) -> int:
        """How many topics have settings that could never be read, or that are not allowed. Any thread."""
        return len(self._configs.malformed_topics) + len(self._configs.unusable_topics)

    def update(self, request: UpdateMetadataRequest, done: Done) -> None:
        """Take what the controller tells, then call `done`."""
        refusal = self._refusal(request)
        if refusal is not ErrorCode.NONE:
            done(refusal)
            return
        self.controller_epoch = max(self.controller_epoch, request.controller_epoch)
        self._drop_stale()
        if len(self._waiting) >= WAITING_MAX:
            self._log.warning(
                "UpdateMetadata is refused: too many others wait", controller=request.controller_id, waiting=len(self._waiting)
            )
            done(ErrorCode.UNKNOWN_SERVER_ERROR)
            return
        update = Waiting(request, done)
        self._waiting.append(update)
        if len(self._waiting) == 1:
            self._slices.add(self._check(update))
        else:
            self._slices.add(self._join(self._waiting[-2], update))

    def _drop_stale(self) -> None:
        """Answer those that would be refused now, except the first one; an answer that fails keeps nobody from another."""
        for update in list(self._waiting)[1:]:
            stale = self._staleness(update.request)
            if stale is not ErrorCode.NONE:
                self._waiting.remove(update)
                self._slices.add((), partial(update.done, stale))

    def _join(self, before: Waiting, update: Waiting) -> Generator[None, None, None]:
        """Leave out an update that tells the same as the one before it, which its controller has given up."""
        told, again = before.request, update.request
        if told._replace(topics=()) != again._replace(topics=()) or len(told.topics) != len(again.topics):
            return
        for topic, other in zip(told.topics, again.topics, strict=True):
            if topic != other:
                return
            yield
        if before in self._waiting and update in self._waiting:
            self._waiting.remove(update)
            given_up, before.done = before.done, update.done
            given_up(ErrorCode.REQUEST_TIMED_OUT)

    def _end(self, update: Waiting, error: ErrorCode) -> None:
        """The first one is taken, or refused."""
        self._waiting.popleft()
        try:
            update.done(error)
        finally:
            if self._waiting:
                self._slices.add(self._check(self._waiting[0]))

    def remove(self, topics: Sequence[Topic]) -> bool:
        """Forget topics whose deletion was missed, but not those that have changed since. False: not now, an update is taken."""
        if self._waiting:
            return False
        removed = tuple([topic for topic in topics if self._cache.topics.get(topic.name) is topic])
        for topic in removed:
            self._cache.remove_topic(topic)
            self._configs.forget(topic.name)
        if removed:
            self._published.publish([topic.name for topic in removed])
            self._cache.announce(TopicsChanged((), removed))
            self._log.info(
                "topics were deleted while this broker was not a member of the cluster", topics=len(removed), first=removed[0].name
            )
        return True

    def _check(self, update: Waiting) -> Generator[None, None, None]:
        """Look at everything that is told before anything is taken, and read the settings of topics that are new here."""
        names: list[str] = []
        try:
            error = yield from self._look_at(update.request, names)
        except Exception:
            self._end(update, ErrorCode.UNKNOWN_SERVER_ERROR)
            raise
        if error is not ErrorCode.NONE:
            self._end(update, error)
            return
        # LeaderAndIsr, which comes before, has them read, too, but without `newest`: for one topic after the other.
        self._configs.ensure(names, lambda: self._slices.add(self._take(update)), newest=True)

    def _look_at(self, request: UpdateMetadataRequest, names: list[str]) -> Generator[None, None, ErrorCode]:
        """Whether it can be taken. Topics whose settings have to be read are added to `names`."""
        stale = self._staleness(request)
        if stale is not ErrorCode.NONE:
            return stale  # it has become so while it waited
        existing: set[str] = set()
        untold = yield from self._untold_by(request, existing)
        if untold is None or self._cache.untold_count + untold > UNTOLD_MAX:
            self._log.warning(
                "UpdateMetadata is refused: impossible partitions, or too many between those that it tells of",
                controller=request.controller_id, untold=untold, untold_max=UNTOLD_MAX,
            )  # fmt: skip
            return ErrorCode.INVALID_REQUEST
        for topic in request.topics:
            if topic.topic in existing:
                known = self._cache.topics.get(topic.topic)
                if known is not None and topic.topic_id not in (None, known.id):
                    self._configs.forget(topic.topic)  # a new topic of that name: its deletion was missed
                if not self._configs.knows(topic.topic):
                    names.append(topic.topic)
            yield
        return ErrorCode.NONE

    def _untold_by(self, request: UpdateMetadataRequest, existing: set[str]) -> Generator[None, None, int | None]:
        """How many partitions below those that are told stay untold, at most; None if there is one that cannot be.

        Topics with partitions that are not being deleted are added to `existing`.
        """
        counts: dict[str, tuple[int, int]] = {}  # of a topic: how many are told above those that are known, and the highest
        lengths: dict[str, int] = {}
        looked_at = 0
        for told in request.topics:
            known = self._cache.topics.get(told.topic)
            is_known = known is not None and not self._cache.is_other_topic(known, told)
            length = lengths[told.topic] = len(known.partitions) if known is not None and is_known else 0
            above, end = counts.get(told.topic, (0, length))
            for state in told.partitions:
                if not 0 <= state.partition <= PARTITION_INDEX_MAX:
                    return None
                if state.leader != LEADER_DURING_DELETE:
                    existing.add(told.topic)
                    if state.partition >= length:
                        above, end = above + 1, max(end, state.partition + 1)
                looked_at += 1
                if looked_at % PARTITIONS_AT_ONCE == 0:
                    yield
            counts[told.topic] = above, end
            while not self._cache.grow_untold(end, PARTITIONS_AT_ONCE):
                yield
            yield
        return sum(max(0, end - lengths[topic] - above) for topic, (above, end) in counts.items())

    def _refusal(self, request: UpdateMetadataRequest) -> ErrorCode:
        error = self._staleness(request)
        if error is ErrorCode.STALE_BROKER_EPOCH:
            self._log.info(
                "UpdateMetadata for an earlier registration of this broker is refused",
                broker_epoch=request.broker_epoch, own=self.broker_epoch,
            )  # fmt: skip
        elif error is ErrorCode.STALE_CONTROLLER_EPOCH:
            self._log.warning(
                "UpdateMetadata of an earlier controller is refused", controller=request.controller_id,
                controller_epoch=request.controller_epoch, known=self.controller_epoch,
            )  # fmt: skip
        return error

    def _staleness(self, request: UpdateMetadataRequest) -> ErrorCode:
        """Whether it is for an earlier registration of this broker, or of an earlier controller."""
        if -1 < request.broker_epoch < self.broker_epoch:
            return ErrorCode.STALE_BROKER_EPOCH
        return ErrorCode.STALE_CONTROLLER_EPOCH if request.controller_epoch < self.controller_epoch else ErrorCode.NONE

    def _take(self, update: Waiting) -> Generator[None, None, None]:
        request = update.request
        changed: dict[str, Topic] = {}
        removed: dict[str, Topic] = {}
        forgotten: list[str] = []
        error = ErrorCode.UNKNOWN_SERVER_ERROR
        try:
            for told in request.topics:
                if self._staleness(request) is not ErrorCode.NONE:
                    break  # a later controller has told meanwhile, or this broker has registered again
                change = self._cache.take(told)
                for topic in change.removed:
                    removed[topic.name] = topic
                    changed.pop(topic.name, None)
                if not change.changed:
                    self._configs.forget(told.topic)
                for topic in change.changed:
                    changed[topic.name] = topic
                    self._published.put(topic)
                    if not self._configs.knows(topic.name) and topic.name not in self._configs.malformed_topics:
                        forgotten.append(topic.name)  # it is told of twice: as deleted before
                yield
            stale = self._staleness(request)
            if stale is ErrorCode.NONE:
                self._cache.put_brokers(request.controller_id, request.live_brokers)
            error = stale
        finally:
            try:
                self._published.publish([name for name in removed if name not in changed])
                if changed or removed:
                    self._cache.announce(TopicsChanged(tuple(changed.values()), tuple(removed.values())))
                self._updated(self.controller_epoch)
            finally:
                try:
                    self._end(update, error)
                finally:
                    self._configs.ensure(forgotten, lambda: None, newest=True)
