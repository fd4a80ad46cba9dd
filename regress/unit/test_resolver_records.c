/* What a relay gets of an answer's records, and which files are trust anchors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "lookup/resolver_anchor.h"
#include "lookup/resolver_records.h"

static struct {
	uint8_t packet[65535];
	size_t length;
	struct records records;
} t;

static void
add_bytes(const void *bytes, size_t length)
{
	assert_true(t.length + length <= sizeof(t.packet));
	memcpy(t.packet + t.length, bytes, length);
	t.length += length;
}

static void
add_u16(size_t value)
{
	const uint8_t bytes[] = { (uint8_t)(value >> 8), (uint8_t)value };

	add_bytes(bytes, 2);
}

static void
add_u32(uint32_t value)
{
	add_u16(value >> 16);
	add_u16(value & 0xffff);
}

static size_t
wire_name(const char *text, uint8_t *wire)
{
	size_t length = 0;

	while (*text != '\0') {
		size_t label = strcspn(text, ".");

		wire[length++] = (uint8_t)label;
		memcpy(wire + length, text, label);
		length += label;
		text += label + (text[label] == '.');
	}
	wire[length++] = 0;
	return length;
}

static void
begin(void)
{
	memset(t.packet, 0, 12);
	t.packet[2] = 0x81;
	t.packet[3] = 0x80;
	t.length = 12;
}

/* A record, in the answer section or in the authority section behind it. */
static void
add_record(
    bool is_answer, const char *owner, int type, uint32_t ttl, const void *data, size_t length)
{
	uint8_t wire[256];
	uint8_t *count = t.packet + (is_answer ? 6 : 8);

	add_bytes(wire, wire_name(owner, wire));
	add_u16((size_t)type);
	add_u16(1);
	add_u32(ttl);
	add_u16(length);
	add_bytes(data, length);
	if (++count[1] == 0)
		count[0]++;
}

static void
add_name_record(const char *owner, int type, uint32_t ttl, const char *target)
{
	uint8_t wire[256];

	add_record(true, owner, type, ttl, wire, wire_name(target, wire));
}

static void
add_mx(const char *owner, unsigned preference, const char *host)
{
	uint8_t wire[258] = { (uint8_t)(preference >> 8), (uint8_t)preference };

	add_record(true, owner, 15, 60, wire, 2 + wire_name(host, wire + 2));
}

static bool
reads(const char *name, enum dns_type type)
{
	return records_read(&t.records, t.packet, t.length, name, type);
}

static void
assert_data(uint32_t index, const char *data)
{
	assert_true(index < t.records.count);
	assert_int_equal(t.records.records[index].length, strlen(data));
	assert_memory_equal(t.records.records[index].data, data, strlen(data));
}

static void
mail_exchangers_come_by_preference(void **state)
{
	(void)state;
	begin();
	add_mx("example.org", 20, "B.example.org");
	add_mx("EXAMPLE.org", 10, "a.example.org");
	add_mx("other.org", 1, "c.example.org");
	assert_true(reads("example.org.", DNS_MX));
	assert_int_equal(t.records.count, 2);
	assert_int_equal(t.records.records[0].preference, 10);
	assert_data(0, "a.example.org");
	assert_data(1, "b.example.org");
	assert_int_equal(t.records.ttl, 60);
	assert_string_equal(t.records.canonical, "");
	assert_false(t.records.cut);
}

static void
the_null_mx_is_an_empty_name(void **state)
{
	(void)state;
	begin();
	add_mx("example.org", 0, "");
	assert_true(reads("example.org", DNS_MX));
	assert_data(0, "");
}

/* RFC 1035 has them, mail doesn't: nothing passes for a host's name that isn't one. */
static void
names_that_are_none_hold_a_backslash(void **state)
{
	static const uint8_t zero[] = { 0, 10, 3, 'a', 0, 'b', 4, 't', 'e', 's', 't', 0 };
	static const uint8_t dot[] = { 0, 10, 3, 'a', '.', 'b', 4, 't', 'e', 's', 't', 0 };
	uint8_t longest[2 + 4 * 62 + 1] = { 0, 20 };

	(void)state;
	begin();
	add_record(true, "example.org", 15, 60, zero, sizeof(zero));
	add_record(true, "example.org", 15, 60, dot, sizeof(dot));
	for (size_t i = 0; i < 4; i++)
		longest[2 + i * 62] = 61;
	add_record(true, "example.org", 15, 60, longest, sizeof(longest));
	assert_true(reads("example.org", DNS_MX));
	assert_int_equal(t.records.count, 3);
	assert_data(0, "a\\000b.test");
	assert_data(1, "a\\.b.test");
	assert_data(2, "\\");
}

