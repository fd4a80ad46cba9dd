/* A new set of sockets keeps those whose address stays, and changes nothing when one can't be had.
 */
#include <sys/stat.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpd/supervisor_listen.h"

#define PORTS 3

struct fixture {
	char directory[64];
	char path[96];
	struct listener_config listeners[8];
	struct config config;
	unsigned ports[PORTS]; /* free when the test began */
	char why[300];
};

static struct sockaddr_in
loopback(unsigned port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sockaddr_in address;
	socklen_t length;
	int fds[PORTS], i;

	assert_non_null(f);
	strcpy(f->directory, "/tmp/test-listen-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->directory);
	f->config.listeners = f->listeners;
	for (i = 0; i < PORTS; i++) {
		address = loopback(0);
		length = sizeof(address);
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(fds[i], (struct sockaddr *)&address, length), 0);
		assert_int_equal(getsockname(fds[i], (struct sockaddr *)&address, &length), 0);
		f->ports[i] = ntohs(address.sin_port);
	}
	for (i = 0; i < PORTS; i++)
		close(fds[i]);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	(void)unlink(f->path);
	(void)rmdir(f->directory);
	free(f);
	return 0;
}

static void
want_port(struct fixture *f, unsigned port)
{
	struct listener_config *listener = &f->listeners[f->config.listener_count++];
	struct sockaddr_in address = loopback(port);

	memset(listener, 0, sizeof(*listener));
	memcpy(&listener->address, &address, sizeof(address));
	listener->address_length = sizeof(address);
}

static void
want_every_address(struct fixture *f, unsigned port)
{
	struct sockaddr_in *address;

	want_port(f, port);
	address = (void *)&f->listeners[f->config.listener_count - 1].address;
	address->sin_addr.s_addr = htonl(INADDR_ANY);
}

static void
want_path(struct fixture *f)
{
	struct listener_config *listener = &f->listeners[f->config.listener_count++];
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
	memset(listener, 0, sizeof(*listener));
	memcpy(&listener->address, &address, sizeof(address));
	listener->address_length = sizeof(address);
}

static bool
connects(unsigned port)
{
	struct sockaddr_in address = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool result = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

	close(fd);
	return result;
}

static bool
open_set(struct fixture *f, struct listen_set *set, const struct listen_set *old)
{
	return listen_set_open(set, &f->config, old, 0, f->why, sizeof(f->why));
}

static void
sockets_take_connections(void **state)
{
	struct fixture *f = *state;
	struct listen_set set;
	struct stat info;

	want_port(f, f->ports[0]);
	want_path(f);
	assert_true(open_set(f, &set, NULL));
	assert_int_equal(set.count, 2);
	assert_true(connects(f->ports[0]));
	assert_int_equal(lstat(f->path, &info), 0);
	assert_true(S_ISSOCK(info.st_mode));
	assert_int_equal(info.st_mode & 0777, 0666);
	assert_true((fcntl(set.sockets[0].fd, F_GETFL) & O_NONBLOCK) != 0);
	listen_set_close(&set, NULL);
	assert_false(connects(f->ports[0]));
	assert_int_equal(lstat(f->path, &info), -1);
}

static void
an_address_that_stays_keeps_its_socket(void **state)
{
	struct fixture *f = *state;
	struct listen_set old, new;
	int kept;

	want_port(f, f->ports[0]);
	want_port(f, f->ports[1]);
	assert_true(open_set(f, &old, NULL));
	kept = old.sockets[1].fd;
	f->config.listener_count = 0;
	want_port(f, f->ports[2]);
	want_port(f, f->ports[1]);
	assert_true(open_set(f, &new, &old));
	assert_int_equal(new.sockets[1].fd, kept);
	assert_true(new.sockets[1].inherited);
	listen_set_close(&old, &new);
	assert_false(connects(f->ports[0]));
	assert_true(connects(f->ports[1]));
	assert_true(connects(f->ports[2]));
	listen_set_close(&new, NULL);
}

