"""A report as one self-contained HTML page: it includes its style, charts and script.

Labels and errors in a report come from files that anybody may have written. So every text is escaped, and the page's
content security policy allows only the page's own script and no requests.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from kafka_cy.charts.palette import chart_style, variables
from kafka_cy.charts.text import escaped


def html_page(title: str, body: str, *, script: bool = True) -> str:
    """The whole page; `body` is HTML. The script shows the values at the pointer; without it the points have tooltips."""
    code = resource("tips.js") if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    allowed = f" script-src 'sha256-{digest}';" if script else ""
    policy = f"default-src 'none'; style-src 'unsafe-inline';{allowed} base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(title)}</title>
<style>
{variables()}{chart_style()}{resource("page.css")}</style>
</head>
<body>
<main>
{body}
</main>
{f"<script>{code}</script>" if script else ""}
</body>
</html>
"""


def resource(name: str) -> str:
    """The text of a file in this package."""
    return files("kafka_cy.charts").joinpath(name).read_text(encoding="utf-8")
