/* Pre-encoded load: C connections, each keeps D requests in flight, for S seconds; or R requests a second in total.
 *   load produce|fetch PORT --topic T --partitions P --connections C --depth D --seconds S --acks A
 *        --records N --record-bytes B (the batch) --bytes M (of a fetch) --rate R
 * Prints one line of JSON: requests, bytes, seconds, errors, latency percentiles in microseconds, own CPU seconds. */
#include "wire.h"
#include <sys/resource.h>

enum { IN = 4 << 20, DEPTH_MAX = 1024, BUCKETS = 4096 };
struct connection {
    int fd, in_flight, partition; uint32_t sent_id; int64_t started[DEPTH_MAX]; uint8_t *in; size_t have, skip;
    uint8_t *request; size_t left; int64_t offset, end;
};
static const char *mode, *topic = "bench";
static int partitions = 4, connections = 4, depth = 1, acks = 1, records = 1, record_bytes = 100, fetch_bytes = 1 << 20, rate;
static double seconds = 5;
static uint8_t *template; static size_t template_size;
static int64_t done, errors, bytes; static int64_t histogram[BUCKETS];

/* Buckets of 1/64 octave from 1 us: enough for percentiles. */
static int bucket(int64_t ns)
{
    int64_t us = ns / 100; int shift = 0;
    if (us < 64) return (int)us;
    while (us >> (shift + 1) >= 64) shift++;
    int b = (shift + 1) * 64 + (int)((us >> shift) - 64) + 0;
    return b < BUCKETS ? b : BUCKETS - 1;
}
static double bucket_us(int b) { return b < 64 ? b / 10.0 : ((64.0 + b % 64) * (1LL << (b / 64 - 1))) / 10.0; }
static double percentile(double p)
{
    int64_t want = (int64_t)(done * p), seen = 0;
    for (int i = 0; i < BUCKETS; i++) if ((seen += histogram[i]) > want) return bucket_us(i);
    return 0;
}
static uint8_t *varint(uint8_t *p, int64_t v)
{ uint64_t u = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63); while (u >= 128) { *p++ = (uint8_t)(u | 128); u >>= 7; } *p++ = (uint8_t)u; return p; }

/* A v2 batch of `records` random records of `record_bytes` value bytes. */
static size_t batch(uint8_t *b)
{
    uint8_t *p = b + 61, head[16];
    unsigned seed = 7;
    int64_t stamp = (int64_t)time(NULL) * 1000;
    for (int i = 0; i < records; i++) {
        uint8_t *h = head; *h++ = 0; h = varint(h, 0); h = varint(h, i); h = varint(h, -1); h = varint(h, record_bytes);
        p = varint(p, (h - head) + record_bytes + 1);
        memcpy(p, head, h - head); p += h - head;
        for (int j = 0; j < record_bytes; j++) *p++ = (uint8_t)rand_r(&seed);
        p = varint(p, 0);
    }
    size_t size = p - b;
    put64(b, 0); put32(b + 8, (uint32_t)size - 12); put32(b + 12, (uint32_t)-1); b[16] = 2; put16(b + 21, 0); put32(b + 23, records - 1);
    put64(b + 27, stamp); put64(b + 35, stamp); put64(b + 43, (uint64_t)-1); put16(b + 51, 0xffff); put32(b + 53, (uint32_t)-1); put32(b + 57, records);
    put32(b + 17, crc32c(b + 21, size - 21));
    return size;
}

static size_t encode(uint8_t *r, int partition)
{
    size_t name = strlen(topic);
    int produce = !strcmp(mode, "produce");
    uint8_t *p = r + 4;
    put16(p, produce ? 0 : 1); put16(p + 2, produce ? 7 : 4); put32(p + 4, 0); put16(p + 8, 4); memcpy(p + 10, "load", 4); p += 14;
    if (produce) { put16(p, 0xffff); put16(p + 2, (uint16_t)acks); put32(p + 4, 30000); p += 8; }
    else { put32(p, (uint32_t)-1); put32(p + 4, 500); put32(p + 8, 1); put32(p + 12, fetch_bytes); p[16] = 0; p += 17; }
    put32(p, 1); put16(p + 4, (uint16_t)name); memcpy(p + 6, topic, name); p += 6 + name;
    put32(p, 1); put32(p + 4, partition); p += 8;
    if (produce) { size_t n = batch(p + 4); put32(p, (uint32_t)n); p += 4 + n; }
    else { put64(p, 0); put32(p + 8, fetch_bytes); p += 12; }
    put32(r, (uint32_t)(p - r - 4));
    return p - r;
}

static int pump(struct connection *c)        /* continue the request that is being sent; 1 sent, 0 the socket is full */
{
    while (c->left) {
        ssize_t n = send(c->fd, c->request + template_size - c->left, c->left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) { if (errno == EAGAIN) return 0; die("send"); }
        c->left -= n;
    }
    return 1;
}

static void start(struct connection *c, int64_t when)
{
    put32(c->request + 8, c->sent_id);
    if (*mode == 'f') put64(c->request + template_size - 12, c->offset);
    c->started[c->sent_id++ % DEPTH_MAX] = when;
    c->left = template_size;
    c->in_flight++;
}

/* Many small requests leave with one system call. */
static void fill(struct connection *c)
{
    static uint8_t many[1 << 16];
    int64_t when = now_ns();
    if (!pump(c)) return;
    while (c->in_flight < depth) {
        size_t n = 0;
        if (template_size < 4096) {
            while (c->in_flight < depth && n + template_size <= sizeof many) {
                start(c, when); c->left = 0;
                memcpy(many + n, c->request, template_size); n += template_size;
            }
            for (size_t at = 0; at < n;) {
                ssize_t s = send(c->fd, many + at, n - at, MSG_NOSIGNAL);
                if (s < 0 && errno != EAGAIN) die("send");
                if (s > 0) at += s;
            }
        } else { start(c, when); if (!pump(c)) return; }
    }
}

