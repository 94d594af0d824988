"""The files in a log's folder at a start: listing them, finishing a cleaner's swap, removing leftovers, reading snapshots."""
from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc, qsort, realloc, strtoll
from libc.string cimport memset, strcmp, strlen

from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.base.posix cimport (
    DIR, ENOENT, ENOMEM, O_RDONLY, PATH_BYTES_MAX, close, closedir, dirent, errno_set, join_path, name_file, open_file, opendir,
    read_some, readdir, rename_path, size_of_fd, unlink,
)
from kafka_cy.records.batch cimport LOG_OVERHEAD
from kafka_cy.records.wire cimport load_be32, load_be64
from kafka_cy.storage.producer_state cimport ProducerState, producers_clear, producers_read_snapshot
from kafka_cy.storage.segment cimport Segment, segment_rename_deleted, segments_give_way

cdef DIR* open_folder(const char* directory, int* failed) noexcept nogil:
    """If descriptors ran out, files of unused segments are closed. NULL with an errno in `failed`."""
    cdef DIR* folder = opendir(directory)
    failed[0] = errno if folder == NULL else 0
    while folder == NULL and segments_give_way(failed[0]):
        folder = opendir(directory)
        failed[0] = errno if folder == NULL else 0
    return folder


cdef dirent* next_entry(DIR* folder, int* failed) noexcept nogil:
    """NULL at the end. Also with an errno in `failed`, which is left alone otherwise: the folder may have more files."""
    cdef dirent* entry
    errno_set(0)
    entry = readdir(folder)
    if entry == NULL and errno != 0:
        failed[0] = errno
    return entry


cdef int listing_read(Listing* listing, const char* directory) noexcept nogil:
    cdef bint swaps = False
    cdef bint cleaned = False
    cdef int failed = list_folder(listing, directory, True, &swaps, &cleaned)
    if not failed and swaps:
        listing_free(listing)
        failed = finish_swaps(directory)
        if not failed:
            failed = list_folder(listing, directory, True, &swaps, &cleaned)
    if not failed and cleaned:
        failed = delete_cleaned(directory)
    if failed:
        listing_free(listing)
        return failed
    delete_orphans(listing, directory)
    return 0


cdef int listing_look(Listing* listing, const char* directory) noexcept nogil:
    cdef bint swaps = False
    cdef bint cleaned = False
    return list_folder(listing, directory, False, &swaps, &cleaned)


cdef int list_folder(
    Listing* listing, const char* directory, bint removes_leftovers, bint* swaps, bint* cleaned
) noexcept nogil:
    """0 or an errno; then the listing is empty. `swaps`, `cleaned`: has a cleaner left such files?"""
    cdef int failed = 0
    cdef DIR* folder = open_folder(directory, &failed)
    cdef dirent* entry
    listing.segments = NULL
    listing.segments_count = 0
    listing.snapshots = NULL
    listing.snapshots_count = 0
    listing.transactions = NULL
    listing.transactions_count = 0
    memset(&listing.repairs, 0, sizeof(Repairs))
    if folder == NULL:
        return failed
    entry = next_entry(folder, &failed)
    while entry != NULL and not failed:
        if ends_with(entry.d_name, b".swap"):
            swaps[0] = True
        elif ends_with(entry.d_name, b".cleaned"):
            cleaned[0] = True
        else:
            failed = list_one(listing, directory, entry.d_name, removes_leftovers)
        entry = next_entry(folder, &failed)
    closedir(folder)
    if failed:
        listing_free(listing)
        return failed
    sort_offsets(listing.segments, listing.segments_count)
    sort_offsets(listing.snapshots, listing.snapshots_count)
    sort_offsets(listing.transactions, listing.transactions_count)
    return 0


