/*
 * Mail as listeners hand it in. What breaks the rules costs its sender the channel and the queue
 * nothing.
 */
#include <dirent.h>

#include "common/stats.h"
#define FRAMES 1024
#include "test_queue_peers.h"

static void
a_committed_message_is_answered_and_there_after_a_crash(void **state)
{
	(void)state;
	send_envelope(ids[0], 1);
	send_envelope(ids[0], 2);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	assert_int_equal(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7)->peer, ids[0]);
	close_queue();
	open_queue();
	assert_non_null(index_find(queue.index, ids[0]));
	assert_int_equal(queue.envelopes, 2);
	assert_true(index_find_entry(queue.index, envelope_id_make(ids[0], 1))->maybe_delivered);
}

/* Input that never ends, as a flood of frames would be, until request 7 is answered. */
static void
on_flood(int fd, short what, void *arg)
{
	const int64_t *end_ms = arg;

	(void)fd;
	(void)what;
	if ((listener.count > 0 && listener.frames[listener.count - 1].id == 7) ||
	    clock_monotonic_ms() > *end_ms)
		event_base_loopbreak(queue.base);
}

static void
steady_input_does_not_put_a_commit_off(void **state)
{
	int64_t end_ms = clock_monotonic_ms() + 5000;
	struct event *flood;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	flood = event_new(queue.base, fds[0], EV_READ | EV_PERSIST, on_flood, &end_ms);
	assert_non_null(flood);
	assert_int_equal(event_priority_set(flood, 0), 0);
	assert_int_equal(event_add(flood, NULL), 0);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_int_equal(event_base_dispatch(queue.base), 0);
	assert_int_equal(listener.frames[listener.count - 1].id, 7);
	assert_int_equal(listener.frames[listener.count - 1].type, QUEUE_LISTENER_COMMITTED);
	event_free(flood);
	close(fds[0]);
	close(fds[1]);
}

static void
commit_some(const uint32_t *first, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		send_envelope(first[i], 1);
		send_commit(first[i], 5, make_memfd("hello", true));
	}
	turn();
}

/* Which of the two comes first is a matter of milliseconds: again where the machine was slow. */
static void
a_batch_waits_a_little_for_as_many_messages_as_the_one_before(void **state)
{
	int page = stats_make_page();
	const int64_t *counters = stats_map_read(page);
	int64_t before, began, took = INT64_MAX, syncs = 0;
	size_t had;

	(void)state;
	assert_non_null(counters);
	stats_attach(page);
	for (unsigned i = 0; i < 40 && took > 3; i++) {
		ask_ids(20);
		had = index_messages(queue.index);
		commit_some(ids, 10);
		assert_int_equal(index_messages(queue.index), had + 10);
		began = clock_monotonic_ms();
		before = counters[STATS_QUEUE_SYNC];
		commit_some(ids + 10, 5);
		syncs = counters[STATS_QUEUE_SYNC] - before;
		commit_some(ids + 15, 5);
		took = clock_monotonic_ms() - began;
	}
	assert_true(took <= 3);
	assert_int_equal(syncs, 0);
	assert_int_equal(counters[STATS_QUEUE_SYNC], before + 1);
	assert_int_equal(index_messages(queue.index), had + 20);
	/* Those that don't come are not waited for without end. */
	ask_ids(2);
	commit_some(ids, 2);
	began = clock_monotonic_ms();
	while (index_messages(queue.index) < had + 22 && clock_monotonic_ms() - began < 5000)
		event_base_loop(queue.base, EVLOOP_ONCE);
	assert_int_equal(index_messages(queue.index), had + 22);
}

static void
a_message_put_off_by_a_crash_before_commit_is_not_there(void **state)
{
	(void)state;
	send_envelope(ids[0], 1);
	turn();
	close_queue();
	open_queue();
	assert_int_equal(index_messages(queue.index), 0);
}

