"""Charts as SVG text, and the page of a report. The reports of `bench` and `sizing` and the pictures of the dashboards use it.

A chart needs no script, font or file from elsewhere. The text in it can come from anybody, so all text is escaped.
"""