cdef void delete_orphans(Listing* listing, const char* directory) noexcept nogil:
    """Remove each .txnindex without a segment: a crash came between the renames of a segment's files. Later entries would be
    added to it if a segment got the same base offset."""
    cdef char path[PATH_BYTES_MAX]
    cdef int32_t kept = 0
    cdef int32_t segment = 0
    cdef int32_t i
    for i in range(listing.transactions_count):
        while segment < listing.segments_count and listing.segments[segment] < listing.transactions[i]:
            segment += 1
        if segment < listing.segments_count and listing.segments[segment] == listing.transactions[i]:
            listing.transactions[kept] = listing.transactions[i]
            kept += 1
        else:
            name_file(path, PATH_BYTES_MAX, directory, listing.transactions[i], b".txnindex")
            unlink(path)
    listing.transactions_count = kept


cdef int retire_segment(Segment* segment) noexcept nogil:
    segment_rename_deleted(segment)
    return -min(atomic_load_i32(&segment.deleted), 0)


cdef void listing_free(Listing* listing) noexcept nogil:
    free(listing.segments)
    free(listing.snapshots)
    free(listing.transactions)
    listing.segments = NULL
    listing.snapshots = NULL
    listing.transactions = NULL


cdef int list_one(Listing* listing, const char* directory, const char* name, bint removes_leftovers) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t offset = offset_of_name(name, b".log")
    if offset >= 0:
        return push(&listing.segments, &listing.segments_count, offset)
    offset = offset_of_name(name, b".snapshot")
    if offset >= 0:
        return push(&listing.snapshots, &listing.snapshots_count, offset)
    offset = offset_of_name(name, b".txnindex")
    if offset >= 0:
        return push(&listing.transactions, &listing.transactions_count, offset)
    if removes_leftovers and (ends_with(name, b".deleted") or ends_with(name, b".tmp")):
        join_path(path, PATH_BYTES_MAX, directory, name)
        unlink(path)
    return 0


cdef int push(int64_t** values, int32_t* count, int64_t value) noexcept nogil:
    """0 or an errno. Capacity is the next power of two."""
    cdef int64_t* grown
    if count[0] & (count[0] - 1) == 0:
        grown = <int64_t*>realloc(values[0], <size_t>(2 * count[0] if count[0] else 1) * sizeof(int64_t))
        if grown == NULL:
            return ENOMEM
        values[0] = grown
    values[0][count[0]] = value
    count[0] += 1
    return 0


cdef void sort_offsets(int64_t* values, int32_t count) noexcept nogil:
    if count > 1:               # qsort must not be given NULL, even for zero items
        qsort(values, <size_t>count, sizeof(int64_t), by_offset)


cdef int by_offset(const void* a, const void* b) noexcept nogil:
    cdef int64_t left = (<int64_t*>a)[0]
    cdef int64_t right = (<int64_t*>b)[0]
    return -1 if left < right else (1 if left > right else 0)


cdef int64_t offset_of_name(const char* name, const char* suffix) noexcept nogil:
    """Parse NNNNNNNNNNNNNNNNNNNN + suffix; -1 for another name."""
    cdef int32_t i
    if strlen(name) != 20 + strlen(suffix) or strcmp(name + 20, suffix) != 0:
        return -1
    for i in range(20):
        if name[i] < 48 or name[i] > 57:
            return -1
    return strtoll(name, NULL, 10)


cdef bint ends_with(const char* name, const char* suffix) noexcept nogil:
    cdef size_t size = strlen(name)
    cdef size_t suffix_size = strlen(suffix)
    return size >= suffix_size and strcmp(name + size - suffix_size, suffix) == 0