/* Files in large/. */
static unsigned
count_files(void)
{
	unsigned count = 0;
	char name[128];
	struct dirent *entry;
	DIR *directory;

	snprintf(name, sizeof(name), "%s/large", path);
	directory = opendir(name);
	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static bool
gets_file(uint32_t id)
{
	struct frame *frame;
	bool given;

	channel_send(listener.channel, LISTENER_QUEUE_SPOOL_FILE, 9, id, -1, NULL);
	frame = find_frame(&listener, QUEUE_LISTENER_SPOOL_FILE, 9);
	assert_non_null(frame);
	frame->type = 0;
	given = frame->fd != -1;
	if (given)
		close(frame->fd);
	frame->fd = -1;
	return given;
}

static void
a_listener_gets_no_more_spool_files_than_it_may_have(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		if (i > 0 && i % 64 == 0)
			ask_ids(64);
		assert_true(gets_file(ids[i % 64]));
	}
	assert_int_equal(count_files(), 256);
	ask_ids(64);
	assert_false(gets_file(ids[0]));
	assert_int_equal(count_files(), 256);
	/* It is still served, and those of its files that are gone make room. */
	send_envelope(ids[1], 1);
	send_commit(ids[1], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	ask_ids(2);
	assert_false(gets_file(ids[0]));
	drop_end(&listener);
	turn();
	assert_int_equal(count_files(), 0);
	intake_set_listener(&queue, 0, connect_end(&listener));
	ask_ids(2);
	assert_true(gets_file(ids[0]));
}

static void
an_aborted_message_s_spool_file_makes_room(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		assert_true(gets_file(ids[0]));
		channel_send(listener.channel, LISTENER_QUEUE_ABORT, 0, ids[0], -1, NULL);
		turn();
	}
	assert_int_equal(count_files(), 0);
}

/* The supervisor is told, so that it ends the process that lives on without its channel. */
static void
assert_reported(void)
{
	struct frame *frame = find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0);
	struct buf_reader reader;
	struct ipc_peer peer;

	assert_non_null(frame);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_peer_decode(&reader, &peer));
	assert_int_equal(peer.program, PROGRAM_LISTENER);
	assert_int_equal(peer.instance, 0);
	frame->type = 0;
}

static void
assert_rejected(void)
{
	turn();
	assert_true(listener.closed);
	assert_reported();
	assert_int_equal(index_messages(queue.index), 0);
	/* Another one is served as before. */
	drop_end(&listener);
	intake_set_listener(&queue, 0, connect_end(&listener));
	ask_ids(1);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
}

static void
an_id_that_was_not_given_out_is_refused(void **state)
{
	(void)state;
	send_envelope(ids[0] + 1, 1);
	assert_rejected();
}

static void
an_id_is_used_up_by_its_commit(void **state)
{
	(void)state;
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	send_envelope(ids[0], 1);
	turn();
	assert_true(listener.closed);
	assert_int_equal(queue.envelopes, 1);
}

static void
an_unsealed_memfd_is_refused(void **state)
{
	(void)state;
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", false));
	assert_rejected();
}

static void
a_pipe_or_no_descriptor_is_refused(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, fds[0]);
	assert_rejected();
	close(fds[1]);
	ask_ids(1);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, -1);
	turn();
	assert_true(listener.closed);
}

static void
a_size_that_is_not_true_is_refused(void **state)
{
	static const uint64_t sizes[] = { 0, 4, 6, IPC_MEMFD_MAX + 1, INT64_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t before = queue.envelopes;

		send_envelope(ids[i], 1);
		send_commit(ids[i], sizes[i], make_memfd("hello", true));
		turn();
		assert_true(listener.closed);
		assert_int_equal(queue.envelopes, before);
		drop_end(&listener);
		intake_set_listener(&queue, 0, connect_end(&listener));
		ask_ids(16);
	}
}

static void
a_commit_without_envelopes_is_refused(void **state)
{
	(void)state;
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_rejected();
}

static void
more_open_messages_than_allowed_are_refused(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 64; i++)
		send_envelope(ids[i], 1);
	turn();
	assert_false(listener.closed);
	ask_ids(1);
	send_envelope(ids[0], 1);
	assert_rejected();
}

static void
requests_for_ids_without_end_are_refused(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 64);
	ipc_ids_request_encode(&buf, IPC_IDS_MAX);
	for (unsigned i = 0; i < 100 && !listener.closed; i++) {
		channel_send(listener.channel, LISTENER_QUEUE_IDS, 100 + i, 0, -1, &buf);
		turn();
	}
	buf_free(&buf);
	assert_rejected();
}

static int
ask_file(uint32_t id)
{
	struct frame *frame;
	int fd;

	channel_send(listener.channel, LISTENER_QUEUE_SPOOL_FILE, 9, id, -1, NULL);
	frame = find_frame(&listener, QUEUE_LISTENER_SPOOL_FILE, 9);
	assert_non_null(frame);
	assert_true(frame->fd != -1);
	frame->type = 0;
	fd = frame->fd;
	frame->fd = -1;
	return fd;
}

