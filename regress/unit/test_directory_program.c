/*
 * The program itself, with supervisor, listener, queue and control played by the test: what it
 * answers to whom, and that nothing its peers say or leave unsaid makes it crash or wait.
 */
#include "regress/unit/test_directory_fixture.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <libgen.h>
#include <time.h>

#include <event2/event.h>

#include "common/imsg.h"
#include "common/ipc_supervisor.h"

struct peer {
	struct channel *channel; /* NULL: closed by the directory, or not connected */
	unsigned closed;
};

struct frame {
	enum program from;
	uint16_t type;
	uint32_t id;
	struct reply reply;
	struct ipc_target target;
	struct ipc_mailbox mailbox;
	struct ipc_result result;
};

static struct event_base *base;
static struct peer supervisor, listener, queue, control, mailaccess;
static pid_t pid;
static bool configured, started;
static unsigned rejected[PROGRAM_COUNT]; /* told to the supervisor */
static struct frame frames[64];          /* the last ones, all but CONTROL_LINE */
static size_t frame_count;
static size_t line_count;
static size_t reply_count[3]; /* RCPT_DONE with 2xx, 4xx, 5xx */

static enum program
program_of(const struct peer *peer)
{
	return peer == &listener  ? PROGRAM_LISTENER
	    : peer == &queue      ? PROGRAM_QUEUE
	    : peer == &mailaccess ? PROGRAM_MAILACCESS
	                          : PROGRAM_CONTROL;
}

static void
on_frame(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct frame *frame = &frames[frame_count % 64];
	struct buf_reader reader;

	(void)channel;
	memset(frame, 0, sizeof(*frame));
	frame->from = program_of(arg);
	frame->type = imsg->type;
	frame->id = imsg->id;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (arg == &control && imsg->type == CONTROL_LINE) {
		line_count++;
		return;
	}
	if (arg == &control)
		assert_true(ipc_result_decode(&reader, &frame->result));
	else if (imsg->type == DIRECTORY_TARGET)
		assert_true(ipc_target_decode(&reader, &frame->target));
	else if (imsg->type == DIRECTORY_RCPT_DONE)
		assert_true(reply_decode(&reader, &frame->reply));
	else if (imsg->type == DIRECTORY_AUTH_CHALLENGE) {
		struct ipc_auth_data challenge;

		assert_true(ipc_auth_data_decode(&reader, &challenge));
	} else if (imsg->type != DIRECTORY_FORGET)
		assert_true(ipc_mailbox_decode(&reader, &frame->mailbox));
	assert_true(buf_reader_done(&reader));
	if (imsg->type == DIRECTORY_RCPT_DONE && arg != &control)
		reply_count[frame->reply.code / 100 == 2 ? 0 : frame->reply.code / 100 - 3]++;
	frame_count++;
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct peer *peer = arg;

	(void)why;
	channel_free(channel);
	peer->channel = NULL;
	peer->closed++;
}

static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct buf_reader reader;
	struct ipc_peer peer;

	(void)channel;
	(void)arg;
	if (imsg->type == CHILD_SUPERVISOR_REJECTED) {
		buf_reader_init(&reader, imsg->payload, imsg->length);
		assert_true(ipc_peer_decode(&reader, &peer));
		assert_int_equal(peer.instance, 0);
		rejected[peer.program]++;
	}
	configured |= imsg->type == CHILD_SUPERVISOR_CONFIGURED;
	started |= imsg->type == CHILD_SUPERVISOR_READY;
}

static void
turn(void)
{
	const struct timeval limit = { .tv_sec = 20 };

	assert_int_equal(event_base_loopexit(base, &limit), 0);
	assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
}

/* Runs the loop until the condition holds. */
#define UNTIL(condition)                                      \
	do {                                                  \
		time_t begin = time(NULL);                    \
		while (!(condition)) {                        \
			assert_true(time(NULL) - begin < 20); \
			turn();                               \
		}                                             \
	} while (0)

static void
send_config(const char *path)
{
	struct config *config = new_config();
	struct action_config *action = add_action(config, "in", ACTION_MAILDIR);

	add_table(config, "accounts", TABLE_ACCOUNTS, "");
	add_static_table(config, "ours", "example.test", "", NULL);
	add_static_table(config, "vusers", "bob@example.test", "bob, carol", NULL);
	add_static_table(config, "vbase", "bob", "5000:5000:/v", "carol", "5000:5000:/v", NULL);
	set(&action->path, path);
	set(&action->virtual_table, "vusers");
	set(&action->userbase_table, "vbase");
	add_action(config, "accounts", ACTION_MAILDIR);
	add_rule(config, MATCH_FROM_ANY, "ours", "in");
	add_rule(config, MATCH_FROM_ANY, "accounts", "accounts");
	configured = false;
	channel_send(supervisor.channel, SUPERVISOR_CHILD_CONFIG, 1, 0, config_to_fd(config), NULL);
	config_free(config);
}

