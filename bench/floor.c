/* The machine's own floor: one epoll thread that receives Produce v7 and Fetch v4 requests of one topic and one
 * partition each, checks CRC32C, writes the batch to that partition's file and answers; fetches go out by sendfile.
 * It keeps no index, no state and no promises: no broker can cost less.   floor PORT FOLDER */
#include "wire.h"
#include <signal.h>

enum { BUFFER = 4 << 20, PARTITIONS = 64 };
struct partition { int fd; int64_t size, offset; };
struct connection { int fd; uint8_t *in; size_t have; uint8_t out[65536]; size_t queued; int64_t file_at, file_left, next_at; int file; };
static struct partition partitions[PARTITIONS];
static const char *folder;

static struct partition *partition_of(uint32_t i)
{
    struct partition *p = &partitions[i % PARTITIONS];
    if (p->fd <= 0) {
        char path[512];
        snprintf(path, sizeof path, "%s/floor-%u.log", folder, i % PARTITIONS);
        if ((p->fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644)) < 0) die(path);
    }
    return p;
}

static void produce(struct connection *c, const uint8_t *r, uint32_t correlation)
{
    /* transactional id (null), acks, timeout, topics (1), name, partitions (1), index, size, batch */
    const uint8_t *p = r + 2 + 2 + 4 + 4;
    uint16_t name_size = get16(p);
    const uint8_t *name = p;
    p += 2 + name_size + 4;
    uint32_t index = get32(p), size = get32(p + 4);
    uint8_t *batch = (uint8_t *)p + 8, *o = c->out + c->queued;
    struct partition *part = partition_of(index);
    uint16_t error = crc32c(batch + 21, size - 21) == get32(batch + 17) ? 0 : 2;
    put64(batch, part->offset);
    put32(batch + 12, 0);
    if (!error && pwrite(part->fd, batch, size, part->size) != (ssize_t)size) die("pwrite");
    int64_t base = part->offset;
    part->size += size;
    part->offset += get32(batch + 57);
    uint32_t total = 4 + 4 + 2 + name_size + 4 + 4 + 2 + 8 + 8 + 8 + 4;
    put32(o, total); put32(o + 4, correlation); put32(o + 8, 1); o += 12;
    memcpy(o, name, 2 + name_size); o += 2 + name_size;
    put32(o, 1); put32(o + 4, index); put16(o + 8, error); put64(o + 10, base); put64(o + 18, (uint64_t)-1); put64(o + 26, 0);
    put32(o + 34, 0);
    c->queued += 4 + total;
}

static int flush_out(struct connection *c, int more)
{
    if (!c->queued) return 0;
    ssize_t n = send(c->fd, c->out, c->queued, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (n != (ssize_t)c->queued) return -1;     /* answers are small: a full socket here is a broken client */
    c->queued = 0;
    return 0;
}

static void fetch(struct connection *c, const uint8_t *r, uint32_t correlation)
{
    /* v4: replica, max wait, min bytes, max bytes, isolation, topics (1), name, partitions (1), index, offset, max bytes.
     * The offset is not looked up: each connection reads its partition from front to back, again and again. */
    const uint8_t *p = r + 4 + 4 + 4 + 4 + 1 + 4;
    uint16_t name_size = get16(p);
    const uint8_t *name = p;
    p += 2 + name_size + 4;
    uint32_t index = get32(p), size = get32(p + 12);
    struct partition *part = partition_of(index);
    int64_t at = c->next_at + size <= part->size ? c->next_at : 0;
    uint8_t *o = c->out + c->queued;
    c->next_at = at + size;
    if (size > part->size) size = (uint32_t)part->size;
    uint32_t head = 4 + 4 + 4 + 2 + name_size + 4 + 4 + 2 + 8 + 8 + 4 + 4;
    put32(o, head + size); put32(o + 4, correlation); put32(o + 8, 0); put32(o + 12, 1); o += 16;
    memcpy(o, name, 2 + name_size); o += 2 + name_size;
    put32(o, 1); put32(o + 4, index); put16(o + 8, 0); put64(o + 10, part->offset); put64(o + 18, part->offset);
    put32(o + 26, 0); put32(o + 30, size);
    c->queued += 4 + head;
    c->file = part->fd; c->file_at = at; c->file_left = size;
}

static void send_file(int epoll, struct connection *c)
{
    struct epoll_event e = { .data.ptr = c };
    flush_out(c, 1);
    while (c->file_left) {
        ssize_t n = sendfile(c->fd, c->file, &c->file_at, c->file_left);
        if (n <= 0) { e.events = EPOLLOUT; epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e); return; }
        c->file_left -= n;
    }
    e.events = EPOLLIN;
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static int readable(int epoll, struct connection *c)
{
    ssize_t n = recv(c->fd, c->in + c->have, BUFFER - c->have, 0);
    size_t at = 0;
    if (n <= 0) return -1;
    c->have += n;
    while (c->have - at >= 4) {
        size_t size = get32(c->in + at);
        if (size + 4 > BUFFER) return -1;
        if (c->have - at < size + 4) break;
        const uint8_t *r = c->in + at + 4;
        uint16_t key = get16(r);
        const uint8_t *body = r + 10 + ((int16_t)get16(r + 8) < 0 ? 0 : get16(r + 8));
        if (key == 0) produce(c, body, get32(r + 4)); else fetch(c, body, get32(r + 4));
        at += size + 4;
        if (c->queued > sizeof c->out / 2 && flush_out(c, 0)) return -1;
        if (c->file_left) { send_file(epoll, c); break; }       /* one fetch in flight per connection */
    }
    memmove(c->in, c->in + at, c->have - at);
    c->have -= at;
    return flush_out(c, 0);
}

int main(int argc, char **argv)
{
    if (argc != 3) { fprintf(stderr, "usage: floor PORT FOLDER\n"); return 2; }
    folder = argv[2];
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 512)) die("listen");
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL }, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                c = calloc(1, sizeof *c);
                c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                no_delay(c->fd);
                c->in = malloc(BUFFER);
                e.events = EPOLLIN; e.data.ptr = c;
                epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
            } else if (events[i].events & EPOLLOUT) send_file(epoll, c);
            else if (readable(epoll, c)) { close(c->fd); free(c->in); free(c); }
        }
    }
}