static void
write_and_close(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static unsigned
count_large(void)
{
	char command[128], text[16] = "";
	FILE *pipe;

	snprintf(command, sizeof(command), "ls '%s'/large | wc -l", path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(text, sizeof(text), pipe));
	pclose(pipe);
	return (unsigned)atoi(text);
}

static void
a_large_message_is_what_was_in_its_file_at_commit(void **state)
{
	char byte;
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	/* It can write there and no more. */
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	write_and_close(fd, "hello");
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, -1);
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	close_queue();
	open_queue();
	assert_true(index_find(queue.index, ids[0])->is_large);
	assert_int_equal(count_large(), 1);
}

static void
large_messages_that_come_together_are_committed_together(void **state)
{
	int page = stats_make_page();
	const int64_t *counters = stats_map_read(page);
	int64_t before;

	(void)state;
	assert_non_null(counters);
	stats_attach(page);
	for (unsigned i = 0; i < 2; i++) {
		write_and_close(ask_file(ids[i]), "hello");
		send_envelope(ids[i], 1);
	}
	turn();
	before = counters[STATS_QUEUE_SYNC];
	send_commit(ids[0], 5, -1);
	send_commit(ids[1], 5, -1);
	turn();
	assert_int_equal(index_messages(queue.index), 2);
	assert_int_equal(counters[STATS_QUEUE_SYNC], before + 1);
	assert_int_equal(count_large(), 2);
}

static void
ends_the_large_message(struct queue *q, struct commit_item *item, const struct reply *refusal)
{
	assert_null(refusal);
	if (item->owner != NULL)
		commit_remove_large(q, ids[0]);
}

static void
commit_message_that_ends(void *large)
{
	struct transaction transaction = { .message_id = intake_new_id(&queue),
		.created_us = 1,
		.client_family = CLIENT_INTERNAL };
	struct commit_item item = { .fd = -1,
		.file = -1,
		.message_id = transaction.message_id,
		.done = ends_the_large_message,
		.owner = large };
	struct buf head;
	uint8_t *to;

	buf_init(&head, 4096);
	message_encode_start(&head, &transaction, false, 0);
	message_encode_effects(&head, NULL, 0);
	message_encode_finish(&head);
	assert_int_equal(
	    journal_begin(queue.journal, JOURNAL_FIRST, head.length, true, &to), JOURNAL_OK);
	memcpy(to, head.data, head.length);
	journal_end(queue.journal, JOURNAL_FIRST, RECORD_MESSAGE, head.length, &item.location);
	item.head = head.data; /* whose it is now */
	item.head_length = head.length;
	commit_message(&queue, &item);
	assert_true(commit_now(&queue));
}

/* As when it was sent on, or its sender told that it failed: that is recorded by the next batch. */
static void
a_large_messages_file_outlives_the_batch_that_ends_it(void **state)
{
	(void)state;
	write_and_close(ask_file(ids[0]), "hello");
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, -1);
	turn();
	assert_int_equal(count_large(), 1);
	commit_message_that_ends(&queue);
	assert_int_equal(count_large(), 1);
	commit_message_that_ends(NULL);
	assert_int_equal(count_large(), 0);
}

static void
a_file_of_another_size_is_refused_and_removed(void **state)
{
	(void)state;
	write_and_close(ask_file(ids[0]), "hello");
	send_envelope(ids[0], 1);
	send_commit(ids[0], 500, -1);
	assert_rejected();
	assert_int_equal(count_large(), 0);
}

static void
an_abort_gives_the_id_back_and_drops_the_rest(void **state)
{
	(void)state;
	close(ask_file(ids[0]));
	send_envelope(ids[0], 1);
	send_envelope(ids[0], 2);
	channel_send(listener.channel, LISTENER_QUEUE_ABORT, 7, ids[0], -1, NULL);
	turn();
	assert_int_equal(count_large(), 0);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	assert_int_equal(queue.envelopes, 1);
}

static void
a_listener_s_death_drops_what_it_had_not_committed(void **state)
{
	(void)state;
	close(ask_file(ids[0]));
	send_envelope(ids[1], 1);
	turn();
	drop_end(&listener);
	turn();
	assert_int_equal(count_large(), 0);
	assert_null(find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0));
	intake_set_listener(&queue, 0, connect_end(&listener));
}

