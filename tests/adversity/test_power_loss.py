"""A loss of power during a change, on a disk that loses what was not synced: everything that was acknowledged is there.

POWER_LOSS_SEED and POWER_LOSS_MOMENTS (0: all; `make crashes`) try more.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adversity.disk_model import build_recorder
from tests.storage.test_flush import preloaded

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1800)]

SEED = int(os.environ.get("POWER_LOSS_SEED", "1"))
KEPT = "kept-0=0..10 kept-1=0..10"
DOOMED = "doomed-0=8..10 doomed-1=8..10"
BEFORE = f"{DOOMED} {KEPT}"
CLEANED = "k1=3 k2=3 k3=3 k4=3"

# What the log may tell: the removal of a folder that was set aside was interrupted; an append was, before it was synced; a snapshot
# of the producers, which is not synced, is torn.
KNOWN_LINES = re.compile(
    " a folder left by a deletion or a move is removed; it has no topic id"
    "| the end of a log was torn or broken and was cut off"
    "| broken files of a log were made anew, or left out"
)

# What may be found, as regular expressions. After n acknowledgements, the first n are no longer allowed.
EXPECTED = {
    "first_start": [""],
    "create": [f"{BEFORE}( new-0=0..0 new-1=0..0 new-2=0..0)?", f"{BEFORE} new-0=0..0 new-1=0..0 new-2=0..0"],
    "add_partitions": [f"{BEFORE}( kept-2=0..0 kept-3=0..0)?", f"{BEFORE} kept-2=0..0 kept-3=0..0"],
    "delete": [f"({DOOMED} )?{KEPT}", KEPT],
    "delete_and_create": [rf"((doomed-0=0..[03]|{DOOMED}) )?{KEPT}", f"doomed-0=0..3 {KEPT}"],
    "move": [
        rf"{DOOMED} kept-0=0..(10|20) kept-1=0..(10|20)",
        rf"{DOOMED} kept-0=0..(20|22) kept-1=0..(20|22)",
        rf"{DOOMED} kept-0=0..22 kept-1=0..22",
    ],
    "roll": [rf"{DOOMED} kept-0=0..{n}0 kept-1=0..{n}0" for n in ("[12]", "[23]", "[34]", "4")],
    "new_epoch": [
        rf"{DOOMED} kept-0=0..(10|20) kept-1=0..(10|20) epochs=\[(0, ){{9}}0(, 7){{0,10}}\]",
        # As at Kafka, a flush may store the epochs before the log start offset: the epochs of what is deleted are unknown then.
        rf"{DOOMED} kept-0=(0|10|12)..20 kept-1=0..20 epochs=\[((0, )*|(-1, )*)7(, 7){{7,9}}\]",
        rf"{DOOMED} kept-0=12..20 kept-1=0..20 epochs=\[7(, 7){{7}}\]",
    ],
}
EXPECTED["clean_log"] = [
    rf"kept-0=0..2[12] end=0 k0=(3|last) {CLEANED}",
    rf"kept-0=0..2[12] end=0 k0=(3|last) {CLEANED}",
    f"kept-0=0..22 end=0 k0=last {CLEANED}",
]
# After each acknowledgement the log begins at a state that it has: what it began with is gone.
EXPECTED["trim_share_state"] = [rf"state=\[({'|'.join(map(str, range(least, 30)))})\]" for least in (10, 14, 21, 28)]
EXPECTED["shutdown"] = EXPECTED["roll"][:2]


@pytest.mark.parametrize("scenario", EXPECTED)
def test_the_power_goes(tmp_path: Path, scenario: str) -> None:
    library = build_recorder(tmp_path)
    folder = tmp_path / "disk"
    folder.mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", "tests.adversity.power_loss", scenario, str(folder), str(SEED)],
        env={**preloaded(library), "RECORDER": str(library)}, capture_output=True, text=True, timeout=1700, check=False,
        cwd=Path(__file__).parent.parent.parent,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    wrong = []
    for line in ran.stdout.splitlines():
        acknowledged, rest = line.split(" ", 1)
        text = re.search(r": (['\"].*)$", rest)
        assert text, line
        found = KNOWN_LINES.sub("", ast.literal_eval(text[1]))
        if not any(re.fullmatch(each, found) for each in EXPECTED[scenario][int(acknowledged) :]):
            wrong.append(line)
    assert not wrong, "\n".join(wrong[:20])
    assert len(ran.stdout.splitlines()) > 30, ran.stdout