static void
of_a_thousand_exchangers_the_best_are_kept(void **state)
{
	char name[64];

	(void)state;
	begin();
	for (unsigned i = 1000; i > 0; i--) {
		snprintf(name, sizeof(name), "mx%u.example.org", i);
		add_mx("example.org", i, name);
	}
	assert_true(reads("example.org", DNS_MX));
	assert_int_equal(t.records.count, IPC_ANSWER_RECORDS_MAX);
	assert_true(t.records.cut);
	for (uint32_t i = 0; i < t.records.count; i++)
		assert_int_equal(t.records.records[i].preference, i + 1);
}

static void
aliases_are_followed_in_any_order(void **state)
{
	static const uint8_t address[4] = { 192, 0, 2, 1 };

	(void)state;
	begin();
	add_record(true, "real.example.org", 1, 300, address, 4);
	add_name_record("two.example.org", 5, 200, "Real.example.org");
	add_name_record("one.example.org", 5, 100, "two.example.org");
	add_record(true, "elsewhere.example.org", 1, 5, address, 4);
	assert_true(reads("one.example.org", DNS_A));
	assert_int_equal(t.records.count, 1);
	assert_int_equal(t.records.records[0].family, CLIENT_INET4);
	assert_string_equal(t.records.canonical, "real.example.org");
	assert_int_equal(t.records.ttl, 100);
	/* The alias itself. */
	assert_true(reads("one.example.org", DNS_CNAME));
	assert_string_equal(t.records.canonical, "two.example.org");
	assert_int_equal(t.records.count, 0);
}

static void
aliases_in_a_circle_are_no_answer(void **state)
{
	char name[64], next[64];

	(void)state;
	begin();
	add_name_record("a.example", 5, 60, "b.example");
	add_name_record("b.example", 5, 60, "a.example");
	assert_false(reads("a.example", DNS_A));
	begin();
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		snprintf(next, sizeof(next), "n%u.example", i + 1);
		add_name_record(name, 5, 60, next);
	}
	assert_false(reads("n0.example", DNS_A));
	assert_true(reads("n10.example", DNS_A));
	assert_string_equal(t.records.canonical, "n20.example");
}

static void
an_absence_lasts_as_its_soa_says(void **state)
{
	uint8_t soa[2 + 20] = { [18] = 0, [20] = 1, [21] = 44 };

	(void)state;
	begin();
	add_record(false, "example.org", 6, 3600, soa, sizeof(soa));
	assert_true(reads("example.org", DNS_MX));
	assert_int_equal(t.records.count, 0);
	assert_int_equal(t.records.ttl, 300);
	begin();
	assert_true(reads("example.org", DNS_MX));
	assert_int_equal(t.records.ttl, 0);
}

static void
strings_of_a_text_are_put_together(void **state)
{
	static const char strings[] = "\x03v=a\x00\x05; b=c";
	static const char short_one[] = "\x09v=a";

	(void)state;
	begin();
	add_record(true, "_x.example.org", 16, 60, strings, 11);
	add_record(true, "_x.example.org", 16, 60, short_one, sizeof(short_one) - 1);
	assert_true(reads("_x.example.org", DNS_TXT));
	assert_int_equal(t.records.count, 1);
	assert_data(0, "v=a; b=c");
}

static void
texts_that_fill_the_frame_are_cut(void **state)
{
	static uint8_t text[8 * 256];

	(void)state;
	begin();
	for (size_t i = 0; i < 8; i++)
		text[i * 256] = 255;
	for (size_t i = 0; i < 20; i++)
		add_record(true, "t.example", 16, 60, text, sizeof(text));
	assert_true(reads("t.example", DNS_TXT));
	assert_int_equal(t.records.count, RECORDS_BYTES_MAX / (8 * 255));
	assert_true(t.records.cut);
}

