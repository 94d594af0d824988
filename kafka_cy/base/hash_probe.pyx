"""The seeded hashes and the hash table, for tests."""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

from kafka_cy.base.hash cimport (
    HashSeed, hash_of_bytes, hash_of_number, hash_of_pair, hash_with_seed, siphash_13, siphash_128,
)
from kafka_cy.base.hash_table cimport (
    HashTable, hash_table_clear, hash_table_free, hash_table_insert, hash_table_next, hash_table_remove,
    hash_table_renumber, hash_table_reserve, hash_table_start,
)


def keyed_hash(key, data, wide=True):
    """SipHash of `data`: SipHash-2-4 with 16 bytes, or with `wide` false SipHash-1-3 with 8. `key` has 16 bytes."""
    cdef bytes key_bytes = bytes(key)
    cdef bytes text = bytes(data)
    cdef uint64_t words[2]
    cdef uint64_t found[2]
    if len(key_bytes) != 16:
        raise ValueError("a key must have 16 bytes")
    memcpy(words, PyBytes_AS_STRING(key_bytes), 16)
    if wide:
        siphash_128(words, PyBytes_AS_STRING(text), <size_t>len(text), found)
        return (<char*>found)[:16]
    found[0] = siphash_13(words, PyBytes_AS_STRING(text), <size_t>len(text))
    return (<char*>found)[:8]


def bytes_hash(bytes data not None):
    """The process' hash of a key; 32 bits."""
    return hash_of_bytes(PyBytes_AS_STRING(data), <size_t>len(data))


def number_hash(uint64_t number):
    """The process' hash of a whole number; 32 bits."""
    return hash_of_number(number)


def number_hash_with(bytes seed not None, uint64_t number):
    """The hash of a whole number under a seed of the test's choice (48 bytes); 32 bits."""
    cdef HashSeed chosen
    if len(seed) != sizeof(HashSeed):
        raise ValueError(f"a seed has {sizeof(HashSeed)} bytes")
    memcpy(&chosen, PyBytes_AS_STRING(seed), sizeof(HashSeed))
    chosen.factors[0] |= 1
    chosen.factors[1] |= 1
    return hash_with_seed(&chosen, number)


def pair_hash(uint32_t first, uint32_t second):
    """The process' hash of two numbers; 32 bits."""
    return hash_of_pair(first, second)


cdef class TableProbe:
    """A HashTable with hashes of the test's choice. Items are numbers; the same item may stand under one hash only."""

    cdef HashTable table

    def __dealloc__(self):
        hash_table_free(&self.table)

    def insert(self, uint32_t hash, int32_t item):
        """Add an item; MemoryError."""
        if hash_table_reserve(&self.table, self.table.count + 1) < 0:
            raise MemoryError
        hash_table_insert(&self.table, hash, item)

    def find(self, uint32_t hash):
        """The items under a hash, in the order of the search."""
        cdef uint32_t place = hash_table_start(&self.table, hash)
        cdef int32_t item = hash_table_next(&self.table, hash, &place)
        found = []
        while item >= 0:
            found.append(item)
            item = hash_table_next(&self.table, hash, &place)
        return found

    def remove(self, uint32_t hash, int32_t item):
        """Remove an item that is there."""
        hash_table_remove(&self.table, hash, item)

    def renumber(self, uint32_t hash, int32_t item, int32_t renamed):
        """Give an item that is there another number."""
        hash_table_renumber(&self.table, hash, item, renamed)

    def clear(self):
        """Remove all."""
        hash_table_clear(&self.table)

    @property
    def count(self):
        return self.table.count

    @property
    def slots(self):
        return self.table.mask + 1 if self.table.slots != NULL else 0

    @property
    def probes(self):
        return self.table.probes
