"""Members whose heartbeat needs no decision: the data plane stamps them, the control plane reads the stamps."""
from libc.stdint cimport int32_t, int64_t

# Purpose: respond to Heartbeat of a member of a Stable (or CompletingRebalance) group without the coordinator's thread.
# Owner: entries are made, changed and removed by the coordinator's thread only; reactors look up and stamp.
# Locks: one short mutex per shard (hash of group and member), held for a lookup and a few stores.
# Lifetime: the table lives as long as the process. Limits: group, member and instance ids of at most 32767 bytes.
#
# 1: the member is known, the generation is right and the group takes heartbeats: stamped, respond with error 0.
# 0: anything else: forward to the coordinator, which knows the right error.
# `instance_size` is -1 for a null group instance id. `now_ns` is the monotonic clock (Reactor.now_ns).
cdef int heartbeat_stamp(
    const char* group, int32_t group_size, const char* member, int32_t member_size, int32_t generation,
    const char* instance, int32_t instance_size, int64_t now_ns
) noexcept nogil
