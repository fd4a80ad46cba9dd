/*
 * The receiver of message text: only CRLF.CRLF ends one, wherever the network cuts it; what others
 * might take for an end is refused or normalised; limits hold; bytes are stored as they came.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/ipc_listener_queue.h"
#include "smtpd/message.h"

static uint64_t memory;
static const struct message_limits roomy = {
	.size = 64 * 1024 * 1024,
	.text_line = 1048576,
	.header_size = 1048576,
	.received = 100,
	.line_ends = LINE_ENDS_STRICT,
	.memory = &memory,
};

struct outcome {
	bool ended;
	size_t used;
	bool refused;
	struct reply reply;
	char *data;
	size_t length;
};

static void
take_outcome(struct message *message, struct outcome *outcome)
{
	struct stat status;
	int fd = message_take_fd(message);

	outcome->refused = message_is_refused(message, &outcome->reply);
	if (fd != -1) {
		assert_int_equal(fstat(fd, &status), 0);
		outcome->length = (size_t)status.st_size;
		assert_int_equal(outcome->length, message_stored_bytes(message));
		outcome->data = malloc(outcome->length + 1);
		assert_int_equal(
		    pread(fd, outcome->data, outcome->length, 0), (ssize_t)outcome->length);
		outcome->data[outcome->length] = '\0';
		assert_int_equal(fcntl(fd, F_GET_SEALS),
		    F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
		close(fd);
	}
}

/* Feeds the text in pieces of `piece` bytes (0: at once). */
static void
receive(const struct message_limits *limits, enum message_form form, const char *text,
    size_t length, size_t piece, struct outcome *outcome)
{
	struct message *message = message_new(limits, form);
	size_t count;

	memset(outcome, 0, sizeof(*outcome));
	while (outcome->used < length && !outcome->ended) {
		count = length - outcome->used;
		if (piece != 0 && count > piece)
			count = piece;
		outcome->used +=
		    message_feed(message, text + outcome->used, count, &outcome->ended);
	}
	if (form == MESSAGE_BDAT)
		message_finish(message);
	take_outcome(message, outcome);
	message_free(message);
	assert_true(memory == 0);
}

static void
expect(const struct message_limits *limits, const char *text, size_t length, const char *stored,
    size_t rest)
{
	struct outcome outcome;
	size_t piece;

	for (piece = 0; piece <= 3; piece++) {
		receive(limits, MESSAGE_DATA, text, length, piece, &outcome);
		assert_true(outcome.ended);
		assert_int_equal(length - outcome.used, rest);
		assert_false(outcome.refused);
		assert_string_equal(outcome.data, stored);
		free(outcome.data);
	}
}

static void
a_text_split_at_every_byte_is_the_same(void **state)
{
	static const char text[] =
	    "Subject: x\r\n\r\n.\x2e\r\n..two\r\n.x\r\n...\r\nend\r\n.\r\nMAIL";
	static const char stored[] = "Subject: x\r\n\r\n.\r\n.two\r\nx\r\n..\r\nend\r\n";
	struct message *message;
	struct outcome outcome;
	size_t length = sizeof(text) - 1, cut, more;

	(void)state;
	expect(&roomy, text, length, stored, 4);
	for (cut = 0; cut <= length; cut++) {
		message = message_new(&roomy, MESSAGE_DATA);
		memset(&outcome, 0, sizeof(outcome));
		outcome.used = message_feed(message, text, cut, &outcome.ended);
		for (more = 0; !outcome.ended; more++) {
			assert_true(more < 2);
			outcome.used += message_feed(
			    message, text + outcome.used, length - outcome.used, &outcome.ended);
		}
		assert_int_equal(length - outcome.used, 4);
		take_outcome(message, &outcome);
		assert_string_equal(outcome.data, stored);
		free(outcome.data);
		message_free(message);
	}
}

static void
a_first_line_that_is_a_dot_is_an_empty_message(void **state)
{
	(void)state;
	expect(&roomy, ".\r\nQUIT", 7, "", 4);
}

