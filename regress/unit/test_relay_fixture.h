/*
 * The relay without its main file, among servers that play a script: each a thread with a listening
 * socket on loopback, and a script for each connection that comes. DNS is played too.
 *
 *	S: 220 mx        the server sends this line; with "|" in it, several at once
 *	s: 25            these bytes, one at a time
 *	C: EHLO *        it reads a line, which must fit the pattern
 *	T:               it reads text up to its end and keeps it
 *	B:               it reads the bytes that the last BDAT announced, and keeps them
 *	X:               it closes
 *	R:               it closes with a reset
 *	W:               it waits until the client closes
 *	?: 50            it says nothing for so many milliseconds
 */
#ifndef TEST_RELAY_FIXTURE_H
#define TEST_RELAY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <arpa/inet.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/config.h"
#include "common/memory_file.h"
#include "deliver/relay_destination.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_host.h"
#include "deliver/relay_task.h"
#include "deliver/relay_tls.h"

#define SERVERS_MAX     4
#define SCRIPTS_MAX     8
#define TASKS_MAX       64
#define RCPTS_MAX       32
#define SERVER_MS       5000
#define CONNECTIONS_MAX 64

struct server {
	int fd;
	unsigned port;
	pthread_t thread;
	bool is_running;
	bool is_parallel; /* all connections at once, by the first script */
	const char *scripts[SCRIPTS_MAX + 1];
	_Atomic unsigned connections;
	char text[65536]; /* all that came as text */
	size_t text_length;
	char wrong[1024]; /* the first thing that didn't fit the script */
};

struct outcome {
	struct task *task; /* NULL: it is done */
	struct ipc_relay_result results[RCPTS_MAX];
	unsigned result_count;
	struct ipc_relay_done done;
	bool is_done;
};

struct world {
	struct event_base *base;
	struct config *config;
	struct relay_dns *dns;
	struct relay_directory *directory;
	struct channel *resolver; /* ours, and its other end */
	struct channel *dns_channel;
	struct tls_client *tls;
	struct destinations *destinations;
	struct pool *pool;
	struct task_owner owner;
	struct server servers[SERVERS_MAX];
	unsigned server_count;
	struct outcome outcomes[TASKS_MAX];
	unsigned task_count;
	unsigned questions;
	uint8_t last;           /* of the hosts' address 127.0.0.x, and of servers that are added */
	uint16_t port_wanted;   /* of those; 0: any */
	bool is_broken;         /* no address can be looked up */
	bool is_signed;         /* what DNS says of addresses */
	struct ipc_answer tlsa; /* of mx1.test; others have none */
	bool is_mute;           /* nothing comes of TLSA */
};

static struct world w;

/* The server's side: nothing of cmocka's is called in its threads. */

struct reader {
	int fd;
	char data[65536];
	size_t start;
	size_t length; /* behind `start` */
};

static bool
fill(struct reader *reader)
{
	struct pollfd ready = { .fd = reader->fd, .events = POLLIN };
	ssize_t count;

	memmove(reader->data, reader->data + reader->start, reader->length);
	reader->start = 0;
	if (reader->length == sizeof(reader->data) || poll(&ready, 1, SERVER_MS) != 1)
		return false;
	count = recv(
	    reader->fd, reader->data + reader->length, sizeof(reader->data) - reader->length, 0);
	if (count <= 0)
		return false;
	reader->length += (size_t)count;
	return true;
}

static void
drop(struct reader *reader, size_t count)
{
	reader->start += count;
	reader->length -= count;
}

static bool
read_line(struct reader *reader, char *line, size_t size)
{
	const char *data, *end;

	while ((end = memmem(reader->data + reader->start, reader->length, "\r\n", 2)) == NULL)
		if (!fill(reader))
			return false;
	data = reader->data + reader->start;
	snprintf(line, size, "%.*s", (int)(end - data), data);
	drop(reader, (size_t)(end - data) + 2);
	return true;
}

static void
keep(struct server *server, const char *data, size_t length)
{
	if (length > sizeof(server->text) - 1 - server->text_length)
		length = sizeof(server->text) - 1 - server->text_length;
	memcpy(server->text + server->text_length, data, length);
	server->text_length += length;
	server->text[server->text_length] = '\0';
}

static bool
read_text(struct server *server, struct reader *reader)
{
	char line[4096];

	while (read_line(reader, line, sizeof(line))) {
		if (strcmp(line, ".") == 0)
			return true;
		keep(server, line, strlen(line));
		keep(server, "\r\n", 2);
	}
	return false;
}

static bool
read_chunk(struct server *server, struct reader *reader, size_t length)
{
	while (reader->length < length)
		if (!fill(reader))
			return false;
	keep(server, reader->data + reader->start, length);
	drop(reader, length);
	return true;
}

