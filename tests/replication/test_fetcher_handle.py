"""Python's handle of a fetcher: what its thread uses lives as long as the thread."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path
from typing import Any

from kafka_cy.config import BrokerConfig
from kafka_cy.network.tls_client import TlsClient
from kafka_cy.replication.fetcher_events import FetcherEvents
from kafka_cy.replication.replica_fetcher import ReplicaFetcher
from kafka_cy.security.listener_tls import tls_contexts
from tests.certificates import Authority
from tests.waiting import wait_until


def test_a_cycle_does_not_take_the_transport_from_the_thread(tmp_path: Path) -> None:
    """Python's collector empties the objects of a cycle before it frees them; the thread uses the transport until it ends."""
    authority = Authority(tmp_path)
    config = {"listeners": "SSL://h:1", **{key: str(value) for key, value in authority.broker_config().items()}}
    _, context = tls_contexts(BrokerConfig(config), "SSL", connects=True)
    assert context is not None
    client = TlsClient(context)
    seen: list[bool] = []

    @ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
    def let_go(capsule: int) -> None:
        seen.append("fetcher-73" in thread_names())

    class InCycle(ReplicaFetcher):
        me: Any = None

    fetcher = InCycle(
        FetcherEvents(), 73, "127.0.0.1", 1, client_id="c", broker_id=1, transport=capsule_like(client.transport, let_go)
    )
    fetcher.me = fetcher
    fetcher.start()
    wait_until(lambda: "fetcher-73" in thread_names(), "the thread")
    del fetcher
    gc.collect()
    assert seen == [False]


def thread_names() -> set[str]:
    found = set()
    for path in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended
            found.add((path / "comm").read_text().strip())
    return found


def capsule_like(capsule: Any, let_go: Any) -> Any:
    """With the same name and content; `let_go` is called at its end."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_void_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_void_p]
    api.PyCapsule_New.restype = ctypes.py_object
    api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    name = api.PyCapsule_GetName(capsule)
    content = api.PyCapsule_GetPointer(capsule, name)
    return api.PyCapsule_New(content, name, ctypes.cast(let_go, ctypes.c_void_p))
