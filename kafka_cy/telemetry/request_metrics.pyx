"""kafka.network RequestMetrics: counts by version and error, and quantiles of the times that requests took in each stage.

Reactors keep cumulative histograms. Their sums are compared here with those of an earlier scrape, so that a quantile
covers the last WINDOW_S/2 to WINDOW_S seconds (Kafka's samples are biased to the last five minutes). Two marks are
enough: every half window the newer becomes the older. Without scrapes, the window reaches back to the last scrape.
A window without requests shows 0. Text is written without the GIL.
"""
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

from kafka_cy.base.atomics cimport atomic_load_pointer, atomic_load_relaxed_i64
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.histogram cimport HISTOGRAM_BUCKETS, Histogram, counts_quantile, counts_total
from kafka_cy.network.counters cimport (
    API_FETCH_FOLLOWER, API_ROWS, API_VERSIONS_MAX, ERROR_CODES_MAX, TIME_LOCAL, TIME_REMOTE, TIME_REQUEST_QUEUE,
    TIME_RESPONSE_QUEUE, TIME_RESPONSE_SEND, TIME_THROTTLE, TIME_TOTAL, TIMES_COUNT, ApiCounters,
)
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState, ns_per_tick
from kafka_cy.network.server cimport Server
from kafka_cy.records.wire cimport Writer, writer_free, writer_init
from kafka_cy.telemetry.text cimport (
    TEXT_COUNTER, TEXT_GAUGE, TEXT_UNKNOWN, text_double, text_family, text_int, text_put, text_raw,
)

cdef enum:
    TEXT_BYTES_MAX = 268435456
    PRODUCE = 0
    FETCH = 1
    ROW_FETCH_CONSUMER = 1
    ROW_FETCH_ALL = 129         # consumers and followers: Kafka shows each kind and the sum
    ROWS = 130
    TIME_NONE = -1              # the time is always 0, but requests are counted
    SIZES = 7                   # request bytes, stored after the times
    HISTOGRAMS = 8
    FAMILIES = 10
    QUANTILES = 6

cdef int64_t WINDOW_NS = 300000000000

# One API, summed over the reactors. Lifetime: one scrape.
cdef struct RowSums:
    bint used
    int64_t requests[API_VERSIONS_MAX]
    int64_t errors[ERROR_CODES_MAX]
    int64_t counts[HISTOGRAMS][HISTOGRAM_BUCKETS]

# Counts at an earlier scrape, by row; NULL: none yet. Owner: the RequestMetrics.
cdef struct Mark:
    int64_t* counts[ROWS]

cdef const char* family_names[FAMILIES]
family_names[:] = [
    b"totaltimems", b"requestqueuetimems", b"localtimems", b"remotetimems", b"throttletimems", b"responsequeuetimems",
    b"responsesendtimems", b"requestbytes", b"messageconversionstimems", b"temporarymemorybytes",
]
cdef const char* family_helps[FAMILIES]
family_helps[:] = [
    b"Milliseconds from the socket being ready to the answer being sent", b"Milliseconds before the handler began",
    b"Milliseconds in the handler", b"Milliseconds of waiting for data, replicas, fsync or group members",
    b"Milliseconds for which the client is throttled", b"Milliseconds before the answer was given to the socket",
    b"Milliseconds until the socket took the answer", b"Size of requests in bytes",
    b"Always 0: messages are never converted", b"Always 0: requests need no temporary memory",
]
cdef int family_histograms[FAMILIES]
family_histograms[:] = [
    TIME_TOTAL, TIME_REQUEST_QUEUE, TIME_LOCAL, TIME_REMOTE, TIME_THROTTLE, TIME_RESPONSE_QUEUE, TIME_RESPONSE_SEND, SIZES,
    TIME_NONE, TIME_NONE,
]
cdef const char* counter_names[2]                   # of requests, of errors
counter_names[:] = [b"requests", b"errors"]
cdef const char* counter_labels[2]
counter_labels[:] = [b"\",version=\"", b"\",error=\""]
cdef const char* counter_helps[2]
counter_helps[:] = [b"Requests", b"Error codes answered; NONE: success"]
cdef const char* counter_suffixes[2]                # one per dialect
counter_suffixes[:] = [b"_total", b"persec"]
cdef const char* no_suffix = b""
cdef double quantiles[QUANTILES]
quantiles[:] = [0.5, 0.75, 0.95, 0.98, 0.99, 0.999]
cdef const char* quantile_labels[QUANTILES]         # the names that jmx_exporter's rules produce
quantile_labels[:] = [b"0.50", b"0.75", b"0.95", b"0.98", b"0.99", b"0.999"]


