/*
 * Sessions, played over a socket pair with a queue, a directory and a resolver that the test plays:
 * what the client is told, in which order, and what the queue gets, also when those processes are
 * slow, refuse, or die.
 */
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
	struct envelope envelope[64];
	char *message; /* committed */
	size_t message_length;
	int file;
	struct ipc_rcpt question;
};

static void
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

static void
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

static void
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

static void
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
		assert_true(w->envelopes < 64);
		assert_true(envelope_decode(&reader, &w->envelope[w->envelopes++]));
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
	case LISTENER_QUEUE_ABORT:
		w->aborts++;
		break;
	default:
		fail_msg("type %u", imsg->type);
	}
}

static void
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

/* Knows everybody at example.org but those whose names begin with "no"; "both" leads to two. */
static void
on_directory(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct world *w = arg;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
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
	} else
		send_target(w, imsg->id, w->question.rcpt.local);
	send_reply(channel, DIRECTORY_RCPT_DONE, imsg->id, 250, "2.1.5", "recipient ok");
}

static void
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

static void
on_resolver(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct world *w = arg;

	(void)channel;
	w->name_id = imsg->id;
	if (!w->resolver_silent)
		answer_name(w, "client.example.net");
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
}

static struct channel *
connect_peer(struct world *w, enum program program, channel_receive_fn receive)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	upstream_set_channel(w->service.upstream, program, ends[0]);
	return channel_new(w->base, program_name(program), ends[1], receive, on_closed, w);
}

static void
connect_queue(struct world *w)
{
	w->queue = connect_peer(w, PROGRAM_QUEUE, on_queue);
	send_reply(w->queue, QUEUE_LISTENER_STATE, 0, 250, "2.0.0", "ok");
}

/* One turn of everything; what the server has sent is gathered. */
static void
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

