"""A timer wheel for tests, without a reactor. Timers have numbers."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free

from kafka_cy.network.timer_wheel cimport (
    Timer, TimerWheel, timer_cancel, timer_set, wheel_expire, wheel_init, wheel_timeout_ms,
)


cdef class TimerWheelProbe:
    """A wheel, and `count` timers that are not armed."""

    cdef TimerWheel wheel
    cdef Timer* timers

    def __cinit__(self, int32_t count, int64_t now_ns):
        cdef int32_t i
        wheel_init(&self.wheel, now_ns)
        self.timers = <Timer*>calloc(<size_t>count, sizeof(Timer))
        if self.timers == NULL:
            raise MemoryError
        for i in range(count):
            self.timers[i].slot = -1

    def __dealloc__(self):
        free(self.timers)

    def set(self, int32_t number, int64_t deadline_ns):
        timer_set(&self.wheel, &self.timers[number], deadline_ns)

    def cancel(self, int32_t number):
        timer_cancel(&self.wheel, &self.timers[number])

    def hide_deadline(self, int32_t number):
        """A look at the timer would now find it due."""
        self.timers[number].deadline_ns = 0

    def expire(self, int64_t now_ns):
        """The number of a timer that is due, or None."""
        cdef Timer* timer = wheel_expire(&self.wheel, now_ns)
        return None if timer == NULL else timer - self.timers

    def timeout_ms(self, int64_t now_ns):
        return wheel_timeout_ms(&self.wheel, now_ns)

    @property
    def count(self):
        return self.wheel.count