cdef int finish_swaps(const char* directory) noexcept nogil:
    """Finish a cleaner swap that stopped after writing new segments (.swap) and before all had replaced the old ones.
    The old segments are removed first, then the new logs are renamed, then their indexes, so the next start can
    continue from any interruption. 0 or an errno: a step that fails is not followed by the next one."""
    cdef char path[PATH_BYTES_MAX]
    cdef int failed = 0
    cdef int64_t unfinished = cleaned_min(directory, &failed)
    cdef int64_t offset
    cdef dirent* entry
    cdef int step
    cdef DIR* folder
    for step in range(3):
        folder = open_folder(directory, &failed) if not failed else NULL
        if folder == NULL:
            return failed
        entry = next_entry(folder, &failed)
        while entry != NULL and not failed:
            offset = offset_of_name(entry.d_name, b".log.swap")
            if ends_with(entry.d_name, b".swap") and strlen(entry.d_name) > 20 and strtoll(entry.d_name, NULL, 10) >= unfinished:
                join_path(path, PATH_BYTES_MAX, directory, entry.d_name)
                failed = unlink_if_there(path)
            elif step == 0 and offset >= 0:
                failed = delete_replaced(directory, offset, entry.d_name)
            elif ends_with(entry.d_name, b".swap") and ((step == 1 and offset >= 0) or step == 2):
                failed = finish_swap(directory, entry.d_name)
            entry = next_entry(folder, &failed)
        closedir(folder)
    return failed


cdef int unlink_if_there(const char* path) noexcept nogil:
    """0 or an errno."""
    return errno if unlink(path) and errno != ENOENT else 0


cdef int finish_swap(const char* directory, const char* name) noexcept nogil:
    """0 or an errno."""
    cdef char old_path[PATH_BYTES_MAX]
    cdef char new_path[PATH_BYTES_MAX]
    cdef int failed
    join_path(old_path, PATH_BYTES_MAX, directory, name)
    join_path(new_path, PATH_BYTES_MAX, directory, name)
    new_path[strlen(new_path) - 5] = 0
    failed = rename_path(old_path, new_path)
    return 0 if failed == ENOENT else failed    # listed twice


cdef int64_t cleaned_min(const char* directory, int* failed) noexcept nogil:
    """The smallest base offset of a .cleaned file: that cleaning did not finish, so its .swap files are ignored."""
    cdef DIR* folder = open_folder(directory, failed)
    cdef dirent* entry
    cdef int64_t offset
    cdef int64_t smallest = 0x7fffffffffffffff
    if folder == NULL:
        return smallest
    entry = next_entry(folder, failed)
    while entry != NULL:
        offset = offset_of_name(entry.d_name, b".log.cleaned")
        if 0 <= offset < smallest:
            smallest = offset
        entry = next_entry(folder, failed)
    closedir(folder)
    return smallest


cdef int64_t swap_end(const char* directory, const char* name) noexcept nogil:
    """The offset after the last whole batch of a .log.swap; its base offset if it has no whole batch. Or -errno."""
    cdef char path[PATH_BYTES_MAX]
    cdef uint8_t header[27]
    cdef int64_t position = 0
    cdef int64_t next_offset = offset_of_name(name, b".log.swap")
    cdef int64_t length, there
    cdef int fd
    join_path(path, PATH_BYTES_MAX, directory, name)
    fd = open_file(path, O_RDONLY)
    while fd < 0 and segments_give_way(-fd):
        fd = open_file(path, O_RDONLY)
    if fd < 0:
        return fd
    there = read_some(fd, header, 27, position)
    while there == 27 and <int32_t>load_be32(header + 8) >= 15:
        length = LOG_OVERHEAD + <int64_t>load_be32(header + 8)
        if position + length > size_of_fd(fd):
            break
        next_offset = <int64_t>load_be64(header) + (<int32_t>load_be32(header + 23) if header[16] == 2 else 0) + 1
        position += length
        there = read_some(fd, header, 27, position)
    close(fd)
    return there if there < 0 else next_offset


ctypedef bint (*NameChosen)(const char* name, int64_t first, int64_t second) noexcept nogil


cdef int unlink_chosen(const char* directory, NameChosen chosen, int64_t first, int64_t second) noexcept nogil:
    """Remove the files of a folder that `chosen` accepts; the two numbers are passed on to it. 0 or an errno."""
    cdef char path[PATH_BYTES_MAX]
    cdef int failed = 0
    cdef DIR* folder = open_folder(directory, &failed)
    cdef dirent* entry
    if folder == NULL:
        return failed
    entry = next_entry(folder, &failed)
    while entry != NULL:
        if chosen(entry.d_name, first, second):
            join_path(path, PATH_BYTES_MAX, directory, entry.d_name)
            if unlink(path) and errno != ENOENT:
                failed = errno
        entry = next_entry(folder, &failed)
    closedir(folder)
    return failed