static void
connect_peer(struct peer *peer)
{
	struct ipc_peer named = { .program = program_of(peer) };
	struct buf payload;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	buf_init(&payload, 64);
	ipc_peer_encode(&payload, &named);
	channel_send(supervisor.channel, SUPERVISOR_CHILD_PEER, 0, 0, pair[1], &payload);
	buf_free(&payload);
	channel_free(peer->channel);
	peer->channel = channel_new(base, "directory", pair[0], on_frame, on_closed, peer);
}

/* build/bin/directory, beside build/unit/test_directory_program */
static void
find_program(char *path, size_t size)
{
	char self[1024];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_int_not_equal(length, -1);
	self[length] = '\0';
	assert_in_range(snprintf(path, size, "%s/../bin/directory", dirname(self)), 1, size - 1);
	if (access(path, X_OK) == -1)
		skip();
}

static void
start(void)
{
	char path[1100], fd[16], log_fd[16];
	int pair[2];

	find_program(path, sizeof(path));
	base = event_base_new();
	frame_count = line_count = 0;
	memset(reply_count, 0, sizeof(reply_count));
	configured = started = false;
	memset(rejected, 0, sizeof(rejected));
	supervisor = listener = queue = control = mailaccess = (struct peer){ 0 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(fd, sizeof(fd), "%d", pair[1]);
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		/* Hundreds of refused frames are of no interest. */
		snprintf(log_fd, sizeof(log_fd), "%d", open("/dev/null", O_WRONLY));
		execl(path, "directory", "-k", fd, "-l", log_fd, "-t", "stderr", "-n", "256",
		    (char *)NULL);
		_exit(99);
	}
	assert_int_not_equal(pid, -1);
	close(pair[1]);
	supervisor.channel =
	    channel_new(base, "directory", pair[0], on_supervisor, on_closed, &supervisor);
	send_config("/v/%{dest.user}");
	connect_peer(&listener);
	connect_peer(&queue);
	connect_peer(&control);
	connect_peer(&mailaccess);
	channel_send(supervisor.channel, SUPERVISOR_CHILD_START, 2, 0, -1, NULL);
	UNTIL(configured && started);
}

static void
finish(bool by_stop)
{
	int status;

	if (by_stop)
		channel_send(supervisor.channel, SUPERVISOR_CHILD_STOP, 3, 0, -1, NULL);
	else {
		channel_free(supervisor.channel);
		supervisor.channel = NULL;
	}
	UNTIL(by_stop ? supervisor.channel == NULL : listener.channel == NULL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	channel_free(listener.channel);
	channel_free(queue.channel);
	channel_free(control.channel);
	channel_free(mailaccess.channel);
	event_base_free(base);
}

static void
ask_for(struct peer *peer, uint32_t id, const char *client, const char *to, uint64_t size)
{
	struct ipc_rcpt rcpt = make_rcpt(client, to);
	struct buf payload;

	rcpt.size = size;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_rcpt_encode(&payload, &rcpt);
	channel_send(peer->channel, DIRECTORY_RCPT, id, 0, -1, &payload);
	buf_free(&payload);
}

static const struct frame *
find_frame(uint16_t type, uint32_t id)
{
	for (size_t i = frame_count > 64 ? frame_count - 64 : 0; i < frame_count; i++) {
		if (frames[i % 64].type == type && frames[i % 64].id == id)
			return &frames[i % 64];
	}
	return NULL;
}

/* The answer to this request of control's. */
static unsigned
account(uint32_t id, enum account_verb verb, const char *first, const char *second)
{
	char words[2][128];
	struct ipc_account request = { .verb = verb, .words = { words[0], words[1] } };
	struct buf payload;

	snprintf(words[0], sizeof(words[0]), "%s", first);
	snprintf(words[1], sizeof(words[1]), "%s", second);
	request.word_count = *first == '\0' ? 0 : *second == '\0' ? 1 : 2;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_account_encode(&payload, &request);
	channel_send(control.channel, CONTROL_ACCOUNT, id, 0, -1, &payload);
	buf_free(&payload);
	UNTIL(find_frame(CONTROL_DONE, id) != NULL);
	return find_frame(CONTROL_DONE, id)->result.exit_code;
}

static void
answers_carry_the_requests_id_and_come_with_their_targets(void **state)
{
	(void)state;
	start();
	ask_for(&listener, 11, "192.0.2.1", "bob@example.test", 0);
	ask_for(&listener, 12, "192.0.2.1", "eve@example.test", 0);
	ask_for(&queue, 13, "", "bob@example.test", 0);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 12) != NULL &&
	    find_frame(DIRECTORY_RCPT_DONE, 13) != NULL);
	assert_string_equal(find_frame(DIRECTORY_TARGET, 11)->target.dest.local, "bob");
	assert_int_equal(find_frame(DIRECTORY_RCPT_DONE, 11)->reply.code, 250);
	assert_int_equal(find_frame(DIRECTORY_RCPT_DONE, 12)->reply.code, 550);
	assert_null(find_frame(DIRECTORY_TARGET, 12));
	assert_int_equal(find_frame(DIRECTORY_RCPT_DONE, 13)->from, PROGRAM_QUEUE);
	finish(true);
}

