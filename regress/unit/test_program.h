/*
 * A program of the suite as a process, build/bin/NAME beside build/unit/test_NAME_program, whose
 * supervisor and peers the test plays: what it makes of peers that break the rules.
 */
#ifndef TEST_PROGRAM_H
#define TEST_PROGRAM_H

#include <sys/socket.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <libgen.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_supervisor.h"

struct peer {
	enum program program;
	uint32_t instance;
	struct channel *channel; /* NULL: closed by the program */
	unsigned answers;
	uint16_t last_type;
};

static struct {
	struct event_base *base;
	struct channel *supervisor;
	pid_t pid;
	bool configured;
	bool started;
	unsigned rejected;      /* reports to the supervisor, */
	struct ipc_peer blamed; /* and whom the last was about */
} program;

/* Runs the loop until the condition holds. */
#define UNTIL(condition)                                                                 \
	do {                                                                             \
		const struct timeval limit = { .tv_sec = 20 };                           \
		time_t begin = time(NULL);                                               \
		while (!(condition)) {                                                   \
			assert_true(time(NULL) - begin < 20);                            \
			assert_int_equal(event_base_loopexit(program.base, &limit), 0);  \
			assert_int_equal(event_base_loop(program.base, EVLOOP_ONCE), 0); \
		}                                                                        \
	} while (0)

static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct buf_reader reader;

	(void)channel;
	(void)arg;
	if (imsg->type == CHILD_SUPERVISOR_REJECTED) {
		buf_reader_init(&reader, imsg->payload, imsg->length);
		assert_true(ipc_peer_decode(&reader, &program.blamed));
		program.rejected++;
	}
	program.configured |= imsg->type == CHILD_SUPERVISOR_CONFIGURED;
	program.started |= imsg->type == CHILD_SUPERVISOR_READY;
}

static void
on_supervisor_closed(struct channel *channel, const char *why, void *arg)
{
	(void)why;
	(void)arg;
	channel_free(channel);
	program.supervisor = NULL;
}

static void
on_peer(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct peer *peer = arg;

	(void)channel;
	peer->answers++;
	peer->last_type = imsg->type;
}

static void
on_peer_closed(struct channel *channel, const char *why, void *arg)
{
	struct peer *peer = arg;

	(void)why;
	channel_free(channel);
	peer->channel = NULL;
}

/* As the supervisor connects a process, or the one that takes its place. */
static void
connect_peer(struct peer *peer)
{
	struct ipc_peer named = { .program = peer->program, .instance = peer->instance };
	struct buf payload;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	buf_init(&payload, 64);
	ipc_peer_encode(&payload, &named);
	channel_send(program.supervisor, SUPERVISOR_CHILD_PEER, 0, 0, pair[1], &payload);
	buf_free(&payload);
	channel_free(peer->channel);
	peer->channel = channel_new(program.base, "peer", pair[0], on_peer, on_peer_closed, peer);
}

static void
start_program(const char *name, struct config *config)
{
	char self[1024], path[1100], fd[16], log_fd[16];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct ipc_start start = { .listeners = 1 };
	struct buf payload;
	int pair[2];

	assert_int_not_equal(length, -1);
	self[length] = '\0';
	snprintf(path, sizeof(path), "%s/../bin/%s", dirname(self), name);
	if (access(path, X_OK) == -1)
		skip();
	memset(&program, 0, sizeof(program));
	program.base = event_base_new();
	assert_non_null(program.base);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(fd, sizeof(fd), "%d", pair[1]);
	program.pid = fork();
	if (program.pid == 0) {
		close(pair[0]);
		/* What it says of refused frames is of no interest. */
		snprintf(log_fd, sizeof(log_fd), "%d", open("/dev/null", O_WRONLY));
		execl(
		    path, name, "-k", fd, "-l", log_fd, "-t", "stderr", "-n", "256", (char *)NULL);
		_exit(99);
	}
	assert_int_not_equal(program.pid, -1);
	close(pair[1]);
	program.supervisor = channel_new(
	    program.base, "program", pair[0], on_supervisor, on_supervisor_closed, NULL);
	channel_send(program.supervisor, SUPERVISOR_CHILD_CONFIG, 1, 0, config_to_fd(config), NULL);
	config_free(config);
	buf_init(&payload, 64);
	ipc_start_encode(&payload, &start);
	channel_send(program.supervisor, SUPERVISOR_CHILD_START, 2, 0, -1, &payload);
	buf_free(&payload);
	UNTIL(program.configured && program.started);
}

/* It ends as if nothing had been. */
static void
stop_program(void)
{
	int status;

	channel_send(program.supervisor, SUPERVISOR_CHILD_STOP, 3, 0, -1, NULL);
	UNTIL(program.supervisor == NULL);
	assert_int_equal(waitpid(program.pid, &status, 0), program.pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Each type of frame with nothing, noise and too much of it, each on a channel of its own: most are
 * refused, and for each that is, its sender alone is named to the supervisor. Returns how many. */
static __attribute__((unused)) unsigned
send_noise(struct peer *peer, uint16_t types)
{
	static uint8_t noise[600];
	unsigned before = program.rejected;
	struct buf payload;

	memset(noise, 0xff, sizeof(noise));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	for (uint16_t type = 0; type < types; type++) {
		for (size_t length = 0; length <= sizeof(noise); length += 300) {
			unsigned rejected = program.rejected, answers = peer->answers;

			buf_clear(&payload);
			buf_add(&payload, noise, length);
			channel_send(peer->channel, type, 7, 0, -1, &payload);
			UNTIL(program.rejected > rejected || peer->answers > answers);
			if (program.rejected == rejected)
				continue;
			assert_int_equal(program.blamed.program, peer->program);
			assert_int_equal(program.blamed.instance, peer->instance);
			UNTIL(peer->channel == NULL);
			connect_peer(peer);
		}
	}
	buf_free(&payload);
	return program.rejected - before;
}

static void
free_peer(struct peer *peer)
{
	channel_free(peer->channel);
}

#endif
