"""Pictures of the boards without Grafana: panels drawn as SVG from Prometheus' data."""
