"""A process that may not have more threads."""

from __future__ import annotations

from typing import NoReturn

import pytest

from kafka_cy.base.named_thread import NamedThread


def forbid_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, no NamedThread starts: as when the limit of the user or the control group is reached."""

    def fails(thread: NamedThread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(NamedThread, "start", fails)
