"""Doors of groups: while a group's door is open, reactors check, append and store its commits under the group's gate.

The coordinator shuts the door before it looks at a group in order to change it, and opens it afterwards, if commits then need
no decision. Shutting takes the gate. So nothing is appended between a decision and the append that follows from it, and the
order of the log is the order in which offsets are stored in memory.
"""
from typing import NamedTuple

cimport cython
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport read, write

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_load_i32, atomic_load_i64, atomic_store_i32
from kafka_cy.base.hash cimport hash_of_bytes
from kafka_cy.base.hash_table cimport (
    hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber, hash_table_reserve, hash_table_start,
)
from kafka_cy.base.posix cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_trylock, pthread_mutex_unlock
from kafka_cy.base.timed_lock cimport mutex_lock_within

cdef enum:
    GATES = 64
    ID_BYTES_MAX = 32767
    GATE_WAIT_NS = 4000000      # an append that takes longer is a slow one (storage/slow_disk)

# The values of OpenGroup.open: DOOR_... for Python.
OPEN_FOR_NOBODY = DOOR_SHUT
OPEN_FOR_MEMBERS = DOOR_FOR_MEMBERS
OPEN_FOR_SIMPLE = DOOR_FOR_SIMPLE
OPEN_FOR_HEARTBEATS = DOOR_FOR_HEARTBEATS


class Steady(NamedTuple):
    """When heartbeats of settled members with this epoch need no decision: until then (monotonic), or `version` changes."""

    api_key: int
    epoch: int
    heartbeat_interval_ms: int
    version: int
    until_s: float
    endpoint_epoch: int = 0


cdef Gate gates[GATES]
cdef int64_t doors_count = 0            # in all gates, for metrics
cdef int64_t steady_version = 0         # grows when something changes that a group may depend on


# What a door is opened with; see Door.
cdef struct Terms:
    int32_t open_for
    int32_t batch_bytes_max
    int32_t metadata_bytes_max
    int32_t steady_api_key
    int32_t steady_epoch
    int32_t heartbeat_interval_ms
    int32_t endpoint_epoch
    int64_t steady_version
    int64_t steady_until_ns


cdef inline Gate* gate_of(uint32_t hash) noexcept nogil:
    return &gates[hash >> 26]           # the table uses the low bits


cdef bint gate_wait(Gate* gate) noexcept nogil:
    """Wait for a gate that another thread has. False: it takes long; after the first one nobody waits until it was free."""
    if atomic_load_i32(&gate.stuck) or mutex_lock_within(&gate.gate_mutex, GATE_WAIT_NS):
        atomic_store_i32(&gate.stuck, 1)
        return False
    return True


cdef Gate* gate_lock(const char* group, int32_t group_size, Door** door) noexcept nogil:
    cdef uint32_t hash, place
    cdef Gate* gate
    cdef int32_t found
    cdef Door* each
    door[0] = NULL
    if group_size > ID_BYTES_MAX:       # such a group has no door
        return NULL
    hash = hash_of_bytes(group, <size_t>group_size)
    gate = gate_of(hash)
    if pthread_mutex_trylock(&gate.gate_mutex) and not gate_wait(gate):
        return NULL
    atomic_store_i32(&gate.stuck, 0)
    place = hash_table_start(&gate.table, hash)
    found = hash_table_next(&gate.table, hash, &place)
    while found >= 0:
        each = gate.doors[found]
        if each.group_size == group_size and memcmp(each.group, group, <size_t>group_size) == 0:
            if each.open_for != DOOR_SHUT:
                door[0] = each
            break
        found = hash_table_next(&gate.table, hash, &place)
    return gate


cdef int door_add(Door* door) noexcept nogil:
    """-1 without memory."""
    cdef Gate* gate = gate_of(door.hash)
    cdef int32_t capacity
    cdef Door** grown
    cdef int failed = 0
    pthread_mutex_lock(&gate.gate_mutex)
    if gate.count == gate.capacity:
        capacity = 2 * gate.capacity + 16
        grown = <Door**>realloc(gate.doors, <size_t>capacity * sizeof(Door*))
        if grown == NULL:
            failed = -1
        else:
            gate.doors = grown
            gate.capacity = capacity
    if failed == 0:
        failed = hash_table_reserve(&gate.table, <uint32_t>gate.count + 1)
    if failed == 0:
        gate.doors[gate.count] = door
        hash_table_insert(&gate.table, door.hash, gate.count)
        gate.count += 1
        atomic_add_i64(&doors_count, 1)
    pthread_mutex_unlock(&gate.gate_mutex)
    return failed


cdef void door_remove(Door* door) noexcept nogil:
    """Take the door out of its table. The last door takes its place."""
    cdef Gate* gate = gate_of(door.hash)
    cdef uint32_t place
    cdef int32_t found
    cdef Door* last
    pthread_mutex_lock(&gate.gate_mutex)
    place = hash_table_start(&gate.table, door.hash)
    found = hash_table_next(&gate.table, door.hash, &place)
    while found >= 0 and gate.doors[found] != door:
        found = hash_table_next(&gate.table, door.hash, &place)
    if found >= 0:
        last = gate.doors[gate.count - 1]
        hash_table_remove(&gate.table, door.hash, found)
        gate.count -= 1
        atomic_add_i64(&doors_count, -1)
        if found != gate.count:
            hash_table_renumber(&gate.table, last.hash, gate.count, found)
            gate.doors[found] = last
    pthread_mutex_unlock(&gate.gate_mutex)


cdef void door_shut(Door* door) noexcept nogil:
    cdef Gate* gate = gate_of(door.hash)
    pthread_mutex_lock(&gate.gate_mutex)
    door.open_for = DOOR_SHUT
    pthread_mutex_unlock(&gate.gate_mutex)


