/* File names in a Maildir, and the text of a message on its way into one. */
#include "test_mda_fixture.h"

#include "common/maildir_name.h"
#include "deliver/text.h"

static void
name_is_made_of_time_envelope_host_and_sizes(void **state)
{
	char prefix[NAME_SIZE], name[NAME_SIZE];

	(void)state;
	name_prefix(CREATED_US, 0x00112233aabbccddULL, prefix);
	name_final(prefix, "mx.example.org", 1234, 1260, name);
	assert_string_equal(
	    name, "1700000000.M123456P00112233aabbccdd.mx.example.org,S=1234,W=1260");
}

static void
longest_name_fits_a_directory(void **state)
{
	char host[NAME_HOST_MAX + 1], prefix[NAME_SIZE], name[NAME_SIZE], hostname[300];

	(void)state;
	memset(hostname, 'h', sizeof(hostname) - 1);
	hostname[sizeof(hostname) - 1] = '\0';
	name_host(hostname, host);
	assert_int_equal(strlen(host), NAME_HOST_MAX);
	name_prefix(INT64_MAX, UINT64_MAX, prefix);
	name_final(prefix, host, UINT64_MAX, UINT64_MAX, name);
	assert_in_range(strlen(name), 100, 254);
	assert_string_equal(name + strlen(name) - 20, "18446744073709551615");
}

static void
host_cannot_be_a_path_a_field_or_flags(void **state)
{
	char host[NAME_HOST_MAX + 1];

	(void)state;
	name_host("../a/b:2,S=1\x01\xff", host);
	assert_string_equal(host, ".._a_b_2_S_1__");
	name_host("", host);
	assert_string_equal(host, "localhost");
}

static void
time_before_1970_is_not_negative(void **state)
{
	char prefix[NAME_SIZE];

	(void)state;
	name_prefix(-5, 1, prefix);
	assert_string_equal(prefix, "0.M000000P0000000000000001.");
}

static void
size_is_read_from_names_of_others_too(void **state)
{
	uint64_t size = 7;

	(void)state;
	assert_true(name_size("1.M2P3.host,S=1234,W=1260:2,S", &size));
	assert_int_equal(size, 1234);
	assert_true(name_size("1.2.host,S=0", &size));
	assert_int_equal(size, 0);
	assert_false(name_size("1.2.host", &size));
	assert_false(name_size("1.2.host,S=", &size));
	assert_false(name_size("1.2.host,S=12x", &size));
	assert_false(name_size("1.2.host,S=-1", &size));
	assert_false(name_size("1.2.host,S=99999999999999999999", &size));
	/* In the flags it isn't a field. */
	assert_false(name_size("1.2.host:2,S=5", &size));
}

static void
trashed_is_a_flag_not_a_letter_of_the_name(void **state)
{
	(void)state;
	assert_true(name_is_trashed("1.T.host,S=3:2,ST"));
	assert_false(name_is_trashed("1.T.host,S=3:2,S"));
	assert_false(name_is_trashed("1.T.host,S=3"));
}

/* Reads a whole text with a small file behind it; the result is allocated. */
static char *
read_text(const char *data, size_t length, const char *fields, struct text *text)
{
	uint8_t *chunk = malloc(TEXT_CHUNK);
	char *all = malloc(strlen(fields) + length + 1);
	size_t used = strlen(fields), at = 0;
	int fd = fixture_message(data, length);
	ssize_t got;

	assert_non_null(chunk);
	assert_non_null(all);
	memcpy(chunk, fields, used);
	text_begin(text, fd, length);
	while ((got = text_read(text, chunk, used)) > 0) {
		memcpy(all + at, chunk, (size_t)got);
		at += (size_t)got;
		used = 0;
	}
	assert_int_equal(got, 0);
	all[at] = '\0';
	assert_int_equal(text->size, at);
	free(chunk);
	close(fd);
	return all;
}