/* Files that are kept open. */

static void
abort_message(uint32_t id)
{
	channel_send(listener.channel, LISTENER_QUEUE_ABORT, 7, id, -1, NULL);
	turn();
}

static void
a_file_that_could_still_be_written_is_not_committed(void **state)
{
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	assert_int_equal(write(fd, "hello", 5), 5);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, -1);
	assert_rejected();
	assert_int_equal(count_large(), 0);
	close(fd);
}

static void
a_file_given_up_and_closed_a_little_later_is_forgotten(void **state)
{
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	abort_message(ids[0]);
	intake_tick(&queue);
	monotonic_ahead += 5;
	intake_tick(&queue);
	close(fd);
	monotonic_ahead += 60;
	intake_tick(&queue);
	assert_null(find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0));
	assert_true(gets_file(ids[1]));
}

static void
a_listener_that_keeps_a_file_it_gave_up_loses_its_channel(void **state)
{
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	abort_message(ids[0]);
	intake_tick(&queue);
	assert_null(find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0));
	monotonic_ahead += 11;
	intake_tick(&queue);
	assert_rejected();
	close(fd);
}

static void
files_given_up_and_kept_open_count_among_those_it_may_have(void **state)
{
	int fds[256];

	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		fds[i] = ask_file(ids[0]);
		abort_message(ids[0]);
		listener.count = 0;
	}
	assert_false(gets_file(ids[0]));
	for (unsigned i = 0; i < 256; i++)
		close(fds[i]);
	intake_tick(&queue);
	assert_true(gets_file(ids[0]));
}

static void
make_large(int fd)
{
	assert_int_equal(
	    ftruncate(fd, (off_t)queue.config->max_message_size + 10 * 1024 * 1024), 0);
}

static void
a_file_larger_than_messages_may_be_costs_the_channel(void **state)
{
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	intake_tick(&queue);
	make_large(fd);
	intake_tick(&queue);
	assert_rejected();
	assert_int_equal(count_large(), 0);
	close(fd);
}

static void
one_that_grows_after_it_was_given_up_as_well(void **state)
{
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	abort_message(ids[0]);
	make_large(fd);
	intake_tick(&queue);
	assert_rejected();
	close(fd);
}

/* It lives on without the channel. */
static void
a_listener_that_hangs_up_and_keeps_a_file_is_named(void **state)
{
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	drop_end(&listener);
	turn();
	assert_int_equal(count_large(), 0);
	assert_non_null(find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0));
	intake_set_listener(&queue, 0, connect_end(&listener));
	close(fd);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_committed_message_is_answered_and_there_after_a_crash),
		TEST(steady_input_does_not_put_a_commit_off),
		TEST(a_batch_waits_a_little_for_as_many_messages_as_the_one_before),
		TEST(a_message_put_off_by_a_crash_before_commit_is_not_there),
		TEST(a_listener_gets_no_more_spool_files_than_it_may_have),
		TEST(an_aborted_message_s_spool_file_makes_room),
		TEST(an_id_that_was_not_given_out_is_refused),
		TEST(an_id_is_used_up_by_its_commit),
		TEST(an_unsealed_memfd_is_refused),
		TEST(a_pipe_or_no_descriptor_is_refused),
		TEST(a_size_that_is_not_true_is_refused),
		TEST(a_commit_without_envelopes_is_refused),
		TEST(more_open_messages_than_allowed_are_refused),
		TEST(requests_for_ids_without_end_are_refused),
		TEST(a_large_message_is_what_was_in_its_file_at_commit),
		TEST(large_messages_that_come_together_are_committed_together),
		TEST(a_large_messages_file_outlives_the_batch_that_ends_it),
		TEST(a_file_of_another_size_is_refused_and_removed),
		TEST(an_abort_gives_the_id_back_and_drops_the_rest),
		TEST(a_file_that_could_still_be_written_is_not_committed),
		TEST(a_file_given_up_and_closed_a_little_later_is_forgotten),
		TEST(a_listener_that_keeps_a_file_it_gave_up_loses_its_channel),
		TEST(files_given_up_and_kept_open_count_among_those_it_may_have),
		TEST(a_file_larger_than_messages_may_be_costs_the_channel),
		TEST(one_that_grows_after_it_was_given_up_as_well),
		TEST(a_listener_that_hangs_up_and_keeps_a_file_is_named),
		TEST(a_listener_s_death_drops_what_it_had_not_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
