"""The screen of `kafka-cy top`: tables that fit the terminal. Names are shortened in the middle; figures never are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kafka_cy.tools.top_snapshot import Column, Row, Value, View
from kafka_cy.tools.top_tables import Listed, tables

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

GAP = "  "
NAME_WIDTH_MIN = 18
ROWS_LEAST = 2
LINES_PER_TABLE = 2  # an empty line and the header
BEHIND_TOO_LONG_S = 60.0

#: Keys that show one table alone.
TABLE_KEYS = {"b": "Brokers", "l": "Load", "t": "Topics", "g": "Groups", "a": ""}
HELP = """\
q  quit            s  sort by load, size or name
b  brokers only    l  load only        ?  this help
t  topics only     g  groups only      a  all tables

URP        under-replicated partitions: a replica is not in sync
BEHIND     time since the first record was written that the group has not read
COMMITTED  records per second that the group has committed, over the last 15 to 30 s
-          not known: the metrics or the lag page does not answer, or it is too early for a rate"""


def shortened(name: str, width: int) -> str:
    """The name in at most `width` characters: the middle is left out, since names often differ at their end."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def fitted(columns: Sequence[Column], rows: Sequence[Row], width: int) -> tuple[list[int], list[str], list[int]]:
    """(indexes of the columns that fit, their headings, their widths).

    First headings get their short form, then names are shortened, then the least important figures are left out.
    """
    kept = list(range(len(columns)))
    cells = [[column.screen_text(row[index]) for row in rows] for index, column in enumerate(columns)]

    def needed(index: int, heading: str) -> int:
        return max([len(heading), *map(len, cells[index])])

    for short in (False, True):
        headings = [column.short if short and column.short else column.name for column in columns]
        widths = [needed(index, headings[index]) for index in kept]
        if sum(widths) + len(GAP) * (len(kept) - 1) <= width:
            return kept, headings, widths
    names = [index for index in kept if not columns[index].kind]
    while True:
        figures = sum(needed(index, headings[index]) for index in kept if columns[index].kind)
        room = width - figures - len(GAP) * (len(kept) - 1)
        wanted = [min(needed(index, headings[index]), NAME_WIDTH_MIN) for index in names]
        droppable = [index for index in kept if columns[index].rank]
        if room >= sum(wanted) or not droppable:
            break
        kept.remove(max(droppable, key=lambda index: columns[index].rank))
    shares = _shared([needed(index, headings[index]) for index in names], max(room, sum(wanted)))
    by_name = dict(zip(names, shares, strict=True))
    widths = [by_name.get(index) or needed(index, headings[index]) for index in kept]
    return kept, [headings[index] for index in kept], widths


def _shared(wanted: list[int], room: int) -> list[int]:
    """`room` split among names: short ones get what they need, the long ones share the rest."""
    result = [0] * len(wanted)
    left = sorted(range(len(wanted)), key=lambda index: wanted[index])
    while left:
        index = left.pop(0)
        result[index] = min(wanted[index], room // (len(left) + 1))
        room -= result[index]
    return result


def table_lines(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[Text]:
    """A header line and one line per row, each at most `width` wide unless figures alone need more."""
    from rich.text import Text

    kept, headings, widths = fitted(columns, rows, width)
    header = Text(no_wrap=True, overflow="ellipsis")
    for place, index in enumerate(kept):
        header.append(GAP if place else "")
        header.append(_aligned(headings[place], widths[place], columns[index]), style="bold cyan")
    lines = [header]
    for row in rows:
        line = Text(no_wrap=True, overflow="ellipsis")
        for place, index in enumerate(kept):
            column = columns[index]
            line.append(GAP if place else "")
            text = column.screen_text(row[index])
            line.append(_aligned(text, widths[place], column), style=_style(column, row[index]))
        lines.append(line)
    return lines


def _aligned(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.kind else shortened(text, width).ljust(width)


def _style(column: Column, value: Value) -> str:
    """Colours: red for replicas out of sync, yellow for a group without members or far behind."""
    if not isinstance(value, (int, float)):
        return ""
    if column.name == "NOT-IN-SYNC" and value > 0:
        return "bold red"
    if (column.name == "MEMBERS" and value == 0) or (column.name == "BEHIND" and value > BEHIND_TOO_LONG_S):
        return "yellow"
    return ""


def rows_shown(listed: Sequence[Listed], lines: int) -> list[int]:
    """How many rows of each table fit: brokers and load get up to a quarter each, topics and groups share the rest.

    The header and the line "and N more" of each table are counted. Every table gets ROWS_LEAST rows at least.
    """
    room = lines - LINES_PER_TABLE * len(listed)
    wanted = [len(rows) for _, _, rows in listed]
    shown = [0] * len(listed)
    for index in sorted(range(len(listed)), key=lambda each: wanted[each]):
        left = sum(1 for each in shown if each == 0)
        limit = room // left if len(listed) > 1 else room
        shown[index] = max(min(wanted[index], limit - (wanted[index] > limit)), min(wanted[index], ROWS_LEAST), 0)
        room -= shown[index] + (shown[index] < wanted[index])
        if shown[index] == 0:
            shown[index] = -1  # an empty table: it is done, and its share goes to the others
    return [max(each, 0) for each in shown]


def drawn(view: View, sort: str, only: str, lines: int, width: int, *, help_shown: bool = False) -> RenderableType:
    """The screen of `lines` lines. `only` names the one table to show; empty: all."""
    from rich.console import Group
    from rich.text import Text

    summary = Text(view.summary(), style="bold")
    parts: list[Text] = [summary]
    parts += [Text(problem, style="red") for problem in view.now.problems]
    footer = f"q quit   s sort ({sort})   b l t g a tables   ? help"
    if help_shown:
        return Group(*parts, Text(), Text(HELP), Text(), Text(footer, style="dim"))
    used = sum(-(-max(part.cell_len, 1) // width) for part in parts) + 1
    listed = [each for each in tables(view, sort) if only in ("", each[0])]
    for (_, columns, rows), most in zip(listed, rows_shown(listed, lines - used), strict=True):
        parts += [Text(), *table_lines(columns, rows[:most], width)]
        if most < len(rows):
            parts.append(Text(f"and {len(rows) - most:,} more", style="dim"))
    parts.append(Text(footer, style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)
