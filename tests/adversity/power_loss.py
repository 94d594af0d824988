"""A program that loses the power at moments of a change: what was acknowledged is there after the next start.

`python -m tests.adversity.power_loss SCENARIO FOLDER SEED`, with disk_model.RECORDER preloaded and its path in RECORDER:
prepares a broker's data and makes the change on it in a process whose system calls are recorded. Then it takes moments of the
recording, makes folders that a disk might hold when the power goes at that moment, and starts on each. Prints a line for each
start: how much was acknowledged by then, the moment, and what the start has.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from kafka_cy.coordinator.share.state_coordinator import STATE_TOPIC, ShareCoordinator
from kafka_cy.coordinator.share.state_machine import SharePartition
from kafka_cy.coordinator.share.state_writes import StateWrite
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage import log_upkeep
from kafka_cy.storage.cleaner import clean
from tests.adversity import crash_steps
from tests.adversity.crash_steps import Node, pipe_to_parent
from tests.adversity.disk_model import Disk, Step, read_steps
from tests.coordinator.fakes import FakeLoop
from tests.coordinator.share_state import CONFIG as STATE_CONFIG
from tests.storage.test_cleaner import contents, keyed

MOMENTS_MAX = int(os.environ.get("POWER_LOSS_MOMENTS", "6"))  # of each change; 0: all
# (share of the names, share of the data) that is left of what was not synced; None: by chance.
LEFT = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (None, None), (None, None), (1.0, None)]
KEYS = 5
STATE_FLUSHED = 10  # the start offset in a share state that is flushed before the change
library: ctypes.CDLL


def acknowledge() -> None:
    """All that the scenario did so far must be there from here on."""
    library.record_mark()


# -- scenarios: what is done, with `acknowledge` where a client has its response --


def first_start(node: Node) -> None:
    """The start itself is the change."""


def of_crash_steps(scenario: Callable[[Node], None]) -> Callable[[Node], None]:
    def run(node: Node) -> None:
        scenario(node)
        acknowledge()

    return run


def move(node: Node) -> None:
    """kept-0 there and back, with records written in between."""
    for records in (10, 2):
        here = node.logs._hosted.dir_of["kept", 0]
        node.logs.move("kept", 0, next(path for path in node.logs.log_dirs if path != here))
        node.work()
        node.write("kept", records)
        acknowledge()


def roll(node: Node) -> None:
    """Records, a new segment, records; with checkpoints."""
    for _ in range(3):
        node.write("kept")
        acknowledge()
        node.logs.partitions["kept", 0].log.roll()
        node.work()


def new_epoch(node: Node) -> None:
    """A leader epoch begins; flush; retention removes what came before it."""
    partition = node.logs.partitions["kept", 0]
    partition.log.roll()
    partition.become_leader(7)
    node.write("kept")
    acknowledge()
    partition.delete_records(12)
    node.work()
    partition.log.delete_old_segments()
    acknowledge()
    node.work()


def clean_log(node: Node) -> None:
    """A compacted log is cleaned, and gets a record after that."""
    partition = node.logs.partitions["kept", 0]
    clean(partition.log)
    acknowledge()
    partition.append(keyed(("k0", "last")))
    partition.log.flush()
    acknowledge()


def shutdown(node: Node) -> None:
    node.write("kept")
    acknowledge()
    node.logs.shutdown()
    node.metadata.store.close()


def trim_share_state(node: Node) -> None:
    """The share coordinator writes states anew, and deletes what lies before them. Nothing but that flushes the records."""
    coordinator = share_coordinator(node)
    for offset in range(STATE_FLUSHED + 1, STATE_FLUSHED + 20):
        write_state(coordinator, offset)
        if offset % 7 == 0:
            coordinator.loop.advance(301)  # the time of the job
            node.work()
            acknowledge()


def share_coordinator(node: Node) -> ShareCoordinator:
    coordinator = ShareCoordinator(STATE_CONFIG, node.cluster, FakeLoop(), lambda *what, **details: fail_scenario(what, details))
    coordinator.start()
    coordinator.loop.advance(0)
    return coordinator


def fail_scenario(*what: object) -> None:
    raise AssertionError(what)


def write_state(coordinator: ShareCoordinator, offset: int) -> None:
    """Store that the share group begins at the offset."""
    errors: list[ErrorCode] = []
    key = SharePartition("g", coordinator.cluster.topics["kept"].id, 0)
    coordinator.write(StateWrite(key, 1, 0, offset, 0, ()), errors.append)
    assert errors == [ErrorCode.NONE], errors


SCENARIOS = {
    each.__name__: each for each in (first_start, move, roll, new_epoch, clean_log, shutdown, trim_share_state)
} | {
    name: of_crash_steps(crash_steps.SCENARIOS[name]) for name in ("create", "add_partitions", "delete", "delete_and_create")
}


def prepare(scenario: str, folder: Path) -> None:
    if scenario == "first_start":
        return
    if scenario not in ("clean_log", "trim_share_state"):
        crash_steps.prepare(folder)
        return
    node = Node(folder)
    node.changes.create_topic("kept", [[1]], {})
    if scenario == "trim_share_state":
        prepare_state(node)
        return
    log = node.logs.partitions["kept", 0].log
    for i in range(4):
        node.logs.partitions["kept", 0].append(keyed(*((f"k{key}", f"{i}") for key in range(KEYS))))
        log.roll()
    node.logs.partitions["kept", 0].append(keyed(("end", "0")))
    log.flush()
    node.logs.write_checkpoints()
    node.logs.shutdown()
    node.metadata.store.close()


def prepare_state(node: Node) -> None:
    """A share group with a state that is stored for sure."""
    node.changes.create_topic(STATE_TOPIC, [[1]], {})
    coordinator = share_coordinator(node)
    coordinator.initialize(SharePartition("g", node.cluster.topics["kept"].id, 0), 1, 0, lambda error: None)
    write_state(coordinator, STATE_FLUSHED)
    node.logs.partitions[STATE_TOPIC, 0].log.flush()
    node.logs.write_checkpoints()
    node.logs.shutdown()
    node.metadata.store.close()


def found(scenario: str, folder: Path) -> str:
    """What a start on `folder` has."""
    node = Node(folder)
    if scenario == "trim_share_state":
        (shard,) = share_coordinator(node).runtime.loaded_shards()
        return f"state={[state.start_offset for state in shard.state.states.values()]}"
    text = node.found()
    if scenario == "clean_log":
        values = {key: value for _, key, value in contents(node.logs.partitions["kept", 0].log)}
        text += "".join(f" {key}={values[key]}" for key in sorted(values))
    if scenario == "new_epoch":
        log = node.logs.partitions["kept", 0].log
        text += f" epochs={[log.epoch_of(offset) for offset in range(log.log_start_offset, log.log_end_offset)]}"
    return text


# -- processes --


def in_child(work: Callable[[], str | None]) -> str:
    """What `work` returned, or a traceback, in a forked process."""
    with pipe_to_parent() as (reading, writing):
        child = os.fork()
        if child == 0:
            log_upkeep.LogUpkeep.start = lambda upkeep, recovered: None  # type: ignore[method-assign]
            try:
                text = work() or ""
            except BaseException:  # noqa: BLE001 told to the parent
                text = traceback.format_exc()
            os.write(writing, text.encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(os.dup(reading)) as stream:
            text = stream.read()
        os.waitpid(child, 0)
    return text


def record(scenario: str, folder: Path, recording: Path) -> None:
    """Make the change on `folder`."""
    library.record_start(str(recording).encode(), str(folder).encode())
    node = Node(folder)
    library.record_mark()
    SCENARIOS[scenario](node)


def describe(step: Step) -> str:
    return f"{step.name} {step.data.decode(errors='replace').rpartition('/')[2][:60] if step.name not in ('write', 'mark') else ''}"


def main(scenario: str, folder: Path, seed: int) -> None:
    """Print `acknowledged, moment: what was found` for every start."""
    chance = random.Random(seed)
    data, recording = folder / "data", folder / "recording"
    data.mkdir()
    failed = in_child(lambda: prepare(scenario, data))
    before = Path(shutil.copytree(data, folder / "before"))
    failed = failed or in_child(lambda: record(scenario, data, recording))
    if failed:
        raise SystemExit(failed)
    data.rename(folder / "after")
    before.rename(data)
    steps = read_steps(recording)
    start = next(i for i, step in enumerate(steps) if step.name == "mark")
    first = 0 if scenario == "first_start" else start
    changing = [i for i in range(first, len(steps)) if steps[i].name not in ("open", "close", "mark")]
    moments = sorted({*chance.sample(changing, min(MOMENTS_MAX or len(changing), len(changing))), len(steps)})
    disk, done, acknowledged = Disk(data), 0, 0
    data.rename(folder / "prepared")
    for moment in moments:
        for step in steps[done:moment]:
            disk.replay(step)
            acknowledged += step.name == "mark"
        done = moment
        for names, content in LEFT:
            disk.after_power_loss(data, chance, names, content)
            text = in_child(lambda: found(scenario, data))
            where = f"before {describe(steps[moment])} ({moment})" if moment < len(steps) else "at the end"
            print(f"{max(acknowledged - 1, 0)} {where}, names {names}, data {content}: {text!r}", flush=True)
            shutil.rmtree(data)


if __name__ == "__main__":
    library = ctypes.CDLL(os.environ["RECORDER"])
    main(sys.argv[1], Path(sys.argv[2]).resolve(), int(sys.argv[3]))