/* What some software takes for an end, and a second envelope behind it. */
static const struct {
	const char *name;
	const char *end;
	size_t length;
	const char *normalised;
} false_ends[] = {
	{ "LF.LF", "\n.\n", 3, "a\r\n.\r\nMAIL FROM:<x@y>\r\n" },
	{ "CR.CR", "\r.\r", 3, "a\r\n.\r\nMAIL FROM:<x@y>\r\n" },
	{ "CR.CRLF", "\r.\r\n", 4, "a\r\n.\r\nMAIL FROM:<x@y>\r\n" },
	{ "LF.CRLF", "\n.\r\n", 4, "a\r\n.\r\nMAIL FROM:<x@y>\r\n" },
	{ "CRLF.LF", "\r\n.\n", 4, "a\r\n.\r\nMAIL FROM:<x@y>\r\n" },
	{ "CRLF.CR", "\r\n.\r", 4, "a\r\n.\r\nMAIL FROM:<x@y>\r\n" },
	{ "CRLF NUL.CRLF", "\r\n\0.\r\n", 6, "a\r\n.\r\nMAIL FROM:<x@y>\r\n" },
	{ "CRLF.NUL CRLF", "\r\n.\0\r\n", 6, "a\r\n.\r\nMAIL FROM:<x@y>\r\n" },
	{ "CRLF.CR NUL LF", "\r\n.\r\0\n", 6, "a\r\n.\r\n\r\nMAIL FROM:<x@y>\r\n" },
};

static void
nothing_else_ends_a_text(void **state)
{
	struct message_limits normalising = roomy;
	struct outcome outcome;
	char text[200];
	size_t i, length, piece;

	(void)state;
	normalising.line_ends = LINE_ENDS_NORMALISE;
	for (i = 0; i < sizeof(false_ends) / sizeof(false_ends[0]); i++) {
		text[0] = 'a';
		memcpy(text + 1, false_ends[i].end, false_ends[i].length);
		length = 1 + false_ends[i].length;
		strcpy(text + length, "MAIL FROM:<x@y>\r\n.\r\nQUIT\r\n");
		length += strlen(text + length);
		for (piece = 0; piece <= 2; piece++) {
			receive(&roomy, MESSAGE_DATA, text, length, piece, &outcome);
			if (!outcome.ended || length - outcome.used != 6)
				fail_msg("%s ended the text", false_ends[i].name);
			assert_true(outcome.refused);
			assert_int_equal(outcome.reply.code, 550);
			assert_string_equal(outcome.reply.enhanced, "5.6.11");

			receive(&normalising, MESSAGE_DATA, text, length, piece, &outcome);
			if (!outcome.ended || length - outcome.used != 6)
				fail_msg("%s ended the normalised text", false_ends[i].name);
			assert_false(outcome.refused);
			assert_string_equal(outcome.data, false_ends[i].normalised);
			free(outcome.data);
		}
	}
}

static void
an_end_after_a_bare_cr_is_an_end_of_a_refused_text(void **state)
{
	static const char text[] = "a\r\r\n.\r\nMAIL";
	struct message_limits normalising = roomy;
	struct outcome outcome;

	(void)state;
	receive(&roomy, MESSAGE_DATA, text, sizeof(text) - 1, 1, &outcome);
	assert_true(outcome.ended);
	assert_int_equal(sizeof(text) - 1 - outcome.used, 4);
	assert_true(outcome.refused);
	normalising.line_ends = LINE_ENDS_NORMALISE;
	expect(&normalising, text, sizeof(text) - 1, "a\r\n\r\n", 4);
}