cdef void door_open(Door* door, const Terms* terms) noexcept nogil:
    cdef Gate* gate = gate_of(door.hash)
    pthread_mutex_lock(&gate.gate_mutex)
    door.open_for = terms.open_for
    door.batch_bytes_max = terms.batch_bytes_max
    door.metadata_bytes_max = terms.metadata_bytes_max
    door.steady_api_key = terms.steady_api_key
    door.steady_epoch = terms.steady_epoch
    door.heartbeat_interval_ms = terms.heartbeat_interval_ms
    door.endpoint_epoch = terms.endpoint_epoch
    door.steady_version = terms.steady_version
    door.steady_until_ns = terms.steady_until_ns
    pthread_mutex_unlock(&gate.gate_mutex)


cdef bint door_is_steady(
    const Door* door, int32_t api_key, int32_t epoch, int32_t endpoint_epoch, int64_t now_ns
) noexcept nogil:
    return (
        epoch > 0 and door.steady_epoch == epoch and door.steady_api_key == api_key and door.endpoint_epoch == endpoint_epoch
        and now_ns < door.steady_until_ns
        and door.steady_version == atomic_load_i64(&steady_version) and not atomic_load_i32(&door.log.lost)
    )


cdef void gates_pass() noexcept nogil:
    """Wait until every gate was free once."""
    cdef int i
    for i in range(GATES):
        pthread_mutex_lock(&gates[i].gate_mutex)
        pthread_mutex_unlock(&gates[i].gate_mutex)


@cython.no_gc_clear     # doors need its partition until it ends
cdef class OpenLog:
    # Owner: the shard of a partition. Lifetime: until the last door that refers to it has ended.

    def __init__(self, HostedPartition hosted not None, int stored_timeout_ms=5000):
        self.hosted = hosted
        self.log.stored_timeout_ms = stored_timeout_ms
        self.log.partition = hosted.partition
        self.log.leader_since_epoch = atomic_load_i32(&hosted.partition.leader_since_epoch)
        self.log.lost = 0

    def lose(self):
        atomic_store_i32(&self.log.lost, 1)
        fence()


@cython.no_gc_clear     # until __dealloc__ removes the door, reactors need its offsets and its log
cdef class OpenGroup:
    # Owner: the coordinator's thread. Lifetime: its door is found by reactors until `remove`, at the latest until it ends.

    def __init__(self, bytes group not None, CommittedOffsets offsets not None, OpenLog log not None):
        cdef int failed
        if len(group) > ID_BYTES_MAX:
            raise ValueError("a group id has more than 32767 bytes")
        self.offsets = offsets
        self.log = log
        cdef Door* door = <Door*>malloc(sizeof(Door) + len(group))
        if door == NULL:
            raise MemoryError
        memset(door, 0, sizeof(Door))
        door.open_for = DOOR_SHUT
        door.steady_epoch = -1
        door.offsets = &offsets.map
        door.log = &log.log
        door.group_size = <int32_t>len(group)
        memcpy(door.group, <const char*>group, len(group))
        door.hash = hash_of_bytes(door.group, <size_t>door.group_size)
        with nogil:
            failed = door_add(door)
        if failed:
            free(door)
            raise MemoryError
        self.door = door

    def __dealloc__(self):
        cdef Door* door = self.door
        if door != NULL:
            with nogil:
                door_remove(door)
            free(door)

    def open(self, int open_for, int batch_bytes_max, int metadata_bytes_max, steady=None):
        cdef Door* door = self.door
        cdef Terms terms
        memset(&terms, 0, sizeof(Terms))
        terms.open_for = open_for
        terms.batch_bytes_max = batch_bytes_max
        terms.metadata_bytes_max = metadata_bytes_max
        terms.steady_epoch = -1
        if steady is not None:
            terms.steady_api_key = steady.api_key
            terms.steady_epoch = steady.epoch
            terms.heartbeat_interval_ms = steady.heartbeat_interval_ms
            terms.endpoint_epoch = steady.endpoint_epoch
            terms.steady_version = steady.version
            terms.steady_until_ns = <int64_t>(steady.until_s * 1e9)
        if door != NULL:
            with nogil:
                door_open(door, &terms)

    def shut(self):
        cdef Door* door = self.door
        if door != NULL and door.open_for != DOOR_SHUT:      # only this thread changes it
            with nogil:
                door_shut(door)

    def remove(self):
        cdef Door* door = self.door
        self.door = NULL
        if door != NULL:
            with nogil:
                door_remove(door)
            free(door)


def fence():
    with nogil:
        gates_pass()


def unsteady():
    atomic_add_i64(&steady_version, 1)


def version():
    return steady_version


def count():
    return atomic_load_i64(&doors_count)


cdef void gate_hold(const char* group, int32_t group_size, int held_fd, int end_fd) noexcept nogil:
    cdef Gate* gate = gate_of(hash_of_bytes(group, <size_t>group_size))
    cdef char byte = 0
    pthread_mutex_lock(&gate.gate_mutex)
    if write(held_fd, &byte, 1) == 1:
        read(end_fd, &byte, 1)
    pthread_mutex_unlock(&gate.gate_mutex)


def hold_gate(bytes group not None, int held_fd, int end_fd):
    """Take the group's gate as a long append would, write a byte to `held_fd`, and wait for one from `end_fd`. For tests."""
    cdef const char* data = group
    cdef int32_t size = <int32_t>len(group)
    with nogil:
        gate_hold(data, size, held_fd, end_fd)


cdef void gates_init() noexcept nogil:
    cdef int i
    memset(gates, 0, sizeof(gates))
    for i in range(GATES):
        pthread_mutex_init(&gates[i].gate_mutex, NULL)


gates_init()
