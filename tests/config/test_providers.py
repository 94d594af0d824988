"""Config providers: what `${provider:path:key}` becomes. Kafka's answers are those of its class AbstractConfig, 4.3.1."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.config import BrokerConfig, ConfigError
from kafka_cy.config.dynamic import NotDynamicError, validate_broker_settings
from kafka_cy.config.providers import FILE_BYTES_MAX, VARIABLES_MAX, ConfigProviders, _variables
from kafka_cy.tools.client import ToolError, read_properties

PACKAGE = "org.apache.kafka.common.config.provider."
PROVIDERS = {
    "config.providers": "env,file,dir",
    "config.providers.env.class": PACKAGE + "EnvVarConfigProvider",
    "config.providers.file.class": PACKAGE + "FileConfigProvider",
    "config.providers.dir.class": PACKAGE + "DirectoryConfigProvider",
}
ENVIRONMENT = {"SECRET_A": "alpha", "SECRET_B": "beta", "EMPTY": "", "NESTED": "${env:SECRET_A}"}
PASSWORD = "ssl.key.password"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/f.properties").write_text("pw=hunter2\nk:x=colon\nempty=\ntwo=a\\nb\n")
    (tmp_path / "d/token").write_text("file-secret\n")
    (tmp_path / "d/link").symlink_to("token")
    os.mkfifo(tmp_path / "d/pipe")
    (tmp_path / "other.properties").write_text("pw=other\n")
    return tmp_path


def resolved(folder: Path, text: str, **params: str) -> str:
    settings = PROVIDERS | {f"config.providers.{key}": value for key, value in params.items()}
    return ConfigProviders(settings, ENVIRONMENT).resolve(PASSWORD, text.replace("FOLDER", str(folder)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${env:SECRET_A}", "alpha"),
        ("a${env:SECRET_A}b${env:SECRET_B}", "aalphabbeta"),
        ("${env:EMPTY}", ""),
        ("$${env:SECRET_A}", "$alpha"),
        ("${env:NESTED}", "${env:SECRET_A}"),  # replaced once
        ("${env}", "${env}"),
        ("${other:x}", "${other:x}"),
        ("${ env:SECRET_A}", "${ env:SECRET_A}"),
        ("${file:FOLDER/d/f.properties:pw}", "hunter2"),
        ("${file:FOLDER/d/../d/f.properties:pw}", "hunter2"),
        ("${file:FOLDER/d/f.properties:empty}", ""),
        ("${file:FOLDER/d/f.properties:two}", "a\nb"),
        ("${dir:FOLDER/d:token}", "file-secret\n"),
        ("${dir:FOLDER/d:link}", "file-secret\n"),
        ('Module required username="${env:SECRET_A}" password="${dir:FOLDER/d:token}";', None),
    ],
)
def test_what_kafka_replaces_is_replaced(folder: Path, text: str, expected: str | None) -> None:
    if expected is None:
        expected = 'Module required username="alpha" password="file-secret\n";'
    assert resolved(folder, text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${env:NOPE}", "the environment variable NOPE is not set"),
        ("${env: SECRET_A}", "is not set"),
        ("${env:path:SECRET_A}", "Path is not supported for EnvVarConfigProvider, invalid value 'path'"),
        ("${file:FOLDER/d/f.properties:nope}", "has no key nope"),
        ("${file:FOLDER/d/f.properties:k:x}", "has no key k:x"),
        ("${file:FOLDER/none:pw}", "Could not read properties from file FOLDER/none: No such file or directory"),
        ("${file:FOLDER/d:pw}", "Is a directory"),
        ("${file:FOLDER/d/pipe:pw}", "it is not a regular file"),
        ("${file:/dev/zero:pw}", "it is not a regular file"),
        ("${file:pw}", "a path is missing"),
        ("${dir:FOLDER/d:nope}", "the directory FOLDER/d has no file nope"),
        ("${dir:FOLDER/d:sub}", "has no file sub"),
        ("${dir:FOLDER/d:sub/../token}", "has no file"),
        ("${dir:FOLDER/d:pipe}", "has no file pipe"),
        ("${dir:FOLDER/none:token}", "The path FOLDER/none is not a directory"),
    ],
)
def test_what_has_no_value_is_refused(folder: Path, text: str, reason: str) -> None:
    """Kafka leaves most of these texts as they are: they would be the passwords."""
    with pytest.raises(ConfigError) as raised:
        resolved(folder, f"before-{text}-after")
    assert raised.value.key == PASSWORD
    assert reason.replace("FOLDER", str(folder)) in str(raised.value)
    assert "before" not in str(raised.value) and "after" not in str(raised.value)  # parts of the password


@given(text=st.text("${}:enva ", max_size=40))
def test_variables_are_those_of_the_pattern_of_kafka(text: str) -> None:
    pattern = re.compile(r"\$\{([^}]*?):(?:([^}]*?):)?([^}]*?)\}")  # ConfigTransformer.DEFAULT_PATTERN
    expected = [(*found.span(), found[1], found[2] or "", found[3]) for found in pattern.finditer(text)]
    assert [tuple(each) for each in _variables(text)] == expected


@pytest.mark.parametrize("text", ["${" + ":" * 100_000, "${:" * 100_000, "${" * 100_000 + "}" * 100_000])
def test_a_long_text_takes_linear_time(tmp_path: Path, text: str) -> None:
    assert resolved(tmp_path, text) == text


def test_variables_have_a_limit(tmp_path: Path) -> None:
    assert resolved(tmp_path, "${env:SECRET_A}" * VARIABLES_MAX + "${other:x}") == "alpha" * VARIABLES_MAX + "${other:x}"
    with pytest.raises(ConfigError, match="too many variables"):
        resolved(tmp_path, "${env:SECRET_A}" * (VARIABLES_MAX + 1))


def test_a_path_with_nul_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is not a path"):
        resolved(tmp_path, "${file:/a\0b:key}")


def test_a_file_has_a_limit(folder: Path) -> None:
    (folder / "large").write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="has more than"):
        resolved(folder, "${dir:FOLDER:large}")
    (folder / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        resolved(folder, "${dir:FOLDER:binary}")
    (folder / "escape").write_text("secret=\\uXYZ-secret")
    with pytest.raises(ConfigError) as raised:
        resolved(folder, "${file:FOLDER/escape:secret}")
    assert "XYZ" not in str(raised.value)


def test_allowed_paths(folder: Path) -> None:
    settings = {"file.param.allowed.paths": f"{folder}/d,{folder}/other.properties"}
    assert resolved(folder, "${file:FOLDER/d/f.properties:pw}", **settings) == "hunter2"
    assert resolved(folder, "${file:FOLDER/other.properties:pw}", **settings) == "other"
    (folder / "dd").mkdir()
    (folder / "dd/f.properties").write_text("pw=outside")
    for path in ("dd/f.properties", "d/../dd/f.properties"):
        with pytest.raises(ConfigError, match=r"config.providers.file.param.allowed.paths does not allow"):
            resolved(folder, f"${{file:FOLDER/{path}:pw}}", **settings)
    with pytest.raises(ConfigError, match="Path rel is not absolute"):
        resolved(folder, "", **{"file.param.allowed.paths": "rel"})
    with pytest.raises(ConfigError, match="does not exist"):
        resolved(folder, "", **{"dir.param.allowed.paths": f"{folder}/none"})


def test_allowlist_pattern(folder: Path) -> None:
    pattern = {"env.param.allowlist.pattern": "SECRET_B|OTHER"}
    assert resolved(folder, "${env:SECRET_B}", **pattern) == "beta"
    with pytest.raises(ConfigError, match=r"allowlist.pattern does not allow the environment variable SECRET_A"):
        resolved(folder, "${env:SECRET_A}", **pattern)
    with pytest.raises(ConfigError, match="a regular expression"):
        resolved(folder, "", **{"env.param.allowlist.pattern": "("})


@pytest.mark.parametrize("name", ["com.example.Vault", "", PACKAGE + "Other", "EnvVarConfigProvider"])
def test_unknown_classes_are_refused(name: str) -> None:
    reason = "Could not load config provider class or one of its dependencies"
    with pytest.raises(ConfigError, match=reason) as raised:
        BrokerConfig({"config.providers": "vault", "config.providers.vault.class": name})
    assert raised.value.key == "config.providers.vault.class"
    with pytest.raises(ConfigError, match=reason):
        BrokerConfig({"config.providers": "vault"})


def test_classes_can_be_limited_from_outside() -> None:
    option, name = "-Dorg.apache.kafka.automatic.config.providers", PACKAGE + "EnvVarConfigProvider"
    settings = {"config.providers": "env", "config.providers.env.class": name}
    for value in ("none", PACKAGE + "FileConfigProvider"):
        with pytest.raises(ConfigError, match=f"{name} is not allowed. Update System property") as raised:
            ConfigProviders(settings, {"KAFKA_OPTS": f"-Xmx1g {option}={value}"})
        assert raised.value.key == "config.providers.env.class"
    ConfigProviders(settings, {"KAFKA_OPTS": f"{option}={PACKAGE}FileConfigProvider,{name}"})


def test_values_of_a_broker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTITIONS", "7")
    file = folder / "server.properties"
    lines = [f"{key}={value}" for key, value in PROVIDERS.items()]
    file.write_text("\n".join([*lines, "num.partitions=${env:PARTITIONS}", f"{PASSWORD}=${{dir:{folder}/d:token}}"]))
    config = BrokerConfig.load(str(file), {"broker.rack": f"r-${{file:{folder}/d/f.properties:pw}}"})
    assert (config["num.partitions"], config[PASSWORD], config.rack) == (7, "file-secret", "r-hunter2")
    assert config.warnings == []


def test_an_error_does_not_show_what_a_provider_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    for key in ("num.partitions", "compression.type", "listeners", "log.cleanup.policy", "security.inter.broker.protocol"):
        with pytest.raises(ConfigError) as raised:
            BrokerConfig(PROVIDERS | {key: "${env:SECRET}"})
        assert "hunter2" not in f"{raised.value} {raised.value!r} {raised.value.kafka_message}"
        assert raised.value.value == "${env:SECRET}"


def test_a_variable_without_its_provider_is_a_warning() -> None:
    (warning,) = BrokerConfig({PASSWORD: "${env:PASS-word}"}).warnings
    assert warning == f"configuration key {PASSWORD}: ${{env:...}} stays as it is: config.providers names no such provider"
    assert BrokerConfig({PASSWORD: "${env:PASS-word}"})[PASSWORD] == "${env:PASS-word}"


def test_dynamic_passwords_are_replaced_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka 4.3.1 takes `${env:..}` for the number of log.cleaner.threads too, and refuses it."""
    monkeypatch.setenv("SECRET", "hunter2")
    config = BrokerConfig(PROVIDERS | {"listeners": "SSL://h:1"})
    key, jaas = "listener.name.ssl.ssl.keystore.password", "listener.name.ssl.plain.sasl.jaas.config"
    settings = {key: "${env:SECRET}", jaas: "a ${env:SECRET}", "principal.builder.class": "${env:SECRET}"}
    config.set_dynamic(broker=settings, cluster_default={})
    assert config[key] == "hunter2" and config.text(jaas) == "a hunter2"
    assert config["principal.builder.class"] == "${env:SECRET}"
    with pytest.raises(ConfigError, match=r"\$\{env:NOPE\}"):
        validate_broker_settings(config, {key: "${env:NOPE}"}, cluster_default=False)
    with pytest.raises(ConfigError, match="Not a number"):
        validate_broker_settings(config, {"log.cleaner.threads": "${env:SECRET}"}, cluster_default=True)
    for name in ("config.providers", "config.providers.file.class", "config.providers.file.param.allowed.paths"):
        with pytest.raises(NotDynamicError, match=name):
            validate_broker_settings(config, {name: ""}, cluster_default=True)
    monkeypatch.setenv("SECRET", "changed")
    assert key in config.set_dynamic(broker=settings, cluster_default={})
    assert config[key] == "changed"


def test_the_tools_replace_them_too(folder: Path) -> None:
    file = folder / "client.properties"
    lines = [f"{key}={value}" for key, value in PROVIDERS.items()]
    file.write_text("\n".join([*lines, f"sasl.password=${{file:{folder}/d/f.properties:pw}}"]))
    assert read_properties(file) == {"sasl.password": "hunter2"}
    file.write_text("\n".join([*lines, f"sasl.password=${{file:{folder}/none:pw}}"]))
    with pytest.raises(ToolError, match="No such file"):
        read_properties(file)