cdef void add_counts(int64_t* sums, const Histogram* histogram) noexcept nogil:
    cdef int i
    for i in range(HISTOGRAM_BUCKETS):
        sums[i] += atomic_load_relaxed_i64(<int64_t*>&histogram.counts[i])


cdef void add_row(RowSums* row, ApiCounters* api) noexcept nogil:
    cdef int i
    row.used = True
    for i in range(API_VERSIONS_MAX):
        row.requests[i] += atomic_load_relaxed_i64(&api.requests[i])
    for i in range(ERROR_CODES_MAX):
        row.errors[i] += atomic_load_relaxed_i64(&api.errors[i])
    for i in range(TIMES_COUNT):
        add_counts(row.counts[i], &api.times[i])
    add_counts(row.counts[SIZES], &api.request_bytes)


cdef class RequestMetrics:
    """Owner: the thread that scrapes; one scrape at a time."""

    cdef Server server
    cdef RowSums** rows                 # [ROWS]; only APIs that were ever requested
    cdef Mark older
    cdef Mark newer
    cdef int64_t newer_ns               # when `newer` was taken; 0: never
    cdef list row_names                 # bytes, kept alive for `names`
    cdef list error_names
    cdef const char* names[ROWS]
    cdef const char* errors[ERROR_CODES_MAX]

    def __cinit__(self, Server server not None, dict api_names not None, dict error_names not None):
        """`api_names` by API key, `error_names` by error code, as Kafka spells them."""
        cdef int i
        self.server = server
        self.rows = <RowSums**>calloc(ROWS, sizeof(RowSums*))
        if self.rows == NULL:
            raise MemoryError
        self.row_names = [api_names.get(i, str(i)).encode() for i in range(ROWS)]
        self.row_names[ROW_FETCH_CONSUMER] = b"FetchConsumer"
        self.row_names[API_FETCH_FOLLOWER] = b"FetchFollower"
        self.row_names[ROW_FETCH_ALL] = b"Fetch"
        self.error_names = [error_names.get(i - 1, "UNKNOWN_SERVER_ERROR").encode() for i in range(ERROR_CODES_MAX)]
        for i in range(ROWS):
            self.names[i] = <bytes>self.row_names[i]
        for i in range(ERROR_CODES_MAX):
            self.errors[i] = <bytes>self.error_names[i]

    def __dealloc__(self):
        cdef int i
        for i in range(ROWS):
            if self.rows != NULL:
                free(self.rows[i])
            free(self.older.counts[i])
            free(self.newer.counts[i])
        free(self.rows)

    def write(self, bint openmetrics, bint persec):
        """The exposition text as bytes. Raises MemoryError."""
        cdef Writer w
        cdef int failed
        writer_init(&w, TEXT_BYTES_MAX)
        with nogil:
            failed = self.read_sums()
            if not failed:
                self.write_all(&w, openmetrics, persec)
                self.move_marks(monotonic_ns())
        try:
            if failed or w.error:
                raise MemoryError
            return PyBytes_FromStringAndSize(<char*>w.data, <Py_ssize_t>w.size)
        finally:
            writer_free(&w)

    def parked(self, int api_key):
        """(requests of the API parked now, number that timed out); a follower's Fetch has the key 128."""
        cdef NetworkState* network = self.server.network
        cdef ApiCounters* api
        cdef int64_t parked = 0
        cdef int64_t expired = 0
        cdef int i
        for i in range(network.reactors_count):
            api = <ApiCounters*>atomic_load_pointer(<void**>&(<ReactorState*>network.reactors[i]).counters.apis[api_key])
            if api != NULL:
                parked += atomic_load_relaxed_i64(&api.parked)
                expired += atomic_load_relaxed_i64(&api.expired)
        return parked, expired

    # -- reading --

    cdef int read_sums(self) noexcept nogil:
        cdef NetworkState* network = self.server.network
        cdef ReactorState* reactor
        cdef ApiCounters* api
        cdef int row
        cdef int i
        for row in range(ROWS):
            if self.rows[row] != NULL:
                free(self.rows[row])
                self.rows[row] = NULL
        # Shown even before they are used, because dashboards name them.
        if (
            self.make_row(PRODUCE) or self.make_row(ROW_FETCH_CONSUMER) or self.make_row(API_FETCH_FOLLOWER)
            or self.make_row(ROW_FETCH_ALL)
        ):
            return 1
        for i in range(network.reactors_count):
            reactor = <ReactorState*>network.reactors[i]
            for row in range(API_ROWS):
                api = <ApiCounters*>atomic_load_pointer(<void**>&reactor.counters.apis[row])
                if api == NULL:
                    continue
                if self.make_row(row):
                    return 1
                add_row(self.rows[row], api)
                if row == FETCH or row == API_FETCH_FOLLOWER:
                    add_row(self.rows[ROW_FETCH_ALL], api)
        return 0

    cdef int make_row(self, int row) noexcept nogil:
        if self.rows[row] == NULL:
            self.rows[row] = <RowSums*>calloc(1, sizeof(RowSums))
        return self.rows[row] == NULL

    cdef void move_marks(self, int64_t now_ns) noexcept nogil:
        cdef int row
        if self.newer_ns == 0:
            self.newer_ns = now_ns      # both marks are the server's start, where all is 0
            return
        if now_ns - self.newer_ns < WINDOW_NS // 2:
            return
        for row in range(ROWS):
            free(self.older.counts[row])
            self.older.counts[row] = self.newer.counts[row]
            self.newer.counts[row] = NULL
            if self.rows[row] != NULL:
                self.newer.counts[row] = <int64_t*>calloc(HISTOGRAMS * HISTOGRAM_BUCKETS, sizeof(int64_t))
                if self.newer.counts[row] != NULL:      # out of memory: the window is longer
                    memcpy(self.newer.counts[row], self.rows[row].counts, HISTOGRAMS * HISTOGRAM_BUCKETS * sizeof(int64_t))
        self.newer_ns = now_ns

    cdef void window(self, int row, int histogram, int64_t* counts) noexcept nogil:
        """Counts since the older mark. Requests that did not wait or were not throttled have no such time and count as 0."""
        cdef int64_t* before = self.older.counts[row]
        cdef int64_t total = 0
        cdef int i
        for i in range(HISTOGRAM_BUCKETS):
            counts[i] = self.rows[row].counts[histogram][i]
            if before != NULL:
                counts[i] -= before[histogram * HISTOGRAM_BUCKETS + i]
        if histogram == TIME_REMOTE or histogram == TIME_THROTTLE:
            for i in range(HISTOGRAM_BUCKETS):
                total += self.rows[row].counts[TIME_TOTAL][i]
                if before != NULL:
                    total -= before[TIME_TOTAL * HISTOGRAM_BUCKETS + i]
            total -= counts_total(counts)
            if total > 0:
                counts[0] += total

    # -- writing --

    cdef void write_all(self, Writer* w, bint openmetrics, bint persec) noexcept nogil:
        cdef double ms_per_tick = ns_per_tick(self.server.network) / 1e6
        cdef int family
        self.write_counters(w, openmetrics, False, False)
        self.write_counters(w, openmetrics, False, True)
        if persec:
            self.write_counters(w, openmetrics, True, False)
            self.write_counters(w, openmetrics, True, True)
        for family in range(FAMILIES):
            self.write_quantiles(w, openmetrics, persec, family, 1.0 if family_histograms[family] == SIZES else ms_per_tick)
            self.write_histogram_counts(w, openmetrics, family)

    cdef void begin(self, Writer* w, const char* name, const char* suffix, int row) noexcept nogil:
        text_put(w, b"kafka_network_requestmetrics_")
        text_put(w, name)
        text_put(w, suffix)
        text_put(w, b"{request=\"")
        text_put(w, self.names[row])

    cdef void write_counters(self, Writer* w, bint openmetrics, bint persec, bint errors) noexcept nogil:
        """Requests by version, or responses by error code. All Fetch errors share one row, as in Kafka."""
        cdef char[96] family
        cdef int64_t* counts
        cdef int row
        cdef int i
        snprintf(
            family, 96, b"kafka_network_requestmetrics_%s%s", counter_names[errors],
            counter_suffixes[persec] if persec else no_suffix,
        )
        text_family(w, openmetrics, family, TEXT_UNKNOWN if persec else TEXT_COUNTER, counter_helps[errors])
        for row in range(ROWS):
            if self.rows[row] == NULL or (errors and (row == ROW_FETCH_CONSUMER or row == API_FETCH_FOLLOWER)):
                continue
            counts = &self.rows[row].errors[0] if errors else &self.rows[row].requests[0]
            for i in range(ERROR_CODES_MAX if errors else API_VERSIONS_MAX):
                if counts[i]:
                    self.begin(w, counter_names[errors], counter_suffixes[persec], row)
                    text_put(w, counter_labels[errors])
                    if errors:
                        text_put(w, self.errors[i])
                    else:
                        text_int(w, i)
                    text_put(w, b"\"} ")
                    text_int(w, counts[i])
                    text_raw(w, b"\n", 1)

    cdef bint shows(self, int row, int family) noexcept nogil:
        """Only Produce and Fetch (of consumers or followers) could convert messages, so only they have those families."""
        if self.rows[row] == NULL:
            return False
        if family < FAMILIES - 2:
            return True
        return row == PRODUCE or row == ROW_FETCH_ALL

    cdef int64_t count_of(self, int row, int family) noexcept nogil:
        cdef int histogram = family_histograms[family]
        return counts_total(self.rows[row].counts[SIZES if histogram == SIZES else TIME_TOTAL])

    cdef void write_quantiles(
        self, Writer* w, bint openmetrics, bint persec, int family, double unit
    ) noexcept nogil:
        cdef int64_t[HISTOGRAM_BUCKETS] counts
        cdef int histogram = family_histograms[family]
        cdef int64_t total = 0
        cdef int row
        cdef int i
        self.write_family(w, openmetrics, family, no_suffix, TEXT_GAUGE)
        for row in range(ROWS):
            if not self.shows(row, family):
                continue
            if histogram != TIME_NONE:
                self.window(row, histogram, counts)
                total = counts_total(counts)
            for i in range(QUANTILES):
                self.begin(w, family_names[family], no_suffix, row)
                text_put(w, b"\",quantile=\"")
                text_put(w, quantile_labels[i])
                text_put(w, b"\"} ")
                text_double(w, unit * counts_quantile(counts, total, quantiles[i]) if total > 0 else 0.0)
                text_raw(w, b"\n", 1)
            if persec:                      # in that dialect the count has the same name, without a quantile label
                self.begin(w, family_names[family], no_suffix, row)
                text_put(w, b"\"} ")
                text_int(w, self.count_of(row, family))
                text_raw(w, b"\n", 1)

    cdef void write_histogram_counts(self, Writer* w, bint openmetrics, int family) noexcept nogil:
        """`_count` is jmx_exporter 0.x's name, `_count_total` is 1.x's."""
        self.write_count(w, openmetrics, family, b"_count")
        self.write_count(w, openmetrics, family, b"_count_total")

    cdef void write_count(self, Writer* w, bint openmetrics, int family, const char* suffix) noexcept nogil:
        cdef int row
        self.write_family(w, openmetrics, family, suffix, TEXT_UNKNOWN)
        for row in range(ROWS):
            if self.shows(row, family):
                self.begin(w, family_names[family], suffix, row)
                text_put(w, b"\"} ")
                text_int(w, self.count_of(row, family))
                text_raw(w, b"\n", 1)

    cdef void write_family(self, Writer* w, bint openmetrics, int family, const char* suffix, int kind) noexcept nogil:
        cdef char[96] name
        snprintf(name, 96, b"kafka_network_requestmetrics_%s%s", family_names[family], suffix)
        if kind == TEXT_GAUGE:
            text_family(w, openmetrics, name, TEXT_GAUGE, family_helps[family])
        else:
            text_family(w, openmetrics, name, TEXT_UNKNOWN, b"Requests that were measured")
