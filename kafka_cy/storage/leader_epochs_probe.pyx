"""A log's leader epochs for tests, without a log."""
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from kafka_cy.storage.leader_epochs cimport (
    LeaderEpochs, epochs_assign, epochs_end_offset_for, epochs_free, epochs_latest, epochs_truncate_end, epochs_truncate_start,
)


cdef class LeaderEpochsProbe:
    """The epochs of one log."""

    cdef LeaderEpochs epochs

    def __cinit__(self):
        memset(&self.epochs, 0, sizeof(LeaderEpochs))

    def __dealloc__(self):
        epochs_free(&self.epochs)

    def assign(self, int32_t epoch, int64_t start_offset):
        if epochs_assign(&self.epochs, epoch, start_offset) < 0:
            raise MemoryError

    def end_offset_for(self, int32_t asked_epoch, int64_t log_end):
        """(epoch, end offset), both -1 if unknown."""
        cdef int32_t epoch = -1
        cdef int64_t end_offset = -1
        epochs_end_offset_for(&self.epochs, asked_epoch, log_end, &epoch, &end_offset)
        return epoch, end_offset

    def truncate_end(self, int64_t end_offset):
        epochs_truncate_end(&self.epochs, end_offset)

    def truncate_start(self, int64_t start_offset):
        epochs_truncate_start(&self.epochs, start_offset)

    @property
    def latest(self):
        """-1: none."""
        return epochs_latest(&self.epochs)
