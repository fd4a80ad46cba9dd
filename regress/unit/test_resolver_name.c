/* What may be a client's name, and where it may come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lookup/resolver_answer.h"
#include "lookup/resolver_name.h"

static struct ipc_resolve
address(const char *text)
{
	struct ipc_resolve resolve = { .family = CLIENT_INET4 };

	if (inet_pton(AF_INET, text, resolve.address) != 1) {
		resolve.family = CLIENT_INET6;
		assert_int_equal(inet_pton(AF_INET6, text, resolve.address), 1);
	}
	return resolve;
}

/* A name may say nothing but a name. */
static void
host_names_are_letters_digits_hyphens_and_dots(void **state)
{
	static const char *const good[] = { "a", "a.b", "mail.example.org", "mail.example.org.",
		"x-1.example.org", "1.example", "MAIL.Example.ORG", "xn--bcher-kva.example" };
	static const char *const bad[] = { "", ".", "..", "a..b", ".a", "-a.b", "a-.b", "a b.c",
		"a_b.c", "a.b\n", "a\tb", "a\x7f", "b\xc3\xbc.c", "a\\000b", "a\\.b", "(a)", "a\"b",
		"192.0.2.1", "a.1", "a..", "a/b" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(host_name_is_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char copy[HOSTNAME_MAX + 1] = "before";

		if (host_name_is_valid(bad[i]))
			fail_msg("valid: %s", bad[i]);
		assert_false(host_name_copy(bad[i], copy, sizeof(copy)));
		assert_string_equal(copy, "");
	}
}

static void
host_names_have_253_bytes_and_labels_63(void **state)
{
	char name[300];

	(void)state;
	memset(name, 'a', sizeof(name));
	for (size_t i = 50; i < sizeof(name); i += 50)
		name[i] = '.';
	name[253] = '\0';
	assert_true(host_name_is_valid(name));
	name[253] = '.';
	name[254] = '\0';
	assert_true(host_name_is_valid(name));
	name[253] = 'a';
	assert_false(host_name_is_valid(name));
	memset(name, 'a', 64);
	strcpy(name + 63, ".b");
	assert_true(host_name_is_valid(name));
	strcpy(name + 63, "a.b");
	assert_false(host_name_is_valid(name));
}

static void
names_are_copied_in_lower_case_without_the_last_dot(void **state)
{
	char copy[HOSTNAME_MAX + 1], small[4];

	(void)state;
	assert_true(host_name_copy("Mail.Example.ORG.", copy, sizeof(copy)));
	assert_string_equal(copy, "mail.example.org");
	assert_false(host_name_copy("abcd", small, sizeof(small)));
}

static void
reverse_names_are_those_of_dns(void **state)
{
	struct ipc_resolve inet4 = address("192.0.2.1"), inet6 = address("2001:db8::567:89ab");
	char name[REVERSE_NAME_MAX];

	(void)state;
	reverse_name(&inet4, name, sizeof(name));
	assert_string_equal(name, "1.2.0.192.in-addr.arpa.");
	/* RFC 3596 2.5 */
	reverse_name(&inet6, name, sizeof(name));
	assert_string_equal(
	    name, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.");
}

static void
mapped_addresses_are_ipv4(void **state)
{
	struct ipc_resolve mapped = address("::ffff:192.0.2.1"), inet4 = address("192.0.2.1"),
	                   other = address("::fffe:192.0.2.1");

	(void)state;
	address_unmap(&mapped);
	assert_true(address_equals(&mapped, &inet4));
	address_unmap(&other);
	assert_int_equal(other.family, CLIENT_INET6);
}

static void
hosts_file_names_addresses(void **state)
{
	struct hosts *hosts = hosts_new("# comment\n"
	                                "192.0.2.1\tBox.example.org box # its\n"
	                                "  2001:db8::1 six.example.org\r\n"
	                                "not-an-address x\n"
	                                "192.0.2.2\n"
	                                "192.0.2.3 bad_name good-name\n"
	                                "127.0.0.2 me.example.org\n"
	                                "192.0.2.1 second.example.org");
	struct ipc_resolve one = address("192.0.2.1"), two = address("192.0.2.2"),
	                   three = address("192.0.2.3"), six = address("2001:db8::1"),
	                   me = address("127.0.0.2"), local = address("127.0.0.1"),
	                   local6 = address("::1"), other = address("127.0.0.3");

	(void)state;
	assert_string_equal(hosts_find(hosts, &one), "box.example.org");
	assert_null(hosts_find(hosts, &two));
	assert_string_equal(hosts_find(hosts, &three), "good-name");
	assert_string_equal(hosts_find(hosts, &six), "six.example.org");
	assert_string_equal(hosts_find(hosts, &me), "me.example.org");
	assert_string_equal(hosts_find(hosts, &local), "localhost");
	assert_string_equal(hosts_find(hosts, &local6), "localhost");
	assert_null(hosts_find(hosts, &other));
	hosts_free(hosts);
	hosts = hosts_new("");
	assert_null(hosts_find(hosts, &one));
	hosts_free(hosts);
}

static void
nameservers_are_read_as_the_system_does(void **state)
{
	char text[256];

	(void)state;
	nameservers_read("", text, sizeof(text));
	assert_string_equal(text, "");
	nameservers_read("# nameserver 192.0.2.9\nsearch example.org\nnameserver\n"
	                 "nameserver nonsense\n nameserver  192.0.2.1 \nnameservers 192.0.2.8\n"
	                 "nameserver\tfe80::1%eth0\noptions edns0\nnameserver ::1\n"
	                 "nameserver 192.0.2.4\n",
	    text, sizeof(text));
	assert_string_equal(text, "192.0.2.1 fe80::1%eth0 ::1");
}

static void
files_are_read_as_far_as_allowed(void **state)
{
	char path[] = "/tmp/postern-text-XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	char *text;

	(void)state;
	assert_non_null(file);
	fputs("nameserver 192.0.2.1\n", file);
	assert_int_equal(fclose(file), 0);
	fd = open(path, O_RDONLY);
	assert_int_not_equal(fd, -1);
	text = file_text(fd, 1000);
	assert_string_equal(text, "nameserver 192.0.2.1\n");
	free(text);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	text = file_text(fd, 10);
	assert_string_equal(text, "nameserver");
	free(text);
	assert_int_equal(close(fd), 0);
	assert_int_equal(remove(path), 0);
	/* What can't be read. */
	fd = open("/", O_RDONLY | O_DIRECTORY);
	text = file_text(fd, 10);
	assert_string_equal(text, "");
	free(text);
	assert_int_equal(close(fd), 0);
}

/* An answer: its header, the question "a." PTR, and what follows. */
static size_t
make_answer(uint8_t *packet, unsigned records, const uint8_t *rest, size_t length)
{
	static const uint8_t question[] = { 1, 'a', 0, 0, 12, 0, 1 };

	memset(packet, 0, 12);
	packet[2] = 0x81;
	packet[5] = 1;
	packet[6] = (uint8_t)(records >> 8);
	packet[7] = (uint8_t)records;
	memcpy(packet + 12, question, sizeof(question));
	memcpy(packet + 12 + sizeof(question), rest, length);
	return 12 + sizeof(question) + length;
}

/* A record of the question's name. */
static size_t
add_record(uint8_t *rest, uint16_t type, const char *rdata, size_t length)
{
	const uint8_t head[] = { 0xc0, 12, (uint8_t)(type >> 8), (uint8_t)type, 0, 1, 0, 0, 0, 60,
		(uint8_t)(length >> 8), (uint8_t)length };

	memcpy(rest, head, sizeof(head));
	memcpy(rest + sizeof(head), rdata, length);
	return sizeof(head) + length;
}

static void
answers_give_valid_names_only(void **state)
{
	uint8_t packet[2048], rest[2048];
	char names[ANSWER_NAMES_MAX][HOSTNAME_MAX + 1];
	size_t length = 0, whole;

	(void)state;
	length += add_record(rest + length, 12, "\4evil\n\1b\0", 8);
	length += add_record(rest + length, 5, "\1c\0", 3);
	length += add_record(rest + length, 12, "\3a b\1c\0", 7);
	length += add_record(rest + length, 12, "\2Mx\7example\0", 12);
	length += add_record(rest + length, 12, "\3a\0b\1c\0", 7);
	length += add_record(rest + length, 12, "\3two\7example\0", 13);
	whole = make_answer(packet, 6, rest, length);
	assert_int_equal(answer_names(packet, whole, names), 2);
	assert_string_equal(names[0], "mx.example");
	assert_string_equal(names[1], "two.example");
	for (size_t cut = 0; cut < whole; cut++) {
		uint8_t *exact = malloc(cut + 1);

		memcpy(exact, packet, cut);
		assert_true(answer_names(exact, cut, names) <= 2);
		free(exact);
	}
}

static void
no_more_than_five_names_are_taken(void **state)
{
	uint8_t packet[2048], rest[2048];
	char names[ANSWER_NAMES_MAX][HOSTNAME_MAX + 1];
	size_t length = 0;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		length += add_record(rest + length, 12, "\1x\7example\0", 11);
	assert_int_equal(
	    answer_names(packet, make_answer(packet, 40, rest, length), names), ANSWER_NAMES_MAX);
}

static void
an_address_is_found_among_the_answers(void **state)
{
	uint8_t packet[512], rest[512];
	struct ipc_resolve wanted = address("192.0.2.1"), other = address("192.0.2.3"),
	                   inet6 = address("2001:db8::1");
	size_t length = 0, whole;

	(void)state;
	length += add_record(rest + length, 5, "\1c\0", 3);
	length += add_record(rest + length, 1, "\xc0\0\2\2", 4);
	length += add_record(rest + length, 1, "\xc0\0\2\1\0", 5); /* not of an address' length */
	length += add_record(rest + length, 16, "\xc0\0\2\3", 4);
	whole = make_answer(packet, 4, rest, length);
	assert_false(answer_has_address(packet, whole, &wanted));
	assert_false(answer_has_address(packet, whole, &other));
	length += add_record(rest + length, 1, "\xc0\0\2\1", 4);
	length += add_record(rest + length, 28, (const char *)inet6.address, 16);
	whole = make_answer(packet, 6, rest, length);
	assert_true(answer_has_address(packet, whole, &wanted));
	assert_true(answer_has_address(packet, whole, &inet6));
	assert_false(answer_has_address(packet, whole, &other));
	assert_false(answer_has_address(packet, 0, &wanted));
}

static void
channel_takes_no_name_that_is_none(void **state)
{
	static const char *const bad[] = { "", "a b", "a\nb", "a.", "-a", "a_b", "\xc3\xbc" };
	struct ipc_resolved resolved = { RESOLVE_CONFIRMED, "mail.example.org" }, decoded;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	buf_init(&buf, 1024);
	ipc_resolved_encode(&buf, &resolved);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(ipc_resolved_decode(&reader, &decoded));
	assert_string_equal(decoded.name, "mail.example.org");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		strcpy(resolved.name, bad[i]);
		buf_clear(&buf);
		ipc_resolved_encode(&buf, &resolved);
		buf_reader_init(&reader, buf.data, buf.length);
		assert_false(ipc_resolved_decode(&reader, &decoded));
	}
	resolved.status = RESOLVE_NONE;
	strcpy(resolved.name, "a.org");
	buf_clear(&buf);
	ipc_resolved_encode(&buf, &resolved);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_resolved_decode(&reader, &decoded));
	buf_free(&buf);
}

