/*
 * One connection at a time. What came by one that ended too early is forgotten: the wrapper may try
 * once more, and when it doesn't the delivery fails, whatever it ends with. A second whole message
 * isn't taken, and makes all of the delivery fail, since one of the two would be lost.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/write.h"
#include "deliver/collect.h"

#define PACKETS_AT_ONCE 16
#define GROWTH_MAX      (1024 * 1024) /* beside twice the message's size */

int
collect_open_nameless(void)
{
	int fd = open(P_tmpdir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd != -1 ? fd : memfd_create("message", MFD_CLOEXEC);
}

static socklen_t
set_address(struct sockaddr_un *address, const char *name)
{
	size_t length = strlen(name);

	if (length > sizeof(address->sun_path) - 1)
		length = sizeof(address->sun_path) - 1;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path + 1, name, length);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

bool
collect_open(struct collect *collect, uint64_t size)
{
	struct sockaddr_un address;
	uint64_t secret[2];
	socklen_t length;
	int error;

	memset(collect, 0, sizeof(*collect));
	collect->connection = -1;
	collect->limit = size < INT64_MAX / 2 ? 2 * size + GROWTH_MAX : INT64_MAX;
	arc4random_buf(secret, sizeof(secret));
	snprintf(collect->name, sizeof(collect->name), "postern-%016" PRIx64 "%016" PRIx64,
	    secret[0], secret[1]);
	length = set_address(&address, collect->name);
	collect->file = collect_open_nameless();
	collect->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (collect->file != -1 && collect->listener != -1 &&
	    bind(collect->listener, (struct sockaddr *)&address, length) == 0 &&
	    listen(collect->listener, 8) == 0)
		return true;
	error = errno;
	collect_close(collect);
	errno = error;
	return false;
}

static void
close_one(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

void
collect_close(struct collect *collect)
{
	close_one(&collect->listener);
	close_one(&collect->connection);
	close_one(&collect->file);
}

void
collect_poll(const struct collect *collect, struct pollfd fds[2])
{
	/* The next one waits until this one is done. */
	fds[0] = (struct pollfd){ .fd = collect->connection == -1 ? collect->listener : -1,
		.events = POLLIN };
	fds[1] = (struct pollfd){ .fd = collect->connection, .events = POLLIN };
}

/* The answer, which ends the connection. */
static void
answer(struct collect *collect, int status, const char *words)
{
	char packet[COLLECT_WORDS_MAX + 1];
	int length = snprintf(packet + 1, sizeof(packet) - 1, "%s", words);

	packet[0] = (char)status;
	/* Whoever doesn't get it fails, and so its message waits. */
	(void)send(collect->connection, packet, 1 + (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
	close_one(&collect->connection);
}

static void
forget(struct collect *collect)
{
	close_one(&collect->connection);
	collect->state = COLLECT_LOST;
}

static void
refuse(struct collect *collect, const char *words)
{
	answer(collect, EX_TEMPFAIL, words);
	forget(collect);
}

/* Who listens, or has connected. */
static bool
is_same_user(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
	    peer.uid == geteuid();
}

static void
accept_one(struct collect *collect)
{
	int fd = accept4(collect->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd == -1)
		return;
	if (!is_same_user(fd)) {
		close(fd);
		return;
	}
	collect->connection = fd;
	if (collect->state == COLLECT_WHOLE || collect->state == COLLECT_TWICE) {
		collect->state = COLLECT_TWICE;
		answer(collect, EX_TEMPFAIL, "this message was handed in before");
		return;
	}
	collect->state = COLLECT_SOME;
	collect->size = 0;
	if (ftruncate(collect->file, 0) == -1 || lseek(collect->file, 0, SEEK_SET) == -1)
		refuse(collect, strerror(errno));
}

static void
take_data(struct collect *collect, const uint8_t *data, size_t length)
{
	if (length > collect->limit - collect->size)
		refuse(collect, "the message has become too large");
	else if (!write_all(collect->file, data, length))
		refuse(collect, strerror(errno));
	else
		collect->size += length;
}

static void
take_end(struct collect *collect)
{
	/* What a command gives that wasn't found, or has crashed. */
	if (collect->size == 0) {
		refuse(collect, "there is no message on its standard input");
		return;
	}
	collect->state = COLLECT_WHOLE;
	answer(collect, EX_OK, "taken");
}

/* False when there is no packet. */
static bool
take_packet(struct collect *collect)
{
	uint8_t packet[1 + COLLECT_PACKET_MAX];
	ssize_t got = recv(collect->connection, packet, sizeof(packet), MSG_DONTWAIT);

	if (got == -1 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0)
		forget(collect);
	else if (packet[0] == COLLECT_DATA)
		take_data(collect, packet + 1, (size_t)got - 1);
	else if (packet[0] == COLLECT_END && got == 1)
		take_end(collect);
	else
		refuse(collect, "this isn't how it is spoken to");
	return true;
}

void
collect_attend(struct collect *collect)
{
	if (collect->connection == -1)
		accept_one(collect);
	for (int i = 0; i < PACKETS_AT_ONCE && collect->connection != -1; i++) {
		if (!take_packet(collect))
			return;
	}
}

int
collect_connect(const char *name)
{
	struct sockaddr_un address;
	socklen_t length = set_address(&address, name);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), error;

	if (fd == -1)
		return -1;
	error = connect(fd, (struct sockaddr *)&address, length) == -1 ? errno : EPERM;
	if (error == EPERM && is_same_user(fd))
		return fd;
	close(fd);
	errno = error;
	return -1;
}
