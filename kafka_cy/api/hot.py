"""Registers the handlers that reactors run without the GIL."""

from __future__ import annotations

import importlib

from kafka_cy.api.registry import HOT_APIS


def register_all() -> None:
    """Make the reactors handle every hot API themselves. Call it once, before the server starts."""
    for api in HOT_APIS.values():
        importlib.import_module("kafka_cy.api." + api.hot).register(api.version_min, api.version_max)
