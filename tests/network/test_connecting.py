"""A broker whose name has several addresses: one that does not answer leaves time for the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# getaddrinfo finds 127.0.0.2 and 127.0.0.1 for the name "two".
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!host || strcmp(host, "two")) return real(host, service, hints, found);
    struct addrinfo *second;
    int failed = real("127.0.0.2", service, hints, found);
    if (failed) return failed;
    failed = real("127.0.0.1", service, hints, &second);
    if (failed) return failed;
    (*found)->ai_next = second;
    return 0;
}
"""
# The listener on 127.0.0.2 has a full backlog: a connection to it is neither made nor refused.
PROGRAM = """
import socket, struct, threading
from kafka_cy.network.broker_connection import BrokerConnection

good = socket.create_server(("127.0.0.1", 0))
port = good.getsockname()[1]
full = socket.socket()
full.bind(("127.0.0.2", port))
full.listen(0)
waiting = []
for _ in range(8):
    waiting.append(socket.socket())
    waiting[-1].setblocking(False)
    waiting[-1].connect_ex(("127.0.0.2", port))

def answer():
    connection, _ = good.accept()
    frame = connection.recv(100)
    connection.sendall(struct.pack(">i", 4) + frame[8:12])
    connection.recv(1)

threading.Thread(target=answer, daemon=True).start()
connection = BrokerConnection("two", port, "test", timeout_ms=600)
print(connection.request(1, 4, b"", flexible=False, flexible_response=False))
connection.close()
"""


def test_an_address_that_does_not_answer_leaves_time_for_the_next(tmp_path: Path) -> None:
    source, library = tmp_path / "names.c", tmp_path / "names.so"
    source.write_text(LIBRARY)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    libraries = [each for each in os.environ.get("LD_PRELOAD", "").split(":") if each]
    environment = {**os.environ, "LD_PRELOAD": ":".join([*libraries, str(library)]), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "b''\n", done.stderr
