"""Lists of ranges in offset order, in which a range is found without a walk past all that lie before it; see range_lists.pyx."""
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t

# As they are stored; ACQUIRED is never stored.
cdef enum RecordState:
    RECORD_AVAILABLE = 0
    RECORD_ACQUIRED = 1
    RECORD_ACKNOWLEDGED = 2
    RECORD_ARCHIVED = 4

# The two lists of a share partition.
cdef enum ListKind:
    ALL_RANGES = 0
    FREE_RANGES = 1             # those that a member can be given

cdef enum:
    SHORTCUT_LEVELS = 4         # above the list itself
    SHORTCUT_STEP = 16          # about one range in so many of a level is in the next one, too

# A member that holds records of the partition. Lifetime: while it has a range.
cdef struct Holder:
    Holder* next
    int32_t ranges              # how many it has
    uint32_t hash
    int32_t size
    char id[1]                  # really `size` bytes

# Neighbouring records in the same state. Behind the struct, in the same allocation: its RangeLinks of `height` levels of shortcuts
# in the list of all ranges, and as many for the list of free ones.
cdef struct Range:
    Range* next                 # in offset order; the first four fields are two RangeLinks
    Range* previous
    Range* next_free            # if `listed_free`
    Range* previous_free
    Range* next_changed         # in its change
    int64_t first
    int64_t last
    int64_t deadline_ns         # monotonic; of the lock
    int64_t batch_size          # how many records were delivered together the first time; a part of them keeps it
    Holder* holder              # NULL: nobody
    Change* change              # stores `next_state` at the moment; NULL: nothing is being stored
    int32_t delivery_count
    int8_t state                # RecordState
    int8_t next_state
    int8_t height               # how many levels of shortcuts it is in
    bint listed_free
    bint forgotten              # the log begins behind it now: it is freed with its change

# Ranges with the states that are being stored. Owner: the request that began it, then the coordinator's thread.
# Limit: the ranges of its partition.
cdef struct Change:
    Range* first                # in the order in which they were added
    Range* last
    int32_t count
    int64_t told[5]             # records by type of acknowledgement, for the metrics

cdef struct RangeLink:
    Range* next
    Range* previous

# Owner: Ranges, with its locks. Cost of each function: logarithmic in the number of ranges.
cdef struct RangeList:
    int8_t kind                 # ListKind
    Range* first
    Range* last
    Range* shortcuts[SHORTCUT_LEVELS]   # the first range of each level
    int64_t steps               # ranges that searches have looked at, for tests

# A range that is in no list. NULL: no memory.
cdef Range* range_allocate() noexcept nogil
# The first range that ends at or behind `offset`; NULL: none.
cdef Range* list_find(RangeList* chain, int64_t offset) noexcept nogil
cdef void list_insert(RangeList* chain, Range* each) noexcept nogil
# The same, where it is known that the range comes directly behind `before`, which is in the list.
cdef void list_insert_behind(RangeList* chain, Range* before, Range* each) noexcept nogil
cdef void list_remove(RangeList* chain, Range* each) noexcept nogil
