"""A topic's configuration. See log_settings.pyx."""
from kafka_cy.storage.shared_config cimport SharedConfig


cdef class LogSettings:
    cdef SharedConfig* shared       # one reference


cdef LogSettings settings_from(object config)       # LogSettings, a dictionary, or None: Kafka's defaults
