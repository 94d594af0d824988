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
TORN = 9  # the first batch of the second segment that is lost
# (share of the names, share of the data) that is left of what was not synced: all of it is what a kill leaves.
LEFT = [(1.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (None, None), (None, None)]

CUT = """
import ctypes, os, sys
from kafka_cy.storage.log import PartitionLog
from tests.storage.batches import batch

library, recording, folder, how = ctypes.CDLL(sys.argv[1]), *sys.argv[2:]
library.record_start(recording.encode(), os.path.dirname(folder).encode())
log = PartitionLog(folder, recovery_point=0)
if how == "truncate":
    log.truncate_to(9)
for _ in range(2):
    log.append(batch(timestamp_ms=2000))
log.flush()
"""


def prepare(folder: Path, how: str) -> None:
    """Segments of six batches each; the second one is torn after half of them."""
    folder.mkdir(parents=True)
    log = PartitionLog(str(folder), clean=True)
    for _ in range(SEGMENTS):
        for _ in range(6):
            log.append(batch())
        log.roll()
    log.flush()
    abandon(log)
    if how == "recover":
        second = folder / f"{6:020d}.log"
        batches = split(second.read_bytes())
        second.write_bytes(b"".join(batches[: TORN - 6]) + batches[TORN - 6][:-1])


def found(folder: Path) -> list[tuple[int, bool]]:
    """Every batch: its offset, and whether it was appended after the cut."""
    log = PartitionLog(str(folder), recovery_point=0)
    try:
        batches: list[tuple[int, bool]] = []
        while data := log.read(batches[-1][0] + 1 if batches else 0):
            batches += [(base_offset(each), each[27:35] == batch(timestamp_ms=2000)[27:35]) for each in split(data)]
        assert log.log_end_offset == len(batches)
    finally:
        abandon(log)
    return batches


@pytest.mark.parametrize("how", ["recover", "truncate"])
def test_a_cut_that_is_interrupted_leaves_no_gap(tmp_path: Path, how: str) -> None:
    library = build_recorder(tmp_path)
    data, recording = tmp_path / "data", tmp_path / "recording"
    prepare(data / "t-0", how)
    disk = Disk(shutil.copytree(data, tmp_path / "before"))
    disk.root = str(data)
    ran = subprocess.run(
        [sys.executable, "-c", CUT, str(library), str(recording), str(data / "t-0"), how],
        env=preloaded(library), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    chance, steps = random.Random(1), read_steps(recording)
    ends: list[int] = []
    for step in steps:
        if step.name not in ("open", "close"):
            for names, content in LEFT:
                left = tmp_path / "left"
                disk.after_power_loss(left, chance, names, content)
                batches = found(left / "t-0")
                assert [offset for offset, _ in batches] == list(range(len(batches))), (step.name, names, content)
                fresh = [offset for offset, is_new in batches if is_new]
                assert fresh in ([], [TORN], [TORN, TORN + 1]) and len(batches) >= TORN, (step.name, names, content)
                ends.append(len(batches))
                shutil.rmtree(left)
        disk.replay(step)
    assert len(ends) > 100 and {TORN, TORN + 1, TORN + 2} <= {*ends}, ends