static void
mailboxes_follow_the_configuration_and_the_queue_is_told(void **state)
{
	struct ipc_mailbox_request request = {
		.kind = ENVELOPE_MAILDIR, .action = "in", .dest = { "bob", "example.test" }
	};
	struct buf payload;
	size_t seen;

	(void)state;
	start();
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_mailbox_request_encode(&payload, &request);
	channel_send(queue.channel, DIRECTORY_MAILBOX, 21, 0, -1, &payload);
	UNTIL(find_frame(DIRECTORY_MAILBOX_DONE, 21) != NULL);
	assert_string_equal(find_frame(DIRECTORY_MAILBOX_DONE, 21)->mailbox.path, "/v/bob");
	seen = frame_count;
	send_config("/other/%{dest.user}");
	UNTIL(configured && frame_count > seen &&
	    frames[(frame_count - 1) % 64].type == DIRECTORY_FORGET);
	channel_send(queue.channel, DIRECTORY_MAILBOX, 22, 0, -1, &payload);
	UNTIL(find_frame(DIRECTORY_MAILBOX_DONE, 22) != NULL);
	assert_string_equal(find_frame(DIRECTORY_MAILBOX_DONE, 22)->mailbox.path, "/other/bob");
	buf_free(&payload);
	/* A change of the accounts is told as well; one that was refused isn't. */
	seen = frame_count;
	assert_int_equal(account(23, ACCOUNT_DOMAIN_ADD, "example.org", ""), 0);
	UNTIL(find_frame(DIRECTORY_FORGET, 0) != NULL && frame_count == seen + 2);
	assert_int_not_equal(account(24, ACCOUNT_DOMAIN_ADD, "example.org", ""), 0);
	assert_int_equal(frame_count, seen + 3);
	finish(false);
}

static void
a_bad_frame_costs_its_sender_the_channel_and_is_told(void **state)
{
	static const uint8_t junk[600] = { 0xff, 0xff, 0xff };
	struct peer *const peers[] = { &listener, &queue, &control, &mailaccess };
	struct buf payload;

	(void)state;
	start();
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	for (size_t p = 0; p < 4; p++) {
		for (uint16_t type = 0; type < 20; type++) {
			for (size_t length = 0; length <= sizeof(junk); length += 150) {
				unsigned closed = peers[p]->closed;

				/* Of a login that may have ended meanwhile. */
				if ((peers[p] == &listener || peers[p] == &mailaccess) &&
				    type == DIRECTORY_AUTH_CANCEL && length == 0)
					continue;
				buf_clear(&payload);
				buf_add(&payload, length % 300 == 0 ? junk : junk + 10,
				    length > 10 ? length - 10 : 0);
				channel_send(peers[p]->channel, type, 7, 0, -1, &payload);
				UNTIL(peers[p]->closed > closed &&
				    rejected[program_of(peers[p])] == peers[p]->closed);
				connect_peer(peers[p]);
			}
		}
	}
	buf_free(&payload);
	ask_for(&listener, 31, "192.0.2.1", "bob@example.test", 0);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 31) != NULL);
	assert_int_equal(find_frame(DIRECTORY_RCPT_DONE, 31)->reply.code, 250);
	finish(true);
}

