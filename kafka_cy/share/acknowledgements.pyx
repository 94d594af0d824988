"""Acknowledgements of a request that the coordinator's thread handles: read once, and passed on as C data.

A request may have 10,000 of them: a tuple for each would take longer than all the rest.
"""
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport calloc, free

from kafka_cy.share.in_flight_acknowledge cimport TYPE_RENEW, Acknowledgement, acknowledgements_are_valid


cdef Acknowledgements acknowledgements_of(rows):
    return rows if isinstance(rows, Acknowledgements) else Acknowledgements(rows)


cdef int reserve(Acknowledgements made, Py_ssize_t items, Py_ssize_t types) except -1:
    if made.items != NULL or made.types != NULL:
        raise ValueError("acknowledgements are immutable")
    made.items = <Acknowledgement*>calloc(<size_t>items + 1, sizeof(Acknowledgement))
    made.types = <int8_t*>calloc(<size_t>types + 1, 1)
    if made.items == NULL or made.types == NULL:
        raise MemoryError
    return 0


cdef int add(Acknowledgements made, int64_t first, int64_t last, tuple types, int8_t** place) except -1:
    """There is room."""
    cdef Acknowledgement* item = &made.items[made.count]
    item.first_offset, item.last_offset = first, last
    item.types = place[0]
    item.types_count = <int32_t>len(types)
    for kind in types:
        place[0][0] = kind
        place[0] += 1
    made.count += 1
    return 0


cdef class Acknowledgements:
    def __init__(self, rows=()):
        cdef int8_t* place
        rows = [(first, last, tuple(types)) for first, last, types in rows]
        reserve(self, len(rows), sum([len(types) for _, _, types in rows]))
        place = self.types
        for first, last, types in rows:
            add(self, first, last, types, &place)

    def __dealloc__(self):
        free(self.items)
        free(self.types)

    @staticmethod
    def of_request(rows):
        cdef Acknowledgements made = Acknowledgements.__new__(Acknowledgements)
        cdef Py_ssize_t types_count = 0
        cdef int8_t* place
        cdef tuple types
        cdef list read = []
        for each in rows:
            types = each.acknowledge_types
            types_count += len(types)
            read.append(types)
        reserve(made, len(read), types_count)
        place = made.types
        for each, types in zip(rows, read):
            add(made, each.first_offset, each.last_offset, types, &place)
        return made

    def __len__(self):
        return self.count

    @property
    def renew(self):
        cdef int32_t i, k
        for i in range(self.count):
            for k in range(self.items[i].types_count):
                if self.items[i].types[k] == TYPE_RENEW:
                    return True
        return False

    def are_valid(self, bint is_renewal):
        return acknowledgements_are_valid(self.items, self.count, is_renewal)
