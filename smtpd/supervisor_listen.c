/*
 * Listening sockets. All listener processes share each of them: when one dies, the others go on
 * taking connections from the same queue. The queue is deep, so that a burst waits in it while all
 * of them are busy.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "smtpd/supervisor_listen.h"

#define BACKLOG  4096
#define RETRY_MS 50

void
listen_describe(const struct sockaddr_storage *address, char *text, size_t size)
{
	const struct sockaddr_in *in = (const void *)address;
	const struct sockaddr_in6 *in6 = (const void *)address;
	char host[INET6_ADDRSTRLEN] = "?";

	switch (address->ss_family) {
	case AF_INET:
		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, size, "%s port %u", host, ntohs(in->sin_port));
		break;
	case AF_INET6:
		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, size, "%s port %u", host, ntohs(in6->sin6_port));
		break;
	case AF_UNIX:
		strlcpy(text, ((const struct sockaddr_un *)(const void *)address)->sun_path, size);
		break;
	default:
		strlcpy(text, "an address of an unknown family", size);
		break;
	}
}

/* The same place to connect to; what lies behind the address in its array doesn't count. */
static bool
is_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	switch (a->ss_family) {
	case AF_INET:
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	case AF_INET6:
		return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id &&
		    memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
	case AF_UNIX:
		return strcmp(((const struct sockaddr_un *)(const void *)a)->sun_path,
		           ((const struct sockaddr_un *)(const void *)b)->sun_path) == 0;
	default:
		return false;
	}
}

static bool
is_every_address(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *in = (const void *)address;
	const struct sockaddr_in6 *in6 = (const void *)address;

	return address->ss_family == AF_INET ? in->sin_addr.s_addr == htonl(INADDR_ANY)
	                                     : IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

/* Ports of one address and of every address, as 127.0.0.1 and 0.0.0.0. */
static bool
is_one_within_the_other(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;

	/* The port is in the same place for IPv6. */
	return a->ss_family == b->ss_family && a->ss_family != AF_UNIX &&
	    a4->sin_port == b4->sin_port && (is_every_address(a) || is_every_address(b));
}

static struct listen_socket *
find(const struct listen_set *set, const struct sockaddr_storage *address)
{
	size_t i;

	for (i = 0; set != NULL && i < set->count; i++)
		if (is_same_address(&set->sockets[i].address, address))
			return &set->sockets[i];
	return NULL;
}

/* Removes a Unix socket that nobody listens on any more; false when somebody does. */
static bool
clear_path(const struct sockaddr_un *address, char *why, size_t size)
{
	struct stat info;
	int fd, result;

	if (lstat(address->sun_path, &info) != 0)
		return true; /* what else may be wrong, bind() will say */
	if (!S_ISSOCK(info.st_mode)) {
		snprintf(why, size, "%s: is there, and not a socket", address->sun_path);
		return false;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1) {
		snprintf(why, size, "socket: %s", strerror(errno));
		return false;
	}
	result = connect(fd, (const struct sockaddr *)(const void *)address, sizeof(*address));
	if (result == -1 && errno == ECONNREFUSED)
		(void)unlink(address->sun_path);
	else
		snprintf(why, size, "%s: another process listens there", address->sun_path);
	close(fd);
	return lstat(address->sun_path, &info) != 0;
}

int
listen_unix(const char *path, uid_t uid, gid_t gid, mode_t mode, char *why, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	bool is_ours = uid == geteuid() && gid == getegid();
	mode_t before;
	int fd, result;

	if (strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path)) {
		snprintf(why, size, "%s: longer than the %zu bytes that a socket's path may have",
		    path, sizeof(address.sun_path) - 1);
		return -1;
	}
	if (!clear_path(&address, why, size))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* It is made with its mode: chmod() would follow a link that has taken its place. */
	before = umask(0777 & ~mode);
	result = fd == -1 ? -1 : bind(fd, (const struct sockaddr *)&address, sizeof(address));
	(void)umask(before);
	if (result != 0 || (!is_ours && geteuid() == 0 && lchown(path, uid, gid) != 0) ||
	    listen(fd, BACKLOG) != 0) {
		snprintf(why, size, "%s: %s", path, strerror(errno));
		if (fd != -1)
			close(fd);
		return -1;
	}
	return fd;
}

static bool
set_port_shared(int fd, bool is_shared)
{
	int value = is_shared;

	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof(value)) == 0;
}