static void
crlf_becomes_lf_and_nothing_else_changes(void **state)
{
	static const struct {
		const char *message;
		const char *stored;
		size_t virtual_size;
	} cases[] = {
		{ "a\r\nb\r\n", "H\na\nb\n", 9 },
		{ "", "H\n", 3 },
		{ "\r\n\r\n", "H\n\n\n", 7 },
		{ "no end", "H\nno end", 9 },
		{ "a\rb\r\n", "H\na\rb\n", 8 },
		{ "end\r", "H\nend\r", 7 },
		{ "a\nb\r\n", "H\na\nb\n", 9 },
		/* Its reader sees a CRLF there, which isn't two bytes more. */
		{ "a\r\r\nb\r\n", "H\na\r\nb\n", 9 },
		{ "\r", "H\n\r", 4 },
		{ "\n", "H\n\n", 5 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct text text;
		char *stored = read_text(cases[i].message, strlen(cases[i].message), "H\n", &text);

		assert_string_equal(stored, cases[i].stored);
		assert_int_equal(text.virtual_size, cases[i].virtual_size);
		free(stored);
	}
}

static void
line_ends_are_found_wherever_a_chunk_ends(void **state)
{
	size_t length = TEXT_CHUNK * 2 + 100, offset;

	(void)state;
	/* A CRLF at each place around the end of the first and the second chunk. */
	for (offset = 0; offset < 6; offset++) {
		char *data = malloc(length), *stored;
		size_t first = TEXT_CHUNK - 6 + offset, second = 2 * TEXT_CHUNK - 8 + offset;
		struct text text;

		assert_non_null(data);
		memset(data, 'x', length);
		memcpy(data + first, "\r\n", 2);
		memcpy(data + second, "\r\r\n", 3);
		data[length - 1] = '\r';
		stored = read_text(data, length, "HH", &text);
		assert_int_equal(text.size, 2 + length - 2);
		assert_int_equal(stored[2 + first], '\n');
		assert_memory_equal(stored + 2 + second - 1, "\r\n", 2);
		assert_int_equal(stored[text.size - 1], '\r');
		assert_int_equal(text.virtual_size, text.size + 1);
		free(stored);
		free(data);
	}
}

static void
text_shorter_than_said_is_an_error(void **state)
{
	uint8_t *chunk = malloc(TEXT_CHUNK);
	int fd = fixture_message("abc\r\n", 5);
	struct text text;

	(void)state;
	assert_non_null(chunk);
	text_begin(&text, fd, 6);
	assert_int_equal(text_read(&text, chunk, 0), 4);
	assert_int_equal(text_read(&text, chunk, 0), -1);
	assert_int_equal(errno, EIO);
	free(chunk);
	close(fd);
}

static void
descriptor_shared_with_others_is_not_moved(void **state)
{
	struct text text;
	int fd = fixture_message("abc\r\n", 5);
	uint8_t *chunk = malloc(TEXT_CHUNK);

	(void)state;
	assert_non_null(chunk);
	text_begin(&text, fd, 5);
	assert_int_equal(text_read(&text, chunk, 0), 4);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 5);
	free(chunk);
	close(fd);
}

/* RFC 5321 4.4: the return path of a null sender is "<>". */
static void
fields_name_sender_and_mailbox_and_stay_two_lines(void **state)
{
	struct address sender, null;
	struct buf buf;

	(void)state;
	buf_init(&buf, 4096);
	assert_int_equal(address_parse("\"a b\"@client.test", 0, &sender), ADDRESS_OK);
	text_fields(&buf, &sender, "user@example.test");
	buf_add_u8(&buf, 0);
	assert_string_equal((char *)buf.data,
	    "Return-Path: <\"a b\"@client.test>\nDelivered-To: user@example.test\n");
	buf_clear(&buf);
	memset(&null, 0, sizeof(null));
	text_fields(&buf, &null, "a\nX: b\x7f");
	buf_add_u8(&buf, 0);
	assert_string_equal((char *)buf.data, "Return-Path: <>\nDelivered-To: a?X: b?\n");
	buf_free(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(name_is_made_of_time_envelope_host_and_sizes),
		cmocka_unit_test(longest_name_fits_a_directory),
		cmocka_unit_test(host_cannot_be_a_path_a_field_or_flags),
		cmocka_unit_test(time_before_1970_is_not_negative),
		cmocka_unit_test(size_is_read_from_names_of_others_too),
		cmocka_unit_test(trashed_is_a_flag_not_a_letter_of_the_name),
		cmocka_unit_test(crlf_becomes_lf_and_nothing_else_changes),
		cmocka_unit_test(line_ends_are_found_wherever_a_chunk_ends),
		cmocka_unit_test(text_shorter_than_said_is_an_error),
		cmocka_unit_test(descriptor_shared_with_others_is_not_moved),
		cmocka_unit_test(fields_name_sender_and_mailbox_and_stay_two_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