static void
association_data_comes_whole(void **state)
{
	static const char data[] = "\x03\x01\x02\xff\x00\x01";
	static const char none[] = "\x03\x01\x02";

	(void)state;
	begin();
	add_record(true, "_25._tcp.mx.example", 52, 60, data, 6);
	add_record(true, "_25._tcp.mx.example", 52, 60, none, 3);
	assert_true(reads("_25._tcp.mx.example.", DNS_TLSA));
	assert_int_equal(t.records.count, 1);
	assert_int_equal(t.records.records[0].usage, 3);
	assert_int_equal(t.records.records[0].selector, 1);
	assert_int_equal(t.records.records[0].matching, 2);
	assert_int_equal(t.records.records[0].length, 3);
}

/* It isn't known then whether there are others. */
static void
records_without_sense_are_no_absence(void **state)
{
	static const uint8_t bytes[5];

	(void)state;
	begin();
	add_record(true, "example.org", 1, 60, bytes, 5);
	assert_false(reads("example.org", DNS_A));
	begin();
	add_record(true, "example.org", 28, 60, bytes, 4);
	assert_false(reads("example.org", DNS_AAAA));
	begin();
	add_record(true, "example.org", 15, 60, bytes, 2);
	assert_false(reads("example.org", DNS_MX));
	begin();
	add_mx("example.org", 1, "mx.example.org");
	t.length -= 5;
	assert_false(reads("example.org", DNS_MX));
	assert_false(records_read(&t.records, t.packet, 11, "example.org", DNS_MX));
}

static struct {
	char text[10][200];
	size_t count;
	size_t most;
} anchors;

static bool
on_anchor(void *arg, const char *record)
{
	assert_ptr_equal(arg, &anchors);
	assert_true(anchors.count < 10);
	snprintf(anchors.text[anchors.count++], 200, "%s", record);
	return anchors.count < anchors.most;
}

static void
anchors_are_records_on_one_line_or_several(void **state)
{
	static const char text[] =
	    "; the root's\n\n"
	    ".\t172800 IN DNSKEY 257 3 8 AAAA= ;{id = 1} ;;state=2 [ VALID ]\n"
	    ". IN DNSKEY 257 3 8 BBBB= ;;state=4 [ REVOKED ]\r\n"
	    ". IN DNSKEY 257 3 8 CCCC= ;;state=1 [ ADDPEND ]\n"
	    "example. IN DS 1 13 2 (\n\t0123 ; half\n\t4567 )\n"
	    "  . IN DS 2 8 2 89AB";

	(void)state;
	anchors.count = 0;
	anchors.most = 10;
	assert_true(anchors_each(text, on_anchor, &anchors));
	assert_int_equal(anchors.count, 3);
	assert_string_equal(anchors.text[0], ". 172800 IN DNSKEY 257 3 8 AAAA=");
	assert_string_equal(anchors.text[1], "example. IN DS 1 13 2 0123 4567");
	assert_string_equal(anchors.text[2], ". IN DS 2 8 2 89AB");
}

static void
no_anchor_and_a_refused_one_are_told(void **state)
{
	(void)state;
	anchors.count = 0;
	anchors.most = 10;
	assert_false(anchors_each("; nothing\n(\n", on_anchor, &anchors));
	assert_int_equal(anchors.count, 0);
	anchors.most = 1;
	assert_false(anchors_each("a\nb\n", on_anchor, &anchors));
	assert_int_equal(anchors.count, 1);
	anchors.most = 10;
	anchors.count = 0;
	assert_true(anchors_each(anchors_of_the_root, on_anchor, &anchors));
	assert_int_equal(anchors.count, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mail_exchangers_come_by_preference),
		cmocka_unit_test(the_null_mx_is_an_empty_name),
		cmocka_unit_test(names_that_are_none_hold_a_backslash),
		cmocka_unit_test(of_a_thousand_exchangers_the_best_are_kept),
		cmocka_unit_test(aliases_are_followed_in_any_order),
		cmocka_unit_test(aliases_in_a_circle_are_no_answer),
		cmocka_unit_test(an_absence_lasts_as_its_soa_says),
		cmocka_unit_test(strings_of_a_text_are_put_together),
		cmocka_unit_test(texts_that_fill_the_frame_are_cut),
		cmocka_unit_test(association_data_comes_whole),
		cmocka_unit_test(records_without_sense_are_no_absence),
		cmocka_unit_test(anchors_are_records_on_one_line_or_several),
		cmocka_unit_test(no_anchor_and_a_refused_one_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
