"""Deadlines of one reactor: a hashed wheel of 1 ms ticks.

Owner: one reactor; no locks. Setting and cancelling are O(1); an entry further away than one turn is examined once per
turn, when all timers of its slot that are due are moved to a list of their own. A timer never fires early, and fires at most
one tick late.
"""
from libc.stdint cimport int32_t, int64_t, uint64_t

from kafka_cy.base.bits cimport first_bit

cdef enum:
    WHEEL_SLOTS = 1024
    WHEEL_DUE = 1024        # the slot of timers that are due
    WHEEL_WORDS = 16
    WHEEL_TICK_NS = 1000000

cdef enum TimerKind:        # what a timer is the first field of
    TIMER_PARKED = 0        # ParkedState
    TIMER_THROTTLE = 1      # ClientThrottle
    TIMER_REFUSED = 2       # RefusedConnection
    TIMER_WATCH_SET = 3     # WatchSet
    TIMER_AUTHENTICATION = 4    # Authentication

# Embedded in the waiting object. `slot` is -1 while the timer is not armed.
cdef struct Timer:
    Timer* next
    Timer* prev
    int64_t deadline_ns
    int32_t slot
    int32_t kind            # TimerKind

cdef struct TimerWheel:
    Timer* slots[WHEEL_SLOTS + 1]
    uint64_t occupied[WHEEL_WORDS]
    int64_t tick            # all ticks below this were handled; of the last of them, timers may be in WHEEL_DUE
    int32_t count


cdef inline void wheel_init(TimerWheel* wheel, int64_t now_ns) noexcept nogil:
    cdef int i
    for i in range(WHEEL_SLOTS + 1):
        wheel.slots[i] = NULL
    for i in range(WHEEL_WORDS):
        wheel.occupied[i] = 0
    wheel.tick = now_ns // WHEEL_TICK_NS
    wheel.count = 0


cdef inline void timer_link(TimerWheel* wheel, Timer* timer, int32_t slot) noexcept nogil:
    timer.slot = slot
    timer.prev = NULL
    timer.next = wheel.slots[slot]
    if timer.next != NULL:
        timer.next.prev = timer
    wheel.slots[slot] = timer


cdef inline void timer_set(TimerWheel* wheel, Timer* timer, int64_t deadline_ns) noexcept nogil:
    cdef int64_t tick
    cdef int32_t slot
    if deadline_ns > <int64_t>1 << 62:
        deadline_ns = <int64_t>1 << 62
    tick = (deadline_ns + WHEEL_TICK_NS - 1) // WHEEL_TICK_NS
    if tick < wheel.tick:
        tick = wheel.tick
    slot = <int32_t>(tick & (WHEEL_SLOTS - 1))
    timer.deadline_ns = deadline_ns
    timer_link(wheel, timer, slot)
    wheel.occupied[slot >> 6] |= <uint64_t>1 << (slot & 63)
    wheel.count += 1


cdef inline void timer_cancel(TimerWheel* wheel, Timer* timer) noexcept nogil:
    cdef int32_t slot = timer.slot
    if slot < 0:
        return
    if timer.prev != NULL:
        timer.prev.next = timer.next
    else:
        wheel.slots[slot] = timer.next
        if timer.next == NULL and slot < WHEEL_SLOTS:
            wheel.occupied[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
    if timer.next != NULL:
        timer.next.prev = timer.prev
    timer.slot = -1
    timer.next = NULL
    timer.prev = NULL
    wheel.count -= 1


cdef inline int64_t wheel_next_tick(TimerWheel* wheel) noexcept nogil:
    """Return the first tick at or after the current one whose slot is not empty. Requires count > 0."""
    cdef int32_t start = <int32_t>(wheel.tick & (WHEEL_SLOTS - 1))
    cdef int32_t word = start >> 6
    cdef uint64_t bits = wheel.occupied[word] & (~<uint64_t>0 << (start & 63))
    cdef int32_t step
    for step in range(WHEEL_WORDS + 1):  # no-cython-lint
        if bits:
            return wheel.tick + (((word << 6) + first_bit(bits) - start) & (WHEEL_SLOTS - 1))
        word = (word + 1) & (WHEEL_WORDS - 1)
        bits = wheel.occupied[word]
    return wheel.tick + WHEEL_SLOTS


cdef inline int wheel_timeout_ms(TimerWheel* wheel, int64_t now_ns) noexcept nogil:
    """Return the sleep time until the next non-empty slot, in ms; -1: no timer is armed."""
    cdef int64_t wait_ns
    if wheel.count == 0:
        return -1
    if wheel.slots[WHEEL_DUE] != NULL:
        return 0
    wait_ns = wheel_next_tick(wheel) * WHEEL_TICK_NS - now_ns
    if wait_ns <= 0:
        return 0
    return <int>((wait_ns + 999999) // 1000000)


cdef inline void wheel_move_due(TimerWheel* wheel, int64_t tick, int64_t now_ns) noexcept nogil:
    """The timers of a slot that are due: all but those of later turns."""
    cdef Timer* timer = wheel.slots[tick & (WHEEL_SLOTS - 1)]
    cdef Timer* following
    while timer != NULL:
        following = timer.next
        if timer.deadline_ns <= now_ns:
            timer_cancel(wheel, timer)
            timer_link(wheel, timer, WHEEL_DUE)
            wheel.count += 1
        timer = following


cdef inline Timer* wheel_expire(TimerWheel* wheel, int64_t now_ns) noexcept nogil:
    """Return one expired timer, disarmed; NULL if none (the wheel is then at `now_ns`)."""
    cdef int64_t now_tick = now_ns // WHEEL_TICK_NS
    cdef int64_t tick
    cdef Timer* timer
    while wheel.count > 0:
        timer = wheel.slots[WHEEL_DUE]
        if timer != NULL:
            timer_cancel(wheel, timer)
            return timer
        tick = wheel_next_tick(wheel)
        if tick > now_tick:
            break
        wheel_move_due(wheel, tick, now_ns)
        wheel.tick = tick + 1
    if now_tick > wheel.tick:
        wheel.tick = now_tick
    return NULL
