"""Jobs, and their queues: one for each kind, with a lane for each group of clients. See jobs.pyx."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from kafka_cy.base.hash cimport hash_of_bytes
from kafka_cy.base.posix cimport pthread_cond_t, pthread_mutex_t
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.request cimport Reactor
from kafka_cy.records.compression cimport Codecs

# Each kind has its own queue and threads, so a read does not wait behind decompression.
cdef enum JobKind:
    JOB_DECOMPRESS = 0
    JOB_READ = 1
    JOB_LOOK_UP = 2             # reads and decompresses
    JOB_WRITE = 3               # the first of WRITE_QUEUES kinds: a disk that hangs does not stop the appends to others
    JOB_HANDSHAKE = 7           # of TLS
    JOB_KINDS = 8

cdef enum:
    JOB_LANES = 64              # of each queue; a lane may use this fraction of the queue's limit

cdef struct Job

ctypedef void (*JobRun)(Job* job, Codecs* codecs) noexcept nogil    # on a job thread, with the thread's codecs
ctypedef void (*JobDone)(Reactor* reactor, Job* job) noexcept nogil # on the reactor; the submitter owns the job again

# Purpose: one piece of work of one request. Submitters embed it as the FIRST field of their own malloc'ed struct.
# Owner: the job thread from job_submit until `done` is called, then the reactor that submitted it. Nothing in it may be
#   freed in between, even if the connection closes; a reactor ends only after its jobs.
# Limits: one job per request, and one per connection, which is held meanwhile; its `bytes` count as queued request bytes
#   (queued.max.request.bytes). A queue holds no job whose request is gone. How many jobs wait is limited (job_places).
cdef struct Job:
    Job* next                   # in its lane, like `prev` and `queued`: under the queue's mutex
    Job* prev
    bint queued                 # no thread has begun it
    int32_t kind
    uint32_t lane               # chosen by the client's address
    bint placeless              # it goes on with what had a place before: those that begin do not wait for it to get one
    JobRun run
    JobDone done
    Reactor* reactor            # NULL: no reactor is notified
    int64_t bytes               # memory it holds for its request

cdef struct Lane:
    Job* first
    Job* last
    int64_t count                   # (a) of jobs that take a place; written under the mutex
    Connection* held_first          # connections whose requests wait for room, in the order in which they began to
    Connection* held_last
    int64_t held_back               # (a) how many, without those aside; written under the mutex
    int32_t aside                   # how many of them wait for something else, too

# Purpose: the queue of one kind. Owner: the process. Lock: `mutex` guards the lanes, with the links of the connections that are
# held back, and the counts.
# Limits: see job_has_room.
cdef struct JobQueue:
    pthread_mutex_t mutex
    pthread_cond_t not_empty
    Lane[JOB_LANES] lanes
    uint64_t lanes_waiting          # bit set: the lane has a job
    uint32_t lane_next              # where the search for the next job begins
    int64_t count
    int32_t threads
    int32_t threads_max
    int32_t idle
    int64_t may_begin               # how many jobs may begin, set by a test; -1: all

cdef JobQueue queues[JOB_KINDS]


cdef inline uint32_t lane_of(Connection* connection) noexcept nogil:
    """By the IPv4 address, or by the network part of the IPv6 address: a client may have all addresses of its network."""
    return hash_of_bytes(connection.address, 8) % (JOB_LANES - 1)