static void
every_byte_but_the_dots_is_stored(void **state)
{
	char text[256 + 16];
	struct outcome outcome;
	size_t i, length = 0;

	(void)state;
	for (i = 0; i < 256; i++) {
		if (i != '\r' && i != '\n')
			text[length++] = (char)(i == 0 ? 'x' : i);
	}
	text[length++] = '\0'; /* a NUL, not at the line's start */
	memcpy(text + length, "\r\n.\r\n", 5);
	receive(&roomy, MESSAGE_DATA, text, length + 5, 7, &outcome);
	assert_false(outcome.refused);
	assert_int_equal(outcome.length, length + 2);
	assert_memory_equal(outcome.data, text, length + 2);
	free(outcome.data);
}

static void
bdat_keeps_dots_and_completes_the_last_line(void **state)
{
	static const char text[] = "a\r\n.\r\n..b\r\n.";
	struct outcome outcome;

	(void)state;
	receive(&roomy, MESSAGE_BDAT, text, sizeof(text) - 1, 1, &outcome);
	assert_false(outcome.refused);
	assert_false(outcome.ended);
	assert_string_equal(outcome.data, "a\r\n.\r\n..b\r\n.\r\n");
	free(outcome.data);
	receive(&roomy, MESSAGE_BDAT, "a\r", 2, 0, &outcome);
	assert_true(outcome.refused);
	assert_string_equal(outcome.reply.enhanced, "5.6.11");
	receive(&roomy, MESSAGE_BDAT, "a\nb\r\n", 5, 0, &outcome);
	assert_string_equal(outcome.reply.enhanced, "5.6.11");
	receive(&roomy, MESSAGE_BDAT, "a\r\n\0.\r\n", 7, 0, &outcome);
	assert_string_equal(outcome.reply.enhanced, "5.6.11");
}

/* A text of one body line of `length` bytes with its CRLF. */
static char *
make_line(size_t length, size_t *total)
{
	char *text = malloc(length + 8);

	memcpy(text, "\r\n", 2);
	memset(text + 2, 'x', length - 2);
	memcpy(text + length, "\r\n.\r\n", 5);
	*total = length + 5;
	return text;
}

static void
the_line_limit_is_met_at_its_byte(void **state)
{
	struct message_limits limits = roomy;
	struct outcome outcome;
	size_t total;
	char *text;

	(void)state;
	limits.text_line = 1000;
	text = make_line(1002, &total);
	receive(&limits, MESSAGE_DATA, text, total, 77, &outcome);
	assert_false(outcome.refused);
	free(outcome.data);
	free(text);
	text = make_line(1003, &total);
	receive(&limits, MESSAGE_DATA, text, total, 77, &outcome);
	assert_true(outcome.ended);
	assert_int_equal(outcome.reply.code, 550);
	assert_string_equal(outcome.reply.enhanced, "5.6.0");
	free(text);
}

static void
the_size_limit_is_the_texts_own(void **state)
{
	struct message_limits limits = roomy;
	struct message *message;
	struct outcome outcome;
	struct reply reply;
	bool ended;

	(void)state;
	limits.size = 7;
	receive(&limits, MESSAGE_DATA, "\r\nabc\r\n.\r\n", 10, 0, &outcome);
	assert_false(outcome.refused);
	free(outcome.data);
	limits.size = 6;
	receive(&limits, MESSAGE_DATA, "\r\nabc\r\n.\r\n", 10, 0, &outcome);
	assert_true(outcome.ended);
	assert_int_equal(outcome.reply.code, 552);
	assert_string_equal(outcome.reply.enhanced, "5.3.4");
	/* What we add ourselves doesn't count. */
	limits.size = 7;
	message = message_new(&limits, MESSAGE_DATA);
	message_add_prefix(message, "Received: by us\r\n");
	message_feed(message, "\r\nabc\r\n.\r\n", 10, &ended);
	assert_true(ended);
	assert_false(message_is_refused(message, &reply));
	assert_int_equal(message_stored_bytes(message), 17 + 7);
	message_free(message);
}

static void
feed_repeatedly(struct message *message, const char *piece, size_t times)
{
	bool ended;
	size_t i;

	for (i = 0; i < times; i++)
		assert_int_equal(
		    message_feed(message, piece, strlen(piece), &ended), strlen(piece));
}

