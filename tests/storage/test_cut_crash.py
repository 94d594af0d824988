"""A log that is cut, by a recovery or by a truncation, and loses its process or its power at any step: it never has a gap."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_cy.storage.log import PartitionLog
from tests.adversity.disk_model import Disk, build_recorder, read_steps
from tests.storage.abandoned import abandon
from tests.storage.batches import base_offset, batch, split
from tests.storage.test_flush import preloaded

SEGMENTS = 4
# (share of the names, share of the data) that is left of what was not synced: all of it is what a kill leaves.
LEFT = [(1.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (None, None), (None, None)]

CUT = """
import ctypes, os, sys
from kafka_cy.storage.log import PartitionLog
from tests.storage.batches import batch

library, recording, folder, how = ctypes.CDLL(sys.argv[1]), *sys.argv[2:]
library.record_start(recording.encode(), os.path.dirname(folder).encode())
log = PartitionLog(folder, recovery_point=0, clean=how == "clean")
if how == "truncate":
    log.truncate_to(9)
log.roll()
for _ in range(2):
    log.append(batch(timestamp_ms=2000))
log.flush()
print(log.recovery_point)
"""


def prepare(folder: Path, how: str, torn: int) -> None:
    """Segments of six batches each."""
    folder.mkdir(parents=True)
    log = PartitionLog(str(folder), clean=True)
    for _ in range(SEGMENTS):
        for _ in range(6):
            log.append(batch())
        log.roll()
    log.flush()
    abandon(log)
    if how == "clean":
        (folder / f"{SEGMENTS * 6:020d}.log").unlink()
    if how != "truncate":
        segment = folder / f"{torn - torn % 6:020d}.log"
        batches = split(segment.read_bytes())
        segment.write_bytes(b"".join(batches[: torn % 6]) + batches[torn % 6][:-1])


def found(folder: Path, recovery_point: int) -> list[tuple[int, bool]]:
    """Every batch: its offset, and whether it was appended after the cut."""
    log = PartitionLog(str(folder), recovery_point=recovery_point)
    try:
        batches: list[tuple[int, bool]] = []
        while data := log.read(batches[-1][0] + 1 if batches else 0):
            batches += [(base_offset(each), each[27:35] == batch(timestamp_ms=2000)[27:35]) for each in split(data)]
        assert log.log_end_offset == len(batches)
    finally:
        abandon(log)
    return batches


@pytest.mark.parametrize(("how", "torn"), [("recover", 9), ("clean", 21), ("truncate", 9)])
def test_a_cut_that_is_interrupted_leaves_no_gap(tmp_path: Path, how: str, torn: int) -> None:
    """`torn`: the first batch that is lost, in the middle of a segment."""
    library = build_recorder(tmp_path)
    data, recording = tmp_path / "data", tmp_path / "recording"
    prepare(data / "t-0", how, torn)
    disk = Disk(shutil.copytree(data, tmp_path / "before"))
    disk.root = str(data)
    ran = subprocess.run(
        [sys.executable, "-c", CUT, str(library), str(recording), str(data / "t-0"), how],
        env=preloaded(library), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    chance, steps = random.Random(1), read_steps(recording)
    ends: list[int] = []
    for step in [*steps, None]:
        if step is None or step.name not in ("open", "close"):
            for names, content in LEFT:
                left = tmp_path / "left"
                disk.after_power_loss(left, chance, names, content)
                batches = found(left / "t-0", 0 if step else int(ran.stdout))
                assert [offset for offset, _ in batches] == list(range(len(batches))), (step, names, content)
                fresh = [offset for offset, is_new in batches if is_new]
                assert fresh in ([], [torn], [torn, torn + 1]) and len(batches) >= torn, (step, names, content)
                ends.append(len(batches))
                shutil.rmtree(left)
        if step:
            disk.replay(step)
    assert len(ends) > 50 and {torn, torn + 1, torn + 2} <= {*ends}, ends
