/*
 * The other server of the relay's cases: takes all mail that load.c sent to it through the server
 * that is measured, and accounts for each message of a run. One process with epoll; it costs a third
 * of what Postfix's smtp-sink does, and looks at the texts besides.
 *
 *	sink RUN MESSAGES PROGRESS PORT ADDRESS
 *
 * PROGRESS is a file of 16 bytes, mapped: how many different messages have come, and when the last
 * of them did (nanoseconds since 1970). When standard input ends it prints one line of JSON.
 */
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "regress/bench/text.h"

#define ROOM    (256 * 1024) /* bytes of a message or command that wait for their end */
#define REPLIES 4096

struct peer {
	int fd;
	bool in_text;
	size_t have, scanned;
	size_t said;
	char replies[REPLIES];
	char *in;
};

struct progress {
	uint64_t messages;
	uint64_t last_ns;
};

static struct {
	uint32_t run, messages;
	uint8_t *copies;
	struct progress *progress;
	int epoll;
	unsigned long long connections, taken, duplicates, damaged, strange;
} sink;

static uint64_t
wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
account(const char *text, size_t length)
{
	const char *at = text, *end = text + length;
	struct text_stamp stamp;

	sink.taken++;
	if (!text_read_header(&at, end, &stamp) || stamp.run != sink.run) {
		sink.strange++;
		return;
	}
	if (stamp.id >= sink.messages || !text_is_whole(at, end, &stamp)) {
		sink.damaged++;
		return;
	}
	if (sink.copies[stamp.id] > 0) {
		sink.duplicates++;
		return;
	}
	sink.copies[stamp.id] = 1;
	sink.progress->last_ns = wall_ns();
	__atomic_store_n(&sink.progress->messages, sink.progress->messages + 1, __ATOMIC_RELEASE);
}

static void
say(struct peer *peer, const char *words)
{
	size_t length = strlen(words);

	if (length > sizeof(peer->replies) - peer->said)
		errx(1, "a peer that reads no replies");
	memcpy(peer->replies + peer->said, words, length);
	peer->said += length;
}

/* False when the connection ends. */
static bool
command(struct peer *peer, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0)
		say(peer, "250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
	else if (strncasecmp(line, "DATA", 4) == 0) {
		say(peer, "354 go on\r\n");
		peer->in_text = true;
	} else if (strncasecmp(line, "QUIT", 4) == 0) {
		say(peer, "221 bye\r\n");
		return false;
	} else
		say(peer, "250 ok\r\n");
	return true;
}

/* Where the text ends and what follows begins; NULL: not yet. It begins on a line of its own. */
static const char *
end_of_text(struct peer *peer, const char *start, const char *end)
{
	const char *from = start + peer->scanned, *found;

	if (end - start >= 3 && memcmp(start, ".\r\n", 3) == 0)
		return start;
	found = memmem(from, (size_t)(end - from), "\r\n.\r\n", 5);
	if (found != NULL)
		return found + 2;
	peer->scanned = end - start > 4 ? (size_t)(end - start) - 4 : 0;
	return NULL;
}

/* Takes all that is complete. False when the connection ends. */
static bool
understand(struct peer *peer)
{
	const char *at = peer->in, *end = peer->in + peer->have, *stop;
	bool goes_on = true;

	while (goes_on && at < end) {
		if (peer->in_text) {
			stop = end_of_text(peer, at, end);
			if (stop == NULL)
				break;
			account(at, (size_t)(stop - at));
			at = stop + 3;
			peer->in_text = false;
			peer->scanned = 0;
			say(peer, "250 taken\r\n");
		} else {
			stop = memchr(at, '\n', (size_t)(end - at));
			if (stop == NULL)
				break;
			goes_on = command(peer, at);
			at = stop + 1;
		}
	}
	peer->have = (size_t)(end - at);
	memmove(peer->in, at, peer->have);
	return goes_on;
}

static void
drop(struct peer *peer)
{
	close(peer->fd);
	free(peer->in);
	free(peer);
}