static void
a_request_with_bytes_left_over_is_refused(void **state)
{
	struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", "bob@example.test");
	struct buf payload;

	(void)state;
	start();
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_rcpt_encode(&payload, &rcpt);
	buf_add_u8(&payload, 0);
	channel_send(listener.channel, DIRECTORY_RCPT, 1, 0, -1, &payload);
	UNTIL(listener.closed == 1);
	buf_free(&payload);
	finish(true);
}

static void
a_listener_cannot_ask_as_the_queue(void **state)
{
	struct buf payload;
	struct ipc_mailbox_request request = {
		.kind = ENVELOPE_MAILDIR, .action = "in", .dest = { "bob", "example.test" }
	};

	(void)state;
	start();
	ask_for(&listener, 41, "", "bob@example.test", 0);
	UNTIL(listener.closed == 1);
	assert_null(find_frame(DIRECTORY_RCPT_DONE, 41));
	connect_peer(&listener);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_mailbox_request_encode(&payload, &request);
	channel_send(listener.channel, DIRECTORY_MAILBOX, 42, 0, -1, &payload);
	UNTIL(listener.closed == 2);
	assert_null(find_frame(DIRECTORY_MAILBOX_DONE, 42));
	buf_free(&payload);
	finish(true);
}

static void
log_in(struct peer *peer, const char *service)
{
	struct ipc_auth auth = { .mechanism = SASL_PLAIN, .table = "accounts", .session = 1 };
	struct buf payload;

	snprintf(auth.service, sizeof(auth.service), "%s", service);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_auth_encode(&payload, &auth);
	channel_send(peer->channel, DIRECTORY_AUTH, 43, 0, -1, &payload);
	buf_free(&payload);
}

/* Else one of them that was taken over could get at what is the other's. */
static void
mailaccess_asks_for_logins_to_read_mail_and_nothing_else(void **state)
{
	(void)state;
	start();
	log_in(&mailaccess, "pop3");
	UNTIL(find_frame(DIRECTORY_AUTH_CHALLENGE, 43) != NULL);
	ask_for(&mailaccess, 44, "192.0.2.1", "bob@example.test", 0);
	UNTIL(mailaccess.closed == 1 && rejected[PROGRAM_MAILACCESS] == 1);
	assert_null(find_frame(DIRECTORY_RCPT_DONE, 44));
	connect_peer(&mailaccess);
	log_in(&mailaccess, "smtp");
	UNTIL(mailaccess.closed == 2 && rejected[PROGRAM_MAILACCESS] == 2);
	log_in(&listener, "imap");
	UNTIL(listener.closed == 1 && rejected[PROGRAM_LISTENER] == 1);
	finish(true);
}

static void
prepare_quota(void)
{
	start();
	assert_int_equal(account(51, ACCOUNT_DOMAIN_ADD, "example.org", ""), 0);
	assert_int_equal(account(52, ACCOUNT_USER_ADD, "bob@example.org", ""), 0);
	assert_int_equal(account(53, ACCOUNT_USER_QUOTA, "bob@example.org", "1000"), 0);
	ask_for(&listener, 54, "192.0.2.1", "bob@example.org", 400);
	/* USAGE carries the directory's id; the listener has no answer yet. */
	UNTIL(frame_count > 0 && frames[(frame_count - 1) % 64].type == DIRECTORY_USAGE);
	assert_null(find_frame(DIRECTORY_RCPT_DONE, 54));
}

static void
answer_usage(uint32_t id, uint64_t bytes)
{
	struct ipc_usage usage = { .known = true, .bytes = bytes };
	struct buf payload;

	buf_init(&payload, 64);
	ipc_usage_encode(&payload, &usage);
	channel_send(queue.channel, DIRECTORY_USAGE_DONE, id, 0, -1, &payload);
	buf_free(&payload);
}

static void
a_full_mailbox_is_refused_after_its_usage_was_asked(void **state)
{
	(void)state;
	prepare_quota();
	answer_usage(frames[(frame_count - 1) % 64].id, 700);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 54) != NULL);
	assert_int_equal(find_frame(DIRECTORY_RCPT_DONE, 54)->reply.code, 452);
	assert_string_equal(find_frame(DIRECTORY_RCPT_DONE, 54)->reply.enhanced, "4.2.2");
	finish(true);
}

static void
a_queue_that_restarts_or_says_nothing_holds_up_no_recipient(void **state)
{
	(void)state;
	prepare_quota();
	connect_peer(&queue);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 54) != NULL);
	assert_int_equal(find_frame(DIRECTORY_RCPT_DONE, 54)->reply.code, 250);
	ask_for(&listener, 55, "192.0.2.1", "bob@example.org", 400);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 55) != NULL);
	assert_int_equal(find_frame(DIRECTORY_RCPT_DONE, 55)->reply.code, 250);
	finish(true);
}

