"""The few kinds of panels and variables that the boards are made of, on Grafana's foundation SDK.

Every query selects its cluster by `kafka_cluster=~"$kafka_cluster"`, which also matches where no such label is set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

CLUSTER = 'kafka_cluster=~"$kafka_cluster"'
BROKER = f'{CLUSTER},instance=~"$instance"'
# Rates need two scrapes; Grafana takes care with this variable.
RATE = "$__rate_interval"

Query = tuple[str, str]  # expression, legend
Panel = Builder[models.Panel]

# The fetches of consumers and followers are counted a second time as "Fetch".
ONCE = 'request!="Fetch"'
CORES = "suffix: cores"

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")


def _targets(queries: Sequence[Query], *, instant: bool = False) -> list[prometheus.Dataquery]:
    targets = []
    for index, (expression, legend) in enumerate(queries):
        target = prometheus.Dataquery().expr(" ".join(expression.split())).legend_format(legend)
        target = target.ref_id(chr(ord("A") + index)).datasource(SOURCE)
        targets.append(target.instant() if instant else target.range())
    return targets


def _described(text: str, empty_when: str) -> str:
    """The description; a panel that may be empty says when."""
    return " ".join(part for part in (text, f"Empty {empty_when}." if empty_when else "") if part)


def _steps(limits: Sequence[tuple[float | None, str]]) -> dashboard.ThresholdsConfig:
    """Colours from values on; the first has no value."""
    steps = [models.Threshold(value=value, color=color) for value, color in limits]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


BAD_ABOVE_ZERO: Sequence[tuple[float | None, str]] = ((None, "green"), (1, "red"))
GOOD_ABOVE_ZERO: Sequence[tuple[float | None, str]] = ((None, "red"), (1, "green"))
NEUTRAL: Sequence[tuple[float | None, str]] = ((None, "blue"),)


def quiet(expression: str, label: str) -> str:
    """`expression`, or a zero with the name "none" if it has no series: a counter of what did not happen yet."""
    return f'({expression}) or on () label_replace(vector(0), "{label}", "none", "", "")'


def _mappings(states: Mapping[int, tuple[str, str]]) -> list[models.ValueMapping]:
    results = {
        str(value): models.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(states.items())
    }
    return [models.ValueMap(options=results)] if results else []


def lines(
    title: str,
    *queries: Query,
    unit: str = "short",
    text: str = "",
    empty_when: str = "",
    stacked: bool = False,
    span: int = 12,
    height: int = 8,
    most: float | None = None,
) -> Panel:
    """Values over time."""
    legend = common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(_described(text, empty_when))
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .fill_opacity(30 if stacked else 8)
        .line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(legend.display_mode(common_models.LegendDisplayMode.LIST).calcs([]))
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
        .targets(list(_targets(queries)))
        .span(span)
        .height(height)
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    return panel if most is None else panel.max(most)


def number(
    title: str,
    query: str,
    *,
    unit: str = "short",
    text: str = "",
    empty_when: str = "",
    colours: Sequence[tuple[float | None, str]] = NEUTRAL,
    span: int = 4,
    decimals: int | None = None,
    states: Mapping[int, tuple[str, str]] | None = None,
    to: str = "",
) -> Panel:
    """One number, with its course behind it.

    `states`: text and colour of values that are states. `to`: the board that a click leads to (its name in generate.BOARDS).
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(_described(text, empty_when))
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(_steps(colours))
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets(list(_targets([(query, "")])))
        .span(span)
        .height(4)
    )
    if states:
        panel = panel.mappings(_mappings(states))
    if to:
        address = f"/d/kafka-cy-{to}?${{__url_time_range}}&${{datasource:queryparam}}&${{kafka_cluster:queryparam}}"
        panel = panel.links(
            [dashboard.DashboardLink(f"Open the board {to}").type(models.DashboardLinkType.LINK).url(address)]
        )
    return panel if decimals is None else panel.decimals(decimals)


