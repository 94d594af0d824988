"""A network between simulated brokers: it delays, drops, reorders, duplicates and cuts in one direction."""

from __future__ import annotations

from collections.abc import Callable

from tests.cluster.simulator.clock import Simulation
from tests.cluster.simulator.process import Process

TIMEOUT_MS = 2_000.0


class Network:
    """`cut` holds pairs (from, to) that lose everything. What arrives at a stopped process waits there."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.processes: dict[int, Process] = {}
        self.cut: set[tuple[int, int]] = set()
        self.settle()
        self._incarnations: dict[int, int] = {}

    def settle(self) -> None:
        """Nothing is lost, doubled or long under way."""
        self.loss = 0.0
        self.duplicates = 0.0
        self.delay_ms = (0.2, 5.0)

    def restarted(self, broker_id: int) -> None:
        """All connections of a broker are broken: what is on its way from and to it is lost."""
        self._incarnations[broker_id] = self._incarnations.get(broker_id, 0) + 1

    def send(self, source: int, target: int, deliver: Callable[[], object], duplicated: bool = False) -> None:
        """Deliver something later, or never, or twice."""
        random = self.simulation.random
        if (source, target) in self.cut or random.random() < self.loss:
            return
        ends = self._ends(source, target)

        def taken() -> None:
            if self.processes[target].up and self._ends(source, target) == ends:
                deliver()

        def arrive() -> None:
            if self._ends(source, target) == ends and (source, target) not in self.cut:
                self.processes[target].arrive("network", taken)

        for _ in range(2 if duplicated and random.random() < self.duplicates else 1):
            self.simulation.call_later(random.uniform(*self.delay_ms), arrive)

    def _ends(self, source: int, target: int) -> tuple[int, int]:
        return self._incarnations.get(source, 0), self._incarnations.get(target, 0)

    def call(
        self,
        source: int,
        target: int,
        serve: Callable[[Callable[[object], object]], object],
        done: Callable[[object], object],
        duplicated: bool = False,
    ) -> None:
        """A request with a response; `done(None)` if none came in time. `serve` gets a function that responds."""
        answered = False

        def finish(response: object) -> None:
            nonlocal answered
            if not answered:
                answered = True
                timer.cancel()
                done(response)

        def respond(response: object) -> None:
            self.send(target, source, lambda: finish(response))

        timer = self.processes[source].later(TIMEOUT_MS, lambda: finish(None))
        self.send(source, target, lambda: serve(respond), duplicated)