static void
wrong(struct server *server, const char *script, const char *got)
{
	if (*server->wrong == '\0')
		snprintf(server->wrong, sizeof(server->wrong), "at \"%.*s\": %s",
		    (int)strcspn(script, "\n"), script, got);
}

static void
say(int fd, const char *text)
{
	char lines[4096] = "";
	size_t span;

	for (; *text != '\0'; text += span + (text[span] == '|')) {
		span = strcspn(text, "|");
		snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines), "%.*s\r\n",
		    (int)span, text);
	}
	(void)send(fd, lines, strlen(lines), MSG_NOSIGNAL);
}

static void
say_slowly(int fd, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		(void)send(fd, text + i, 1, MSG_NOSIGNAL);
		usleep(1000);
	}
}

/* False when the script has gone wrong. */
static bool
play_line(
    struct server *server, struct reader *reader, const char *line, char *last, size_t last_size)
{
	const struct linger reset = { .l_onoff = 1 };
	size_t length = strcspn(line, "\n");
	const char *words = line + 3;
	char text[2048];

	snprintf(text, sizeof(text), "%.*s", length < 3 ? 0 : (int)length - 3, words);
	switch (*line) {
	case 'S':
		say(reader->fd, text);
		return true;
	case 's':
		strcat(text, "\r\n");
		say_slowly(reader->fd, text, strlen(text));
		return true;
	case 'C':
		if (!read_line(reader, last, last_size)) {
			wrong(server, line, "nothing came");
			return false;
		}
		if (fnmatch(text, last, 0) != 0) {
			wrong(server, line, last);
			return false;
		}
		return true;
	case 'T':
		if (read_text(server, reader))
			return true;
		wrong(server, line, "no end of text");
		return false;
	case 'B':
		if (read_chunk(server, reader, strtoul(last + 5, NULL, 10)))
			return true;
		wrong(server, line, "no such chunk");
		return false;
	case 'R':
		(void)setsockopt(reader->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		return false;
	case 'W':
		while (fill(reader))
			;
		if (reader->length > 0)
			wrong(server, line, "it said more");
		return false;
	case '?':
		usleep((useconds_t)strtoul(text, NULL, 10) * 1000);
		return true;
	default:
		return false; /* X: */
	}
}

static void
play(struct server *server, int fd, const char *script)
{
	static _Thread_local struct reader reader;
	char last[4096] = "";

	reader.fd = fd;
	reader.start = reader.length = 0;
	while (*script != '\0' && play_line(server, &reader, script, last, sizeof(last))) {
		script += strcspn(script, "\n");
		script += *script == '\n';
	}
	close(fd);
}

struct connection_to_play {
	struct server *server;
	int fd;
};

static void *
play_one(void *arg)
{
	struct connection_to_play *one = arg;

	play(one->server, one->fd, one->server->scripts[0]);
	free(one);
	return NULL;
}

static void
serve_all(struct server *server)
{
	pthread_t threads[CONNECTIONS_MAX];
	struct connection_to_play *one;
	unsigned count = 0;
	int fd;

	while (count < CONNECTIONS_MAX && (fd = accept(server->fd, NULL, NULL)) != -1) {
		server->connections++;
		one = malloc(sizeof(*one));
		if (one == NULL)
			abort();
		*one = (struct connection_to_play){ server, fd };
		if (pthread_create(&threads[count++], NULL, play_one, one) != 0)
			abort();
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* Connections are played one after the other, or all at once. */
static void *
serve(void *arg)
{
	struct server *server = arg;
	int fd;

	if (server->is_parallel) {
		serve_all(server);
		return NULL;
	}
	for (unsigned i = 0; server->scripts[i] != NULL; i++) {
		fd = accept(server->fd, NULL, NULL);
		if (fd == -1)
			break;
		server->connections++;
		play(server, fd, server->scripts[i]);
	}
	return NULL;
}

static bool next_is_parallel;

static struct server *
add_server(const char *first, ...)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons(w.port_wanted),
		.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffU) | w.last) };
	socklen_t length = sizeof(address);
	struct server *server = &w.servers[w.server_count++];
	unsigned count = 0;
	va_list scripts;

	server->is_parallel = next_is_parallel;
	va_start(scripts, first);
	for (const char *script = first; script != NULL; script = va_arg(scripts, const char *))
		server->scripts[count++] = script;
	va_end(scripts);
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server->fd, 16), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &length), 0);
	server->port = ntohs(address.sin_port);
	if (first == NULL) { /* nobody is there */
		close(server->fd);
		server->fd = -1;
		return server;
	}
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	server->is_running = true;
	return server;
}

/* Ours. */

