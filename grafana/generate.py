"""Writes dashboards/*.json: `python -m grafana.generate`. A test checks that they are fresh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel

from grafana.boards import bench, broker, clients, cluster, consumers, latency, sizing, storage, topics

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = {
    "cluster": cluster,
    "broker": broker,
    "topics": topics,
    "consumers": consumers,
    "latency": latency,
    "storage": storage,
    "clients": clients,
    "bench": bench,
    "sizing": sizing,
}


def texts() -> dict[str, str]:
    """File name and text of every dashboard; panels are numbered, so that links to them stay."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    written = {}
    for name, module in BOARDS.items():
        board = module.build().build()
        for number, panel in enumerate(_panels(board), 1):
            panel.id_val = number
        written[f"{name}.json"] = encoder.encode(board) + "\n"
    return written


def _panels(board: Dashboard) -> Iterator[Panel | RowPanel]:
    """The panels and rows; a row's panels follow it."""
    for panel in board.panels or ():
        yield panel
        if isinstance(panel, RowPanel):
            yield from panel.panels


def main() -> None:
    """Write them all, and remove what no board writes any more."""
    written = texts()
    for path in FOLDER.glob("*.json"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
