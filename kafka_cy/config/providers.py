"""Config providers (KIP-297, KIP-421): `${env:NAME}`, `${file:PATH:KEY}` and `${dir:PATH:FILE}` in values of settings.

Values are replaced once, as Kafka's ConfigTransformer does: what a provider gives is not looked at again. Kafka leaves `${...}` as
it is where a provider has no value, so that the text itself becomes the password. Here that is an error.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from kafka_cy.config.java_properties import java_property
from kafka_cy.config.properties import parse_properties
from kafka_cy.config.types import ConfigError, split_list

PROVIDERS: Final = "config.providers"
AUTOMATIC: Final = "org.apache.kafka.automatic.config.providers"
#: Of one file, and variables in one value: clients that may change settings choose both.
FILE_BYTES_MAX: Final = 64 << 10
VARIABLES_MAX: Final = 16

#: What else stands before the colon may be a part of a password.
_PROVIDER_NAME: Final = re.compile(r"[\w.-]{1,64}")
_PACKAGE: Final = "org.apache.kafka.common.config.provider."


class _NoValue(Exception):
    """Why a provider has no value; without any value."""


class _Variable(NamedTuple):
    """`${provider:path:key}` in a text. The path may be missing."""

    start: int
    end: int
    provider: str
    path: str
    key: str


class ConfigProviders:
    """The providers that `config.providers` names. Owner: who owns the configuration. Nothing is cached: files may change."""

    def __init__(self, settings: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> None:
        """Raises ConfigError for a class that does not exist here, and for a parameter that is not allowed."""
        self._find: dict[str, Callable[[str, str], str]] = {}
        for name in split_list(settings.get(PROVIDERS, "")):
            key = f"{PROVIDERS}.{name}.class"
            prefix = f"{PROVIDERS}.{name}.param."
            class_name = settings.get(key, "").strip()
            make = _CLASSES.get(class_name.removeprefix(_PACKAGE)) if class_name.startswith(_PACKAGE) else None
            if make is None:
                allowed = "one of: " + ", ".join(_PACKAGE + each for each in _CLASSES)
                reason = "Could not load config provider class or one of its dependencies"
                raise ConfigError(key, class_name or None, allowed, reason)
            _check_automatic(key, class_name, environment)
            self._find[name] = make(prefix, settings, environment)

    def resolve(self, name: str, text: str) -> str:
        """The value of the setting `name` with what the providers give. Raises ConfigError, which shows nothing of the value."""
        parts, end, count = [], 0, 0
        for variable in _variables(text):
            if variable.provider not in self._find:
                continue
            count += 1
            if count > VARIABLES_MAX:
                raise ConfigError(name, "[hidden]", f"at most {VARIABLES_MAX} variables", "too many variables")
            parts += [text[end : variable.start], self._replacement(name, text, variable)]
            end = variable.end
        return "".join([*parts, text[end:]])

    def without_values(self, error: ConfigError, written: Mapping[str, str], settings: Mapping[str, str]) -> ConfigError:
        """The error with the setting's text as it is `written`, where a part of its value came from a provider."""
        key = error.key
        if key not in written or written[key] == settings[key]:
            return error
        shows = str(error.value) in error.reason or settings[key].strip() in error.reason
        reason = "what the config provider gave is not allowed" if shows else error.reason
        return type(error)(key, written[key], error.allowed, reason)

    def _replacement(self, name: str, text: str, variable: _Variable) -> str:
        try:
            return self._find[variable.provider](variable.path, variable.key)
        except _NoValue as error:
            allowed = f"what the config provider {variable.provider} can replace"
            raise ConfigError(name, text[variable.start : variable.end], allowed, str(error)) from None


def _variables(text: str) -> Iterator[_Variable]:
    """What ConfigTransformer.DEFAULT_PATTERN finds. A regular expression would take time with the cube of the text's length."""
    start = text.find("${")
    while start >= 0:
        end = text.find("}", start)
        if end < 0:
            return
        provider, *rest = text[start + 2 : end].split(":", 2)
        if rest:
            yield _Variable(start, end + 1, provider, rest[0] if len(rest) == 2 else "", rest[-1])
        start = text.find("${", end)


def resolve_all(
    settings: Mapping[str, str], warn: Callable[[str], object]
) -> tuple[ConfigProviders | None, dict[str, str]]:
    """The providers that the settings name, and the settings with what they give. Raises ConfigError.

    Each key with a variable whose provider is not named gets a warning, because its value stays as it is.
    """
    named = settings.get(PROVIDERS, "").strip()
    providers = ConfigProviders(settings) if named else None
    result = dict(settings)
    for name, text in settings.items():
        if "${" not in text or name.startswith(PROVIDERS):
            continue
        unknown = next((each.provider for each in _variables(text) if each.provider not in split_list(named)), None)
        if unknown is not None:  # the rest of the text may be a part of a password
            unknown = unknown if _PROVIDER_NAME.fullmatch(unknown) else "?"
            warn(f"configuration key {name}: ${{{unknown}:...}} stays as it is: {PROVIDERS} names no such provider")
        if providers is not None:
            result[name] = providers.resolve(name, text)
    return providers, result