static void
say(struct world *w, const char *text)
{
	assert_int_equal(send(w->client, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Waits until the client has heard exactly this, and forgets it. */
static void
hear(struct world *w, const char *text)
{
	WAIT_FOR(w, w->heard_length >= strlen(text));
	w->heard[w->heard_length] = '\0';
	assert_string_equal(w->heard, text);
	w->heard_length = 0;
	w->heard[0] = '\0';
}

/* Waits for a whole reply that begins so. */
static void
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

static void
dial(struct world *w)
{
	struct client client = { CLIENT_INET4, { 192, 0, 2, 1 } };
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	evutil_make_socket_nonblocking(ends[0]);
	w->client = ends[1];
	w->closed = false;
	w->heard_length = 0;
	w->heard[0] = '\0';
	session_start(&w->service, w->settings, w->listener, &client, ends[0]);
}

static void
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

static void
hang_up(struct world *w)
{
	if (w->client != -1)
		close(w->client);
	w->client = -1;
	WAIT_FOR(w, w->service.session_count == 0);
}

static int
set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct config *config = config_new();

	log_open("test", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY));
	w->base = event_base_new();
	w->client = w->file = -1;
	free(config->hostname);
	config->hostname = strdup("mx.example.org");
	config->max_message_size = 4 * 1024 * 1024;
	config->listeners = calloc(1, sizeof(*config->listeners));
	config->listener_count = 1;
	w->listener = config->listeners;
	w->listener->hostname = strdup("");
	w->listener->tag = strdup("mx");
	w->listener->proxy_trusted = strdup("");
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

static int
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

static void
a_message_is_committed_and_then_acknowledged(void **state)
{
	struct world *w = *state;
	char expected[200];

	greet(w);
	say(w, "MAIL FROM:<a@example.net> SIZE=100 RET=HDRS ENVID=q+2B1\r\n");
	hear(w, "250 2.1.0 sender ok\r\n");
	say(w, "RCPT TO:<Alice@example.org> NOTIFY=DELAY ORCPT=rfc822;A@example.org\r\n");
	hear(w, "250 2.1.5 recipient ok\r\n");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	w->queue_silent = true;
	say(w, "Subject: x\r\n\r\n..\r\n.\r\n");
	WAIT_FOR(w, w->commits == 1);
	turn(w);
	assert_int_equal(w->heard_length, 0); /* nothing before it is on stable storage */
	channel_send(w->queue, QUEUE_LISTENER_COMMITTED, w->commit_id, 0, -1, NULL);
	snprintf(expected, sizeof(expected), "250 2.0.0 %08x Message accepted for delivery\r\n",
	    w->commit_peer);
	hear(w, expected);

	assert_int_equal(w->question.client_family, CLIENT_INET4);
	assert_int_equal(w->question.client_address[3], 1);
	assert_string_equal(w->question.client_name, "client.example.net");
	assert_string_equal(w->question.helo, "me.example.net");
	assert_string_equal(w->question.tag, "mx");
	assert_int_equal(w->question.size, 100);
	assert_int_equal(w->transaction.message_id, w->commit_peer);
	assert_string_equal(w->transaction.sender.local, "a");
	assert_string_equal(w->transaction.client, "192.0.2.1");
	assert_string_equal(w->transaction.client_name, "client.example.net");
	assert_string_equal(w->transaction.helo, "me.example.net");
	assert_int_equal(w->transaction.dsn_return, DSN_RETURN_HEADERS);
	assert_string_equal(w->transaction.dsn_envid, "q+1");
	assert_int_equal(w->transaction.size, w->message_length);
	assert_int_equal(w->envelopes, 1);
	assert_int_equal(w->envelope[0].id, envelope_id_make(w->commit_peer, 1));
	assert_string_equal(w->envelope[0].rcpt.local, "Alice");
	assert_int_equal(w->envelope[0].dsn_notify, DSN_NOTIFY_DELAY);
	assert_string_equal(w->envelope[0].dsn_orcpt, "rfc822;A@example.org");
	assert_string_equal(w->envelope[0].action, "in");
	snprintf(expected, sizeof(expected),
	    "Received: from me.example.net (client.example.net [192.0.2.1])\r\n"
	    "\tby mx.example.org (Postern) with ESMTP id %08x\r\n\tfor <Alice@example.org>;\r\n",
	    w->commit_peer);
	assert_memory_equal(w->message, expected, strlen(expected));
	assert_string_equal(strstr(w->message, "Subject"), "Subject: x\r\n\r\n.\r\n");
	say(w, "QUIT\r\n");
	hear_code(w, "221 2.0.0 ");
	WAIT_FOR(w, w->closed);
}

static void
pipelined_commands_are_answered_in_order_and_together(void **state)
{
	struct world *w = *state;

	greet(w);
	w->directory_silent = true;
	say(w,
	    "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<no@example.org>\r\n"
	    "RSET\r\nNOOP\r\n");
	WAIT_FOR(w, w->questions == 1);
	turn(w);
	send_target(w, w->rcpt_id, "alice");
	send_reply(w->directory, DIRECTORY_RCPT_DONE, w->rcpt_id, 250, "2.1.5", "ok 1");
	WAIT_FOR(w, w->questions == 2);
	send_reply(w->directory, DIRECTORY_RCPT_DONE, w->rcpt_id, 550, "5.1.1", "no 2");
	hear(w,
	    "250 2.1.0 sender ok\r\n250 2.1.5 ok 1\r\n550 5.1.1 no 2\r\n250 2.0.0 ok\r\n"
	    "250 2.0.0 ok\r\n");
}

static void
begin(struct world *w, const char *rcpt)
{
	char text[300];

	greet(w);
	snprintf(text, sizeof(text), "MAIL FROM:<a@example.net>\r\nRCPT TO:<%s>\r\n", rcpt);
	say(w, text);
	hear_code(w, "250 ");
	hear_code(w, "250 ");
}

static void
text_behind_data_in_one_packet_closes_the_session(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\nSubject: x\r\n\r\n.\r\nMAIL FROM:<b@example.net>\r\n");
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
	assert_int_equal(w->heard_length, 0);
	assert_int_equal(w->commits, 0);
}

static void
text_behind_a_refused_data_is_no_command(void **state)
{
	struct world *w = *state;

	greet(w);
	say(w,
	    "MAIL FROM:<a@example.net>\r\nRCPT TO:<no@example.org>\r\nDATA\r\n"
	    "RSET\r\nMAIL FROM:<b@example.net>\r\n.\r\n");
	hear_code(w, "250 ");
	hear_code(w, "550 5.1.1 ");
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
	assert_int_equal(w->heard_length, 0);
}

static void
commands_after_ehlo_in_one_packet_close_the_session(void **state)
{
	struct world *w = *state;

	dial(w);
	hear_code(w, "220 ");
	say(w, "EHLO me.example.net\r\nMAIL FROM:<a@example.net>\r\n");
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
}

static void
a_client_that_talks_first_is_not_greeted(void **state)
{
	struct world *w = *state;
	struct client client = { CLIENT_INET4, { 192, 0, 2, 1 } };
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	w->client = ends[1];
	say(w, "GET / HTTP/1.1\r\n");
	session_start(&w->service, w->settings, w->listener, &client, ends[0]);
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
}

static void
many_recipients_of_one_mailbox_are_one_envelope(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w,
	    "RCPT TO:<ALICE@example.org> NOTIFY=NEVER\r\nRCPT TO:<both@example.org>\r\nDATA\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "250 2.0.0 ");
	assert_int_equal(w->envelopes, 2);
	assert_string_equal(w->envelope[0].dest.local, "alice");
	assert_string_equal(w->envelope[0].rcpt.local, "alice");
	assert_int_equal(w->envelope[0].dsn_notify, 0);
	assert_string_equal(w->envelope[1].dest.local, "bob");
	assert_string_equal(w->envelope[1].rcpt.local, "both");
	assert_null(strstr(w->message, "\tfor ")); /* several recipients: RFC 5321 7.2 */
}

static void
a_mailbox_gets_one_copy_whatever_names_lead_there(void **state)
{
	struct world *w = *state;

	w->listener->protocol = LISTEN_LMTP;
	w->mailbox = 12345;
	begin(w, "alice@example.org");
	say(w, "RCPT TO:<bob@example.org>\r\n");
	hear_code(w, "250 ");
	w->mailbox = 12346;
	say(w, "RCPT TO:<carol@example.org>\r\n");
	hear_code(w, "250 ");
	w->mailbox = 0; /* not known: told apart by name */
	say(w, "RCPT TO:<alice@example.org>\r\nRCPT TO:<dan@example.org>\r\nDATA\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	for (unsigned i = 0; i < 5; i++)
		hear_code(w, "250 2.0.0 ");
	say(w, "NOOP\r\n");
	hear(w, "250 2.0.0 ok\r\n");
	assert_int_equal(w->envelopes, 3);
	assert_string_equal(w->envelope[0].dest.local, "alice");
	assert_string_equal(w->envelope[1].dest.local, "carol");
	assert_string_equal(w->envelope[2].dest.local, "dan");
}

static void
lmtp_answers_once_for_each_accepted_recipient(void **state)
{
	struct world *w = *state;

	w->listener->protocol = LISTEN_LMTP;
	begin(w, "alice@example.org");
	say(w, "RCPT TO:<no@example.org>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n");
	hear_code(w, "550 ");
	hear_code(w, "250 ");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "250 2.0.0 ");
	hear_code(w, "250 2.0.0 ");
	say(w, "NOOP\r\n");
	hear(w, "250 2.0.0 ok\r\n");
	assert_int_equal(w->envelopes, 1);
	assert_non_null(strstr(w->message, "with LMTP id"));
	/* RFC 2033 4.2 */
	say(w, "MAIL FROM:<>\r\nDATA\r\n");
	hear_code(w, "250 ");
	hear_code(w, "503 5.5.1 ");
}

static void
bdat_chunks_make_one_message(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "BDAT 9\r\n\r\n.\r\nab\r\nBDAT 5\r\ncd\r\n.BDAT 0 LAST\r\n");
	hear_code(w, "250 2.0.0 chunk");
	hear_code(w, "250 2.0.0 chunk");
	hear_code(w, "250 2.0.0 ");
	assert_int_equal(w->commits, 1);
	assert_string_equal(strstr(w->message, "\r\n\r\n"), "\r\n\r\n.\r\nab\r\ncd\r\n.\r\n");
	say(w, "BDAT 3 LAST\r\nxy\nNOOP\r\n"); /* RFC 3030 2: LAST twice */
	hear_code(w, "503 5.5.1 ");
	hear_code(w, "250 2.0.0 ok");
}

static void
a_chunk_of_a_failed_transaction_is_read_and_dropped(void **state)
{
	struct world *w = *state;

	greet(w);
	say(w,
	    "MAIL FROM:<a@example.net>\r\nRCPT TO:<no@example.org>\r\n"
	    "BDAT 16\r\nRSET\r\nNOOP\r\nab\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
	hear_code(w, "250 ");
	hear_code(w, "550 ");
	hear_code(w, "554 5.5.1 ");
	hear_code(w, "554 5.5.1 ");
	hear(w, "250 2.0.0 ok\r\n");
}

static void
data_and_bdat_do_not_mix(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "BDAT 2\r\n\r\n");
	hear_code(w, "250 ");
	say(w, "DATA\r\n");
	hear_code(w, "503 5.5.1 "); /* RFC 3030 2 */
	say(w, "RCPT TO:<bob@example.org>\r\n");
	hear_code(w, "503 5.5.1 ");
	say(w, "RSET\r\nMAIL FROM:<>\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
}

static void
a_chunk_size_that_says_nothing_closes_the_session(void **state)
{
	static const char *const commands[] = { "BDAT -1\r\n", "BDAT\r\n", "BDAT x\r\n",
		"BDAT 123456789012345678901\r\n", "BDAT 1 FIRST\r\n",
		"BDAT 99999999999999999999 LAST\r\n", "BDAT 1e3\r\n" };
	struct world *w = *state;
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		begin(w, "alice@example.org");
		say(w, commands[i]);
		hear_code(w, strstr(commands[i], "LAST") != NULL ? "552 5.3.4 " : "501 5.5.4 ");
		WAIT_FOR(w, w->closed);
		hang_up(w);
	}
}

static void
a_large_message_goes_to_a_spool_file(void **state)
{
	struct world *w = *state;
	char *text = malloc(3000001);
	size_t sent = 0;
	ssize_t count;

	memset(text, 'x', 3000000);
	for (size_t i = 0; i + 100 <= 3000000; i += 100)
		memcpy(text + i + 98, "\r\n", 2);
	text[3000000] = '\0';
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	while (sent < 3000000) {
		count = send(w->client, text + sent, 3000000 - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (count > 0)
			sent += (size_t)count;
		turn(w);
	}
	say(w, ".\r\n");
	hear_code(w, "250 2.0.0 ");
	assert_int_equal(w->files, 1);
	assert_int_equal(w->transaction.size, w->message_length);
	assert_int_equal(strlen(strstr(w->message, "xxxx")), 3000000);
	assert_string_equal(strstr(w->message, "xxxx"), text);
	free(text);
}

static void
send_large(struct world *w)
{
	char block[8193];
	size_t i;

	memset(block, 'x', sizeof(block));
	strcpy(block + 8190, "\r\n");
	say(w, "\r\n");
	for (i = 0; i < 200; i++) {
		size_t sent = 0;

		while (sent < 8192) {
			ssize_t count =
			    send(w->client, block + sent, 8192 - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

			if (count > 0)
				sent += (size_t)count;
			turn(w);
		}
	}
	say(w, ".\r\n");
}

static void
no_spool_file_is_a_temporary_failure(void **state)
{
	struct world *w = *state;

	w->file_code = 452;
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	send_large(w);
	hear_code(w, "452 4.3.1 ");
	WAIT_FOR(w, w->aborts == 1);
	say(w, "NOOP\r\n");
	hear_code(w, "250 ");
	assert_int_equal(w->commits, 0);
}

static void
what_the_queue_refuses_is_not_acknowledged(void **state)
{
	struct world *w = *state;

	w->commit_code = 452;
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear(w, "452 4.3.1 disk full\r\n");
	say(w, "MAIL FROM:<>\r\n");
	hear_code(w, "250 ");
}

static void
a_queue_that_dies_is_a_temporary_failure(void **state)
{
	struct world *w = *state;

	w->queue_silent = true;
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	WAIT_FOR(w, w->commits == 1);
	channel_free(w->queue);
	hear_code(w, "451 4.3.0 ");
	say(w, "MAIL FROM:<>\r\n");
	hear_code(w, "451 4.3.0 ");
	/* Another takes its place; the session goes on. */
	w->queue_silent = false;
	connect_queue(w);
	WAIT_FOR(w, upstream_refusal(w->service.upstream) == NULL);
	say(w, "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "250 2.0.0 ");
}

static void
an_id_of_a_queue_that_died_is_not_used(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	channel_free(w->queue);
	connect_queue(w);
	WAIT_FOR(w, upstream_refusal(w->service.upstream) == NULL);
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "451 4.3.0 ");
	assert_int_equal(w->commits, 0);
}

static void
a_directory_that_dies_is_a_temporary_failure(void **state)
{
	struct world *w = *state;

	w->directory_silent = true;
	greet(w);
	say(w, "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\n");
	WAIT_FOR(w, w->questions == 1);
	channel_free(w->directory);
	hear_code(w, "250 ");
	hear_code(w, "451 4.3.0 ");
	say(w, "RCPT TO:<alice@example.org>\r\n");
	hear_code(w, "451 4.3.0 ");
	w->directory_silent = false;
	w->directory = connect_peer(w, PROGRAM_DIRECTORY, on_directory);
	say(w, "RCPT TO:<alice@example.org>\r\n");
	hear_code(w, "250 ");
}

static void
a_full_queue_refuses_mail_at_mail(void **state)
{
	struct world *w = *state;

	greet(w);
	send_reply(w->queue, QUEUE_LISTENER_STATE, 0, 452, "4.3.1", "disk full");
	WAIT_FOR(w, upstream_refusal(w->service.upstream) != NULL);
	say(w, "MAIL FROM:<>\r\n");
	hear(w, "452 4.3.1 disk full\r\n");
}

static void
mail_waits_for_the_clients_name(void **state)
{
	struct world *w = *state;

	w->resolver_silent = true;
	greet(w);
	say(w, "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\n");
	WAIT_FOR(w, w->name_id != 0);
	turn(w);
	turn(w);
	assert_int_equal(w->heard_length, 0);
	answer_name(w, "late.example.net");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	assert_string_equal(w->question.client_name, "late.example.net");
}

static void
without_a_resolver_the_client_has_no_name(void **state)
{
	struct world *w = *state;

	w->resolver_silent = true;
	greet(w);
	say(w, "MAIL FROM:<>\r\n");
	WAIT_FOR(w, w->name_id != 0);
	channel_free(w->resolver);
	w->resolver = NULL;
	hear_code(w, "250 ");
}

static void
ids_that_come_back_are_used_again(void **state)
{
	enum {
		COUNT = 6000
	};
	struct world *w = *state;
	struct mail *mails = calloc(COUNT, sizeof(*mails));
	unsigned requests = 0, round;
	size_t i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < COUNT; i++) {
			while (!upstream_take_id(w->service.upstream, &mails[i]))
				turn(w);
			assert_int_not_equal(mails[i].message_id, 0);
		}
		if (round == 0)
			requests = w->id_requests;
		for (i = 0; i < COUNT; i++)
			upstream_return_id(w->service.upstream, &mails[i]);
	}
	turn(w);
	/* One more may be asked for when the stock is low once more, but none are lost. */
	assert_in_range(w->id_requests, requests, requests + 2);
	free(mails);
}

static void
refused_text_is_read_to_its_end(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\n.\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\n");
	turn(w);
	say(w, ".\r\nNOOP\r\n");
	hear_code(w, "550 5.6.11 ");
	hear(w, "250 2.0.0 ok\r\n");
	assert_int_equal(w->commits, 0);
	assert_int_equal(w->questions, 1);
}

static void
errors_and_idle_commands_are_limited(void **state)
{
	struct world *w = *state;
	unsigned i;

	greet(w);
	for (i = 0; i < 20; i++) {
		say(w, "JUNK\r\n");
		hear_code(w, "500 5.5.1 ");
	}
	say(w, "NOOP\r\n");
	hear_code(w, "421 4.7.0 ");
	WAIT_FOR(w, w->closed);
	hang_up(w);

	greet(w);
	for (i = 0; i < 999; i++) { /* EHLO was the first */
		say(w, "NOOP\r\n");
		hear_code(w, "250 ");
	}
	say(w, "NOOP\r\n");
	hear_code(w, "421 4.7.0 ");
	WAIT_FOR(w, w->closed);
}

static void
stopping_lets_a_message_end_and_no_more(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	service_stop(&w->service);
	say(w, "\r\nx\r\n.\r\nMAIL FROM:<>\r\n");
	hear_code(w, "250 2.0.0 ");
	hear_code(w, "421 4.3.2 ");
	WAIT_FOR(w, w->closed);
	assert_int_equal(w->commits, 1);
}

static void
a_client_gone_during_the_commit_harms_nothing(void **state)
{
	struct world *w = *state;

	w->queue_silent = true;
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	WAIT_FOR(w, w->commits == 1);
	close(w->client);
	w->client = -1;
	turn(w);
	channel_send(w->queue, QUEUE_LISTENER_COMMITTED, w->commit_id, 0, -1, NULL);
	WAIT_FOR(w, w->service.session_count == 0);
	assert_int_equal(w->aborts, 0);
}

static void
a_disconnect_in_the_text_leaves_nothing(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n");
	turn(w);
	hang_up(w);
	assert_int_equal(w->commits, 0);
	assert_int_equal(w->envelopes, 0);
}

static void
replies_not_read_stop_the_reading(void **state)
{
	struct world *w = *state;
	size_t sent = 0, turns;
	ssize_t count;

	w->settings->config->limits.noops = UINT32_MAX;
	greet(w);
	for (turns = 0; turns < 100000; turns++) {
		count = send(
		    w->client, "HELP\r\nHELP\r\nHELP\r\nHELP\r\n", 24, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (count > 0)
			sent += (size_t)count;
		event_base_loop(w->base, EVLOOP_NONBLOCK);
		if (count == -1)
			break;
	}
	/* The server has stopped reading, or all of it would have been taken. */
	assert_true(turns < 100000);
	assert_true(sent < 8 * 1024 * 1024);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_message_is_committed_and_then_acknowledged),
		TEST(pipelined_commands_are_answered_in_order_and_together),
		TEST(text_behind_data_in_one_packet_closes_the_session),
		TEST(text_behind_a_refused_data_is_no_command),
		TEST(commands_after_ehlo_in_one_packet_close_the_session),
		TEST(a_client_that_talks_first_is_not_greeted),
		TEST(many_recipients_of_one_mailbox_are_one_envelope),
		TEST(a_mailbox_gets_one_copy_whatever_names_lead_there),
		TEST(lmtp_answers_once_for_each_accepted_recipient),
		TEST(bdat_chunks_make_one_message),
		TEST(a_chunk_of_a_failed_transaction_is_read_and_dropped),
		TEST(data_and_bdat_do_not_mix),
		TEST(a_chunk_size_that_says_nothing_closes_the_session),
		TEST(a_large_message_goes_to_a_spool_file),
		TEST(no_spool_file_is_a_temporary_failure),
		TEST(what_the_queue_refuses_is_not_acknowledged),
		TEST(a_queue_that_dies_is_a_temporary_failure),
		TEST(an_id_of_a_queue_that_died_is_not_used),
		TEST(a_directory_that_dies_is_a_temporary_failure),
		TEST(a_full_queue_refuses_mail_at_mail),
		TEST(mail_waits_for_the_clients_name),
		TEST(without_a_resolver_the_client_has_no_name),
		TEST(ids_that_come_back_are_used_again),
		TEST(refused_text_is_read_to_its_end),
		TEST(errors_and_idle_commands_are_limited),
		TEST(stopping_lets_a_message_end_and_no_more),
		TEST(a_client_gone_during_the_commit_harms_nothing),
		TEST(a_disconnect_in_the_text_leaves_nothing),
		TEST(replies_not_read_stop_the_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
