"""Certificates for tests: an authority, signed certificates, and the formats that brokers and clients read."""

from __future__ import annotations

import datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import CertificateBuilder, Name, load_pem_x509_certificate, random_serial_number

PASSWORD = "changeit"


class Authority:
    """A certificate authority with its own folder.

    `broker` holds key and certificates of localhost and 127.0.0.1, `trusted` the authority's certificate; both PEM files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = trustme.CA()
        self.trusted = folder / "trusted.pem"
        self.authority.cert_pem.write_to_path(str(self.trusted))
        self.broker = self.issue("localhost", "127.0.0.1")

    def issue(self, *names: str, common_name: str | None = None, expires_in_s: int | None = None) -> Path:
        """A PEM file with a new key and certificate for the names."""
        now = datetime.datetime.now(datetime.UTC)
        expiry = None if expires_in_s is None else now + datetime.timedelta(seconds=expires_in_s)
        issued = self.authority.issue_cert(
            *names, common_name=common_name, not_after=expiry, organization_unit_name="tests"
        )
        path = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def issue_to(self, subject: Name) -> Path:
        """The same for a client with any distinguished name."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        authority = load_pem_x509_certificate(self.authority.cert_pem.bytes())
        signer = load_pem_private_key(self.authority.private_key_pem.bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        builder = CertificateBuilder(authority.subject, subject, key.public_key(), random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=9))
        certificate = builder.sign(signer, SHA256())
        path = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        return path

    def key_store(self, pem: Path) -> Path:
        """The key and certificate of `pem` as a PKCS#12 file with PASSWORD."""
        content = pem.read_bytes()
        key = load_pem_private_key(content, None)
        assert isinstance(key, pkcs12.PKCS12PrivateKeyTypes)
        stored = pkcs12.serialize_key_and_certificates(
            b"broker",
            key,
            load_pem_x509_certificate(content),
            [load_pem_x509_certificate(self.trusted.read_bytes())],
            BestAvailableEncryption(PASSWORD.encode()),
        )
        path = pem.with_suffix(".p12")
        path.write_bytes(stored)
        return path

    def broker_config(self) -> dict[str, object]:
        """The configuration keys with which a broker presents its certificate."""
        return {"ssl.keystore.type": "PEM", "ssl.keystore.location": self.broker}
