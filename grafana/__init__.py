"""Dashboards as code: boards/ says what is shown, `python -m grafana.generate` writes dashboards/*.json."""
