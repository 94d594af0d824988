"""Sphinx's settings for the website (scripts/docs_site/build.py)."""

project = "kafka-cy"
author = "The kafka-cy authors"
html_title = "kafka-cy"
html_theme = "furo"
extensions = ["myst_parser"]
myst_heading_anchors = 4
html_copy_source = False
html_show_sphinx = False
# A heading may be skipped, and a code block may show output that its language does not allow.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