static void
on_result(struct task *task, const struct ipc_relay_result *result, void *arg)
{
	struct outcome *outcome = &w.outcomes[task->id];

	(void)arg;
	assert_ptr_equal(outcome->task, task);
	assert_true(outcome->result_count < RCPTS_MAX);
	for (unsigned i = 0; i < outcome->result_count; i++)
		assert_int_not_equal(outcome->results[i].envelope_id, result->envelope_id);
	assert_true(result->reply.code / 100 == 2 || result->reply.code / 100 == 4 ||
	    result->reply.code / 100 == 5);
	outcome->results[outcome->result_count++] = *result;
}

static void
on_task_done(struct task *task, const struct ipc_relay_done *done, void *arg)
{
	struct outcome *outcome = &w.outcomes[task->id];

	(void)arg;
	assert_int_equal(outcome->result_count, task->message.recipients);
	outcome->done = *done;
	outcome->is_done = true;
	outcome->task = NULL;
	task_free(task);
}

/* "mxN.test" is 127.0.0.1, "none.test" has no address, "broken.test" fails. */
static void
on_question(struct channel *channel, struct imsg *imsg, void *arg)
{
	const uint8_t loopback[4] = { 127, 0, 0, w.last };
	struct ipc_answer answer = { .status = ANSWER_FOUND, .ttl = 0 };
	struct ipc_query query;
	struct buf_reader reader;
	struct buf payload;

	(void)arg;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	assert_true(ipc_query_decode(&reader, &query));
	w.questions++;
	answer.secure = w.is_signed;
	if (query.kind == QUERY_TLSA) {
		assert_true(w.is_signed);
		if (w.is_mute)
			return;
		answer.status = ANSWER_NO_NAME;
		if (strcmp(query.name, "mx1.test") == 0)
			answer = w.tlsa;
	} else if (strncmp(query.name, "none", 4) == 0) {
		answer.status = ANSWER_NO_DATA;
	} else if (strncmp(query.name, "broken", 6) == 0 || w.is_broken) {
		answer.status = ANSWER_FAILED;
		strlcpy(answer.why, "SERVFAIL", sizeof(answer.why));
	} else if (query.kind == QUERY_MX) {
		answer.count = 1;
		answer.records[0].data = (const uint8_t *)"none.test";
		answer.records[0].length = 9;
	} else {
		answer.count = 1;
		answer.records[0].family = CLIENT_INET4;
		answer.records[0].data = loopback;
		answer.records[0].length = 4;
	}
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_answer_encode(&payload, &answer);
	channel_send(channel, RESOLVER_RELAY_ANSWER, imsg->id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_answer(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	assert_true(relay_dns_receive(w.dns, imsg));
}

static void
on_channel_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)arg;
	fail_msg("channel: %s", why);
}

