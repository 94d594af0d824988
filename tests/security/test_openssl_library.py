"""The authorities of the machine, also where OpenSSL was built for another distribution."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_cy.security import openssl_library
from kafka_cy.security.openssl_library import openssl_version, trust_authorities


class FakeContext:
    """Records what it is told to trust."""

    def __init__(self) -> None:
        self.trusted: list[str] = []

    def trust_system(self) -> None:
        self.trusted.append("system")

    def trust_pem(self, certificates: bytes) -> None:
        if b"-----BEGIN" not in certificates:
            raise ValueError("no certificate")
        self.trusted.append(certificates.decode())


def trusted(files: list[Path], variables: dict[str, str] | None = None) -> list[str]:
    context = FakeContext()
    trust_authorities(context, [str(each) for each in files], variables or {})  # type: ignore[arg-type]
    return context.trusted


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A file that is missing, one that cannot be used, and one that can."""
    paths = [tmp_path / name for name in ("missing", "empty", "bundle")]
    paths[1].write_text("")
    paths[2].write_text("-----BEGIN CERTIFICATE-----")
    return paths


def test_the_version_is_known() -> None:
    assert (openssl_version() or "").startswith("OpenSSL ")


def test_the_places_of_openssl_are_enough_where_they_exist(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(openssl_library, "_text", lambda name: str(tmp_path))
    assert trusted(files) == ["system"]


def test_the_machine_s_list_serves_where_they_do_not(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl_library, "_text", lambda name: "/no/such/folder")
    assert trusted(files) == ["system", "-----BEGIN CERTIFICATE-----"]
    assert trusted(files[:2]) == ["system"]
    assert trusted(files, {"SSL_CERT_FILE": "own.pem"}) == ["system"]


def test_the_functions_exist() -> None:
    for name in ("X509_get_default_cert_file", "X509_get_default_cert_dir"):
        assert openssl_library._text(name).startswith("/")
