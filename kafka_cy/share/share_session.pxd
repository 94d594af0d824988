"""The coordinator's handle of a share session; see share_session.pyx."""
from kafka_cy.share.session_data cimport SessionData


cdef class ShareSession:
    cdef SessionData* data
    cdef readonly object key
    cdef readonly long long connection_id
