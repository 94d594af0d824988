"""A server whose OpenSSL gets no memory (test_tls_memory.py): a program of its own, because OpenSSL must not have allocated before.

Arguments: the built failing_openssl.c, the PEM files of the broker and of its authority, how many allocations fail in a row. It
prints, for each number of the first one that fails, how a connection ends, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

SERVED = "served"


class Files:
    """The files of tests.certificates.Authority."""

    def __init__(self, broker: str, trusted: str) -> None:
        self.broker, self.trusted = Path(broker), Path(trusted)


def ends(failing: ctypes.CDLL, files: Files, length: int) -> list[str]:
    """What the log has of each connection, or SERVED. There is no further one when no allocation has failed."""
    import ssl

    from tests.network.conftest_network import COLD, Client, Harness
    from tests.waiting import wait_until

    made = Harness(1, authority=files)  # type: ignore[arg-type]
    found: list[str] = []

    def has_failed() -> bool:
        return not found or found[-1] != SERVED or failing.counted() >= len(found)

    def end_of_one() -> str:
        end = ""
        try:
            client = Client(made.port, made.client_tls)
            assert client.ask(COLD, b"x") == b"cold:x"
            client.close()
            end = SERVED
        except (EOFError, ConnectionError, ssl.SSLEOFError):
            pass
        except ssl.SSLError as error:
            end = f"the client says: {error}"  # OpenSSL goes on without what needs memory, and the client does not accept that
        wait_until(lambda: made.server.counters()["connections"] == 0, "its end")
        return "; ".join(made.log()) or end  # of many lines in a second, the log only says that there are more

    try:
        # OpenSSL looks for an algorithm once. If that fails, it does not look again, and no handshake succeeds any more.
        assert end_of_one() == SERVED
        while has_failed():
            failing.fail(len(found), len(found) + length - 1)
            found.append(end_of_one())
    finally:
        failing.fail(-1, -1)
        made.stop()
    return found


if __name__ == "__main__":
    library = ctypes.CDLL(sys.argv[1])
    assert library.install() == 1, "OpenSSL has allocated already"
    library.spare()
    print(json.dumps(ends(library, Files(sys.argv[2], sys.argv[3]), int(sys.argv[4]))))