static void
a_header_over_its_limit_is_refused_a_body_is_not(void **state)
{
	struct message_limits limits = roomy;
	struct message *message;
	struct reply reply;

	(void)state;
	limits.header_size = 10000;
	message = message_new(&limits, MESSAGE_DATA);
	feed_repeatedly(message, "X-A: b\r\n", 1250);
	assert_false(message_is_refused(message, &reply));
	feed_repeatedly(message, "X-A: b\r\n", 1);
	assert_true(message_is_refused(message, &reply));
	assert_int_equal(reply.code, 552);
	assert_string_equal(reply.enhanced, "5.3.4");
	message_free(message);

	message = message_new(&limits, MESSAGE_DATA); /* one folded field */
	feed_repeatedly(message, "X-A: b\r\n", 1);
	feed_repeatedly(message, "\tb\r\n", 3000);
	assert_true(message_is_refused(message, &reply));
	message_free(message);

	message = message_new(&limits, MESSAGE_DATA); /* a body without a header */
	feed_repeatedly(message, "only a body\r\n", 3000);
	assert_false(message_is_refused(message, &reply));
	message_free(message);
}

static void
received_fields_are_counted_in_the_header_only(void **state)
{
	struct message_limits limits = roomy;
	struct message *message;
	struct reply reply;
	bool ended;
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		message = message_new(&limits, MESSAGE_DATA);
		message_add_prefix(message, "Received: by us\r\n");
		feed_repeatedly(message, "ReCeived: from a\r\n\tby b\r\n", 99);
		feed_repeatedly(message, "X-Received: no\r\n", 5);
		feed_repeatedly(message, "Received-SPF: no\r\n", 5);
		feed_repeatedly(message, "Receive", 1);
		feed_repeatedly(message, "d : from a\r\n", 1);
		assert_false(message_is_refused(message, &reply));
		feed_repeatedly(message, i == 0 ? "Received: x\r\n" : "\r\nReceived: x\r\n", 1);
		assert_int_equal(message_is_refused(message, &reply), i == 0);
		if (i == 0) {
			assert_int_equal(reply.code, 554);
			assert_string_equal(reply.enhanced, "5.4.6");
		}
		message_feed(message, ".\r\n", 3, &ended);
		assert_true(ended);
		message_free(message);
	}
}

static void
addresses_of_delivered_to_are_known(void **state)
{
	static const char text[] =
	    "Delivered-To: ann@one.test\r\nSubject: Delivered-To: no@one.test\r\n"
	    "DELIVERED-TO:\r\n <Bob@Two.test>\r\nX-Delivered-To: no@two.test\r\n"
	    "Delivered-To: joe\r\nDelivered-To: not one@three.test\r\n"
	    "Delivered-To: last@one.test\r\n\r\nDelivered-To: no@three.test\r\n";
	static const struct {
		struct address address;
		bool found;
	} table[] = {
		{ { "ann", "one.test" }, true },
		{ { "ANN", "One.test" }, true },
		{ { "bob", "two.test" }, true },
		{ { "last", "one.test" }, true },
		{ { "no", "one.test" }, false },
		{ { "no", "two.test" }, false },
		{ { "no", "three.test" }, false },
		{ { "joe", "" }, false },
		{ { "joe", "one.test" }, false },
		{ { "ann", "two.test" }, false },
	};
	struct message *message;
	bool ended;

	(void)state;
	for (size_t cut = 1; cut <= 40; cut += 13) {
		message = message_new(&roomy, MESSAGE_DATA);
		for (size_t at = 0; at < strlen(text); at += cut)
			(void)message_feed(message, text + at, strnlen(text + at, cut), &ended);
		message_feed(message, ".\r\n", 3, &ended);
		assert_true(ended);
		for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
			assert_int_equal(
			    message_was_delivered_to(message, &table[i].address), table[i].found);
		message_free(message);
	}
	/* However many and long they are. */
	message = message_new(&roomy, MESSAGE_DATA);
	for (size_t i = 0; i < 500; i++)
		feed_repeatedly(message,
		    "Delivered-To: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n "
		    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n",
		    5);
	for (size_t i = 0; i < 500; i++)
		feed_repeatedly(message, "Delivered-To: a@b\r\n", 1);
	assert_true(message_was_delivered_to(message, &(struct address){ "a", "b" }));
	message_free(message);
}

