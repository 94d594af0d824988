"""The thread that keeps a credential fresh: when it gets the next one, and what it does when there is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from kafka_cy.security.sasl import renewal as module
from kafka_cy.security.sasl.renewal import Renewal, RenewalFailed
from tests.waiting import wait_until


class Source:
    """Numbers, due again at once; `problem` is raised in the place of the next one."""

    def __init__(self) -> None:
        self.given = 0
        self.problem: Exception | None = None
        self.in_s = 0.0
        self.threads: set[str] = set()

    def get(self) -> tuple[int, float]:
        self.threads.add(threading.current_thread().name)
        if self.problem is not None:
            raise self.problem
        self.given += 1
        return self.given, self.in_s


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    return Source()


@pytest.fixture
def renewal(source: Source) -> Iterator[Renewal[int]]:
    made = Renewal("renewal", source.get)
    yield made
    made.stop()
    wait_until(lambda: not any(each.name == "renewal" for each in threading.enumerate()), "the thread ends")


def test_the_first_one_is_there_after_the_start(source: Source, renewal: Renewal[int]) -> None:
    source.in_s = 3600.0
    renewal.start()
    assert renewal.value == 1 and source.threads == {"MainThread"} and renewal.failures == 0


def test_each_is_replaced_when_it_is_due(source: Source, renewal: Renewal[int]) -> None:
    renewal.start()
    wait_until(lambda: renewal.value > 3, "new credentials")
    assert source.threads == {"MainThread", "renewal"}


def test_without_the_first_one_there_is_no_start(source: Source, renewal: Renewal[int]) -> None:
    source.problem = RenewalFailed("nobody answers")
    with pytest.raises(RenewalFailed, match="nobody answers"):
        renewal.start()
    assert not hasattr(renewal, "value")


def test_the_old_one_stays_and_each_cause_is_told_once(source: Source, renewal: Renewal[int]) -> None:
    told: list[str] = []
    renewal.told = told.append
    renewal.start()
    source.problem = RenewalFailed("one")
    wait_until(lambda: renewal.failures >= 5, "failures")
    last = renewal.value
    source.problem = ArithmeticError("canary")
    wait_until(lambda: len(told) == 2, "another cause")
    assert told == ["one", "ArithmeticError"] and renewal.value == last == source.given
    source.problem = None
    wait_until(lambda: len(told) == 3, "success")
    assert told[2] == "" and renewal.value > last


def test_jobs_run_on_the_thread(source: Source, renewal: Renewal[int]) -> None:
    source.in_s = 3600.0
    renewal.start()
    names: list[str] = []
    renewal.run(lambda: names.append(threading.current_thread().name))
    wait_until(lambda: names == ["renewal"], "the job")
