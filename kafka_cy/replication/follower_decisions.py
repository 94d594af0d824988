"""What a follower decides when a fetcher cannot go on: where to cut its log, where to begin, whether to wait.

Owner: one thread, the one that also changes roles; a role cannot change between a decision and its cut. Everything outside is
passed in, so that a simulator can run it. Kafka: AbstractFetcherThread, ReplicaFetcherThread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from kafka_cy.replication.truncation import UNDEFINED, Truncation, truncation

Key = tuple[str, int]
ERROR_NAMES = {
    3: "UNKNOWN_TOPIC_OR_PARTITION", 6: "NOT_LEADER_OR_FOLLOWER", 56: "KAFKA_STORAGE_ERROR", 74: "FENCED_LEADER_EPOCH",
    75: "UNKNOWN_LEADER_EPOCH", 100: "UNKNOWN_TOPIC_ID", 103: "INCONSISTENT_TOPIC_ID",
}  # fmt: skip


class FollowedLog(Protocol):
    """What is asked of a hosted partition's log (PartitionLog)."""

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]: ...
    @property
    def latest_epoch(self) -> int: ...


class FollowedReplica(Protocol):
    """What is asked of a hosted partition (HostedPartition)."""

    @property
    def log(self) -> Any: ...
    @property
    def log_end_offset(self) -> int: ...
    @property
    def high_watermark(self) -> int: ...


class Following(NamedTuple):
    """The leader of a partition that this broker follows."""

    leader: int
    leader_epoch: int


class Question(NamedTuple):
    """For the leader of a partition. `kind`: its log's end or start (ListOffsets -1, -2), or the end of an epoch."""

    kind: Literal["end", "start", "epoch"]
    key: Key
    leader_epoch: int
    epoch: int = UNDEFINED


class Answer(NamedTuple):
    """`epoch` is of an epoch's end only: the leader's largest one that is not above the asked one."""

    error_code: int
    offset: int = UNDEFINED
    epoch: int = UNDEFINED


class Cut(NamedTuple):
    """Keep everything below `offset`; with `fully`, drop everything and begin there."""

    key: Key
    offset: int
    fully: bool = False


