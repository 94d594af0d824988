"""`kafka-cy certs`: who can read its files, what it replaces, where passwords come from, and what it signs."""

from __future__ import annotations

import datetime
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kafka_cy.tools.certs import files
from kafka_cy.tools.certs.command import commands
from kafka_cy.tools.certs.files import Output
from kafka_cy.tools.client import ToolError

SECRET = "correct horse"


def certs(*words: object, **environment: str) -> Result:
    return CliRunner().invoke(commands, [str(word) for word in words], env=environment, catch_exceptions=True)


def make(*words: object) -> str:
    done = certs(*words, PW=SECRET)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def failure(*words: object, **environment: str) -> str:
    """The sentence of a command that fails."""
    done = certs(*words, **environment)
    assert done.exit_code != 0
    return str(done.exception) if isinstance(done.exception, ToolError) else done.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make("ca", "--key-type", "ec", "--folder", tmp_path)
    return tmp_path


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def names(found: x509.Certificate) -> list[str]:
    return [str(each.value) for each in found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


def test_files_with_keys_are_for_the_owner_only(folder: Path) -> None:
    before = os.umask(0)
    try:
        stores = ["--store", "p12", "--store", "jks", "--password", "env:PW"]
        make("server", "localhost", "--key-type", "ec", *stores, "--folder", folder)
        make("client", "bob", "--request", "--key-type", "ec", "--folder", folder)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {
        "ca.key": 0o600, "ca.pem": 0o644, "bob.key": 0o600, "bob.csr": 0o644,
        **{f"broker.keystore.{kind}": 0o600 for kind in ("pem", "p12", "jks")},
        **{f"broker.truststore.{kind}": 0o644 for kind in ("pem", "p12", "jks")},
    }  # fmt: skip


@pytest.mark.parametrize("words", [["ca"], ["server", "localhost"], ["client", "broker"], ["server", "x", "--request"]])
def test_nothing_is_replaced_without_force(folder: Path, words: list[str]) -> None:
    make(*words, "--key-type", "ec", "--folder", folder, *(["--force"] if words == ["ca"] else []))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    sentence = failure(*words, "--key-type", "ec", "--folder", folder)
    assert "already; --force replaces files." in sentence
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    make(*words, "--key-type", "ec", "--folder", folder, "--force")
    assert any(path.read_bytes() != content for path, content in before.items())


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    monkeypatch.setattr(files, "require_new", lambda *_: second.write_text("of somebody else"))
    with pytest.raises(ToolError, match="b exists already"):
        files.write_all([Output(first, b"1", True), Output(second, b"2", True)], force=False)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("b", "of somebody else")]


def test_a_broken_link_is_not_followed(folder: Path) -> None:
    target = folder / "elsewhere"
    (folder / "alice.keystore.pem").symlink_to(target)
    assert "exists already" in failure("client", "alice", "--key-type", "ec", "--folder", folder)
    assert not target.exists()


def test_an_old_file_is_whole_until_the_new_one_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while a file is being replaced: the old files stay, and no part of a key is left over."""
    make("client", "alice", "--key-type", "ec", "--folder", folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert "No space left" in failure("client", "alice", "--key-type", "ec", "--folder", folder, "--force")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


class Killed(BaseException):
    """The process ends: nothing that follows has an effect."""


class Calls:
    """Calls that change a folder, of which one fails."""

    def __init__(self, patch: pytest.MonkeyPatch, fails_at: int, fault: BaseException) -> None:
        self.count, self.fails_at, self.fault = 0, fails_at, fault
        for owner, name in ((files.os, "link"), (files.os, "fsync"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **options: Any) -> Any:
            self.count += 1
            is_dead = self.count > self.fails_at and isinstance(self.fault, Killed)
            if self.count == self.fails_at or is_dead:
                raise self.fault
            return call(*words, **options)

        return counted


OLD, NEW = {"ca.key": b"old key", "ca.pem": b"old certificate"}, {"ca.key": b"new key", "ca.pem": b"new certificate"}


def replace_old(folder: Path) -> None:
    for name, content in OLD.items():
        (folder / name).write_bytes(content)
    files.write_all([Output(folder / name, content, name == "ca.key") for name, content in NEW.items()], force=True)


def replaced(folder: Path, fails_at: int, fault: BaseException) -> tuple[dict[str, bytes], bool]:
    """What is in the folder after OLD was to be replaced by NEW, and whether there was a fault."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch, fails_at, fault)
        with suppress(ToolError, Killed):
            replace_old(folder)
    found = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".tmp")}
    return found, calls.count >= fails_at


