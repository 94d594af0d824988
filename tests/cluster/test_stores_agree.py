"""The same random requests give the same answers and watches in the embedded store, in ZooKeeper, and in the simulator's model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import (
    AsyncStore,
    Check,
    Children,
    Create,
    Delete,
    Exists,
    Get,
    Node,
    Operation,
    Request,
    Set,
    StoreError,
)
from tests.cluster.simulator.clock import Simulation
from tests.cluster.simulator.zookeeper_model import ZooKeeperModel
from tests.cluster.store_owner import Owner
from tests.cluster.zookeeper_ensemble import Ensemble

PATHS = st.sampled_from(["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/z"])
VERSIONS = st.sampled_from([-1, -1, 0, 1, 2])
DATA = st.sampled_from([None, b"1", b"2"])
OPERATIONS = st.one_of(
    st.builds(Create, PATHS, DATA, st.booleans(), st.just(False)),
    st.builds(Create, PATHS, DATA, st.just(False), st.just(False)),
    st.builds(Create, st.just("/s/n"), DATA, st.booleans(), st.just(True)),
    st.builds(Set, PATHS, DATA, VERSIONS),
    st.builds(Delete, PATHS, VERSIONS),
    st.builds(Check, PATHS, VERSIONS),
)
WATCHES = st.sampled_from([None, "one", "two"])
REQUESTS = st.one_of(
    st.builds(Get, PATHS, WATCHES),
    st.builds(Exists, PATHS, WATCHES),
    st.builds(Children, st.sampled_from(["/a", "/b", "/s", "/a/x"]), WATCHES),
)
STEPS = st.lists(st.one_of(st.lists(OPERATIONS, min_size=1, max_size=3), st.lists(REQUESTS, min_size=1, max_size=3)), max_size=25)

_numbers = itertools.count()


class Recorder:
    """What one store answers; watches that fire between two answers are one sorted list."""

    def __init__(self, store: AsyncStore, prefix: str) -> None:
        self.store, self.prefix = store, prefix
        self.heard: list[Any] = []
        self.fired: list[str] = []
        self._watches: dict[str, Any] = {}  # the same function for the same name

    def ask(self, step: Sequence[Any]) -> None:
        if isinstance(step[0], Get | Exists | Children):
            requests: list[Request] = [type(each)(self.prefix + each.path, self._watch(each.watch)) for each in step]
            self.store.read(requests, self._done)
        else:
            operations: list[Operation] = [each._replace(path=self.prefix + each.path) for each in step]
            self.store.submit(operations, self._done)

    def _watch(self, name: str | None) -> Any:
        if name is None:
            return None
        return self._watches.setdefault(name, lambda path: self.fired.append(f"{name} {path.removeprefix(self.prefix)}"))

    def _done(self, answer: list[Any] | None, error: StoreError | None) -> None:
        fired, self.fired = sorted(self.fired), []
        if error is not None:
            self.heard.append((fired, type(error), error.operation))
        else:
            self.heard.append((fired, [self._plain(each) for each in answer or []]))

    def _plain(self, answer: Any) -> Any:
        if isinstance(answer, Node):
            assert answer.owner in (0, self.store.session_id)
            return answer.data, answer.version, answer.ephemeral
        return answer.removeprefix(self.prefix) if isinstance(answer, str) else answer


class Stores:
    """One store of each kind."""

    def __init__(self, connect: str) -> None:
        self.zookeeper = Owner(connect)
        self.embedded = Owner()
        self.embedded.use(EmbeddedStore(None, self.embedded.post))
        self.simulation = Simulation(1)
        self.model = ZooKeeperModel(self.simulation).session()
        self.model.connect()

    def close(self) -> None:
        self.zookeeper.store.close()
        self.embedded.store.close()

    def recorders(self) -> list[Recorder]:
        """For one example, in a place of its own."""
        prefix = f"/e{next(_numbers)}"
        made = [Recorder(store, prefix) for store in (self.zookeeper.store, self.embedded.store, self.model)]
        for recorder in made:
            recorder.ask([Create("")])
            recorder.ask([Create("/s")])
        return made

    def wait(self, recorders: Sequence[Recorder], count: int) -> None:
        self.zookeeper.run_until(lambda: len(recorders[0].heard) == count)
        self.embedded.run_until(lambda: len(recorders[1].heard) == count)
        assert self.simulation.run_until(lambda: len(recorders[2].heard) == count)


@pytest.fixture(scope="module")
def stores(one_zookeeper: Ensemble) -> Iterator[Stores]:
    made = Stores(one_zookeeper.hosts + "/agree")
    yield made
    made.close()


@given(steps=STEPS)
@settings(max_examples=150)
def test_one_request_after_the_other(stores: Stores, steps: list[Any]) -> None:
    recorders = stores.recorders()
    for number, step in enumerate(steps):
        for recorder in recorders:
            recorder.ask(step)
        stores.wait(recorders, number + 3)
    assert recorders[1].heard == recorders[0].heard
    assert recorders[2].heard == recorders[0].heard


@given(steps=STEPS)
@settings(max_examples=150)
def test_all_requests_in_flight_together(stores: Stores, steps: list[Any]) -> None:
    recorders = stores.recorders()
    for recorder in recorders:
        for step in steps:
            recorder.ask(step)
    stores.wait(recorders, len(steps) + 2)
    assert recorders[1].heard == recorders[0].heard
    assert recorders[2].heard == recorders[0].heard
