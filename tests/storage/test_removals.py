"""Files of removed segments go each after its own delay, also while a log keeps removing segments, and if the clock is set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.storage import removals
from kafka_cy.storage.log_manager import LogManager
from kafka_cy.storage.removals import Removal, planned, remove
from tests.storage.batches import batch
from tests.waiting import wait_until

DELAY_MS = 3_600_000
DELAY_NS = DELAY_MS * 1_000_000
TOPIC_ID = bytes(range(16))


class Clock:
    """The wall clock, which only goes on or is set when a test says so; the monotonic clock goes on with it."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def deleted(folder: Path, name: str, after_ns: int = 0) -> int:
    """A file that has just been renamed, later than `after_ns`. Returns when that was."""
    path = folder / f"{name}.log.deleted"
    path.touch()

    def renamed_ns() -> int:
        path.rename(path.with_suffix(".log"))
        path.with_suffix(".log").rename(path)
        return path.stat().st_ctime_ns

    wait_until(lambda: renamed_ns() > after_ns, "another change time")
    return path.stat().st_ctime_ns


def names(folder: Path) -> list[str]:
    return sorted(path.name.partition(".")[0] for path in folder.glob("*.deleted"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock(time.time_ns())
    monkeypatch.setattr(removals, "wall_clock_ns", clock)
    monkeypatch.setattr(removals, "_clock_ns", lambda: 0)
    yield clock


def test_each_file_goes_after_its_own_delay(tmp_path: Path, clock: Clock) -> None:
    first = deleted(tmp_path, "a")
    second = deleted(tmp_path, "b", first)
    clock.now_ns = first + DELAY_NS - 1
    removal = remove(str(tmp_path), planned(DELAY_MS))
    assert removal and names(tmp_path) == ["a", "b"]
    clock.now_ns += 1
    removal = remove(str(tmp_path), removal)
    assert names(tmp_path) == ["b"]
    assert removal and removal.due_s - time.monotonic() <= (second - first) / 1e9
    clock.now_ns = second + DELAY_NS
    assert remove(str(tmp_path), removal) is None and not names(tmp_path)


@pytest.mark.parametrize("step_ns", [2 * DELAY_NS, DELAY_NS // 2, -DELAY_NS // 2, -100 * DELAY_NS])
def test_a_clock_that_is_set_removes_nothing_early_and_all_in_the_end(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, step_ns: int
) -> None:
    clock.now_ns = deleted(tmp_path, "a")
    removal: Removal | None = planned(DELAY_MS)
    monkeypatch.setattr(removals, "_clock_ns", lambda: step_ns)
    clock.now_ns += step_ns
    passes = 0
    while removal is not None:
        assert names(tmp_path) == ["a"] and passes < 4
        clock.now_ns += DELAY_NS
        removal = remove(str(tmp_path), removal)
        passes += 1
    assert not names(tmp_path) and passes >= 2, "not before it has waited once more"


def test_a_folder_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    assert remove(str(tmp_path / "t-0"), planned(0)) is None


def test_a_folder_that_cannot_be_removed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once. A fault in one removal leaves the others theirs."""
    lines: list[tuple[str, str]] = []
    logs = LogManager(
        [str(tmp_path)], 1, "cluster", {"retention.ms": -1}, warn=lambda text, folder, **_: lines.append((text, folder))
    )
    logs.start({})
    stays, fails, goes = (str(tmp_path / f"{name}-0.{'0' * 32}-delete") for name in ("stays", "fails", "goes"))
    Path(goes).mkdir()
    Path(stays).mkdir()
    removed = removals.remove_tree

    def remove_tree(folder: str) -> None:
        if folder == fails:
            raise ImportError("no descriptors")
        if folder != stays:
            removed(folder)

    monkeypatch.setattr(removals, "remove_tree", remove_tree)
    hosted = logs._hosted
    for _ in range(2):
        with hosted.mutex:
            hosted.removals = {folder: Removal(0.0, 0, None) if folder not in hosted.removals else
                               hosted.removals[folder]._replace(due_s=0.0) for folder in (stays, fails, goes)}
            hosted.next_removal = 0.0
        hosted.wake.set()
        wait_until(lambda: set(hosted.removals) == {stays, fails} and hosted.next_removal > time.monotonic(), "the next attempts")
        assert all(removal.due_s - time.monotonic() > 30 for removal in hosted.removals.values())
    assert not Path(goes).exists()
    assert [folder for text, folder in lines if "removal failed" in text] == [stays, fails]
    logs.shutdown()


def test_a_log_that_keeps_removing_segments_gets_rid_of_their_files(tmp_path: Path) -> None:
    logs = LogManager([str(tmp_path)], 1, "cluster", {"retention.ms": -1, "file.delete.delay.ms": DELAY_MS})
    logs.start({})
    hosted = logs._hosted
    partition = logs.create("t", 0, TOPIC_ID)
    for _ in range(8):
        partition.append(batch())
    dues = set()
    for offset in (7, 5, 3):
        partition.log.roll()
        partition.append(batch())
        logs.truncate_to("t", 0, offset)
        with hosted.mutex:
            (removal,) = hosted.removals.values()
        dues.add(removal.due_s)
    assert len(dues) == 1, "not postponed"
    with hosted.mutex:  # the first one's delay is over, not yet that of the others
        hosted.removals[partition.log.directory] = removal._replace(due_s=0.0)
        hosted.next_removal = 0.0
    hosted.wake.set()
    wait_until(lambda: any(entry.due_s > time.monotonic() for entry in list(hosted.removals.values())), "a plan for the others")
    assert list(Path(partition.log.directory).glob("*.deleted"))
    logs.shutdown()