/* RFC 8689 3 */
static void
tls_required_no_is_found_in_the_header(void **state)
{
	static const struct {
		const char *text;
		bool found;
	} table[] = {
		{ "Subject: x\r\nTLS-Required: No\r\n\r\nx\r\n", true },
		{ "tls-required:NO \t\r\nSubject: x\r\n\r\nx\r\n", true },
		{ "TLS-Required:\r\n No\r\nSubject: x\r\n\r\nx\r\n", true },
		{ "TLS-Required : no\r\n", true },
		{ "TLS-Required: No\r\n tea\r\n\r\n", false },
		{ "TLS-Required: N\r\n o\r\n\r\n", false },
		{ "TLS-Required: Not\r\n\r\n", false },
		{ "TLS-Required: Yes\r\n\r\n", false },
		{ "TLS-Required:\r\n\r\nNo\r\n", false },
		{ "X-TLS-Required: No\r\n\r\n", false },
		{ "TLS-Requiredd: No\r\n\r\n", false },
		{ "Subject: x\r\n TLS-Required: No\r\n\r\n", false },
		{ "Subject: x\r\n\r\nTLS-Required: No\r\n", false },
	};
	struct message *message;
	bool ended;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (size_t cut = 1; cut <= 20; cut += 19) {
			print_message("row %zu\n", i);
			message = message_new(&roomy, MESSAGE_DATA);
			message_add_prefix(message, "TLS-Required: No\r\n");
			for (size_t at = 0; at < strlen(table[i].text); at += cut)
				(void)message_feed(message, table[i].text + at,
				    strnlen(table[i].text + at, cut), &ended);
			message_feed(message, ".\r\n", 3, &ended);
			assert_true(ended);
			assert_int_equal(message_says_tls_optional(message), table[i].found);
			message_free(message);
		}
}

static void
a_large_text_moves_from_memfd_to_file(void **state)
{
	char name[] = "/tmp/test_listener_message.XXXXXX";
	struct message *message = message_new(&roomy, MESSAGE_DATA);
	int fd = mkstemp(name), copy;
	struct stat status;
	struct reply reply;
	char line[1001], *data;
	size_t i, lines = 3000, before = 0;
	bool ended;

	(void)state;
	assert_int_not_equal(fd, -1);
	message_add_prefix(message, "R: x\r\n");
	for (i = 0; i < lines; i++) {
		snprintf(line, sizeof(line), "%0998zu\r\n", i);
		memcpy(line + 998, "\r\n", 2);
		if (message_needs_file(message)) {
			before = i;
			copy = dup(fd);
			message_use_file(message, copy);
			assert_false(message_needs_file(message));
		}
		assert_int_equal(message_feed(message, line, 1000, &ended), 1000);
	}
	assert_true(before * 1000 >= IPC_MEMFD_MAX - 1000 && before * 1000 < IPC_MEMFD_MAX + 2000);
	message_feed(message, ".\r\n", 3, &ended);
	assert_true(ended);
	assert_true(message_is_in_file(message));
	assert_int_equal(message_take_fd(message), -1);
	assert_false(message_is_refused(message, &reply));
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, 6 + 1000 * lines);
	assert_int_equal(status.st_size, message_stored_bytes(message));
	data = malloc((size_t)status.st_size);
	assert_int_equal(pread(fd, data, (size_t)status.st_size, 0), status.st_size);
	for (i = 0; i < lines; i++) {
		snprintf(line, sizeof(line), "%0998zu", i);
		assert_memory_equal(data + 6 + 1000 * i, line, 998);
	}
	free(data);
	message_free(message);
	close(fd);
	unlink(name);
}

