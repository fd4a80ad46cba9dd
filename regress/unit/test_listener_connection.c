/*
 * Who is at the other end: PROXY headers and who may send them, how many sessions an address gets,
 * and what the Received field says of it.
 */
#include <sys/mman.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/crowd.h"
#include "smtpd/proxy.h"
#include "smtpd/received.h"

static const uint8_t tcp4[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
                              "\xc0\0\x02\x07\xc0\0\x02\x01\x12\x34\0\x19";
static const uint8_t tcp6[] = "\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"
                              "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
                              "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x34\0\x19";

static enum proxy_result
parse(const uint8_t *data, size_t length, struct proxy_source *source, size_t *used)
{
	/* On the heap, so that a sanitizer sees a byte read too far. */
	uint8_t *copy = malloc(length == 0 ? 1 : length);
	enum proxy_result result;

	memcpy(copy, data, length);
	result = proxy_parse(copy, length, source, used);
	free(copy);
	return result;
}

static void
a_proxy_names_its_client(void **state)
{
	struct proxy_source source;
	size_t used, length;

	(void)state;
	assert_int_equal(parse(tcp4, sizeof(tcp4) - 1, &source, &used), PROXY_OK);
	assert_int_equal(used, 28);
	assert_true(source.given);
	assert_int_equal(source.family, CLIENT_INET4);
	assert_memory_equal(source.address, "\xc0\0\x02\x07", 4);
	assert_int_equal(parse(tcp6, sizeof(tcp6) - 1, &source, &used), PROXY_OK);
	assert_int_equal(source.family, CLIENT_INET6);
	assert_int_equal(source.address[15], 7);
	for (length = 0; length < sizeof(tcp6) - 1; length++)
		assert_int_equal(parse(tcp6, length, &source, &used), PROXY_MORE);
}

static void
ipv4_in_ipv6_is_ipv4(void **state)
{
	uint8_t header[sizeof(tcp6)];
	struct proxy_source source;
	size_t used;

	(void)state;
	memcpy(header, tcp6, sizeof(tcp6));
	memcpy(header + 16, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x07", 16);
	assert_int_equal(parse(header, sizeof(header) - 1, &source, &used), PROXY_OK);
	assert_int_equal(source.family, CLIENT_INET4);
	assert_memory_equal(source.address, "\xc0\0\x02\x07", 4);
}

static void
what_is_no_such_header_is_bad_at_its_first_wrong_byte(void **state)
{
	static const struct {
		size_t at;
		uint8_t byte;
	} changes[] = {
		{ 0, 'E' },               /* no signature */
		{ 4, 'x' }, { 12, 0x11 }, /* version 1 */
		{ 12, 0x22 },             /* unknown command */
		{ 13, 0x12 },             /* UDP */
		{ 13, 0x41 },             /* unknown family */
		{ 15, 11 },               /* too short for its family */
		{ 14, 0xff },             /* longer than is read */
	};
	struct proxy_source source;
	uint8_t header[sizeof(tcp4)];
	size_t i, used;

	(void)state;
	for (i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		memcpy(header, tcp4, sizeof(tcp4));
		header[changes[i].at] = changes[i].byte;
		assert_int_equal(parse(header, sizeof(header) - 1, &source, &used), PROXY_BAD);
		assert_false(source.given);
	}
	assert_int_equal(parse((const uint8_t *)"EHLO", 4, &source, &used), PROXY_BAD);
	assert_int_equal(
	    parse((const uint8_t *)"PROXY TCP4 1.2.3.4", 18, &source, &used), PROXY_BAD);
}

static void
extensions_are_skipped_and_health_checks_are_the_proxys_own(void **state)
{
	uint8_t header[40];
	struct proxy_source source;
	size_t used;

	(void)state;
	memset(header, 0xee, sizeof(header));
	memcpy(header, tcp4, sizeof(tcp4) - 1);
	header[15] = 12 + 8;
	assert_int_equal(parse(header, 35, &source, &used), PROXY_MORE);
	assert_int_equal(parse(header, 40, &source, &used), PROXY_OK);
	assert_int_equal(used, 36);
	assert_true(source.given);
	header[12] = 0x20; /* LOCAL */
	header[15] = 0;
	assert_int_equal(parse(header, 16, &source, &used), PROXY_OK);
	assert_false(source.given);
	header[12] = 0x21; /* PROXY of an unknown family */
	header[13] = 0;
	assert_int_equal(parse(header, 16, &source, &used), PROXY_OK);
	assert_false(source.given);
}

static void
only_trusted_addresses_are_proxies(void **state)
{
	static const char *const trusted[] = { "192.0.2.1", "198.51.100.0/25", "2001:db8::/33",
		"[2001:db9::1]", "junk", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8x" };
	static const uint8_t one[16] = { 192, 0, 2, 1 }, two[16] = { 192, 0, 2, 2 };
	static const uint8_t low[16] = { 198, 51, 100, 127 }, high[16] = { 198, 51, 100, 128 };
	static const uint8_t ten[16] = { 10, 1, 1, 1 };
	static const uint8_t six[16] = { 0x20, 1, 0xd, 0xb8, 0x7f },
	                     out[16] = { 0x20, 1, 0xd, 0xb8, 0x80 };
	static const uint8_t loopback[16] = { 127, 1, 2, 3 }, loopback6[16] = { [15] = 1 };
	static const uint8_t exact[16] = { 0x20, 1, 0xd, 0xb9, [15] = 1 };
	struct config *config = config_new();
	size_t i;

	(void)state;
	config->tables = calloc(1, sizeof(*config->tables));
	config->table_count = 1;
	config->tables[0].name = strdup("proxies");
	config->tables[0].path = strdup("");
	config->tables[0].entry_count = sizeof(trusted) / sizeof(trusted[0]);
	config->tables[0].entries =
	    calloc(config->tables[0].entry_count, sizeof(struct table_entry));
	for (i = 0; i < config->tables[0].entry_count; i++) {
		config->tables[0].entries[i].key = strdup(trusted[i]);
		config->tables[0].entries[i].value = strdup("");
	}
	assert_true(proxy_is_trusted(config, "proxies", CLIENT_INET4, one));
	assert_false(proxy_is_trusted(config, "proxies", CLIENT_INET4, two));
	assert_true(proxy_is_trusted(config, "proxies", CLIENT_INET4, low));
	assert_false(proxy_is_trusted(config, "proxies", CLIENT_INET4, high));
	assert_false(proxy_is_trusted(config, "proxies", CLIENT_INET4, ten));
	assert_true(proxy_is_trusted(config, "proxies", CLIENT_INET6, six));
	assert_false(proxy_is_trusted(config, "proxies", CLIENT_INET6, out));
	assert_true(proxy_is_trusted(config, "proxies", CLIENT_INET6, exact));
	assert_false(proxy_is_trusted(config, "others", CLIENT_INET4, one));
	/* Without a table: this machine. */
	assert_false(proxy_is_trusted(config, "", CLIENT_INET4, two));
	assert_false(proxy_is_trusted(config, "", CLIENT_INET6, six));
	assert_true(proxy_is_trusted(config, "", CLIENT_INET4, loopback));
	assert_true(proxy_is_trusted(config, "", CLIENT_INET6, loopback6));
	assert_false(proxy_is_trusted(config, "", CLIENT_INET6, loopback));
	assert_false(proxy_is_trusted(config, "proxies", CLIENT_INET4, loopback));
	assert_true(proxy_is_trusted(config, "", CLIENT_LOCAL, two));
	assert_true(proxy_is_trusted(config, "proxies", CLIENT_LOCAL, two));
	config_free(config);
}

static const struct limits_config few = {
	.sessions = 10,
	.sessions_per_address = 2,
	.sessions_per_network = 4,
};

static void
an_address_and_a_network_get_their_share_and_no_more(void **state)
{
	struct crowd *crowd = crowd_new(-1, 0, 1);
	uint8_t address[16] = { 192, 0, 2, 1 }, other[16] = { 203, 0, 113, 1 };

	(void)state;
	assert_non_null(crowd);
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_ENTERED);
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_ENTERED);
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_ADDRESS_FULL);
	address[3] = 2;
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_ENTERED);
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_ENTERED);
	address[3] = 3;
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_NETWORK_FULL);
	/* Others aren't kept out. */
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, other), CROWD_ENTERED);
	address[3] = 2;
	crowd_leave(crowd, CLIENT_INET4, address);
	address[3] = 3;
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_ENTERED);
	crowd_free(crowd);
}

