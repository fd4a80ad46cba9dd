/*
 * What the tests of sessions share: a client on a socket pair, and a queue, a directory and a
 * resolver that the test plays.
 */
#ifndef TEST_LISTENER_FIXTURE_H
#define TEST_LISTENER_FIXTURE_H

#include <sys/socket.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <cmocka.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/imsg.h"
#include "common/ipc_listener_queue.h"
#include "common/log.h"
#include "smtpd/session.h"

#define WAIT_MS 10000

struct world {
	struct event_base *base;
	struct service service;
	struct settings *settings;
	struct listener_config *listener;
	struct client from;
	int client;
	char heard[256 * 1024]; /* by the client */
	size_t heard_length;
	bool closed;

	struct channel *queue, *directory, *resolver;
	/* How the other processes behave. */
	bool queue_silent, directory_silent, resolver_silent;
	unsigned commit_code; /* 0: committed */
	unsigned file_code;   /* 0: a file is given */
	uint64_t mailbox;     /* the number of everybody's, 0: not told */
	/* What they have heard. */
	unsigned id_requests, questions, envelopes, commits, aborts, files;
	uint32_t commit_id, commit_peer, name_id, rcpt_id;
	struct transaction transaction;
	struct ipc_facts facts;
	unsigned refused;             /* told for the history */
	struct envelope envelope[64]; /* the last ones */
	char *message;                /* committed */
	size_t message_length;
	int file;
	struct ipc_rcpt question;
	struct ipc_auth auth;
	struct ipc_auth_data auth_data;
	unsigned logins, responses, cancels;
	uint32_t auth_id;
};

static inline void
send_reply(struct channel *channel, uint16_t type, uint32_t id, unsigned code, const char *enhanced,
    const char *text)
{
	struct reply reply;
	struct buf buf;

	reply_set(&reply, code, enhanced, "%s", text);
	buf_init(&buf, 1000);
	reply_encode(&buf, &reply);
	channel_send(channel, type, id, 0, -1, &buf);
	buf_free(&buf);
}

static inline void
read_message(struct world *w, int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	free(w->message);
	w->message_length = (size_t)status.st_size;
	w->message = malloc(w->message_length + 1);
	assert_int_equal(pread(fd, w->message, w->message_length, 0), (ssize_t)w->message_length);
	w->message[w->message_length] = '\0';
}

static inline void
give_ids(struct channel *channel, uint32_t id)
{
	static uint32_t last = 0xa0000000;
	struct ipc_ids ids = { .count = 600 };
	struct buf buf;
	size_t i;

	for (i = 0; i < ids.count; i++)
		ids.ids[i] = ++last;
	buf_init(&buf, IMSG_PAYLOAD_MAX);
	ipc_ids_encode(&buf, &ids);
	channel_send(channel, QUEUE_LISTENER_IDS, id, 0, -1, &buf);
	buf_free(&buf);
}

static inline void
on_queue(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct world *w = arg;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	switch (imsg->type) {
	case LISTENER_QUEUE_IDS:
		w->id_requests++;
		give_ids(channel, imsg->id);
		break;
	case LISTENER_QUEUE_SPOOL_FILE:
		w->files++;
		if (w->file_code != 0)
			send_reply(channel, QUEUE_LISTENER_SPOOL_FILE, imsg->id, w->file_code,
			    "4.3.1", "no space");
		else if (!w->queue_silent) {
			char name[] = "/tmp/test_listener_session.XXXXXX";

			w->file = mkstemp(name);
			unlink(name);
			channel_send(
			    channel, QUEUE_LISTENER_SPOOL_FILE, imsg->id, 0, dup(w->file), NULL);
		}
		break;
	case LISTENER_QUEUE_ENVELOPE:
		assert_true(envelope_decode(&reader, &w->envelope[w->envelopes++ % 64]));
		break;
	case LISTENER_QUEUE_COMMIT:
		assert_true(transaction_decode(&reader, &w->transaction));
		w->commits++;
		w->commit_id = imsg->id;
		w->commit_peer = imsg->peer;
		read_message(w, imsg->fd == -1 ? w->file : imsg->fd);
		if (w->queue_silent)
			break;
		if (w->commit_code == 0)
			channel_send(channel, QUEUE_LISTENER_COMMITTED, imsg->id, 0, -1, NULL);
		else
			send_reply(channel, QUEUE_LISTENER_REFUSED, imsg->id, w->commit_code,
			    "4.3.1", "disk full");
		break;
	case LISTENER_QUEUE_FACTS:
		assert_true(ipc_facts_decode(&reader, &w->facts));
		break;
	case LISTENER_QUEUE_REFUSED:
		w->refused++;
		break;
	case LISTENER_QUEUE_ABORT:
		w->aborts++;
		break;
	default:
		fail_msg("type %u", imsg->type);
	}
}

