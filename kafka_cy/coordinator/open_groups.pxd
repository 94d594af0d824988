"""Groups that are open: reactors commit their offsets without the coordinator's thread."""
from libc.stdint cimport int32_t, int64_t, uint32_t

from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.coordinator.committed_offsets cimport CommittedOffsets
from kafka_cy.coordinator.offset_map cimport OffsetMap
from kafka_cy.storage.hosted_partition cimport HostedPartition
from kafka_cy.storage.partition cimport Partition

# Whose commits a reactor may store.
cdef enum OpenFor:
    DOOR_SHUT = 0
    DOOR_FOR_MEMBERS = 1            # in the heartbeat table, with their generation or epoch
    DOOR_FOR_SIMPLE = 2             # the group has no members: commits without a generation
    DOOR_FOR_HEARTBEATS = 3         # no commits, but heartbeats of steady members

# Where the offsets of a shard's groups are appended. Owner: an OpenLog. Lifetime: as long as a door refers to it.
cdef struct OffsetsLog:
    Partition* partition            # of __consumer_offsets
    int32_t leader_since_epoch      # of the leadership that the groups were loaded in
    int32_t stored_timeout_ms       # for how long a commit waits until it is stored
    int32_t lost                    # (a) the coordinator has unloaded it: nothing may be appended any more

# Purpose: what a reactor has to know of a group to commit its offsets. Owner: an OpenGroup.
# Locks: the gate of the group's name guards all fields. Lifetime: while it is in a gate's table its offsets and log live, too.
# Limits: one for each group that has committed, or has a steady member, since its partition was loaded.
cdef struct Door:
    uint32_t hash
    int32_t open_for                # OpenFor
    OffsetMap* offsets
    OffsetsLog* log
    int32_t batch_bytes_max
    int32_t metadata_bytes_max
    int32_t steady_api_key          # of the heartbeats of the group's members
    int32_t steady_epoch            # members with this epoch are settled, and so is their group; -1: none
    int32_t heartbeat_interval_ms   # of the steady ones
    int32_t endpoint_epoch          # of a streams group: what the steady ones know; else 0
    int64_t steady_version          # that of when `steady_epoch` was set
    int64_t steady_until_ns         # monotonic
    int32_t group_size
    char group[1]                   # really group_size bytes

# Every 64th part of the groups. Locks: `gate_mutex` guards the doors and is held while a commit is checked, appended and stored.
cdef struct Gate:
    pthread_mutex_t gate_mutex
    int32_t stuck                   # (a) somebody has waited in vain, and nobody has had the gate since
    HashTable table                 # places in `doors`
    Door** doors                    # dense, in no order
    int32_t count
    int32_t capacity

# Lock the group's gate and find its door: NULL when the group is not open. The caller unlocks the gate. NULL instead of a gate:
# another group's commit is behind it, with an append that takes long. Then the coordinator waits, and not the reactor.
cdef Gate* gate_lock(const char* group, int32_t group_size, Door** door) noexcept nogil

# Whether heartbeats (of this API) of members with these epochs need no decision, as far as the group is concerned. The gate is
# held.
cdef bint door_is_steady(
    const Door* door, int32_t api_key, int32_t epoch, int32_t endpoint_epoch, int64_t now_ns
) noexcept nogil

cdef class OpenLog:
    cdef OffsetsLog log
    cdef HostedPartition hosted

cdef class OpenGroup:
    cdef Door* door
    cdef CommittedOffsets offsets
    cdef OpenLog log