static void
an_ipv6_customer_is_a_64(void **state)
{
	struct crowd *crowd = crowd_new(-1, 0, 1);
	uint8_t address[16] = { 0x20, 1, 0xd, 0xb8 };

	(void)state;
	address[15] = 1;
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET6, address), CROWD_ENTERED);
	address[15] = 2;
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET6, address), CROWD_ENTERED);
	address[15] = 3;
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET6, address), CROWD_ADDRESS_FULL);
	address[7] = 1; /* another /64 of that /48 */
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET6, address), CROWD_ENTERED);
	crowd_free(crowd);
}

static void
a_user_of_this_machine_is_counted_by_himself(void **state)
{
	struct crowd *crowd = crowd_new(-1, 0, 1);
	uint32_t one = 1000, other = 1001;
	uint8_t address[16] = { 0 };
	unsigned i;

	(void)state;
	memcpy(address, &one, sizeof(one));
	for (i = 0; i < few.sessions_per_address; i++)
		assert_int_equal(crowd_enter(crowd, &few, CLIENT_LOCAL, address), CROWD_ENTERED);
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_LOCAL, address), CROWD_USER_FULL);
	memcpy(address, &other, sizeof(other));
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_LOCAL, address), CROWD_ENTERED);
	memcpy(address, &one, sizeof(one));
	crowd_leave(crowd, CLIENT_LOCAL, address);
	assert_int_equal(crowd_enter(crowd, &few, CLIENT_LOCAL, address), CROWD_ENTERED);
	crowd_free(crowd);
}

