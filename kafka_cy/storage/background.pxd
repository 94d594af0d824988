"""Threads without the GIL that run queued jobs: group commit, flushes after a roll. See background.pyx."""

ctypedef void (*background_job)(void* context) noexcept nogil

# Queue a job. The context must live until the job has run. Starts the threads on first use.
cdef int background_submit(background_job job, void* context) noexcept nogil
