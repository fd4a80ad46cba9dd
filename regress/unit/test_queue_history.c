/* What the queue tells the history of messages, and how little of what strangers may bring about. */
#include "common/ipc_directory.h"
#include "queue/history.h"
#include "test_queue_peers.h"

static struct end directory;

static void
on_directory(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)imsg;
	(void)arg;
}

static int
set_up_history(void **state)
{
	if (set_up(state) != 0)
		return -1;
	queue.directory = channel_new(
	    queue.base, "directory", connect_end(&directory), on_directory, on_closed, &directory);
	history_open(&queue);
	return 0;
}

static int
tear_down_history(void **state)
{
	history_close(&queue);
	channel_free(queue.directory);
	queue.directory = NULL;
	drop_end(&directory);
	return tear_down(state);
}

/* A recipient that a listener has refused a client at that address. */
static bool
refuse(const char *client)
{
	struct history_event event = { .kind = HISTORY_REFUSED };
	struct buf buf;
	bool taken;

	event.fields[HISTORY_RCPT] = "nobody@example.test";
	event.fields[HISTORY_CLIENT] = client;
	buf_init(&buf, 16384);
	history_event_encode(&buf, &event);
	taken = history_refused(&queue, buf.data, buf.length);
	buf_free(&buf);
	return taken;
}

/* The events told since the last time; of those by that client. */
static size_t
count_told(const char *client)
{
	struct history_scratch scratch;
	struct history_event event;
	struct buf_reader reader;
	size_t count = 0;

	history_flush(&queue);
	turn();
	for (size_t i = 0; i < directory.count; i++) {
		assert_int_equal(directory.frames[i].type, DIRECTORY_HISTORY);
		buf_reader_init(&reader, directory.frames[i].payload, directory.frames[i].length);
		while (reader.left > 0) {
			assert_true(history_event_decode(&reader, &event, &scratch));
			count +=
			    client == NULL || strcmp(event.fields[HISTORY_CLIENT], client) == 0;
		}
	}
	directory.count = 0;
	return count;
}

static void
one_network_s_refusals_do_not_hide_others(void **state)
{
	char client[40];

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		(void)snprintf(client, sizeof(client), "192.0.2.%u", i % 256);
		assert_true(refuse(client));
	}
	assert_true(refuse("198.51.100.7"));
	assert_true(refuse("2001:db8:1::7"));
	assert_in_range(count_told(NULL), 12, 30);
	for (unsigned i = 0; i < 1000; i++)
		assert_true(refuse("2001:db8:2::1"));
	assert_true(refuse("198.51.100.8"));
	assert_true(refuse("2001:db8:1::8"));
	history_flush(&queue);
	assert_in_range(count_told(NULL), 12, 30);
	/* It has its turn again. */
	monotonic_ahead += 60;
	assert_true(refuse("192.0.2.77"));
	assert_int_equal(count_told("192.0.2.77"), 1);
}

static void
refusals_of_all_networks_are_bounded(void **state)
{
	char client[40];

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		(void)snprintf(client, sizeof(client), "10.%u.%u.1", i / 256, i % 256);
		assert_true(refuse(client));
	}
	assert_in_range(count_told(NULL), 100, 250);
}

static void
a_listener_may_tell_of_nothing_else(void **state)
{
	struct history_event event = { .kind = HISTORY_DELIVERED };
	struct buf buf;

	(void)state;
	buf_init(&buf, 16384);
	history_event_encode(&buf, &event);
	assert_false(history_refused(&queue, buf.data, buf.length));
	buf_clear(&buf);
	event.kind = HISTORY_REFUSED;
	event.message_id = 7;
	history_event_encode(&buf, &event);
	assert_false(history_refused(&queue, buf.data, buf.length));
	buf_free(&buf);
	assert_int_equal(count_told(NULL), 0);
}

/* How mail that came is said to be delivered. */
static const char *
method_of(uint32_t id, enum envelope_kind kind, const char *command)
{
	static struct history_scratch scratch;
	struct history_event event;
	struct buf_reader reader;
	const char *found = "";

	commit_one_of(id, kind, command);
	history_flush(&queue);
	turn();
	for (size_t i = 0; i < directory.count; i++) {
		buf_reader_init(&reader, directory.frames[i].payload, directory.frames[i].length);
		while (reader.left > 0) {
			assert_true(history_event_decode(&reader, &event, &scratch));
			if (event.message_id == id && event.fields[HISTORY_METHOD] != NULL)
				found = event.fields[HISTORY_METHOD];
		}
	}
	directory.count = 0;
	return found;
}

static void
an_mbox_file_is_called_so_whatever_leads_to_it(void **state)
{
	struct action_config action = { .name = (char[]){ "in" }, .method = ACTION_MBOX };
	struct action_config *actions = queue.config->actions;
	size_t count = queue.config->action_count;

	(void)state;
	queue.config->actions = &action;
	queue.config->action_count = 1;
	assert_string_equal(method_of(ids[0], ENVELOPE_MAILDIR, ""), "mbox");
	assert_string_equal(method_of(ids[1], ENVELOPE_FORWARD, ""), "mbox");
	assert_string_equal(method_of(ids[2], ENVELOPE_USER_FILE, "/home/alice/box"), "mbox");
	action.method = ACTION_MDA;
	assert_string_equal(method_of(ids[3], ENVELOPE_FORWARD, ""), "command");
	queue.config->actions = actions;
	queue.config->action_count = count;
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_history, tear_down_history)
	const struct CMUnitTest tests[] = {
		TEST(one_network_s_refusals_do_not_hide_others),
		TEST(refusals_of_all_networks_are_bounded),
		TEST(a_listener_may_tell_of_nothing_else),
		TEST(an_mbox_file_is_called_so_whatever_leads_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