cdef bint is_of_segments(const char* name, int64_t first, int64_t end) noexcept nogil:
    """NameChosen."""
    cdef int64_t offset = max(
        max(offset_of_name(name, b".log"), offset_of_name(name, b".index")),
        max(offset_of_name(name, b".timeindex"), offset_of_name(name, b".txnindex")))
    return first <= offset < end


cdef int delete_replaced(const char* directory, int64_t first, const char* name) noexcept nogil:
    """The segments whose records the .log.swap `name` replaces; after a crash some of them may remain. 0 or an errno."""
    cdef int64_t end = swap_end(directory, name)
    return <int>-end if end < 0 else unlink_chosen(directory, is_of_segments, first, max(end, first + 1))


cdef bint is_cleaned(const char* name, int64_t unused, int64_t unused_too) noexcept nogil:
    """NameChosen."""
    return ends_with(name, b".cleaned")


cdef int delete_cleaned(const char* directory) noexcept nogil:
    """Remove unfinished cleaner files. Runs after the swaps, which use them to detect unfinished cleaning."""
    return unlink_chosen(directory, is_cleaned, 0, 0)


cdef int snapshot_floor(
    ProducerState* producers, const char* directory, Listing* listing, int64_t offset, int64_t* found
) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef bint torn = False
    cdef int32_t i
    cdef int failed
    for i in range(listing.snapshots_count - 1, -1, -1):
        if listing.snapshots[i] > offset:
            continue
        found[0] = listing.snapshots[i]
        failed = read_snapshot(producers, directory, listing.snapshots[i], &torn)
        if failed and failed != ENOENT:
            return failed       # it may be whole: the state of producers whose batches are gone is in no other file
        if not failed and not torn:
            return 0
        name_file(path, PATH_BYTES_MAX, directory, listing.snapshots[i], b".snapshot")
        listing.repairs.producer_snapshots += torn
        unlink(path)            # torn: an older snapshot plus a longer replay gives the same state
    producers_clear(producers)
    found[0] = -1
    return 0


cdef int read_snapshot(ProducerState* producers, const char* directory, int64_t offset, bint* torn) noexcept nogil:
    """0 or an errno."""
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t size, there
    cdef uint8_t* data = NULL
    cdef int failed = 0
    cdef int loaded = -1
    cdef int fd
    name_file(path, PATH_BYTES_MAX, directory, offset, b".snapshot")
    fd = open_file(path, O_RDONLY)
    while fd < 0 and segments_give_way(-fd):
        fd = open_file(path, O_RDONLY)
    if fd < 0:
        return -fd
    size = size_of_fd(fd)
    if size < 0:
        failed = <int>-size
    else:
        data = <uint8_t*>malloc(<size_t>size + 1)
        failed = 0 if data != NULL else ENOMEM
    if not failed:
        there = read_some(fd, data, <size_t>size, 0)
        failed = <int>-there if there < 0 else 0
        if there == size:
            loaded = producers_read_snapshot(producers, data, <size_t>size)
        if not failed and loaded > 0:
            failed = loaded
        torn[0] = loaded < 0
    free(data)
    close(fd)
    return failed


cdef bint is_snapshot_outside(const char* name, int64_t below, int64_t above) noexcept nogil:
    """NameChosen."""
    cdef int64_t offset = offset_of_name(name, b".snapshot")
    return offset >= 0 and (offset < below or offset > above)


cdef int snapshots_delete_above(const char* directory, int64_t offset) noexcept nogil:
    return unlink_chosen(directory, is_snapshot_outside, 0, offset)


cdef int snapshots_delete_below(const char* directory, int64_t offset) noexcept nogil:
    return unlink_chosen(directory, is_snapshot_outside, offset, 0x7fffffffffffffff)
