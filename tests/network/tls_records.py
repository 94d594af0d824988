"""A TLS 1.3 client that writes its records itself, to send what no library sends."""

from __future__ import annotations

import ssl
import struct
from pathlib import Path
from typing import Any

from conftest_network import Client
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

ALERT, HANDSHAKE, DATA = 21, 22, 23
GOODBYE = b"\x01\x00"  # the content of an alert
KEY_UPDATE = b"\x18\x00\x00\x01\x00"


class RecordClient:
    """After the handshake, `record` encrypts data that the caller sends on `plain`; `client` receives as usual (RFC 8446)."""

    def __init__(self, port: int, trusted: Path, folder: Path) -> None:
        context = ssl.create_default_context(cafile=trusted)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.keylog_filename = str(folder / "keys")
        self.client = Client(port, context)
        self.plain: Any = self.client.socket.plain
        assert self.client.socket.session.cipher()[0] == "TLS_AES_256_GCM_SHA384"
        lines = (line.split() for line in (folder / "keys").read_text().splitlines())
        (secret,) = (words[2] for words in lines if words[0] == "CLIENT_TRAFFIC_SECRET_0")
        self._use(bytes.fromhex(secret))

    def record(self, kind: int, content: bytes) -> bytes:
        head = struct.pack(">BHH", DATA, 0x303, len(content) + 17)
        nonce = bytes(a ^ b for a, b in zip(self.iv, struct.pack(">IQ", 0, self.sequence), strict=True))
        self.sequence += 1
        return head + self.key.encrypt(nonce, content + bytes([kind]), head)

    def key_update(self) -> bytes:
        """The record after which all records use new keys."""
        record = self.record(HANDSHAKE, KEY_UPDATE)
        self._use(self._expanded(b"traffic upd", 48))
        return record

    def _use(self, secret: bytes) -> None:
        self.secret = secret
        self.key, self.iv, self.sequence = AESGCM(self._expanded(b"key", 32)), self._expanded(b"iv", 12), 0

    def _expanded(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        return HKDFExpand(SHA384(), size, struct.pack(">HB", size, len(label)) + label + b"\0").derive(self.secret)
