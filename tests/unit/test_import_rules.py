"""Rules for imports between packages, in Python and in Cython, and modules that the server must not import at start."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent / "kafka_cy"

# A package may use itself and these. What is not listed here (server, tools, testing) may use everything.
ALLOWED = {
    "base": set(),
    "authorizer": {"base"},
    "records": {"base"},
    "protocol": set(),
    "config": set(),
    "storage": {"base", "records", "config"},  # config: the defaults of the topic keys
    "quota": {"base"},
    "network": {"base", "authorizer", "records", "storage", "quota"},
    "replication": {"base", "records", "storage", "quota", "network", "protocol"},
    "cluster": {"base", "authorizer", "storage", "records", "network", "protocol"},
    "controller": {"cluster", "protocol"},
    "coordinator": {"base", "storage", "records", "protocol"},
    "api": {
        "base", "authorizer", "records", "storage", "quota", "network", "protocol", "config", "cluster", "controller",
        "coordinator", "share",
    },
    "share": {"base", "records", "storage", "protocol", "coordinator"},
    "security": {"base", "network", "config", "cluster"},  # cluster: stored credentials
    "telemetry": {"base", "records", "storage", "quota", "network", "protocol"},
    "charts": set(),
    "bench": {"base", "records", "protocol", "testing", "charts"},
    "sizing": {"charts"},
}
IMPORT = re.compile(
    r"^[ \t]*(?:from|cimport|import)[ \t]+kafka_cy\.(\w+)(?:\.\w+)*(?:[ \t]+(?:c?import)[ \t]|[ \t]*$)", re.MULTILINE
)
TYPE_CHECKING_BLOCK = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)


def imported_packages(path: Path) -> set[str]:
    text = TYPE_CHECKING_BLOCK.sub("", path.read_text())
    return set(IMPORT.findall(text))


def test_packages_import_only_what_lies_below() -> None:
    wrong = []
    for package, allowed in ALLOWED.items():
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in {".py", ".pyx", ".pxd"}:
                extra = imported_packages(path) - allowed - {package}
                wrong += [f"{path.relative_to(ROOT.parent)} imports kafka_cy.{name}" for name in sorted(extra)]
    assert wrong == []


# The parts of kafka_cy.coordinator, lowest first: a part imports from itself and from those below, not from its neighbours.
COORDINATOR_LAYERS = [
    {"runtime", "heartbeat_table", "string_hash"},
    {"records", "commit_request", "pending_partition"},
    {"offset_map"},
    {"committed_offsets"},
    {"open_groups", "commit_batch"},
    {"group"},
    {"doors", "group_counts", "group_limits"},
    {"modern"},
    {"classic", "offsets", "share", "transactions"},
    {"consumer", "streams"},  # convert classic groups
    {"group_kinds", "responders"},
    {"state_machine"},
    {"commits", "classic_requests", "group_deletion"},
    {"group_coordinator"},
]


def coordinator_imports() -> dict[str, set[str]]:
    """Module -> modules of the coordinator that it imports, also for their types only."""
    folder = ROOT / "coordinator"
    found = {}
    for path in sorted(folder.rglob("*.py*")):
        if path.suffix in {".py", ".pyx"} and path.stem != "__init__":
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            text = path.read_text()
            modules = set(re.findall(r"(?:from|import|cimport)[ ]kafka_cy\.coordinator\.([\w.]+)", text))
            packages = re.findall(r"from kafka_cy\.coordinator((?:\.\w+)*) import (\w+)(?: as \w+)?$", text, re.MULTILINE)
            modules |= {f"{package}.{module}".lstrip(".") for package, module in packages}
            found[name] = modules
    return {name: {each for each in modules if each in found} for name, modules in found.items()}


def test_coordinator_is_layered() -> None:
    imports = coordinator_imports()
    level = {part: number for number, layer in enumerate(COORDINATOR_LAYERS) for part in layer}
    assert {name.split(".")[0] for name in imports} == set(level)
    wrong = []
    for name, modules in imports.items():
        own = name.split(".")[0]
        for module in modules:
            part = module.split(".")[0]
            if part != own and level[part] >= level[own]:
                wrong.append(f"{name} imports {module}")
    assert wrong == []


def test_coordinator_has_no_import_circles() -> None:
    imports = coordinator_imports()
    while imports:
        leaves = {name for name, modules in imports.items() if not modules}
        assert leaves, f"a circle among {sorted(imports)}"
        imports = {name: modules - leaves for name, modules in imports.items() if name not in leaves}


def test_start_imports_no_tools_and_no_heavy_packages() -> None:
    heavy = ("click", "rich", "numpy", "prometheus_client", "kio", "confluent_kafka", "yaml", "asyncio", "opentelemetry")
    heavy += ("kafka_cy.network.tls", "kafka_cy.security", "kazoo")  # libssl and ZooKeeper are for those who use them
    heavy += ("kafka_cy.controller", "kafka_cy.replication", "kafka_cy.server.cluster_member")  # for members of a cluster
    heavy += ("dataclasses", "inspect", "shutil", "traceback")
    program = (
        "import sys, kafka_cy.tools.main, kafka_cy.server.main, kafka_cy.server.broker, kafka_cy.config, "
        "kafka_cy.network.server, kafka_cy.storage.log_manager, kafka_cy.telemetry.metrics_server, kafka_cy.api.hot, "
        "kafka_cy.telemetry.lag_http, kafka_cy.server.lag_view, kafka_cy.telemetry.otel_settings\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_first_request_loads_no_test_library() -> None:
    """kio would load hypothesis if it is installed: the first control plane request would take 0.3 s instead of 60 ms."""
    program = (
        "import sys; from kafka_cy.protocol.schema import message_class; message_class(19, 7, 'request')\n"
        "print('kio' in sys.modules, 'hypothesis' in sys.modules)\n"
        "import hypothesis.strategies"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True False\n", 0), done.stdout + done.stderr
