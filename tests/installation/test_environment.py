"""`kafka-cy server --from-environment`: the variables of the official Kafka image, without a container."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_cy.config import BrokerConfig
from kafka_cy.server.environment import CONTAINER_DEFAULTS, BadEnvironment, key_of, mounted_config, read_environment
from kafka_cy.testing.broker import free_ports
from kafka_cy.tools.main import _keys_of

# The single-node example of Apache Kafka's image.
SINGLE_NODE = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
    "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT_HOST://localhost:9092,PLAINTEXT://broker:19092",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@broker:29093",
    "KAFKA_LISTENERS": "CONTROLLER://:29093,PLAINTEXT_HOST://:9092,PLAINTEXT://:19092",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "CLUSTER_ID": "4L6g3nShT-eMCtK--X86sw",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_LOG_DIRS": "/tmp/kraft-combined-logs",
}


@pytest.mark.parametrize(
    "variable, key",
    [
        ("KAFKA_ADVERTISED_LISTENERS", "advertised.listeners"),
        ("KAFKA_CFG_ADVERTISED_LISTENERS", "advertised.listeners"),
        # KafkaDockerWrapperTest
        ("KAFKA_VALID___PROPERTY__ALL_CASES", "valid-property_all.cases"),
        ("KAFKA_KAFKA_VALID_PROPERTY", "kafka.valid.property"),
    ],
)
def test_names_of_variables(variable: str, key: str) -> None:
    assert key_of(variable) == key


def test_the_example_of_the_official_image() -> None:
    found = read_environment(SINGLE_NODE, file_keys=None)
    assert found.cluster_id == "4L6g3nShT-eMCtK--X86sw"
    config = BrokerConfig.load(None, found.settings)
    assert config.warnings == []
    assert config.text("advertised.listeners") == SINGLE_NODE["KAFKA_ADVERTISED_LISTENERS"]
    assert config["group.initial.rebalance.delay.ms"] == 0
    assert config.log_dirs == ["/tmp/kraft-combined-logs"]


def test_defaults_serve_the_host_and_other_containers() -> None:
    settings = read_environment({"PATH": "/bin", "HOME": "/"}, file_keys=None).settings
    BrokerConfig.load(None, settings)
    name = os.uname().nodename
    assert settings["advertised.listeners"] == f"HOST://localhost:9092,CONTAINERS://{name}:19092"
    assert settings["log.dirs"] == "/var/lib/kafka-cy/data"


def test_data_stays_in_the_volume_if_a_file_does_not_say_where() -> None:
    assert read_environment({}, file_keys=["num.partitions"]).settings == CONTAINER_DEFAULTS  # no listeners: they are the file's
    told = read_environment({}, file_keys=["log.dir", "kafkacy.metrics.listen"]).settings
    assert told == {"kafkacy.lag.listen": "0.0.0.0:9308"}
    assert read_environment({"KAFKA_LOG_DIRS": "/d"}, file_keys=()).settings["log.dirs"] == "/d"


def test_listeners_follow_the_advertised_ones() -> None:
    variables = {"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://[fe80::1]:9092,OUT://example.org:29092"}
    settings = read_environment(variables, file_keys=None).settings
    assert settings["listeners"] == "PLAINTEXT://0.0.0.0:9092,OUT://0.0.0.0:29092"
    assert "inter.broker.listener.name" not in settings


def test_one_listener_key_drops_the_default_listeners() -> None:
    settings = read_environment({"KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT"}, file_keys=None).settings
    assert settings["listeners"] == "PLAINTEXT://:9092"
    assert "advertised.listeners" not in settings
    BrokerConfig.load(None, settings)


def test_what_is_not_a_setting() -> None:
    variables = {
        "KAFKA_HEAP_OPTS": "-Xmx1g", "KAFKA_HOME": "/opt", "CLASSPATH": "",
        # What Kubernetes adds for a Service named kafka.
        "KAFKA_PORT": "tcp://10.0.0.1:9092", "KAFKA_SERVICE_HOST": "10.0.0.1", "KAFKA_SERVICE_PORT": "9092",
        "KAFKA_SERVICE_PORT_CLIENTS": "9092", "KAFKA_PORT_9092_TCP": "tcp://10.0.0.1:9092",
        "KAFKA_PORT_9092_TCP_ADDR": "10.0.0.1",
    }  # fmt: skip
    assert read_environment(variables, file_keys=CONTAINER_DEFAULTS).settings == {}


def test_kafkas_names_win_over_bitnamis() -> None:
    variables = {"KAFKA_NUM_PARTITIONS": "3", "KAFKA_CFG_NUM_PARTITIONS": "5", "KAFKA_CFG_BROKER_ID": "7"}
    settings = read_environment(variables, file_keys=None).settings
    assert settings["num.partitions"] == "3"
    assert BrokerConfig.load(None, settings).broker_id == 7


def test_secrets_are_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    variables = {
        "KAFKA_SSL_KEYSTORE_FILENAME": "kafka.keystore.jks",
        "KAFKA_SSL_KEYSTORE_CREDENTIALS": "password",
        "KAFKA_SSL_KEY_CREDENTIALS": "password",
    }
    settings = read_environment(variables, file_keys=CONTAINER_DEFAULTS, secrets_folder=str(tmp_path)).settings
    assert settings == {
        "ssl.keystore.location": f"{tmp_path}/kafka.keystore.jks",
        "ssl.keystore.password": "secret",
        "ssl.key.password": "secret",
    }
    with pytest.raises(BadEnvironment, match=r"KAFKA_SSL_KEY_CREDENTIALS: .*/gone cannot be read: No such file"):
        read_environment({"KAFKA_SSL_KEY_CREDENTIALS": "gone"}, file_keys=(), secrets_folder=str(tmp_path))


def test_log_level_and_cluster_id_are_checked() -> None:
    assert read_environment({"KAFKA_LOG4J_ROOT_LOGLEVEL": "WARN"}, file_keys=()).log_level == "warning"
    with pytest.raises(BadEnvironment, match="must be one of"):
        read_environment({"KAFKA_LOG4J_ROOT_LOGLEVEL": "LOUD"}, file_keys=())
    with pytest.raises(BadEnvironment, match="CLUSTER_ID must be an id"):
        read_environment({"CLUSTER_ID": "a\nnode.id=3"}, file_keys=())


def test_a_file_mounted_as_for_the_official_image_is_used(tmp_path: Path) -> None:
    mounted = tmp_path / "server.properties"
    assert mounted_config(None, str(mounted)) is None
    mounted.write_text("node.id=1\nlog.dirs=/d\n")
    assert _keys_of(str(mounted)) == ["node.id", "log.dirs"]
    assert _keys_of(str(tmp_path)) == []  # the broker reports it
    assert mounted_config(None, str(mounted)) == str(mounted)
    assert mounted_config("own.properties", str(mounted)) == "own.properties"


def run_server(folder: Path, cluster_id: str) -> tuple[int, str, str]:
    """Start a broker, stop it once it is ready; its exit code and what it wrote to stdout and stderr."""
    ports = free_ports(3)
    variables = {
        "PATH": os.environ["PATH"],
        "CLUSTER_ID": cluster_id,
        "KAFKA_LISTENERS": f"PLAINTEXT://127.0.0.1:{ports[0]}",
        "KAFKA_LOG_DIRS": str(folder),
        "KAFKA_KAFKACY_METRICS_LISTEN": f"127.0.0.1:{ports[1]}",
        "KAFKA_KAFKACY_LAG_LISTEN": f"127.0.0.1:{ports[2]}",
    }
    command = [sys.executable, "-m", "kafka_cy", "server", "--from-environment"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    return process.returncode, line, errors


def test_a_broker_gets_its_cluster_id_once(tmp_path: Path) -> None:
    first, second = "4L6g3nShT-eMCtK--X86sw", "5L6g3nShT-eMCtK--X86sw"
    code, line, errors = run_server(tmp_path / "data", first)
    assert (code, re.findall(r"cluster (\S+)", line)) == (0, [first]), errors
    code, line, errors = run_server(tmp_path / "data", second)
    assert (code, re.findall(r"cluster (\S+)", line)) == (0, [first]), errors
    assert f"the data belongs to cluster {first}; CLUSTER_ID={second} has no effect" in errors


def test_a_bad_variable_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kafka_cy", "server", "--from-environment"],
        env={"PATH": os.environ["PATH"], "CLUSTER_ID": "not an id"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "kafka-cy server: CLUSTER_ID must be an id such as 5L6g3nShT-eMCtK--X86sw, not 'not an id'.\n"
