"""ZooKeeper for the tests of this folder: one server for all tests of a process, each test in a chroot of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cluster.zookeeper_ensemble import Ensemble

_numbers = itertools.count()


@pytest.fixture(scope="session")
def one_zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    from tests.cluster.zookeeper_ensemble import Ensemble  # loads kazoo, which other tests here do not need

    with Ensemble(tmp_path_factory.mktemp("zookeeper")) as ensemble:
        yield ensemble


@pytest.fixture
def chroot() -> str:
    return f"/test/{next(_numbers)}"


@pytest.fixture
def zookeeper_connect(one_zookeeper: Ensemble, chroot: str) -> str:
    """zookeeper.connect of an empty cluster."""
    return one_zookeeper.hosts + chroot
