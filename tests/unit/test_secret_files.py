"""Files with secrets: those that we create are closed, and open ones are said at the start."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_cy.cluster.embedded_store import EmbeddedStore
from kafka_cy.cluster.store import Create
from kafka_cy.config import BrokerConfig
from kafka_cy.server.log import BrokerLog
from kafka_cy.server.secret_files import is_world_readable, warn_of_readable_files

SASL = {"listeners": "SASL_SSL://127.0.0.1:1", "sasl.enabled.mechanisms": "PLAIN"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody can enter, in which files are open. pytest's are closed."""
    above = [tmp_path, *list(tmp_path.parents)[:3]]
    modes = [path.stat().st_mode for path in above]
    for path in above:
        path.chmod(path.stat().st_mode | 0o011)
    for name in ("key.pem", "users", "jaas", "server.properties", "clear.properties"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    yield tmp_path
    for path, mode in zip(above, modes, strict=True):
        path.chmod(mode)


def warning(settings: dict[str, str], path: Path | None = None, options: str = "", **overrides: str) -> str:
    text = io.StringIO()
    config = BrokerConfig({**settings, **overrides})
    config_path = None if path is None else str(path)
    warn_of_readable_files(BrokerLog("info", text), config, config_path, overrides, {"KAFKA_OPTS": options})
    assert text.getvalue().count("\n") <= 1
    return text.getvalue()


def test_open_files_are_named_in_one_line(folder: Path) -> None:
    settings = {
        "listener.name.sasl_ssl.ssl.keystore.location": f"{folder}/key.pem",
        "ssl.keystore.location": f"{folder}/none.pem",
        "kafkacy.metrics.basic.auth.users.file": f"{folder}/users",
        "ssl.truststore.location": f"{folder}/clear.properties",  # has no secret
    }
    told = warning(SASL | settings, options=f"-Djava.security.auth.login.config={folder}/jaas")
    assert "WARN" in told and "files with secrets can be read by every user of this machine" in told
    for name in ("key.pem (listener.name.sasl_ssl.ssl.keystore.location)", "users (kafkacy", "jaas (java.security"):
        assert f"{folder}/{name}" in told
    assert "none.pem" not in told and "clear" not in told
    for name in ("key.pem", "users", "jaas"):
        (folder / name).chmod(0o640)
    assert warning(SASL | settings, options=f"-Djava.security.auth.login.config={folder}/jaas") == ""


def test_a_configuration_file_with_passwords(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, jaas = folder / "server.properties", "listener.name.sasl_ssl.plain.sasl.jaas.config"
    assert warning({"num.partitions": "1"}, path) == ""
    told = warning({"ssl.key.password": "hunter2", jaas: "hunter2"}, path)
    assert f"{path} ({jaas}, ssl.key.password)" in told and "hunter2" not in told
    assert warning({}, path, **{"ssl.key.password": "hunter2"}) == ""  # it is not in the file
    monkeypatch.setenv("PASSWORD", "hunter2")
    provided = {"config.providers": "e", "config.providers.e.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider"}
    assert warning(provided | {"ssl.key.password": "${env:PASSWORD}", "ssl.keystore.password": "${e:PASSWORD}"}, path) == ""
    path.chmod(0o600)
    assert warning({"ssl.key.password": "hunter2"}, path) == ""


def test_who_can_reach_a_file(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "key").touch(0o644)
    (folder / "link").symlink_to(inner / "key")
    assert is_world_readable(str(inner / "key")) and is_world_readable(str(folder / "link"))
    inner.chmod(0o700)
    assert not is_world_readable(str(inner / "key")) and not is_world_readable(str(folder / "link"))
    assert not is_world_readable(str(folder / "none"))


def test_the_metadata_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    before = os.umask(0)
    try:
        store = EmbeddedStore(str(path))
        store.multi([Create("/a", b"secret")])
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert len(modes) >= 3 and set(modes.values()) == {0o600}
    path.chmod(0o644)  # of an earlier version
    EmbeddedStore(str(path)).close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_is_replaced_or_removed_does_not_stay_in_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "kafka-cy-metadata.sqlite"
    store = EmbeddedStore(str(path))
    for number in range(20):
        store.create(f"/{number}", b"hunter2-%d " % number * 20)
    for number in range(20):
        (store.delete(f"/{number}") if number % 2 else store.set(f"/{number}", b"x"))
    store.close()
    assert b"hunter2" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())