static void
serve(struct peer *peer)
{
	ssize_t n = recv(peer->fd, peer->in + peer->have, ROOM - peer->have, MSG_DONTWAIT);
	bool goes_on;

	if (n == -1 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop(peer);
		return;
	}
	peer->have += (size_t)n;
	goes_on = understand(peer);
	if (peer->have == ROOM)
		errx(1, "a message larger than %d bytes", ROOM);
	/* A peer waits for these: its socket has room. */
	if (peer->said > 0 &&
	    send(peer->fd, peer->replies, peer->said, MSG_NOSIGNAL) != (ssize_t)peer->said)
		goes_on = false;
	peer->said = 0;
	if (!goes_on)
		drop(peer);
}

static void
welcome(int listening)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct peer *peer;
	int fd, one = 1;

	while ((fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) != -1) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		peer = calloc(1, sizeof(*peer));
		if (peer == NULL || (peer->in = malloc(ROOM)) == NULL)
			err(71, NULL);
		peer->fd = fd;
		event.data.ptr = peer;
		if (send(fd, "220 sink.test ESMTP\r\n", 21, MSG_NOSIGNAL) != 21 ||
		    epoll_ctl(sink.epoll, EPOLL_CTL_ADD, fd, &event) == -1) {
			drop(peer);
			continue;
		}
		sink.connections++;
	}
}

static int
listening_socket(const char *address, const char *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd == -1 || inet_pton(AF_INET, address, &at.sin_addr) != 1 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == -1 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) == -1 || listen(fd, 4096) == -1)
		err(71, "%s port %s", address, port);
	return fd;
}

static void
open_all(char *argv[])
{
	struct rlimit files;
	int fd;

	sink.run = (uint32_t)strtoul(argv[1], NULL, 10);
	sink.messages = (uint32_t)strtoul(argv[2], NULL, 10);
	sink.copies = calloc((size_t)sink.messages + 1, 1);
	sink.epoll = epoll_create1(EPOLL_CLOEXEC);
	fd = open(argv[3], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (sink.copies == NULL || sink.epoll == -1 || fd == -1 ||
	    ftruncate(fd, sizeof(*sink.progress)) == -1)
		err(71, "%s", argv[3]);
	sink.progress =
	    mmap(NULL, sizeof(*sink.progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (sink.progress == MAP_FAILED)
		err(71, "mmap");
	close(fd);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static void
report(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("{\"taken\": %llu, \"present\": %llu, \"duplicates\": %llu, \"damaged\": %llu, "
	       "\"other\": %llu, \"connections\": %llu, \"cpu_ms\": %.1f}\n",
	    sink.taken, (unsigned long long)sink.progress->messages, sink.duplicates, sink.damaged,
	    sink.strange, sink.connections,
	    (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
	        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3);
}

int
main(int argc, char *argv[])
{
	struct epoll_event event = { .events = EPOLLIN }, events[256];
	int listening, input = STDIN_FILENO, n, i;

	if (argc != 6)
		errx(64, "sink RUN MESSAGES PROGRESS PORT ADDRESS");
	open_all(argv);
	listening = listening_socket(argv[5], argv[4]);
	event.data.ptr = &listening;
	if (epoll_ctl(sink.epoll, EPOLL_CTL_ADD, listening, &event) == -1)
		err(71, "epoll_ctl");
	event.data.ptr = &input;
	if (epoll_ctl(sink.epoll, EPOLL_CTL_ADD, input, &event) == -1)
		err(71, "standard input is no pipe");
	puts("ready");
	fflush(stdout);
	for (;;) {
		n = epoll_wait(sink.epoll, events, 256, -1);
		if (n == -1 && errno != EINTR)
			err(71, "epoll_wait");
		for (i = 0; i < n; i++) {
			if (events[i].data.ptr == &input) {
				report();
				return 0;
			}
			if (events[i].data.ptr == &listening)
				welcome(listening);
			else
				serve(events[i].data.ptr);
		}
	}
}
