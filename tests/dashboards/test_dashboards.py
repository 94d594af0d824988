"""The dashboard files: current, complete and usable by Grafana."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from grafana.generate import FOLDER, texts
from grafana.queries import all_panels, filled, load_boards, panel_queries, variables
from tests.monitoring.tools import ROOT

BOARDS = load_boards()


def test_committed_dashboards_are_what_the_code_says() -> None:
    written = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert written == texts(), "run python -m grafana.generate"


def test_boards_have_addresses_of_their_own() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_queries_use_the_board_s_variables_only(name: str) -> None:
    board = BOARDS[name]
    values = variables(board)
    used = set()
    for query in panel_queries(name, board):
        assert "$" not in filled(query.expression, values, "1m"), query.name
        used |= set(re.findall(r"\$(\w+)", query.expression))
    for each in board["templating"]["list"]:
        used |= set(re.findall(r"\$(\w+)", str(each.get("query", ""))))
    assert set(values) - used == set(), "variables that nothing uses"


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_panel_is_described(name: str) -> None:
    assert [panel["title"] for panel in all_panels(BOARDS[name]) if not panel.get("description")] == []


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_fetches_are_not_counted_twice(name: str) -> None:
    """A broker counts each fetch as Fetch and as FetchConsumer or FetchFollower. Errors are counted as Fetch only."""
    for query in panel_queries(name, BOARDS[name]):
        for selector in re.findall(r"requestmetrics_requests_total\{(.*?)\}", query.expression):
            assert 'request!="Fetch"' in selector or 'request=~"Produce|FetchConsumer"' in selector, query.name


@pytest.mark.parametrize(
    "metric",
    [
        "underreplicatedpartitions", "underminisrpartitioncount", "atminisrpartitioncount", "offlinepartitionscount",
        "activecontrollercount", "preferredreplicaimbalancecount", "isrshrinks_total", "isrexpands_total",
        "leaderelectionrateandtimems_count", "eventqueuetimems", "sessionexpirelistener_sessionstate",
        "replicafetchermanager_maxlag",
    ],
)  # fmt: skip
def test_the_state_of_a_cluster_is_on_a_board(metric: str) -> None:
    assert [query.name for name, board in BOARDS.items() for query in panel_queries(name, board) if metric in query.expression]


@pytest.mark.parametrize(
    "metric",
    [
        "event_queue_time_ms_p99", "event_processing_time_ms_p99", "event_queue_size", "thread_idle_ratio_avg", "num_partitions",
        "partition_load_time_max", "batch_flush_time_ms_p99", "event_purgatory_time_ms_p99", "requests_refused_total",
    ],
)  # fmt: skip
def test_the_work_of_coordinators_is_on_a_board(metric: str) -> None:
    assert [query.name for query in panel_queries("consumers", BOARDS["consumers"]) if f"_{metric}{{" in query.expression]


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_links_lead_to_boards(name: str) -> None:
    for panel in all_panels(BOARDS[name]):
        for link in panel.get("links", ()):
            found = re.match(r"/d/kafka-cy-(\w+)\?", link["url"])
            assert found and found[1] in BOARDS, link["url"]


def strings_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in strings_of(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings_of(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_nothing_points_at_one_installation(name: str) -> None:
    for text in strings_of(BOARDS[name]):
        assert not re.search(r"localhost|127\.0\.0\.1|https?://", text), text


def test_provisioning_matches_where_compose_mounts_things() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    provider = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/kafka-cy.yml").read_text())["providers"][0]
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.rpartition("/")[0] == provider["options"]["path"]
    assert home.rpartition("/")[2].removesuffix(".json") in BOARDS
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_board_has_a_picture(name: str) -> None:
    assert (ROOT / f"docs/images/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert f"images/{name}.png" in (ROOT / "docs/dashboards.md").read_text()
