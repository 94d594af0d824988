"""Members whose heartbeat needs no decision: the data plane stamps them, the control plane reads the stamps."""
from libc.stdint cimport int32_t, int64_t

# Purpose: respond to Heartbeat of a member of a Stable (or CompletingRebalance) group without the coordinator's thread.
# Owner: entries are made, changed and removed by the coordinator's thread only; reactors look up and stamp.
# Locks: one short mutex per shard (hash of group and member), held for a lookup and a few stores.
# Lifetime: the table lives as long as the process. Limits: group, member and instance ids of at most 32767 bytes.
#
# Members of the newer kinds of groups (KIP-848, KIP-932, KIP-1071) are here for their commits and steady heartbeats; `generation`
# is the member epoch then.

# What a heartbeat of such a member says besides its epoch. Borrowed; a size of -1: nothing is said, so it is as before.
cdef struct Said:
    const char* instance
    int32_t instance_size
    const char* regex               # of topics that it subscribes to
    int32_t regex_size
    const char* client              # the client id of the request; empty if there is none
    int32_t client_size
    const char* host                # the client's address
    int32_t host_size

# 1: the member is known, the generation is right and the group takes heartbeats: stamped, respond with error 0.
# 0: anything else: forward to the coordinator, which knows the right error.
# `instance_size` is -1 for a null group instance id. `now_ns` is the monotonic clock (Reactor.now_ns).
cdef int heartbeat_stamp(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t generation,
    const char* instance, int32_t instance_size, int64_t now_ns
) noexcept nogil

# 1: the member is known and may commit with this generation or epoch, as far as the member is concerned; the group has to be open
# (coordinator/open_groups). A commit of a classic member counts as a heartbeat. 0: forward. `version` is OffsetCommit's: members of
# newer kinds of groups need 9.
cdef int member_may_commit(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t generation,
    const char* instance, int32_t instance_size, int version, int64_t now_ns
) noexcept nogil

# A heartbeat of a newer kind of group, of a member whose heartbeat needs no decision, as far as the member is concerned: 1,
# stamped. 0: forward.
cdef int modern_heartbeat_stamp(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t epoch, const Said* said, int64_t now_ns
) noexcept nogil