static void answered(struct connection *c, const uint8_t *r, size_t size)
{
    uint32_t id = get32(r);
    int64_t ns = now_ns() - c->started[id % DEPTH_MAX];
    size_t name = strlen(topic);
    const uint8_t *p = r + 4 + (*mode == 'f' ? 4 : 0) + 4 + 2 + name + 4 + 4;
    histogram[bucket(ns)]++;
    done++; c->in_flight--;
    if (get16(p)) errors++;
    if (*mode == 'p') { bytes += template_size; return; }
    uint32_t got = get32(p + 2 + 8 + 8 + 4);
    bytes += got;
    c->end = (int64_t)get64(p + 2);
    (void)size;
}

/* Answers of fetches are only looked at in their first bytes and, for the next offset, the last batch. */
static int receive(struct connection *c)     /* 1: there may be more */
{
    size_t room = IN - c->have;
    ssize_t n = recv(c->fd, c->in + c->have, room, MSG_DONTWAIT);
    size_t at = 0;
    if (n == 0) { fprintf(stderr, "the broker closed a connection\n"); exit(1); }
    if (n < 0) { if (errno == EAGAIN) return 0; die("recv"); }
    c->have += n;
    while (c->have - at >= 4) {
        size_t size = get32(c->in + at);
        if (size + 4 > IN) { fprintf(stderr, "an answer of %zu bytes\n", size); exit(1); }
        if (c->have - at < size + 4) break;
        answered(c, c->in + at + 4, size);
        if (*mode == 'f') {
            const uint8_t *set = c->in + at + 4 + 4 + 4 + 4 + 2 + strlen(topic) + 4 + 4 + 2 + 8 + 8 + 4 + 4, *stop = c->in + at + 4 + size;
            while (set + 61 <= stop) {
                size_t b = get32(set + 8) + 12;
                if (b < 61 || set + b > stop) break;
                c->offset = (int64_t)get64(set) + get32(set + 23) + 1;
                set += b;
            }
            if (c->offset + 1 >= c->end) c->offset = 0;
        }
        at += size + 4;
    }
    memmove(c->in, c->in + at, c->have - at);
    c->have -= at;
    return n == (ssize_t)room;
}

static void options(int argc, char **argv)
{
    for (int i = 3; i + 1 < argc; i += 2) {
        const char *k = argv[i] + 2, *v = argv[i + 1];
        if (!strcmp(k, "topic")) topic = v; else if (!strcmp(k, "partitions")) partitions = atoi(v);
        else if (!strcmp(k, "connections")) connections = atoi(v); else if (!strcmp(k, "depth")) depth = atoi(v);
        else if (!strcmp(k, "seconds")) seconds = atof(v); else if (!strcmp(k, "acks")) acks = atoi(v);
        else if (!strcmp(k, "records")) records = atoi(v); else if (!strcmp(k, "record-bytes")) record_bytes = atoi(v);
        else if (!strcmp(k, "bytes")) fetch_bytes = atoi(v); else if (!strcmp(k, "rate")) rate = atoi(v);
        else { fprintf(stderr, "unknown option %s\n", argv[i]); exit(2); }
    }
    if (depth > DEPTH_MAX) depth = DEPTH_MAX;
}

int main(int argc, char **argv)
{
    if (argc < 3) { fprintf(stderr, "usage: load produce|fetch PORT [--option value]...\n"); return 2; }
    mode = argv[1];
    options(argc, argv);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct connection *all = calloc(connections, sizeof *all);
    struct epoll_event e, events[256];
    int epoll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        c->partition = i % partitions;
        template = malloc(1024 + (size_t)records * (record_bytes + 32));
        template_size = encode(template, c->partition);
        c->request = template;
        c->in = malloc(IN);
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->fd, (struct sockaddr *)&a, sizeof a)) die("connect");
        no_delay(c->fd);
        e.events = EPOLLIN | EPOLLOUT | EPOLLET; e.data.ptr = c;
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
    }
    int64_t begin = now_ns(), end = begin + (int64_t)(seconds * 1e9), next = begin, step = rate ? 1000000000LL / rate : 0;
    int turn = 0;
    if (!rate) for (int i = 0; i < connections; i++) fill(&all[i]);
    for (int64_t now = begin; now < end; now = now_ns()) {
        for (; rate && now >= next; next += step) {
            struct connection *c = &all[turn++ % connections];
            if (c->in_flight < DEPTH_MAX && pump(c)) { start(c, next); pump(c); }
        }
        struct timespec wait = { 0, rate ? (next > now ? (next - now < 100000000 ? next - now : 100000000) : 0) : 100000000 };
        int n = epoll_pwait2(epoll, events, 256, &wait, NULL);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            while (receive(c)) { }
            if (rate) pump(c); else fill(c);
        }
    }
    double took = (now_ns() - begin) / 1e9;
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("{\"requests\": %ld, \"bytes\": %ld, \"seconds\": %.3f, \"errors\": %ld, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"load_cpu_s\": %.3f}\n", (long)done, (long)bytes, took, (long)errors, percentile(.5), percentile(.99), percentile(.999),
           u.ru_utime.tv_sec + u.ru_utime.tv_usec / 1e6 + u.ru_stime.tv_sec + u.ru_stime.tv_usec / 1e6);
    return 0;
}
