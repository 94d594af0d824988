"""Configuration: keys, their types and defaults, the broker's own configuration and topic configurations."""

from kafka_cy.config.broker_config import BrokerConfig
from kafka_cy.config.listeners import Listener
from kafka_cy.config.types import ConfigError, ConfigKey

__all__ = ["BrokerConfig", "ConfigError", "ConfigKey", "Listener"]
