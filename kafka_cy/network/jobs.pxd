"""Work that takes too long for a reactor: decompression of large batches, reads of data not in memory, appends to a slow disk,
look-ups by time, TLS handshakes.

A job runs on a native thread without the GIL; afterwards its reactor calls `done`. See jobs.pyx.
"""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.job_queue cimport (
    JOB_DECOMPRESS, JOB_HANDSHAKE, JOB_KINDS, JOB_LANES, JOB_LOOK_UP, JOB_READ, JOB_WRITE, Job, JobDone, JobRun,
)
from kafka_cy.network.request cimport Reactor

# What a running job holds in addition, until `done`. False: queued.max.request.bytes is used up, and nothing is counted. On the
# job's thread.
cdef bint job_holds_more(Job* job, int64_t bytes) noexcept nogil
# A job of the process itself has neither reactor nor connection (NULL).
cdef void job_submit(Reactor* reactor, Connection* connection, Job* job) noexcept nogil
# The request is gone: a job that no thread has begun is taken back, and `done` is called here, without `run`. One that runs
# goes on, and `done` is called when it ends. On the reactor that submitted it; the job may be freed afterwards.
cdef void job_cancel(Reactor* reactor, Job* job) noexcept nogil
# The number of threads each kind may have: those that compute, and those that wait for a disk. Threads start when there is work
# for them, and keep running.
cdef void jobs_set_threads(int32_t computing, int32_t disk) noexcept nogil
# Start the first thread of a kind now, if there is none: 0, or the error. For jobs whose clients have nothing else to hope for.
cdef int jobs_begin(int kind) noexcept nogil
# Threads that could not be started when their jobs came: try again. Any reactor, now and then.
cdef void jobs_begin_missing() noexcept nogil
# Handles no further request of the connection until its release, so that none overtakes the one waiting for a job.
# The connection must not be held already: a parked request that finds this calls park_until_unheld.
# `awaited`: the client waits for the response. If it closes the connection meanwhile, the request ends at once. A request for
# which no response is awaited (acks=0) is completed.
cdef void connection_hold(Connection* connection, bint awaited) noexcept nogil
# `awaited`: as it was held.
cdef void connection_unhold(Reactor* reactor, Connection* connection, bint awaited) noexcept nogil

# -- internal to the network layer --
cdef void job_done(Reactor* reactor, Job* job) noexcept nogil     # its mail arrived
cdef void jobs_cancel(Reactor* reactor) noexcept nogil            # job_cancel for all jobs of a reactor that ends