static int
set_up(void **state)
{
	const struct relay_times times = { .connect_ms = 2000,
		.handshake_ms = 2000,
		.greeting_ms = 300,
		.command_ms = 300,
		.mail_ms = 300,
		.rcpt_ms = 300,
		.data_ms = 300,
		.block_ms = 300,
		.transaction_ms = 3000,
		.end_ms = 300,
		.quit_ms = 300,
		.idle_ms = 60000,
		.addresses_ms = 100,
		.tick_ms = 20 };
	struct pool_owner owner;
	int ends[2];

	(void)state;
	memset(&w, 0, sizeof(w));
	w.last = 1;
	(void)signal(SIGPIPE, SIG_IGN); /* as child_start() does */
	w.base = event_base_new();
	assert_int_equal(event_base_priority_init(w.base, 2), 0);
	w.config = config_new();
	free(w.config->hostname);
	w.config->hostname = strdup("relay.test");
	w.config->mta_idle_time = 0;
	w.config->actions = calloc(1, sizeof(*w.config->actions));
	w.config->action_count = 1;
	w.config->actions[0].name = strdup("out");
	w.config->actions[0].method = ACTION_RELAY;
	config_complete_action(&w.config->actions[0]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	w.resolver = channel_new(w.base, "relay", ends[0], on_question, on_channel_closed, NULL);
	w.dns_channel =
	    channel_new(w.base, "resolver", ends[1], on_answer, on_channel_closed, NULL);
	w.dns = relay_dns_new(w.base, 5000);
	relay_dns_set_channel(w.dns, w.dns_channel);
	w.tls = tls_client_new();
	w.directory = relay_directory_new(w.base, 1000);
	w.destinations = destinations_new(w.base, w.dns, w.directory);
	owner = destinations_pool_owner(w.destinations);
	w.pool = pool_new(w.base, w.dns, w.directory, w.tls, &times, &owner);
	w.owner = (struct task_owner){ .result = on_result, .done = on_task_done };
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	pool_free(w.pool);
	for (unsigned i = 0; i < w.server_count; i++) {
		if (w.servers[i].fd != -1)
			(void)shutdown(w.servers[i].fd, SHUT_RDWR);
		if (w.servers[i].is_running)
			pthread_join(w.servers[i].thread, NULL);
		if (w.servers[i].fd != -1)
			close(w.servers[i].fd);
	}
	destinations_free(w.destinations);
	relay_dns_free(w.dns);
	relay_directory_free(w.directory);
	channel_free(w.resolver);
	channel_free(w.dns_channel);
	for (unsigned i = 0; i < w.task_count; i++)
		task_free(w.outcomes[i].task);
	tls_client_free(w.tls);
	config_free(w.config);
	event_base_free(w.base);
	return 0;
}

/* The action's hosts: a scheme, and one name after the other at the servers' ports. */
static void
use_servers(const char *scheme)
{
	char hosts[1024] = "";

	for (unsigned i = 0; i < w.server_count; i++) {
		size_t used = strlen(hosts);

		snprintf(hosts + used, sizeof(hosts) - used, "%s://mx%u.test:%u ", scheme, i + 1,
		    w.servers[i].port);
	}
	free(w.config->actions[0].relay_hosts);
	w.config->actions[0].relay_hosts = strdup(hosts);
	pool_configure(w.pool, w.config);
	destinations_configure(w.destinations, w.pool, w.config);
}

static struct ipc_relay_message
message_for(unsigned recipients)
{
	struct ipc_relay_message message = { .message_id = 1, .recipients = recipients };

	strlcpy(message.action, "out", sizeof(message.action));
	strlcpy(message.domain, "example.org", sizeof(message.domain));
	assert_int_equal(address_parse("a@client.test", 0, &message.sender), ADDRESS_OK);
	return message;
}

/* Submits a task with recipients u1@example.org, u2@…; its number. */
static unsigned
submit_message(struct ipc_relay_message message, const char *text)
{
	unsigned number = w.task_count++;
	struct ipc_relay_rcpt rcpt = { .envelope_id = 0 };
	struct task *task;
	char dest[64];

	message.size = strlen(text);
	task = task_new(&w.owner, number, &message, memory_file_make("m", text, strlen(text)));
	assert_non_null(task);
	for (unsigned i = 1; i <= message.recipients; i++) {
		rcpt.envelope_id = i;
		snprintf(dest, sizeof(dest), "u%u@example.org", i);
		assert_int_equal(address_parse(dest, 0, &rcpt.dest), ADDRESS_OK);
		assert_true(task_add_rcpt(task, &rcpt));
	}
	assert_true(task_is_complete(task));
	w.outcomes[number].task = task;
	destinations_submit(w.destinations, task);
	return number;
}

static unsigned
submit(unsigned recipients)
{
	return submit_message(message_for(recipients), "Subject: x\r\n\r\nhello\r\n");
}

static void
wait_done(unsigned number)
{
	time_t begin = time(NULL);
	struct timeval limit = { .tv_sec = 1 };

	while (!w.outcomes[number].is_done) {
		if (time(NULL) - begin > 15)
			fail_msg("task %u isn't done; server 1: %s, server 2: %s", number,
			    w.servers[0].wrong, w.servers[1].wrong);
		event_base_loopexit(w.base, &limit);
		event_base_loop(w.base, EVLOOP_ONCE);
	}
}

/* Runs the loop for as long as the servers need to have seen all of it. */
__attribute__((unused)) static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

__attribute__((unused)) static void
run_for(unsigned ms)
{
	const struct timeval step = { .tv_usec = 5000 };
	int64_t end = now_ms() + ms;

	while (now_ms() < end) {
		event_base_loopexit(w.base, &step);
		event_base_loop(w.base, EVLOOP_ONCE);
	}
}

static const struct ipc_relay_result *
result_of(unsigned number, uint64_t envelope)
{
	for (unsigned i = 0; i < w.outcomes[number].result_count; i++)
		if (w.outcomes[number].results[i].envelope_id == envelope)
			return &w.outcomes[number].results[i];
	fail_msg("no result of envelope %u", (unsigned)envelope);
	return NULL;
}

static void
check_result(unsigned number, uint64_t envelope, unsigned code, const char *enhanced)
{
	const struct ipc_relay_result *result = result_of(number, envelope);

	if (result->reply.code != code || strcmp(result->reply.enhanced, enhanced) != 0)
		fail_msg("envelope %u: %u %s %s, expected %u %s; server 1: %s, server 2: %s",
		    (unsigned)envelope, result->reply.code, result->reply.enhanced,
		    result->reply.text, code, enhanced, w.servers[0].wrong, w.servers[1].wrong);
}

/* The server's script was played as it is written. */
static void
check_server(const struct server *server, unsigned connections)
{
	if (*server->wrong != '\0')
		fail_msg("%s", server->wrong);
	assert_int_equal(server->connections, connections);
}

#endif