static void
the_total_holds_and_is_given_back(void **state)
{
	struct crowd *crowd = crowd_new(-1, 0, 1);
	uint8_t address[16] = { 0 };
	unsigned round, i;

	(void)state;
	for (round = 0; round < 3; round++) {
		for (i = 0; i < few.sessions; i++) {
			address[1] = (uint8_t)i;
			assert_int_equal(
			    crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_ENTERED);
		}
		address[1] = 99;
		assert_int_equal(crowd_enter(crowd, &few, CLIENT_INET4, address), CROWD_FULL);
		assert_int_equal(crowd_enter(crowd, &few, CLIENT_LOCAL, address), CROWD_FULL);
		for (i = 0; i < few.sessions; i++) {
			address[1] = (uint8_t)i;
			crowd_leave(crowd, CLIENT_INET4, address);
		}
	}
	crowd_free(crowd);
}

static void
listeners_count_together_and_a_dead_ones_count_goes(void **state)
{
	int fd = memfd_create("crowd", 0);
	struct crowd *first = crowd_new(dup(fd), 0, 2), *second = crowd_new(dup(fd), 1, 2);
	uint8_t address[16] = { 192, 0, 2, 1 };

	(void)state;
	assert_int_equal(crowd_enter(first, &few, CLIENT_INET4, address), CROWD_ENTERED);
	assert_int_equal(crowd_enter(second, &few, CLIENT_INET4, address), CROWD_ENTERED);
	assert_int_equal(crowd_enter(first, &few, CLIENT_INET4, address), CROWD_ADDRESS_FULL);
	assert_int_equal(crowd_enter(second, &few, CLIENT_INET4, address), CROWD_ADDRESS_FULL);
	crowd_free(second); /* as if killed: it didn't count itself out */
	second = crowd_new(fd, 1, 2);
	assert_int_equal(crowd_enter(second, &few, CLIENT_INET4, address), CROWD_ENTERED);
	assert_int_equal(crowd_enter(first, &few, CLIENT_INET4, address), CROWD_ADDRESS_FULL);
	crowd_free(first);
	crowd_free(second);
}

static char *
format(const struct received *received)
{
	struct buf buf;

	buf_init(&buf, 4096);
	received_format(&buf, received);
	buf_add_u8(&buf, '\0');
	assert_true(buf_ok(&buf));
	return (char *)buf.data;
}

/* The field is one: every line but the first is a continuation, and no other byte is a control. */
static void
check_is_one_field(const char *text)
{
	const char *at;

	for (at = text; *at != '\0'; at++) {
		if (*at == '\r') {
			assert_int_equal(at[1], '\n');
			assert_true(at[2] == '\t' || at[2] == '\0');
			at++;
		} else
			assert_true(*at == '\t' || ((unsigned char)*at >= ' ' && *at != 0x7f));
	}
}