static inline void
send_target(struct world *w, uint32_t id, const char *local)
{
	struct ipc_target target = {
		.kind = ENVELOPE_MAILDIR, .action = "in", .mailbox = w->mailbox
	};
	struct buf buf;

	strlcpy(target.dest.local, local, sizeof(target.dest.local));
	strlcpy(target.dest.domain, "example.org", sizeof(target.dest.domain));
	buf_init(&buf, 4000);
	ipc_target_encode(&buf, &target);
	channel_send(w->directory, DIRECTORY_TARGET, id, 0, -1, &buf);
	buf_free(&buf);
}

/* Knows everybody at example.org but those whose names begin with "no"; "both" leads to two,
 * "5000a" to so many, whose names end in that letter. */
static inline void
on_directory(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct world *w = arg;
	struct buf_reader reader;
	char *letter;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type == DIRECTORY_AUTH) {
		assert_true(ipc_auth_decode(&reader, &w->auth));
		w->logins++;
		w->auth_id = imsg->id;
		return;
	}
	if (imsg->type == DIRECTORY_AUTH_RESPONSE) {
		assert_true(ipc_auth_data_decode(&reader, &w->auth_data));
		w->responses++;
		w->auth_id = imsg->id;
		return;
	}
	if (imsg->type == DIRECTORY_AUTH_CANCEL) {
		w->cancels++;
		return;
	}
	assert_int_equal(imsg->type, DIRECTORY_RCPT);
	assert_true(ipc_rcpt_decode(&reader, &w->question));
	w->questions++;
	w->rcpt_id = imsg->id;
	if (w->directory_silent)
		return;
	if (strncmp(w->question.rcpt.local, "no", 2) == 0) {
		send_reply(channel, DIRECTORY_RCPT_DONE, imsg->id, 550, "5.1.1", "no such user");
		return;
	}
	if (strcmp(w->question.rcpt.local, "both") == 0) {
		send_target(w, imsg->id, "alice");
		send_target(w, imsg->id, "bob");
	} else if (*w->question.rcpt.local >= '1' && *w->question.rcpt.local <= '9') {
		unsigned long count = strtoul(w->question.rcpt.local, &letter, 10);
		char name[32];

		while (count-- > 0) {
			snprintf(name, sizeof(name), "%lu%c", count, *letter);
			send_target(w, imsg->id, name);
		}
	} else
		send_target(w, imsg->id, w->question.rcpt.local);
	send_reply(channel, DIRECTORY_RCPT_DONE, imsg->id, 250, "2.1.5", "recipient ok");
}

static inline void
answer_name(struct world *w, const char *name)
{
	struct ipc_resolved resolved = { .status = RESOLVE_CONFIRMED };
	struct buf buf;

	strlcpy(resolved.name, name, sizeof(resolved.name));
	buf_init(&buf, 1000);
	ipc_resolved_encode(&buf, &resolved);
	channel_send(w->resolver, RESOLVER_LISTENER_NAME, w->name_id, 0, -1, &buf);
	buf_free(&buf);
}

static inline void
on_resolver(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct world *w = arg;

	(void)channel;
	w->name_id = imsg->id;
	if (!w->resolver_silent)
		answer_name(w, "client.example.net");
}

static inline void
on_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
}

static inline struct channel *
connect_peer(struct world *w, enum program program, channel_receive_fn receive)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	upstream_set_channel(w->service.upstream, program, ends[0]);
	return channel_new(w->base, program_name(program), ends[1], receive, on_closed, w);
}

static inline void
connect_queue(struct world *w)
{
	w->queue = connect_peer(w, PROGRAM_QUEUE, on_queue);
	send_reply(w->queue, QUEUE_LISTENER_STATE, 0, 250, "2.0.0", "ok");
}

/* One turn of everything; what the server has sent is gathered. */
static inline void
turn(struct world *w)
{
	ssize_t count;

	event_base_loop(w->base, EVLOOP_NONBLOCK);
	if (w->client == -1)
		return;
	count = recv(w->client, w->heard + w->heard_length, sizeof(w->heard) - w->heard_length - 1,
	    MSG_DONTWAIT);
	if (count > 0)
		w->heard_length += (size_t)count;
	else if (count == 0 || errno == ECONNRESET)
		w->closed = true;
	w->heard[w->heard_length] = '\0';
}