class FollowerDecisions:
    """Handles the events of all fetchers.

    `ask(leader, questions, done)` asks a leader and calls `done(answers)`, in the order of the questions, or `done(None)` where the
    leader did not answer; on this thread. `cut(cuts)` truncates, makes the new recovery points durable once for all of them, and
    returns the keys whose log failed. `follow(key)` lets the fetcher go on from the log's end. `later(call)` calls after
    replica.fetch.backoff.ms.
    """

    def __init__(
        self,
        partitions: Mapping[Key, Any],
        following: Mapping[Key, Following],
        ask: Callable[[int, list[Question], Callable[[list[Answer] | None], None]], None],
        cut: Callable[[list[Cut]], set[Key]],
        follow: Callable[[Key], None],
        later: Callable[[Callable[[], None]], None],
        warn: Callable[..., None] = lambda text, **details: None,
        info: Callable[..., None] = lambda text, **details: None,
    ) -> None:
        self._partitions = partitions
        self._following = following
        self._ask = ask
        self._cut = cut
        self._follow = follow
        self._later = later
        self._warn = warn
        self._info = info

    def handle(self, events: Iterable[Any]) -> None:
        """FetcherEvents, in their order. Cuts of all partitions are made together."""
        cuts: list[Cut] = []
        questions: list[Question] = []
        for event in events:
            key = (event.topic, event.partition)
            if event.topic and not self._is_current(key, event.leader_epoch):
                continue
            if event.kind == "diverged":
                cuts.append(self._cut_at(key, self._truncation(key, event.epoch, event.offset)))
            elif event.kind == "out of range":
                questions.append(Question("end", key, event.leader_epoch))
            elif event.kind == "begin":
                questions += self._first_question(key, event.leader_epoch, {})
            else:
                self._tell(event, key)
        self._make(cuts, {})
        self._ask_all(questions)

    def _is_current(self, key: Key, leader_epoch: int) -> bool:
        following = self._following.get(key)
        return following is not None and following.leader_epoch == leader_epoch and key in self._partitions

    def _tell(self, event: Any, key: Key) -> None:
        if event.kind == "delayed":
            error = ERROR_NAMES.get(event.code, str(event.code))
            self._info("the leader refuses a fetch; it is tried again", partition=_name(key), error=error)
        elif event.kind == "corrupt":
            self._warn("the leader sent a corrupt batch; it is fetched again", partition=_name(key), offset=event.offset)
        elif event.kind == "below start":
            self._info("the log begins with a whole batch, below the leader's start", partition=_name(key), offset=event.offset)
        elif event.kind == "fenced":
            self._info("the leader has a newer epoch: waiting for the controller", partition=_name(key), epoch=event.leader_epoch)
        elif event.kind == "failed":
            self._warn("fetched records cannot be appended; the partition is not fetched any more", partition=_name(key),
                       offset=event.offset)  # fmt: skip

    # -- cutting --

    def _truncation(self, key: Key, epoch: int, end_offset: int) -> Truncation:
        partition = self._partitions[key]
        return truncation(
            epoch, end_offset, partition.log.end_offset_for_epoch, partition.log_end_offset, partition.high_watermark
        )

    def _cut_at(self, key: Key, found: Truncation) -> Cut:
        partition = self._partitions[key]
        if found.offset < partition.high_watermark:
            # Without unclean elections this cannot happen: what is committed is in every leader's log.
            self._warn("a log is cut below its high watermark", partition=_name(key), offset=found.offset,
                       high_watermark=partition.high_watermark)  # fmt: skip
        return Cut(key, found.offset)

    def _make(self, cuts: list[Cut], held: dict[Key, Question]) -> None:
        """Cut, and go on fetching. A log that failed is offline with its directory; nothing is fetched for it."""
        if not cuts:
            return
        failed = self._cut(cuts)
        for cut in cuts:
            if cut.key in failed:
                self._warn("a log cannot be cut", partition=_name(cut.key), offset=cut.offset)
            else:
                self._follow(cut.key)
            held.pop(cut.key, None)

    # -- asking --

    def _first_question(self, key: Key, leader_epoch: int, held: dict[Key, Question]) -> list[Question]:
        """Before IBP 2.7, a follower cuts its log before its first fetch; without epochs, at its high watermark."""
        partition = self._partitions[key]
        latest: int = partition.log.latest_epoch
        if latest == UNDEFINED:
            self._make([Cut(key, min(partition.high_watermark, partition.log_end_offset))], held)
            return []
        return [Question("epoch", key, leader_epoch, latest)]

    def _ask_all(self, questions: Iterable[Question]) -> None:
        by_leader: dict[int, list[Question]] = {}
        for question in questions:
            if self._is_current(question.key, question.leader_epoch):
                by_leader.setdefault(self._following[question.key].leader, []).append(question)
        for leader, its in by_leader.items():
            self._ask(leader, its, lambda answers, its=its: self._answered(its, answers))  # type: ignore[misc]

    def _answered(self, questions: list[Question], answers: list[Answer] | None) -> None:
        held = {question.key: question for question in questions}
        try:
            self._use(questions, answers, held)
        except Exception:
            # What a fetcher holds is not forgotten. The others fetch already: an answer to a question of before could cut that.
            self._later(lambda: self._ask_all(held.values()))
            raise

    def _use(self, questions: list[Question], answers: list[Answer] | None, held: dict[Key, Question]) -> None:
        """Takes from `held` what is decided: it is fetched again, or its log has failed."""
        cuts: list[Cut] = []
        more: list[Question] = []
        again: list[Question] = []
        for i, question in enumerate(questions):
            if not self._is_current(question.key, question.leader_epoch):
                continue
            answer = answers[i] if answers is not None else None
            if answer is None or answer.error_code:
                again.append(question)
            elif question.kind == "epoch":
                found = self._truncation(question.key, answer.epoch, answer.offset)
                if found.complete:
                    cuts.append(self._cut_at(question.key, found))
                else:
                    more += self._cut_and_ask(question, found, held)
            else:
                self._place(question, answer, cuts, more, held)
        self._make(cuts, held)
        self._ask_all(more)
        if again:
            self._later(lambda: self._ask_all(again))

    def _cut_and_ask(self, question: Question, found: Truncation, held: dict[Key, Question]) -> list[Question]:
        """The leader does not have that epoch: cut to the end of an earlier one and ask about it."""
        if self._cut([self._cut_at(question.key, found)]):
            self._warn("a log cannot be cut", partition=_name(question.key), offset=found.offset)
            held.pop(question.key, None)
            return []
        return self._first_question(question.key, question.leader_epoch, held)

    def _place(
        self, question: Question, answer: Answer, cuts: list[Cut], more: list[Question], held: dict[Key, Question]
    ) -> None:
        """Out of the leader's range: behind its end, or before its start (Kafka: fetchOffsetAndTruncate)."""
        key, own_end = question.key, self._partitions[question.key].log_end_offset
        if question.kind == "end" and answer.offset < own_end:
            self._warn("the leader's log ends below this one: it is cut (an unclean election)", partition=_name(key),
                       offset=answer.offset, log_end_offset=own_end)  # fmt: skip
            cuts.append(Cut(key, answer.offset))
        elif question.kind == "end":
            more.append(Question("start", key, question.leader_epoch))
        elif answer.offset > own_end:
            self._warn("the leader's log begins above this one's end: everything here is dropped", partition=_name(key),
                       offset=answer.offset, log_end_offset=own_end)  # fmt: skip
            cuts.append(Cut(key, answer.offset, True))
        else:
            self._follow(key)
            held.pop(key, None)


def _name(key: Key) -> str:
    return f"{key[0]}-{key[1]}"
