"""The seed of this process; the hashes are in hash.pxd."""
from kafka_cy.base.posix cimport getrandom


cdef int seed() except -1:
    if getrandom(&hash_seed, sizeof(hash_seed), 0) != sizeof(hash_seed):
        raise OSError("the operating system returned no random bytes for the seed of hash tables")
    hash_seed.factors[0] |= 1
    hash_seed.factors[1] |= 1
    return 0


seed()
