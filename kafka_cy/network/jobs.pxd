"""Work that takes too long for a reactor: decompression of large batches, reads of data not in memory, appends to a slow disk,
look-ups by time.

A job runs on a native thread without the GIL; afterwards its reactor calls `done`. See jobs.pyx.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.request cimport Reactor
from kafka_cy.records.compression cimport Codecs

# Each kind has its own queue and threads, so a read does not wait behind decompression.
cdef enum JobKind:
    JOB_DECOMPRESS = 0
    JOB_READ = 1
    JOB_LOOK_UP = 2             # reads and decompresses
    JOB_WRITE = 3               # the first of WRITE_QUEUES kinds: a disk that hangs does not stop the appends to others
    JOB_KINDS = 7

cdef enum:
    JOB_LANES = 64              # of each queue; a lane may use this fraction of the queue's limit

cdef struct Job

ctypedef void (*JobRun)(Job* job, Codecs* codecs) noexcept nogil    # on a job thread, with the thread's codecs
ctypedef void (*JobDone)(Reactor* reactor, Job* job) noexcept nogil # on the reactor; the submitter owns the job again

# Purpose: one piece of work of one request. Submitters embed it as the FIRST field of their own malloc'ed struct.
# Owner: the job thread from job_submit until `done` is called, then the reactor that submitted it. Nothing in it may be
#   freed in between, even if the connection closes; a reactor ends only after its jobs.
# Limits: one job per request, and one per connection that is held meanwhile; its `bytes` count as queued request bytes
#   (queued.max.request.bytes). A queue holds no job whose request is gone. How many jobs wait is limited by job_has_room.
cdef struct Job:
    Job* next                   # in its lane, like `prev` and `queued`: under the queue's mutex
    Job* prev
    bint queued                 # no thread has begun it
    int32_t kind
    uint32_t lane               # chosen by the client's address
    JobRun run
    JobDone done
    Reactor* reactor            # NULL: no reactor is notified
    int64_t bytes               # memory it holds for its request

# Whether another job of the connection's client may wait in the queue: each lane has an equal share of queued.max.requests.
# While requests of the lane are held back, room is for them only.
# A request that has done nothing yet asks first, and is held back by job_hold_back without room. A request that has begun
# submits its job anyway, so that what it has done is answered once: a Produce that has appended a batch, and each Fetch, as
# its session has moved on. That is one job more for each held connection.
cdef bint job_has_room(Reactor* reactor, Connection* connection, int kind) noexcept nogil
# The handler's result without room. The request stays in the connection's buffer and counts as memory for requests. The
# connection is not read until there is room; then the request is handled from its beginning. `awaited`: see connection_hold.
cdef int job_hold_back(Connection* connection, int kind, bint awaited) noexcept nogil
# A job of the process itself has neither reactor nor connection (NULL).
cdef void job_submit(Reactor* reactor, Connection* connection, Job* job) noexcept nogil
# The request is gone: a job that no thread has begun is taken back, and `done` is called here, without `run`. One that runs
# goes on, and `done` is called when it ends. On the reactor that submitted it; the job may be freed afterwards.
cdef void job_cancel(Reactor* reactor, Job* job) noexcept nogil
# The number of threads each kind may have. Threads start when there is work for them, and keep running.
cdef void jobs_set_threads(int32_t decompress, int32_t disk) noexcept nogil
# Handles no further request of the connection until its release, so that none overtakes the one waiting for a job.
# `awaited`: the client waits for the response. If it closes the connection meanwhile, the request ends at once, unless
# another one holds the connection for which no response is awaited (acks=0): that one is completed.
cdef void connection_hold(Connection* connection, bint awaited) noexcept nogil
# `awaited`: as it was held.
cdef void connection_unhold(Reactor* reactor, Connection* connection, bint awaited) noexcept nogil

# -- internal to the network layer --
cdef void job_passed(Connection* connection) noexcept nogil       # its request is no longer held back (connection.held_back)
cdef void job_done(Reactor* reactor, Job* job) noexcept nogil     # its mail arrived
cdef void jobs_cancel(Reactor* reactor) noexcept nogil            # job_cancel for all jobs of a reactor that ends