def test_no_moment_without_the_old_key_or_all_new_files(tmp_path: Path) -> None:
    """A new key beside an old certificate would be useless, and the authority's old key would be lost."""
    states = []
    for step in range(1, 100):
        found, failed = replaced(tmp_path / str(step), step, Killed())
        is_new = {name: found[name] for name in NEW} == NEW
        assert is_new or {name: found.get(f"{name}.old", found[name]) for name in OLD} == OLD, (step, found)
        states.append(is_new)
        if not failed:
            break
    assert found == NEW and True in states[:-1] and False in states


def test_an_error_brings_the_old_files_back(tmp_path: Path) -> None:
    for step in range(1, 100):
        found, failed = replaced(tmp_path / str(step), step, OSError(5, "Input/output error"))
        if {name: found[name] for name in NEW} == NEW:
            break
        assert found == OLD, step
    assert step > 6 and failed  # the last one: an old file could not be removed
    assert set(found) - set(NEW) == {"ca.key.old"}


def test_an_old_key_that_was_left_over_is_kept(tmp_path: Path) -> None:
    (tmp_path / "ca.key.old").write_bytes(b"perhaps the only copy")
    with pytest.raises(ToolError, match=r"ca\.key\.old exists: .* Rename it to ca\.key, or remove it"):
        replace_old(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {**OLD, "ca.key.old": b"perhaps the only copy"}


def test_a_password_is_no_word_of_the_command_line(folder: Path) -> None:
    sentence = failure("client", "alice", "--store", "p12", "--password", SECRET, "--folder", folder)
    assert "env:NAME, file:PATH or prompt" in sentence and SECRET not in sentence
    assert "ca.pem" in {path.name for path in folder.iterdir()} and len(list(folder.iterdir())) == 2


def test_sources_of_passwords(folder: Path) -> None:
    kept = folder / "password"
    kept.write_text(f"{SECRET}\r\nanother line\n")
    where = ["--folder", folder, "--key-type", "ec", "--store", "p12", "--force"]
    assert SECRET not in make("client", "a", *where, "--password", f"file:{kept}")
    done = CliRunner().invoke(commands, [str(word) for word in ["client", "b", *where, "--password", "file:-"]], input=SECRET)
    assert done.exit_code == 0
    make("client", "c", *where, "--password", "env:PW")
    for name in "abc":
        key, own, more = pkcs12.load_key_and_certificates((folder / f"{name}.keystore.p12").read_bytes(), SECRET.encode())
        assert key is not None and own is not None and len(more) == 1
    assert "NOTHING is not set" in failure("client", "d", *where, "--password", "env:NOTHING")
    assert "terminal" in failure("client", "d", *where)
    for wrong in ("short", "ü" * 8, "x" * 200, "tab\there"):
        assert "6 to 128 ASCII" in failure("client", "d", *where, "--password", "env:PW", PW=wrong)
    assert not list(folder.glob("d.*"))


def test_a_prompt_asks_twice_on_a_terminal(folder: Path) -> None:
    import pty

    command = [sys.executable, "-m", "kafka_cy", "certs", "client", "alice", "--key-type", "ec", "--store", "p12"]
    parent, child = pty.openpty()
    with subprocess.Popen(
        [*command, "--folder", str(folder)], stdin=child, stdout=subprocess.PIPE, stderr=child, start_new_session=True
    ) as process:
        os.close(child)
        shown = b""
        for prompt in (b"Password of the stores", b"Repeat for confirmation"):
            while prompt not in shown:
                shown += os.read(parent, 1000)
            os.write(parent, SECRET.encode() + b"\n")
        assert process.stdout is not None and b"alice.keystore.p12" in process.stdout.read()
        assert process.wait(60) == 0
    os.close(parent)
    assert SECRET.encode() not in shown
    assert pkcs12.load_pkcs12((folder / "alice.keystore.p12").read_bytes(), SECRET.encode()).key is not None


def test_certificates_of_brokers_and_clients(folder: Path) -> None:
    output = make("server", "b1.example.org", "*.example.org", "10.0.0.5", "::1", "--days", 30, "--folder", folder)
    broker = certificate(folder / "broker.keystore.pem")
    assert names(broker) == ["b1.example.org", "*.example.org", "10.0.0.5", "::1"]
    assert "Alternative names: DNS:b1.example.org, DNS:*.example.org, IP:10.0.0.5, IP:::1" in output
    uses = broker.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    key = load_pem_private_key((folder / "broker.keystore.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey) and key.key_size == 3072
    remaining = broker.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=29) < remaining <= datetime.timedelta(days=30)
    assert isinstance(broker.signature_hash_algorithm, SHA256)

    output = make("client", "alice", "--dn", r"CN=alice\, of the shop,OU=shop,C=DE", "--key-type", "ec", "--folder", folder)
    assert r"User:CN=alice\, of the shop,OU=shop,C=DE" in output
    found = certificate(folder / "alice.keystore.pem")
    assert [each.value for each in found.subject] == ["DE", "shop", "alice, of the shop"]
    assert list(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    for each in (broker, found):
        each.verify_directly_issued_by(certificate(folder / "ca.pem"))
        assert each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_a_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    make("ca", "--days", 10, "--key-type", "ec", "--folder", tmp_path)
    make("client", "alice", "--key-type", "ec", "--folder", tmp_path)
    assert certificate(tmp_path / "alice.keystore.pem").not_valid_after_utc == certificate(tmp_path / "ca.pem").not_valid_after_utc


def test_the_key_of_the_authority_may_have_a_password(tmp_path: Path) -> None:
    make("ca", "--key-type", "ec", "--key-password", "env:PW", "--folder", tmp_path)
    assert b"ENCRYPTED" in (tmp_path / "ca.key").read_bytes()
    words = ["client", "alice", "--key-type", "ec", "--folder", tmp_path]
    make(*words, "--ca-password", "env:PW")
    assert "password is wrong" in failure(*words, "--force", "--ca-password", "env:PW", PW="another one")
    assert "terminal" in failure(*words, "--force")


def signing_request(path: Path, subject: x509.Name, *extensions: x509.ExtensionType, key: object = None) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for each in extensions:
        builder = builder.add_extension(each, critical=False)
    own = key or ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(builder.sign(own, SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]


def test_a_request_gets_its_names_and_nothing_else(folder: Path) -> None:
    path = folder / "x.csr"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "b1")])
    dns = x509.SubjectAlternativeName([x509.DNSName("b1.example.org")])
    signing_request(path, subject, dns, x509.BasicConstraints(ca=True, path_length=None))
    make("sign", path, "--for", "server")
    signed = certificate(folder / "x.crt")
    assert names(signed) == ["b1.example.org"] and signed.subject == subject
    assert signed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert "exists already" in failure("sign", path, "--for", "server")


def test_requests_that_are_not_signed(folder: Path) -> None:
    path = folder / "x.csr"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "b1")])
    signing_request(path, subject)
    assert "no alternative names" in failure("sign", path, "--for", "server")
    signing_request(path, subject, x509.SubjectAlternativeName([x509.RFC822Name("a@example.org")]))
    assert "only DNS names and addresses" in failure("sign", path, "--for", "client")
    signing_request(path, subject, key=rsa.generate_private_key(65537, 1024))
    assert "1024 bits" in failure("sign", path, "--for", "client")
    signing_request(path, subject)
    text = path.read_text().splitlines()
    text[2] = text[2][:10] + ("A" if text[2][10] != "A" else "B") + text[2][11:]
    path.write_text("\n".join(text))
    assert "request" in failure("sign", path, "--for", "client")
    path.write_text("nonsense")
    assert "is not a signing request in PEM" in failure("sign", path, "--for", "client")
    assert not (folder / "x.crt").exists()