static void
received_says_who_by_whom_how_and_for_whom(void **state)
{
	static const char expected[] =
	    "Received: from me.example.net (client.example.net [192.0.2.1])\r\n"
	    "\tby mx.example.org (Postern) with ESMTP id 00000abc\r\n"
	    "\tfor <\"a b\"@example.org>;\r\n\t";
	struct address rcpt = { "a b", "example.org" };
	struct received received = { "me.example.net", "192.0.2.1", "client.example.net", -1, false,
		"mx.example.org", "ESMTP", 0xabc, "", "", &rcpt, 0 };
	char *text;

	(void)state;
	text = format(&received);
	assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
	assert_non_null(strstr(text, "1970 "));
	check_is_one_field(text);
	free(text);
	received.client = "local";
	received.rcpt = NULL;
	text = format(&received);
	assert_non_null(strstr(text, "from me.example.net (local)\r\n"));
	assert_null(strstr(text, "for <"));
	free(text);
	received.client_uid = 0;
	text = format(&received);
	assert_non_null(strstr(text, "from me.example.net (local, uid 0)\r\n"));
	free(text);
	received.mask_source = true;
	received.client = "192.0.2.1";
	text = format(&received);
	assert_null(strstr(text, "192.0.2.1"));
	assert_memory_equal(text, "Received: by mx.example.org", 27);
	assert_null(strstr(text, "authenticated"));
	free(text);
	received.user = "ann@example.org";
	text = format(&received);
	assert_non_null(strstr(text, "id 00000abc\r\n\t(authenticated as ann@example.org);"));
	check_is_one_field(text);
	free(text);
}

static void
no_word_of_the_peers_leaves_its_field(void **state)
{
	static const char evil[] = "a\r\nX-Evil: yes\r\n\r\n\x1b[2J(\")<>;\xff\xc2\x85\\\x7f";
	struct address rcpt = { "x\r\nX-Evil: <yes>", "example.org" };
	struct received received = { evil, evil, evil, -1, false, evil, "ESMTP", 1, evil, evil,
		&rcpt, 0 };
	char *text;

	(void)state;
	text = format(&received);
	check_is_one_field(text);
	assert_null(strstr(text, "\nX-Evil"));
	free(text);
}

static void
with_names_the_protocol(void **state)
{
	(void)state;
	assert_string_equal(received_protocol(false, false, false, false, false), "SMTP");
	assert_string_equal(received_protocol(false, true, false, false, false), "ESMTP");
	assert_string_equal(received_protocol(false, true, true, false, false), "UTF8SMTP");
	assert_string_equal(received_protocol(true, true, false, false, false), "LMTP");
	assert_string_equal(received_protocol(true, true, true, false, false), "UTF8LMTP");
	/* RFC 3848, RFC 6531 4.3 */
	assert_string_equal(received_protocol(false, true, false, true, false), "ESMTPS");
	assert_string_equal(received_protocol(false, true, false, false, true), "ESMTPA");
	assert_string_equal(received_protocol(false, true, false, true, true), "ESMTPSA");
	assert_string_equal(received_protocol(false, true, true, true, true), "UTF8SMTPSA");
	assert_string_equal(received_protocol(true, true, true, true, false), "UTF8LMTPS");
	assert_string_equal(received_protocol(true, true, false, false, true), "LMTPA");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_proxy_names_its_client),
		cmocka_unit_test(ipv4_in_ipv6_is_ipv4),
		cmocka_unit_test(what_is_no_such_header_is_bad_at_its_first_wrong_byte),
		cmocka_unit_test(extensions_are_skipped_and_health_checks_are_the_proxys_own),
		cmocka_unit_test(only_trusted_addresses_are_proxies),
		cmocka_unit_test(an_address_and_a_network_get_their_share_and_no_more),
		cmocka_unit_test(an_ipv6_customer_is_a_64),
		cmocka_unit_test(a_user_of_this_machine_is_counted_by_himself),
		cmocka_unit_test(the_total_holds_and_is_given_back),
		cmocka_unit_test(listeners_count_together_and_a_dead_ones_count_goes),
		cmocka_unit_test(received_says_who_by_whom_how_and_for_whom),
		cmocka_unit_test(no_word_of_the_peers_leaves_its_field),
		cmocka_unit_test(with_names_the_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