static void
an_address_in_use_is_named_and_the_old_set_stays(void **state)
{
	struct fixture *f = *state;
	struct listen_set other, old, new;
	char port[16];

	want_port(f, f->ports[2]);
	assert_true(open_set(f, &other, NULL));
	f->config.listener_count = 0;
	want_port(f, f->ports[0]);
	assert_true(open_set(f, &old, NULL));
	want_port(f, f->ports[1]);
	want_port(f, f->ports[2]);
	assert_false(open_set(f, &new, &old));
	snprintf(port, sizeof(port), "port %u", f->ports[2]);
	assert_non_null(strstr(f->why, port));
	assert_true(connects(f->ports[0]));
	assert_false(connects(f->ports[1]));
	listen_set_close(&old, NULL);
	listen_set_close(&other, NULL);
}

static void
addresses_within_each_other_can_be_changed_at_a_reload(void **state)
{
	struct fixture *f = *state;
	struct listen_set narrow, wide, both, other;
	char why[300];

	want_port(f, f->ports[0]);
	assert_true(open_set(f, &narrow, NULL));
	f->config.listener_count = 0;
	want_every_address(f, f->ports[0]);
	assert_true(open_set(f, &wide, &narrow));
	listen_set_close(&narrow, &wide);
	assert_true(connects(f->ports[0]));
	want_port(f, f->ports[0]);
	assert_true(open_set(f, &both, &wide));
	listen_set_close(&wide, &both);
	assert_true(connects(f->ports[0]));

	/* Another server doesn't get in between. */
	f->config.listener_count = 0;
	want_port(f, f->ports[0]);
	assert_false(listen_set_open(&other, &f->config, NULL, 0, why, sizeof(why)));
	f->config.listener_count = 0;
	want_every_address(f, f->ports[0]);
	assert_false(listen_set_open(&other, &f->config, NULL, 0, why, sizeof(why)));
	listen_set_close(&both, NULL);
	assert_false(connects(f->ports[0]));
}

static void
an_address_given_twice_is_refused(void **state)
{
	struct fixture *f = *state;
	struct listen_set set;

	want_port(f, f->ports[0]);
	want_port(f, f->ports[0]);
	assert_false(open_set(f, &set, NULL));
	assert_non_null(strstr(f->why, "twice"));
	assert_false(connects(f->ports[0]));
}

static void
a_dead_socket_s_path_is_taken_over_a_live_one_s_is_not(void **state)
{
	struct fixture *f = *state;
	struct listen_set set, second;

	want_path(f);
	assert_true(open_set(f, &set, NULL));
	assert_false(open_set(f, &second, NULL));
	assert_non_null(strstr(f->why, "another process listens there"));
	/* Dead: closed without being removed. */
	close(set.sockets[0].fd);
	free(set.sockets);
	assert_true(open_set(f, &set, NULL));
	listen_set_close(&set, NULL);
}

static void
a_file_in_a_socket_s_place_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct listen_set set;
	struct stat info;
	int fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd != -1);
	close(fd);
	want_path(f);
	assert_false(open_set(f, &set, NULL));
	assert_non_null(strstr(f->why, "not a socket"));
	assert_int_equal(lstat(f->path, &info), 0);
	assert_true(S_ISREG(info.st_mode));
}

static void
ipv6_does_not_take_ipv4_s_place(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in6 address = { .sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)f->ports[0]) };
	struct sockaddr_in any = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)f->ports[0]) };
	struct listen_set set;

	if (access("/proc/net/if_inet6", R_OK) != 0)
		skip(); /* a kernel without IPv6 */
	f->config.listener_count = 2;
	memcpy(&f->listeners[0].address, &any, sizeof(any));
	f->listeners[0].address_length = sizeof(any);
	memcpy(&f->listeners[1].address, &address, sizeof(address));
	f->listeners[1].address_length = sizeof(address);
	assert_true(open_set(f, &set, NULL));
	listen_set_close(&set, NULL);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(sockets_take_connections),
		WITH(an_address_that_stays_keeps_its_socket),
		WITH(an_address_in_use_is_named_and_the_old_set_stays),
		WITH(addresses_within_each_other_can_be_changed_at_a_reload),
		WITH(an_address_given_twice_is_refused),
		WITH(a_dead_socket_s_path_is_taken_over_a_live_one_s_is_not),
		WITH(a_file_in_a_socket_s_place_is_left_alone),
		WITH(ipv6_does_not_take_ipv4_s_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
