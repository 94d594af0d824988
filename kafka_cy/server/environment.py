"""`kafka-cy server --from-environment`: settings in the environment variables of the official image apache/kafka.

`KAFKA_ADVERTISED_LISTENERS` is `advertised.listeners`: without `KAFKA_`, in lower case, `___` stands for `-`, `__` for `_` and
`_` for `.` (KafkaDockerWrapper). `KAFKA_CFG_` (Bitnami's prefix) means the same. As there, a variable wins over the file,
`KAFKA_LISTENERS` defaults to the ports of `KAFKA_ADVERTISED_LISTENERS` on all addresses, `CLUSTER_ID` is the id of a new
cluster, and `KAFKA_SSL_KEYSTORE_FILENAME` and the like name files in /etc/kafka/secrets.

Differences: the data folder of the image is the default of `log.dirs`, also with a configuration file that does not set it
(Kafka's is /tmp/kafka-logs, which no volume keeps), and the variables that Kubernetes adds to a pod for a Service named `kafka`
are not settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Final

CONFIG_PATH: Final = "/mnt/shared/config/server.properties"
SECRETS_FOLDER: Final = "/etc/kafka/secrets"

#: Settings of a container, as far as neither variables nor a configuration file set them.
CONTAINER_DEFAULTS: Final = {
    "log.dirs": "/var/lib/kafka-cy/data",
    "kafkacy.metrics.listen": "0.0.0.0:9404",
    "kafkacy.lag.listen": "0.0.0.0:9308",
}
LISTENER_KEYS: Final = (
    "listeners", "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name",
    "security.inter.broker.protocol",
)  # fmt: skip

# Variables of Kafka's scripts that are not settings of the broker (KafkaDockerWrapper.ExcludeServerPropsEnv), and KAFKA_HOME.
_NOT_SETTINGS: Final = frozenset({
    "KAFKA_VERSION", "KAFKA_HOME", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_OPTS", "KAFKA_JMX_OPTS", "KAFKA_JMX_PORT",
    "KAFKA_JMX_HOSTNAME", "KAFKA_JVM_PERFORMANCE_OPTS", "KAFKA_GC_LOG_OPTS", "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_LOG4J_LOGGERS", "KAFKA_TOOLS_LOG4J_LOGLEVEL",
})  # fmt: skip
_SERVICE_LINK: Final = re.compile(r"KAFKA_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)")
_SECRETS: Final = {
    "ssl.keystore.filename": "ssl.keystore.location",
    "ssl.truststore.filename": "ssl.truststore.location",
    "ssl.keystore.credentials": "ssl.keystore.password",
    "ssl.truststore.credentials": "ssl.truststore.password",
    "ssl.key.credentials": "ssl.key.password",
}
_LOG_LEVELS: Final = {
    "ALL": "debug", "TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warning", "ERROR": "error",
    "FATAL": "error", "OFF": "error",
}  # fmt: skip


class BadEnvironment(Exception):
    """A variable that cannot be used; the text is one sentence."""


class ServerEnvironment:
    """What the variables ask for. A plain class: dataclasses would cost start time.

    `settings`: broker keys, which win over the configuration file. `cluster_id`: the id of a cluster that does not exist yet.
    `log_level`: one of `kafka-cy server --log-level`.
    """

    def __init__(self, settings: dict[str, str], cluster_id: str | None, log_level: str | None) -> None:
        self.settings = settings
        self.cluster_id = cluster_id
        self.log_level = log_level


def mounted_config(config_path: str | None, mounted: str = CONFIG_PATH) -> str | None:
    """Return the configuration file: the one of the command line, else the one mounted where the official image expects it."""
    if config_path is None and os.path.exists(mounted):  # noqa: PTH110 (pathlib costs start time)
        return mounted
    return config_path


def read_environment(
    variables: Mapping[str, str], *, file_keys: Collection[str] | None, secrets_folder: str = SECRETS_FOLDER
) -> ServerEnvironment:
    """Read the variables, and add defaults for a container. Raises BadEnvironment.

    `file_keys`: the keys that the configuration file sets; None if there is no file.
    """
    settings = _settings_of(variables)
    _replace_secrets(settings, secrets_folder)
    advertised = settings.get("advertised.listeners")
    if advertised and not settings.get("listeners"):
        settings["listeners"] = re.sub(r"://[^,]*:(?=\d)", "://0.0.0.0:", advertised)
    _add_defaults(settings, file_keys or ())
    if file_keys is None:
        _add_listeners(settings)
    return ServerEnvironment(settings, _cluster_id(variables), _log_level(variables))


def key_of(variable: str) -> str:
    """Return the broker key that a variable sets: `KAFKA_NUM_PARTITIONS` -> `num.partitions`."""
    words = variable.removeprefix("KAFKA_").removeprefix("CFG_").lower()
    return words.replace("_", ".").replace("...", "-").replace("..", "_")


def _settings_of(variables: Mapping[str, str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    # Bitnami's names sort first, so that Kafka's own win.
    for name in sorted(variables, key=lambda each: (not each.startswith("KAFKA_CFG_"), each)):
        if not name.startswith("KAFKA_") or name in _NOT_SETTINGS or _SERVICE_LINK.fullmatch(name):
            continue
        if name == "KAFKA_PORT" and "://" in variables[name]:
            continue  # a link to a Service, too
        key = key_of(name)
        if key:
            settings[key] = variables[name].strip()
    return settings


def _replace_secrets(settings: dict[str, str], folder: str) -> None:
    for name, key in _SECRETS.items():
        file = settings.pop(name, None)
        if not file:
            continue
        path = f"{folder}/{file}"
        if name.endswith(".filename"):
            settings[key] = path
            continue
        try:
            with open(path, encoding="utf-8") as secret:
                settings[key] = secret.read().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            variable = "KAFKA_" + name.upper().replace(".", "_")
            raise BadEnvironment(f"{variable}: {path} cannot be read: {getattr(error, 'strerror', error)}.") from error


def _add_defaults(settings: dict[str, str], file_keys: Collection[str]) -> None:
    for key, value in CONTAINER_DEFAULTS.items():
        names = ("log.dirs", "log.dir") if key == "log.dirs" else (key,)
        if not any(name in settings or name in file_keys for name in names):
            settings[key] = value


def _add_listeners(settings: dict[str, str]) -> None:
    if any(key in settings for key in LISTENER_KEYS):
        settings.setdefault("listeners", "PLAINTEXT://:9092")  # Kafka's default
        return
    # One listener for clients on the host (docker run -p 9092:9092), one for other containers, which know this one's name.
    settings["listeners"] = "HOST://0.0.0.0:9092,CONTAINERS://0.0.0.0:19092"
    settings["advertised.listeners"] = f"HOST://localhost:9092,CONTAINERS://{os.uname().nodename}:19092"
    settings["listener.security.protocol.map"] = "HOST:PLAINTEXT,CONTAINERS:PLAINTEXT"
    settings["inter.broker.listener.name"] = "CONTAINERS"


def _cluster_id(variables: Mapping[str, str]) -> str | None:
    text = variables.get("CLUSTER_ID", "").strip()
    if text and not re.fullmatch(r"[A-Za-z0-9_+/=-]{1,64}", text):
        raise BadEnvironment(f"CLUSTER_ID must be an id such as 5L6g3nShT-eMCtK--X86sw, not {text!r}.")
    return text or None


def _log_level(variables: Mapping[str, str]) -> str | None:
    text = variables.get("KAFKA_LOG4J_ROOT_LOGLEVEL", "").strip()
    if text and text.upper() not in _LOG_LEVELS:
        raise BadEnvironment(f"KAFKA_LOG4J_ROOT_LOGLEVEL must be one of {', '.join(_LOG_LEVELS)}, not {text!r}.")
    return _LOG_LEVELS[text.upper()] if text else None