#define WAIT_FOR(w, condition)                                                                  \
	do {                                                                                    \
		int64_t end_ms_ = clock_monotonic_ms() + WAIT_MS;                               \
		while (!(condition)) {                                                          \
			turn(w);                                                                \
			if (clock_monotonic_ms() > end_ms_)                                     \
				fail_msg("not in time: %s; heard: %s", #condition, (w)->heard); \
		}                                                                               \
	} while (0)

static inline void
say(struct world *w, const char *text)
{
	assert_int_equal(send(w->client, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The server reads this and, in the same call, nothing of what is sent next: a read ends behind
 * bytes that a descriptor came with. */
static inline void
say_apart(struct world *w, const void *data, size_t length)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec iov = { (void *)(uintptr_t)data, length };
	struct msghdr message = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), &w->client, sizeof(int));
	assert_int_equal(sendmsg(w->client, &message, MSG_NOSIGNAL), (ssize_t)length);
}

/* Waits until the client has heard exactly this, and forgets it. */
static inline void
hear(struct world *w, const char *text)
{
	WAIT_FOR(w, w->heard_length >= strlen(text));
	w->heard[w->heard_length] = '\0';
	assert_string_equal(w->heard, text);
	w->heard_length = 0;
	w->heard[0] = '\0';
}

/* Waits for a whole reply that begins so. */
static inline void
hear_code(struct world *w, const char *begin)
{
	char *end;

	WAIT_FOR(w, strstr(w->heard, "\r\n") != NULL);
	if (strncmp(w->heard, begin, strlen(begin)) != 0)
		fail_msg("wanted %s, heard %s", begin, w->heard);
	end = strstr(w->heard, "\r\n") + 2;
	w->heard_length -= (size_t)(end - w->heard);
	memmove(w->heard, end, w->heard_length + 1);
}

static inline void
dial(struct world *w)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	evutil_make_socket_nonblocking(ends[0]);
	w->client = ends[1];
	w->closed = false;
	w->heard_length = 0;
	w->heard[0] = '\0';
	session_start(&w->service, w->settings, w->listener, &w->from, ends[0]);
}

static inline void
greet(struct world *w)
{
	dial(w);
	hear_code(w, "220 mx.example.org");
	say(w,
	    w->listener->protocol == LISTEN_LMTP ? "LHLO me.example.net\r\n"
	                                         : "EHLO me.example.net\r\n");
	WAIT_FOR(w, strstr(w->heard, "250 HELP\r\n") != NULL);
	w->heard_length = 0;
	w->heard[0] = '\0';
}

static inline void
hang_up(struct world *w)
{
	if (w->client != -1)
		close(w->client);
	w->client = -1;
	WAIT_FOR(w, w->service.session_count == 0);
}

static inline int
set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct config *config = config_new();

	log_open("test", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY));
	w->base = event_base_new();
	w->client = w->file = -1;
	w->from = (struct client){ CLIENT_INET4, { 192, 0, 2, 1 }, false, 0 };
	free(config->hostname);
	config->hostname = strdup("mx.example.org");
	config->max_message_size = 4 * 1024 * 1024;
	config->listeners = calloc(1, sizeof(*config->listeners));
	config->listener_count = 1;
	w->listener = config->listeners;
	w->listener->hostname = strdup("");
	w->listener->hostnames = strdup("");
	w->listener->tag = strdup("mx");
	w->listener->proxy_trusted = strdup("");
	config_complete_listener(w->listener);
	service_init(&w->service, w->base);
	w->service.crowd = crowd_new(-1, 0, 1);
	w->settings = settings_new(w->base, config);
	connect_queue(w);
	w->directory = connect_peer(w, PROGRAM_DIRECTORY, on_directory);
	w->resolver = connect_peer(w, PROGRAM_RESOLVER, on_resolver);
	WAIT_FOR(w, upstream_refusal(w->service.upstream) == NULL);
	event_base_loop(w->base, EVLOOP_NONBLOCK); /* ids */
	event_base_loop(w->base, EVLOOP_NONBLOCK);
	*state = w;
	return 0;
}

static inline int
tear_down(void **state)
{
	struct world *w = *state;

	hang_up(w);
	service_free(&w->service);
	settings_release(w->settings);
	channel_free(w->queue);
	channel_free(w->directory);
	channel_free(w->resolver);
	event_base_free(w->base);
	if (w->file != -1)
		close(w->file);
	free(w->message);
	free(w);
	return 0;
}

static inline void
begin(struct world *w, const char *rcpt)
{
	char text[300];

	greet(w);
	snprintf(text, sizeof(text), "MAIL FROM:<a@example.net>\r\nRCPT TO:<%s>\r\n", rcpt);
	say(w, text);
	hear_code(w, "250 ");
	hear_code(w, "250 ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