static void
under_pressure_smaller_messages_go_to_files(void **state)
{
	struct message *message = message_new(&roomy, MESSAGE_DATA);
	struct reply reply;
	bool ended;

	(void)state;
	feed_repeatedly(message, "\r\nabcdefgh\r\n", 1000);
	memory += MESSAGE_MEMORY_MAX;
	assert_false(message_needs_file(message));
	feed_repeatedly(message, "abcdefgh\r\n", 8000);
	assert_true(message_needs_file(message));
	memory -= MESSAGE_MEMORY_MAX;
	assert_false(message_needs_file(message));
	feed_repeatedly(message, "abcdefgh\r\n", 1000);
	memory += MESSAGE_MEMORY_MAX;
	message_use_file(message, open("/dev/null", O_WRONLY));
	assert_true(memory == MESSAGE_MEMORY_MAX);
	feed_repeatedly(message, "abcdefgh\r\n", 20000);
	message_feed(message, ".\r\n", 3, &ended);
	assert_true(ended);
	assert_int_equal(message_take_fd(message), -1);
	assert_false(message_is_refused(message, &reply));
	message_free(message);
	assert_true(memory == MESSAGE_MEMORY_MAX);
	memory = 0;
}

static void
a_file_that_takes_nothing_is_no_storage(void **state)
{
	struct message *message = message_new(&roomy, MESSAGE_DATA);
	struct reply reply;
	char block[1001];
	bool ended;

	(void)state;
	memset(block, 'x', sizeof(block));
	memcpy(block + 998, "\r\n", 3);
	feed_repeatedly(message, "\r\n", 1);
	while (!message_needs_file(message))
		feed_repeatedly(message, block, 1);
	message_use_file(message, open("/dev/full", O_WRONLY));
	assert_true(message_is_refused(message, &reply));
	assert_int_equal(reply.code, 452);
	assert_string_equal(reply.enhanced, "4.3.1");
	message_feed(message, ".\r\n", 3, &ended);
	assert_true(ended);
	message_free(message);
}

static void
bare_line_ends_cost_linear_time(void **state)
{
	struct message_limits limits = roomy;
	struct message *message;
	char *block = malloc(65536);
	size_t i;
	bool ended;

	(void)state;
	/* Quadratic, 64 MiB of these would take hours. */
	limits.line_ends = LINE_ENDS_NORMALISE;
	limits.size = 32 * 1024;
	memset(block, '\n', 65536);
	message = message_new(&limits, MESSAGE_DATA);
	for (i = 0; i < 1024; i++)
		message_feed(message, block, 65536, &ended);
	assert_int_equal(message_received_bytes(message), 1024 * 65536);
	message_free(message);
	free(block);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_text_split_at_every_byte_is_the_same),
		cmocka_unit_test(a_first_line_that_is_a_dot_is_an_empty_message),
		cmocka_unit_test(nothing_else_ends_a_text),
		cmocka_unit_test(an_end_after_a_bare_cr_is_an_end_of_a_refused_text),
		cmocka_unit_test(every_byte_but_the_dots_is_stored),
		cmocka_unit_test(bdat_keeps_dots_and_completes_the_last_line),
		cmocka_unit_test(the_line_limit_is_met_at_its_byte),
		cmocka_unit_test(the_size_limit_is_the_texts_own),
		cmocka_unit_test(a_header_over_its_limit_is_refused_a_body_is_not),
		cmocka_unit_test(received_fields_are_counted_in_the_header_only),
		cmocka_unit_test(addresses_of_delivered_to_are_known),
		cmocka_unit_test(tls_required_no_is_found_in_the_header),
		cmocka_unit_test(a_large_text_moves_from_memfd_to_file),
		cmocka_unit_test(under_pressure_smaller_messages_go_to_files),
		cmocka_unit_test(a_file_that_takes_nothing_is_no_storage),
		cmocka_unit_test(bare_line_ends_cost_linear_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
