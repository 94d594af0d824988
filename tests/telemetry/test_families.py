"""Values of labels."""

from __future__ import annotations

from pathlib import Path

from kafka_cy.telemetry.families import printable


def test_paths_are_shown_whole_and_encodable(tmp_path: Path) -> None:
    assert printable("./data") == str(Path.cwd() / "data")
    assert printable(f"{tmp_path}/a\udcff") == f"{tmp_path}/a?"