def _check_automatic(key: str, class_name: str, environment: Mapping[str, str]) -> None:
    """The classes can be limited from outside (CVE-2024-31141), for who does not write the configuration. Raises ConfigError."""
    given = java_property(environment, AUTOMATIC)
    if given is not None and class_name not in split_list(given):
        reason = f"{class_name} is not allowed. Update System property '{AUTOMATIC}' to allow {class_name}"
        raise ConfigError(key, class_name, f"one of those in -D{AUTOMATIC} of KAFKA_OPTS: {given}", reason)


def _from_environment(
    prefix: str, settings: Mapping[str, str], environment: Mapping[str, str]
) -> Callable[[str, str], str]:
    """EnvVarConfigProvider."""
    key = f"{prefix}allowlist.pattern"
    try:
        allowed = re.compile(settings.get(key, ".*"), re.DOTALL)
    except re.error as error:
        raise ConfigError(key, settings[key], "a regular expression", str(error)) from None

    def find(path: str, name: str) -> str:
        if path:
            raise _NoValue(f"Path is not supported for EnvVarConfigProvider, invalid value '{path}'")
        if allowed.fullmatch(name) is None:
            raise _NoValue(f"{key} does not allow the environment variable {name}")
        value = environment.get(name)
        if value is None:
            raise _NoValue(f"the environment variable {name} is not set")
        return value

    return find


def _from_file(prefix: str, settings: Mapping[str, str], environment: Mapping[str, str]) -> Callable[[str, str], str]:
    """FileConfigProvider: a key of a properties file."""
    allowed = _AllowedPaths(prefix, settings)

    def find(path: str, name: str) -> str:
        text = _read(allowed.check(path), "Could not read properties from file")
        try:
            value = parse_properties(text).get(name)
        except ValueError:  # its message has the text before the value, which may be all of the line
            raise _NoValue(f"Could not read properties from file {path}: malformed \\uXXXX escape") from None
        if value is None:
            raise _NoValue(f"the file {path} has no key {name}")
        return value

    return find


def _from_folder(prefix: str, settings: Mapping[str, str], environment: Mapping[str, str]) -> Callable[[str, str], str]:
    """DirectoryConfigProvider: the content of a file in a folder, as Kubernetes mounts secrets."""
    allowed = _AllowedPaths(prefix, settings)

    def find(path: str, name: str) -> str:
        folder = allowed.check(path)
        if not os.path.isdir(folder):  # noqa: PTH112 (pathlib costs start time)
            raise _NoValue(f"The path {path} is not a directory")
        if "/" in name or not os.path.isfile(f"{folder}/{name}"):  # noqa: PTH113
            raise _NoValue(f"the directory {path} has no file {name}")
        return _read(f"{folder}/{name}", "Could not read file")

    return find


class _AllowedPaths:
    """`allowed.paths`: files and folders, separated by commas, in which files may be read. Symbolic links are followed."""

    def __init__(self, prefix: str, settings: Mapping[str, str]) -> None:
        self._key = f"{prefix}allowed.paths"
        text = settings.get(self._key, "")
        self._paths = [os.path.normpath(each) for each in text.split(",")] if text else None
        for path in self._paths or ():
            if not path.startswith("/"):
                raise ConfigError(self._key, text, "absolute paths", f"Path {path} is not absolute")
            if not os.path.exists(path):  # noqa: PTH110
                raise ConfigError(self._key, text, "paths that exist", f"Path {path} does not exist")

    def check(self, path: str) -> str:
        """The path without `..`. Raises _NoValue if it is empty or not allowed."""
        if not path:
            raise _NoValue("a path is missing: ${provider:path:key}")
        if self._paths is None:
            return path
        path = os.path.normpath(path)
        if not any(path == each or path.startswith(each.rstrip("/") + "/") for each in self._paths):
            raise _NoValue(f"{self._key} does not allow {path}")
        return path


def _read(path: str, failed: str) -> str:
    """The text of a regular file. A pipe could keep the reader waiting, a device could be endless."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _NoValue(f"{failed} {path}: it is not a regular file")
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise _NoValue(f"{failed} {path}: it has more than {FILE_BYTES_MAX} bytes")
        return data.decode()
    except OSError as error:
        raise _NoValue(f"{failed} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _NoValue(f"{failed} {path}: it is not UTF-8") from None
    except ValueError:  # a NUL
        raise _NoValue(f"{failed} {path!r}: it is not a path") from None


_CLASSES: Final[Mapping[str, Callable[[str, Mapping[str, str], Mapping[str, str]], Callable[[str, str], str]]]] = {
    "EnvVarConfigProvider": _from_environment,
    "FileConfigProvider": _from_file,
    "DirectoryConfigProvider": _from_folder,
}
