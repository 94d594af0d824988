"""`GET /` of the metrics port: a page for the browser that says what this broker is and where everything is.

One HTML text without scripts and without other files, so that it works on a machine that has no other network.
"""

from __future__ import annotations

from html import escape

from kafka_cy.telemetry.broker_view import RUNNING, BrokerView
from kafka_cy.telemetry.health import problems, state_name
from kafka_cy.telemetry.http_server import HttpAnswer, HttpRequest

HTML = "text/html; charset=utf-8"
GOOD, BAD = "good", "bad"
PAGES = (
    ("/metrics", "metrics for Prometheus, with the names of jmx_exporter"),
    ("/health", "200 while the process works"),
    ("/ready", "200 while clients are served"),
    ("/debug/threads", "the current work of each thread"),
)
TOOLS_ADDRESS = "127.0.0.1:9092"  # where the tools look for a broker
COMMANDS = (
    ("kafka-cy topics create orders --partitions 3", "creates a topic"),
    ("echo hello | kafka-cy produce -t orders", "sends a record"),
    ("kafka-cy consume -t orders -o beginning", "prints the records, and waits for more"),
    ("kafka-cy doctor", "looks for problems"),
    ("kafka-cy top", "shows load, topics, groups and lag"),
)
STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: light-dark(#5c6673, #9aa5b3); }
:root { --good: light-dark(#10733f, #5cc98b); --bad: light-dark(#b02a1c, #f28a7d); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; }
tr + tr > * { border-top: 1px solid var(--line); } th { font-weight: normal; color: var(--dim); width: 11rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; } footer { color: var(--dim); margin-top: 2rem; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: bold; }
"""
DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{content}
<footer>The documentation is in the folder <code>docs</code> of kafka-cy's sources; it begins with <code>docs/index.md</code>.
Settings, requests and errors are those of <a href="https://kafka.apache.org/documentation/">Apache Kafka</a>.
Reload the page for new numbers.</footer>
</body>
</html>
"""


def answer(view: BrokerView, request: HttpRequest, up_s: float, scheme: str = "http") -> HttpAnswer:
    """The page. It takes no lock, and costs what a scrape's totals cost (linear in the partitions).

    `up_s`: how long the broker has been running, in seconds.
    """
    addresses = view.addresses()
    lines = ["<table>", *(_row(*fact) for fact in _facts(view, addresses, up_s)), "</table>"]
    lines += ["<h2>Pages</h2>", "<table>"]
    lines += [_linked_row(path, text) for path, text in PAGES]
    if lag := view.lag_address():
        url = f"{scheme}://{_host_of(request, lag[0])}:{lag[1]}/metrics"
        lines.append(_linked_row(url, "consumer lag of all groups, for Prometheus"))
    lines += ["</table>", "<h2>Commands</h2>", "<table>"]
    address = addresses[0][1] if addresses else TOOLS_ADDRESS
    option = f" -b {address}" if address != TOOLS_ADDRESS else ""
    lines += [f"<tr><td><code>{escape(line + option)}</code></td><td>{text}</td></tr>" for line, text in COMMANDS]
    lines.append("</table>")
    page = DOCUMENT.format(title=f"kafka-cy: broker {view.broker_id}", style=STYLE, content="\n".join(lines))
    return HttpAnswer(page.encode(), HTML)


def _facts(view: BrokerView, addresses: list[tuple[str, str]], up_s: float) -> list[tuple[str, str, str]]:
    """(name, text, style) of what the page says about the broker."""
    found = problems(view)
    topics, partitions, offline, _ = view.topics()
    groups: dict[str, int] = {}  # by state, whatever their kind
    for (_, name), count in sorted(view.groups()[0].items()):
        groups[name] = groups.get(name, 0) + count
    paths, failed = view.log_dirs()
    facts = [
        ("State", "; ".join([state_name(view.state), *found]), GOOD if view.state == RUNNING and not found else BAD),
        ("Version", view.version, ""),
        ("Cluster id", view.cluster_id or "not known yet", ""),
        ("Up for", _duration(up_s), ""),
        ("Clients connect to", ", ".join(f"{address} ({name})" for name, address in addresses) or "-", ""),
        ("Topics", f"{topics:,} with {partitions:,} partition{'' if partitions == 1 else 's'}", ""),
        ("Offline partitions", f"{offline:,}", BAD if offline else ""),
        ("Groups", ", ".join(f"{count:,} {name}" for name, count in sorted(groups.items()) if count) or "none", ""),
        ("Log directories", ", ".join(paths) or "-", ""),
    ]
    if failed:
        facts.append(("Failed log directories", ", ".join(sorted(failed)), BAD))
    return facts


def _row(name: str, text: str, style: str) -> str:
    shown = f'<span class="{style}">{escape(text)}</span>' if style else escape(text)
    return f"<tr><th>{name}</th><td>{shown}</td></tr>"


def _linked_row(url: str, text: str) -> str:
    return f'<tr><td><a href="{escape(url)}"><code>{escape(url)}</code></a></td><td>{text}</td></tr>'


def _host_of(request: HttpRequest, otherwise: str) -> str:
    """The host that the browser used for this page; it also leads to the broker's other ports."""
    host = request.headers.get("host", "")
    if not host.endswith("]"):
        host = host.rpartition(":")[0] or host
    return host if host and all(letter.isalnum() or letter in "-._:[]" for letter in host) else otherwise


def _duration(seconds: float) -> str:
    """`3 d 4 h`, `4 h 5 min`, `5 min 6 s` or `6 s`."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