static void
an_answer_for_a_listener_that_is_gone_is_dropped(void **state)
{
	(void)state;
	prepare_quota();
	connect_peer(&listener);
	answer_usage(frames[(frame_count - 1) % 64].id, 700);
	ask_for(&listener, 56, "192.0.2.1", "bob@example.test", 0);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 56) != NULL);
	assert_null(find_frame(DIRECTORY_RCPT_DONE, 54));
	finish(true);
}

static void
recipients_that_wait_for_their_quota_are_bounded(void **state)
{
	uint32_t usage_id;

	(void)state;
	prepare_quota();
	usage_id = frames[(frame_count - 1) % 64].id;
	for (uint32_t id = 1000; id < 1000 + 9999 + 50; id++)
		ask_for(&listener, id, "192.0.2.1", "bob@example.org", 1);
	UNTIL(reply_count[1] == 50);
	assert_int_equal(reply_count[0] + reply_count[2], 0);
	assert_string_equal(find_frame(DIRECTORY_RCPT_DONE, 1000 + 9999)->reply.enhanced, "4.3.2");
	/* One that needs no answer is not kept waiting. */
	ask_for(&listener, 20000, "192.0.2.1", "carol@example.test", 0);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 20000) != NULL);
	answer_usage(usage_id, 0);
	UNTIL(reply_count[0] == 10000);
	/* There is room again. */
	ask_for(&listener, 20001, "192.0.2.1", "bob@example.org", 1);
	UNTIL(reply_count[0] == 10001);
	finish(true);
}

static void
a_listing_that_is_not_read_holds_up_nobody(void **state)
{
	struct ipc_account request = { .verb = ACCOUNT_ALIAS_LIST };
	struct buf payload;
	char name[64], target[128];

	(void)state;
	start();
	assert_int_equal(account(61, ACCOUNT_DOMAIN_ADD, "example.org", ""), 0);
	memset(target, 't', 60);
	snprintf(target + 60, sizeof(target) - 60, "@%050d.test", 7);
	for (unsigned i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "alias%04u@example.org", i);
		assert_int_equal(account(1000 + i, ACCOUNT_ALIAS_ADD, name, target), 0);
	}
	channel_pause(control.channel, true);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_account_encode(&payload, &request);
	for (uint32_t id = 70; id < 74; id++)
		channel_send(control.channel, CONTROL_ACCOUNT, id, 0, -1, &payload);
	ask_for(&listener, 62, "192.0.2.1", "bob@example.test", 0);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 62) != NULL);
	assert_int_equal(line_count, 0);
	channel_pause(control.channel, false);
	UNTIL(find_frame(CONTROL_DONE, 70) != NULL && find_frame(CONTROL_DONE, 71) != NULL &&
	    find_frame(CONTROL_DONE, 72) != NULL && find_frame(CONTROL_DONE, 73) != NULL);
	assert_int_equal(line_count, 4 * 1500);
	/* More at once than are allowed: told, and the others go on. */
	channel_pause(control.channel, true);
	for (uint32_t id = 80; id < 120; id++)
		channel_send(control.channel, CONTROL_ACCOUNT, id, 0, -1, &payload);
	buf_free(&payload);
	/* The reader goes away in the middle. */
	connect_peer(&control);
	ask_for(&listener, 63, "192.0.2.1", "bob@example.test", 0);
	UNTIL(find_frame(DIRECTORY_RCPT_DONE, 63) != NULL);
	assert_int_equal(account(64, ACCOUNT_DOMAIN_ADD, "example.net", ""), 0);
	finish(true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers_carry_the_requests_id_and_come_with_their_targets),
		TEST(mailboxes_follow_the_configuration_and_the_queue_is_told),
		TEST(a_bad_frame_costs_its_sender_the_channel_and_is_told),
		TEST(a_request_with_bytes_left_over_is_refused),
		TEST(a_listener_cannot_ask_as_the_queue),
		TEST(mailaccess_asks_for_logins_to_read_mail_and_nothing_else),
		TEST(a_full_mailbox_is_refused_after_its_usage_was_asked),
		TEST(a_queue_that_restarts_or_says_nothing_holds_up_no_recipient),
		TEST(an_answer_for_a_listener_that_is_gone_is_dropped),
		TEST(recipients_that_wait_for_their_quota_are_bounded),
		TEST(a_listing_that_is_not_read_holds_up_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