/* Says so of the sockets that are within `address` or around it; whether there are some. */
static bool
set_ports_shared(
    const struct listen_set *set, const struct sockaddr_storage *address, bool is_shared)
{
	bool found = false;
	size_t i;

	for (i = 0; set != NULL && i < set->count; i++)
		if (is_one_within_the_other(&set->sockets[i].address, address) &&
		    set_port_shared(set->sockets[i].fd, is_shared))
			found = true;
	return found;
}

/* -1 with errno set. */
static int
listen_inet(const struct sockaddr_storage *address, socklen_t length, bool is_shared)
{
	int fd, on = 1, error;

	fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (!is_shared || set_port_shared(fd, true)) &&
	    (address->ss_family != AF_INET6 ||
	        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
	    bind(fd, (const struct sockaddr *)(const void *)address, length) == 0 &&
	    listen(fd, BACKLOG) == 0 && (!is_shared || set_port_shared(fd, false)))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/*
 * For the kernel 127.0.0.1 is in use beside 0.0.0.0, unless both sockets allow it. Those of this
 * server do while the second is opened, which a reload can ask for: of the old set and of the new
 * one. They don't any more after that, so that another server goes on being refused.
 */
static int
listen_beside(const struct listener_config *config, const struct listen_set *old,
    const struct listen_set *new)
{
	const struct sockaddr_storage *address = &config->address;
	bool is_shared;
	int fd, error;

	fd = listen_inet(address, config->address_length, false);
	if (fd != -1 || errno != EADDRINUSE)
		return fd;
	is_shared = set_ports_shared(old, address, true);
	is_shared = set_ports_shared(new, address, true) || is_shared;
	if (is_shared)
		fd = listen_inet(address, config->address_length, true);
	error = errno;
	(void)set_ports_shared(old, address, false);
	(void)set_ports_shared(new, address, false);
	errno = error;
	return fd;
}

static int
listen_on(const struct listener_config *config, const struct listen_set *old,
    const struct listen_set *new, int64_t patient_until, char *why, size_t size)
{
	const struct sockaddr_un *local = (const void *)&config->address;
	char text[160];
	int fd;

	if (config->address.ss_family == AF_UNIX)
		return listen_unix(local->sun_path, geteuid(), getegid(), 0666, why, size);
	while ((fd = listen_beside(config, old, new)) == -1 && errno == EADDRINUSE &&
	    clock_monotonic_ms() < patient_until)
		(void)poll(NULL, 0, RETRY_MS);
	if (fd == -1) {
		int error = errno;

		listen_describe(&config->address, text, sizeof(text));
		snprintf(why, size, "can't listen on %s: %s%s", text, strerror(error),
		    error == EADDRINUSE   ? ": another server listens there"
		        : error == EACCES ? ": ports below 1024 need root"
		                          : "");
	}
	return fd;
}

bool
listen_set_open(struct listen_set *set, const struct config *config, const struct listen_set *old,
    unsigned patience_ms, char *why, size_t size)
{
	int64_t patient_until = clock_monotonic_ms() + patience_ms;
	const struct listener_config *wanted;
	struct listen_socket *socket, *there;
	char text[160];

	set->count = 0;
	set->sockets = calloc(config->listener_count + 1, sizeof(*set->sockets));
	if (set->sockets == NULL) {
		snprintf(why, size, "out of memory");
		return false;
	}
	while (set->count < config->listener_count) {
		wanted = &config->listeners[set->count];
		socket = &set->sockets[set->count];
		if (find(set, &wanted->address) != NULL) {
			listen_describe(&wanted->address, text, sizeof(text));
			snprintf(why, size, "\"listen on\" %s is given twice", text);
			break;
		}
		socket->address = wanted->address;
		socket->address_length = (socklen_t)wanted->address_length;
		there = find(old, &wanted->address);
		socket->inherited = there != NULL;
		socket->fd = there != NULL ? there->fd
		                           : listen_on(wanted, old, set, patient_until, why, size);
		if (socket->fd == -1)
			break;
		set->count++;
	}
	if (set->count == config->listener_count)
		return true;
	listen_set_close(set, old);
	return false;
}

void
listen_set_close(struct listen_set *old, const struct listen_set *new)
{
	const struct sockaddr_un *local;
	size_t i;

	for (i = 0; i < old->count; i++) {
		if (find(new, &old->sockets[i].address) != NULL)
			continue;
		local = (const void *)&old->sockets[i].address;
		if (local->sun_family == AF_UNIX)
			(void)unlink(local->sun_path);
		close(old->sockets[i].fd);
	}
	free(old->sockets);
	old->sockets = NULL;
	old->count = 0;
}