def bars(
    title: str,
    query: str,
    legend: str,
    *,
    unit: str = "short",
    text: str = "",
    empty_when: str = "",
    span: int = 12,
    height: int = 8,
) -> Panel:
    """The values of several things now, as bars."""
    return (
        bargauge.Panel()
        .title(title)
        .description(_described(text, empty_when))
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .thresholds(_steps(NEUTRAL))
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets(list(_targets([(query, legend)], instant=True)))
        .span(span)
        .height(height)
    )


def rows(
    title: str,
    columns: Sequence[tuple[str, str, str]],
    labels: Sequence[str],
    *,
    text: str = "",
    empty_when: str = "",
    empty_text: str = "",
    span: int = 24,
    height: int = 9,
) -> Panel:
    """A table with a row for each combination of `labels`, and a column (name, expression, unit) for each query.

    `empty_text` is shown in a table without rows.
    """
    targets = []
    for target in _targets([(expression, "") for _, expression, _ in columns], instant=True):
        targets.append(target.format(PromQueryFormat.TABLE))
    letters = [chr(ord("A") + index) for index in range(len(columns))]
    names = {f"Value #{letter}": name for letter, (name, _, _) in zip(letters, columns, strict=True)}
    if len(columns) == 1:
        names = {"Value": columns[0][0]}
    order = [*labels, *names]
    panel = (
        table.Panel()
        .title(title)
        .description(_described(text, empty_when))
        .datasource(SOURCE)
        .targets(list(targets))
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "renameByName": names,
                    "indexByName": {name: index for index, name in enumerate(order)},
                },
            )
        )
        .span(span)
        .height(height)
    )
    if empty_text:
        panel = panel.no_value(empty_text)
    for name, _, unit in columns:
        panel = panel.override_by_name(name, [models.DynamicConfigValue(id_val="unit", value=unit)])
    return panel


def folded(title: str, *panels: Panel) -> dashboard.Row:
    """A row that is closed until somebody opens it."""
    row = dashboard.Row(title)
    for panel in panels:
        row = row.with_panel(panel)
    return row


# -- variables --


def variable(name: str, label: str, query: str, *, every: bool = True, regex: str = "") -> dashboard.QueryVariable:
    """A choice of what a `label_values(...)` query gives; with `every` several at once or all."""
    chosen = (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .regex(regex)
    )
    if every:
        # `.*` and not the list of what there is: series without the label belong to "all" too.
        everything = models.VariableOption(text="All", value="$__all", selected=True)
        chosen = chosen.multi(True).include_all(True).all_value(".*").current(everything)
    return chosen


def text_variable(name: str, label: str, default: str) -> dashboard.TextBoxVariable:
    """Something to type in."""
    return dashboard.TextBoxVariable(name).label(label).default_value(default)


def board(
    uid: str, title: str, text: str, *variables: Builder[models.VariableModel], by_cluster: bool = True
) -> dashboard.Dashboard:
    """An empty dashboard with the data source, the cluster (unless it is about none) and `variables` to choose."""
    built = (
        dashboard.Dashboard(title)
        .uid(f"kafka-cy-{uid}")
        .description(text)
        .tags(["kafka", "kafka-cy"])
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .link(
            dashboard.DashboardLink("Kafka")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["kafka-cy"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    clusters = variable("kafka_cluster", "Cluster", "label_values(kafka_server_kafkaserver_brokerstate, kafka_cluster)")
    for each in (clusters, *variables) if by_cluster else variables:
        built = built.with_variable(each)
    return built.annotation(_restarts()) if by_cluster else built


def _restarts() -> dashboard.AnnotationQuery:
    """A mark on every panel where a broker started."""
    started = f'changes(process_start_time_seconds{{job="kafka",{CLUSTER}}}[$__interval]) > 0'
    return (
        dashboard.AnnotationQuery().name("Restarts").datasource(SOURCE).enable(True).icon_color("orange").expr(started)
    )


def instance_variable() -> dashboard.QueryVariable:
    """The brokers of the chosen cluster."""
    return variable("instance", "Broker", f"label_values(kafka_server_kafkaserver_brokerstate{{{CLUSTER}}}, instance)")


def topic_variable() -> dashboard.QueryVariable:
    """The topics of the chosen cluster."""
    return variable("topic", "Topic", f"label_values(kafka_log_log_size{{{CLUSTER}}}, topic)")