def test_request_sign_and_stores(folder: Path) -> None:
    assert "kafka-cy certs sign bob.csr --for client" in make("client", "bob", "--request", "--key-type", "ec", "--folder", folder)
    make("sign", folder / "bob.csr", "--for", "client")
    output = make("stores", "bob", "--folder", folder)
    assert "User:CN=bob" in output and "server.properties" not in output
    assert len(x509.load_pem_x509_certificates((folder / "bob.keystore.pem").read_bytes())) == 2
    make("client", "eve", "--request", "--key-type", "ec", "--folder", folder)
    (folder / "eve.crt").write_bytes((folder / "bob.crt").read_bytes())
    assert "does not belong to the certificate" in failure("stores", "eve", "--folder", folder)


def test_wrong_authorities(folder: Path) -> None:
    make("client", "alice", "--key-type", "ec", "--folder", folder)
    words = ["client", "bob", "--key-type", "ec", "--folder", folder]
    own = folder / "alice.keystore.pem"
    assert "is not the certificate of an authority" in failure(*words, "--ca", own, "--ca-key", own)
    make("ca", "--name", "other", "--key-type", "ec", "--folder", folder)
    assert "does not belong" in failure(*words, "--ca-key", folder / "other.key")
    assert "nothing.pem cannot be read" in failure(*words, "--ca", folder / "nothing.pem")
    (folder / "text.pem").write_text("text")
    assert "no certificates in PEM" in failure(*words, "--ca", folder / "text.pem")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["server", "bad name"], "neither a DNS name nor an address"),
        (["server", "bücher.example"], "xn--"),
        (["server", "x" * 65], "--dn"),
        (["client", "../alice"], "letters, digits"),
        (["client", "alice", "--dn", "alice"], "is not a distinguished name"),
        (["client", "alice", "--dn", "CN=a,C=Germany"], "is not a distinguished name"),
        (["client", "alice", "--days", "0"], "--days"),
    ],
)
def test_wrong_words(folder: Path, words: list[str], sentence: str) -> None:
    assert sentence in failure(*words, "--folder", folder)
    assert len(list(folder.iterdir())) == 2