static void
channel_takes_internet_addresses_only(void **state)
{
	struct ipc_resolve request = address("192.0.2.1"), decoded;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	buf_init(&buf, 64);
	ipc_resolve_encode(&buf, &request);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(ipc_resolve_decode(&reader, &decoded));
	assert_true(address_equals(&request, &decoded));
	buf_reader_init(&reader, buf.data, buf.length - 1);
	assert_false(ipc_resolve_decode(&reader, &decoded));
	buf.data[0] = CLIENT_LOCAL;
	buf_reader_init(&reader, buf.data, buf.length);
	assert_false(ipc_resolve_decode(&reader, &decoded));
	buf_free(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_names_are_letters_digits_hyphens_and_dots),
		cmocka_unit_test(host_names_have_253_bytes_and_labels_63),
		cmocka_unit_test(names_are_copied_in_lower_case_without_the_last_dot),
		cmocka_unit_test(reverse_names_are_those_of_dns),
		cmocka_unit_test(mapped_addresses_are_ipv4),
		cmocka_unit_test(hosts_file_names_addresses),
		cmocka_unit_test(nameservers_are_read_as_the_system_does),
		cmocka_unit_test(files_are_read_as_far_as_allowed),
		cmocka_unit_test(answers_give_valid_names_only),
		cmocka_unit_test(no_more_than_five_names_are_taken),
		cmocka_unit_test(an_address_is_found_among_the_answers),
		cmocka_unit_test(channel_takes_no_name_that_is_none),
		cmocka_unit_test(channel_takes_internet_addresses_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
