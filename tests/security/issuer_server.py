"""An issuer of tokens with an HTTP server: a token endpoint for the client credentials grant, and its key set."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.security.token_issuer import jwk, rsa_key, token

CLIENT_ID, SECRET = "the brokers", "se:cr=et+canary"


class Issuer:
    """Attributes may be changed while it runs. `issued` and `refused` count requests for tokens."""

    def __init__(self, port: int = 0) -> None:
        self._key = rsa_key("one")  # two threads that ask for it first would make two
        self.subject, self.lifetime_s = "broker", 3600.0
        self.refusal: tuple[int, bytes] | None = None  # status and body in the place of a token
        self.issued = self.refused = 0
        self.forms: list[dict[str, list[str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.port = self._server.server_port
        self.tokens, self.keys = (f"http://127.0.0.1:{self.port}/{name}" for name in ("token", "jwks"))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, json.dumps({"keys": [jwk(issuer._key, "one")]}).encode())

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.answer(*issuer.respond(self.headers["Authorization"], form))

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def respond(self, header: str, form: str) -> tuple[int, bytes]:
        self.forms.append(parse_qs(form))
        good = "Basic " + base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        if self.refusal is None and header != good:
            return 401, b'{"error":"invalid_client","error_description":"not ' + header.encode() + b'"}'
        if self.refusal is not None:
            self.refused += 1
            return self.refusal
        self.issued += 1
        now = time.time()
        made = token(self._key, {"sub": self.subject, "iat": int(now), "exp": now + self.lifetime_s})
        return 200, json.dumps({"access_token": made, "token_type": "Bearer"}).encode()

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Before it runs."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @contextmanager
    def running(self) -> Iterator[Issuer]:
        """Answers, until the end; then nobody listens on the port."""
        thread = threading.Thread(target=lambda: self._server.serve_forever(0.02))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
