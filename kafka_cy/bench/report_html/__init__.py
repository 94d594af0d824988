"""Results as a self-contained HTML page."""

from kafka_cy.bench.report_html.page import html_page

__all__ = ["html_page"]
