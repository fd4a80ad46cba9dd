/*
 * Addresses: what RFC 5321 and 6531 write is understood, hostile ones are names or refused, and
 * what an address is written as means the same address again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/address.h"

struct example {
	const char *path;
	const char *local; /* NULL: refused */
	const char *domain;
};

static void
check(const struct example *example, unsigned allow)
{
	struct address address;
	enum address_result result;
	size_t used;

	result = address_parse_path(example->path, strlen(example->path), allow, &address, &used);
	if (example->local == NULL) {
		if (result == ADDRESS_OK && used == strlen(example->path))
			fail_msg("%s was taken", example->path);
		return;
	}
	if (result != ADDRESS_OK)
		fail_msg("%s was refused: %d", example->path, result);
	assert_int_equal(used, strlen(example->path));
	assert_string_equal(address.local, example->local);
	assert_string_equal(address.domain, example->domain);
}

#define CHECK_ALL(examples, allow)                                          \
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) \
	check(&examples[i], allow)

static void
takes_the_forms_of_rfc_5321(void **state)
{
	static const struct example examples[] = {
		{ "<Smith@bar.com>", "Smith", "bar.com" },
		{ "<userc@D.Bar.ORG>", "userc", "d.bar.org" },
		{ "<@hosta.int,@jkl.org:userc@d.bar.org>", "userc", "d.bar.org" },
		{ "<@a,@b:u@d>", "u", "d" },
		{ "<\"a b\"@d>", "a b", "d" },
		{ "<\"a\\\"b\\\\c\"@d>", "a\"b\\c", "d" },
		{ "<\"Joe.\"@d>", "Joe.", "d" },
		{ "<a.b.c@d>", "a.b.c", "d" },
		{ "<u+detail@d-e.f>", "u+detail", "d-e.f" },
		{ "<u@[127.0.0.1]>", "u", "[127.0.0.1]" },
		{ "<u@[IPv6:::1]>", "u", "[IPv6:::1]" },
		{ "<u@[ipv6:2001:DB8:0:0::1]>", "u", "[IPv6:2001:db8::1]" },
		{ "<u@d.>", "u", "d" },
		{ "<!#$%&'*+-/=?^_`{|}~@d>", "!#$%&'*+-/=?^_`{|}~", "d" },
	};

	(void)state;
	CHECK_ALL(examples, 0);
}

static void
takes_hostile_names_as_names_or_not_at_all(void **state)
{
	static const struct example examples[] = {
		{ "<u%e@d>", "u%e", "d" },
		{ "<e!u@d>", "e!u", "d" },
		{ "<|cmd@d>", "|cmd", "d" },
		{ "</etc/passwd@d>", "/etc/passwd", "d" },
		{ "<-f@d>", "-f", "d" },
		{ "<`id`@d>", "`id`", "d" },
		{ "<\"../../x\"@d>", "../../x", "d" },
		{ "<../../x@d>", NULL, NULL },
		{ "<;sleep 5;@d>", NULL, NULL },
		{ "<$(id)@d>", NULL, NULL },
		{ "<\"\\\"@d>", NULL, NULL },
		{ "<\"\"@d>", NULL, NULL },
		{ "<\"a\\\nb\"@d>", NULL, NULL },
		{ "<\"a\nb\"@d>", NULL, NULL },
		{ "<\"a\rb\"@d>", NULL, NULL },
		{ "<\"a\x7f\"@d>", NULL, NULL },
		{ "<\"a\tb\"@d>", NULL, NULL },
		{ "<u\t@d>", NULL, NULL },
		{ "<u @d>", NULL, NULL },
		{ "<u@d@e>", NULL, NULL },
		{ "<@d>", NULL, NULL },
		{ "<u@>", NULL, NULL },
		{ "<u>", NULL, NULL },
		{ "<>", NULL, NULL },
		{ "<u@d", NULL, NULL },
		{ "u@d>", NULL, NULL },
		{ "<", NULL, NULL },
		{ "", NULL, NULL },
		{ "<.u@d>", NULL, NULL },
		{ "<u.@d>", NULL, NULL },
		{ "<u..v@d>", NULL, NULL },
		{ "<u@.d>", NULL, NULL },
		{ "<u@d..e>", NULL, NULL },
		{ "<u@d..>", NULL, NULL },
		{ "<u@-d>", NULL, NULL },
		{ "<u@d->", NULL, NULL },
		{ "<u@d/e>", NULL, NULL },
		{ "<u@[127.0.0.256]>", NULL, NULL },
		{ "<u@[127.1]>", NULL, NULL },
		{ "<u@[::1]>", NULL, NULL },
		{ "<u@[IPv6:1]>", NULL, NULL },
		{ "<u@[127.0.0.1>", NULL, NULL },
		{ "<u@[x:y]>", NULL, NULL },
		{ "<@a:>", NULL, NULL },
		{ "<@a,:u@d>", NULL, NULL },
		{ "<a:u@d>", NULL, NULL },
	};

	(void)state;
	CHECK_ALL(examples, 0);
}

static void
holds_the_lengths_of_rfc_5321_4_5_3_1(void **state)
{
	char path[6000], local[5001], label[65];
	struct address address;
	size_t used;
	unsigned labels;

	(void)state;
	memset(local, 'x', sizeof(local));
	memset(label, 'y', sizeof(label));
	snprintf(path, sizeof(path), "<%.64s@d>", local);
	assert_int_equal(address_parse_path(path, strlen(path), 0, &address, &used), ADDRESS_OK);
	snprintf(path, sizeof(path), "<%.65s@d>", local);
	assert_int_equal(
	    address_parse_path(path, strlen(path), 0, &address, &used), ADDRESS_TOO_LONG);
	snprintf(path, sizeof(path), "<%.5000s@d>", local);
	assert_int_equal(
	    address_parse_path(path, strlen(path), 0, &address, &used), ADDRESS_TOO_LONG);
	snprintf(path, sizeof(path), "<u@%.63s.d>", label);
	assert_int_equal(address_parse_path(path, strlen(path), 0, &address, &used), ADDRESS_OK);
	snprintf(path, sizeof(path), "<u@%.64s.d>", label);
	assert_int_equal(
	    address_parse_path(path, strlen(path), 0, &address, &used), ADDRESS_SYNTAX);
	strcpy(path, "<u@");
	for (labels = 0; labels < 5; labels++)
		snprintf(path + strlen(path), sizeof(path) - strlen(path), "%.50s.", label);
	strcat(path, "d>"); /* 257 bytes of domain */
	assert_int_equal(
	    address_parse_path(path, strlen(path), 0, &address, &used), ADDRESS_TOO_LONG);
	assert_true(address_is_null(&address));
}

static void
takes_utf8_only_where_it_is_allowed(void **state)
{
	static const struct example examples[] = {
		{ "<j\xc3\xb6rg@b\xc3\xbc"
		  "cher.example>",
		    "j\xc3\xb6rg",
		    "b\xc3\xbc"
		    "cher.example" },
		{ "<\"j \xc3\xb6\"@d>", "j \xc3\xb6", "d" },
		{ "<u@xn--bcher-kva.b\xc3\xbc"
		  "cher.example>",
		    "u",
		    "xn--bcher-kva.b\xc3\xbc"
		    "cher.example" },
		{ "<\xe4\xbd\xa0\xe5\xa5\xbd@d>", "\xe4\xbd\xa0\xe5\xa5\xbd", "d" },
		{ "<\xf0\x9f\x93\xae@d>", "\xf0\x9f\x93\xae", "d" },
		{ "<j\xc3@d>", NULL, NULL },            /* cut */
		{ "<j\xc3\x28@d>", NULL, NULL },        /* not a continuation */
		{ "<\xc0\xaf@d>", NULL, NULL },         /* overlong "/" */
		{ "<\xe0\x80\xaf@d>", NULL, NULL },     /* overlong */
		{ "<\xf0\x80\x80\xaf@d>", NULL, NULL }, /* overlong */
		{ "<\xed\xa0\x80@d>", NULL, NULL },     /* surrogate */
		{ "<\xf4\x90\x80\x80@d>", NULL, NULL }, /* above U+10FFFF */
		{ "<a\xe2\x80\xae"
		  "b@d>",
		    NULL, NULL }, /* right-to-left override */
		{ "<a\xe2\x81\xa6"
		  "b@d>",
		    NULL, NULL }, /* isolate */
		{ "<a\xc2\x85"
		  "b@d>",
		    NULL, NULL }, /* C1: next line */
		{ "<a\xe2\x80\xa8"
		  "b@d>",
		    NULL, NULL },                    /* line separator */
		{ "<a\xef\xbb\xbf@d>", NULL, NULL }, /* byte order mark */
		{ "<u@a\xe2\x80\xae"
		  "b>",
		    NULL, NULL },
		{ "<u@\xc0\xaf"
		  "b>",
		    NULL, NULL },
		{ "<\"a\\\xc3\xb6\"@d>", NULL, NULL }, /* a quoted pair is ASCII */
	};
	struct address address;
	size_t used;

	(void)state;
	CHECK_ALL(examples, ADDRESS_ALLOW_UTF8);
	assert_int_equal(
	    address_parse_path("<j\xc3\xb6@d>", 7, 0, &address, &used), ADDRESS_NEEDS_SMTPUTF8);
	assert_int_equal(
	    address_parse_path("<u@b\xc3\xbc>", 7, 0, &address, &used), ADDRESS_NEEDS_SMTPUTF8);
}

static void
takes_a_nul_for_no_terminator(void **state)
{
	struct address address;
	size_t used;

	(void)state;
	assert_int_equal(address_parse_path("<u\0v@d>", 7, 0, &address, &used), ADDRESS_SYNTAX);
	assert_int_equal(address_parse_path("<u@d\0e>", 7, 0, &address, &used), ADDRESS_SYNTAX);
	assert_int_equal(address_parse_path("<\"u\0v\"@d>", 9, 0, &address, &used), ADDRESS_SYNTAX);
	/* Nor does it read past the length it is given. */
	assert_int_equal(address_parse_path("<u@d>", 4, 0, &address, &used), ADDRESS_SYNTAX);
}

static void
null_sender_and_bare_local_part_need_permission(void **state)
{
	struct address address;
	size_t used;

	(void)state;
	assert_int_equal(
	    address_parse_path("<>", 2, ADDRESS_ALLOW_NULL, &address, &used), ADDRESS_OK);
	assert_true(address_is_null(&address));
	assert_int_equal(used, 2);
	assert_int_equal(
	    address_parse_path("<Postmaster>", 12, ADDRESS_ALLOW_BARE_LOCAL, &address, &used),
	    ADDRESS_OK);
	assert_string_equal(address.local, "Postmaster");
	assert_string_equal(address.domain, "");
	assert_int_equal(address_parse("alice", 0, &address), ADDRESS_SYNTAX);
	assert_int_equal(address_parse("alice@d>", 0, &address), ADDRESS_SYNTAX);
	assert_int_equal(address_parse("", 0, &address), ADDRESS_SYNTAX);
	assert_int_equal(address_parse("alice@d", 0, &address), ADDRESS_OK);
}

static void
stops_after_the_path(void **state)
{
	static const char text[] = "<u@d> SIZE=1";
	struct address address;
	size_t used;

	(void)state;
	assert_int_equal(
	    address_parse_path(text, sizeof(text) - 1, 0, &address, &used), ADDRESS_OK);
	assert_int_equal(used, 5);
}

static void
written_and_read_again_it_is_the_same(void **state)
{
	static const char *const paths[] = { "<a.b@c>", "<\"a b\"@c>", "<\"a\\\"\\\\b\"@c>",
		"<\".a\"@c>", "<\"a..b\"@c>", "<\"a@b\"@c>", "<u@[IPv6:::1]>", "<\"<>\"@c>" };
	char text[ADDRESS_TEXT_MAX + 1], again[ADDRESS_TEXT_MAX + 1];
	struct address first, second;
	size_t used, i;

	(void)state;
	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(
		    address_parse_path(paths[i], strlen(paths[i]), 0, &first, &used), ADDRESS_OK);
		address_format(&first, text, sizeof(text));
		assert_int_equal(address_parse(text, 0, &second), ADDRESS_OK);
		assert_string_equal(first.local, second.local);
		assert_string_equal(first.domain, second.domain);
		address_format(&second, again, sizeof(again));
		assert_string_equal(text, again);
	}
	memset(&first, 0, sizeof(first));
	address_format(&first, text, sizeof(text));
	assert_string_equal(text, "");
}

static void
the_longest_quoted_local_part_fits(void **state)
{
	char text[ADDRESS_TEXT_MAX + 1];
	struct address address;

	(void)state;
	memset(&address, 0, sizeof(address));
	memset(address.local, '"', ADDRESS_LOCAL_MAX);
	memset(address.domain, 'd', ADDRESS_DOMAIN_MAX);
	address_format(&address, text, sizeof(text));
	assert_int_equal(strlen(text), ADDRESS_TEXT_MAX);
}

static bool
equal(const char *a, const char *b)
{
	struct address first, second;

	assert_int_equal(address_parse(a, ADDRESS_ALLOW_UTF8, &first), ADDRESS_OK);
	assert_int_equal(address_parse(b, ADDRESS_ALLOW_UTF8, &second), ADDRESS_OK);
	return address_equal(&first, &second);
}

static void
the_same_mailbox_is_equal_however_it_is_written(void **state)
{
	(void)state;
	assert_true(equal("Alice@Example.ORG", "alice@example.org"));
	assert_true(equal("\"alice\"@example.org", "alice@example.org"));
	assert_true(equal("u@b\xc3\xbc"
	                  "cher.example",
	    "u@xn--bcher-kva.example"));
	assert_true(equal("u@B\xc3\x9c"
	                  "cher.example",
	    "u@XN--BCHER-KVA.example"));
	assert_true(equal("u@[ipv6:0:0::1]", "u@[IPv6:::1]"));
	assert_false(equal("alice@example.org", "alice@example.com"));
	assert_false(equal("alice@example.org", "alic@example.org"));
	assert_false(equal("j\xc3\xb6@d", "j\xc3\x96@d"));
}

static void
a_key_is_lower_case_a_labels(void **state)
{
	char key[ADDRESS_DOMAIN_MAX + 1];

	(void)state;
	assert_true(address_domain_key("B\xc3\xbc"
	                               "cher.Example",
	    key, sizeof(key)));
	assert_string_equal(key, "xn--bcher-kva.example");
	assert_true(address_domain_key("Example.ORG", key, sizeof(key)));
	assert_string_equal(key, "example.org");
	assert_false(address_domain_key("", key, sizeof(key)));
	assert_false(address_domain_key("a..b", key, sizeof(key)));
	assert_false(address_domain_key("example.org", key, 5));
}

static void
detail_is_cut_behind_the_first_delimiter(void **state)
{
	struct address address;
	char detail[65];

	(void)state;
	assert_int_equal(address_parse("alice+lists-x@d", 0, &address), ADDRESS_OK);
	address_split_detail(&address, "+-", detail, sizeof(detail));
	assert_string_equal(address.local, "alice");
	assert_string_equal(detail, "lists-x");
	assert_int_equal(address_parse("+alice@d", 0, &address), ADDRESS_OK);
	address_split_detail(&address, "+", detail, sizeof(detail));
	assert_string_equal(address.local, "+alice");
	assert_string_equal(detail, "");
}

static void
decoding_refuses_what_no_parser_makes(void **state)
{
	static const struct {
		const char *local, *domain;
		bool taken;
	} examples[] = { { "alice", "example.org", true }, { "", "", true }, { "alice", "", true },
		{ "a b", "[IPv6:::1]", true }, { "", "example.org", false },
		{ "a\nb", "example.org", false }, { "a", "exa mple", false },
		{ "a", "e\nx", false }, { "\xff", "d", false }, { "a", "<d>", false } };
	struct address address;
	struct buf_reader reader;
	struct buf buf;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		buf_init(&buf, 1000);
		buf_add_string(&buf, examples[i].local);
		buf_add_string(&buf, examples[i].domain);
		buf_reader_init(&reader, buf.data, buf.length);
		assert_int_equal(address_decode(&reader, &address), examples[i].taken);
		if (examples[i].taken) {
			assert_true(buf_reader_done(&reader));
			assert_string_equal(address.local, examples[i].local);
		}
		buf_free(&buf);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_the_forms_of_rfc_5321),
		cmocka_unit_test(takes_hostile_names_as_names_or_not_at_all),
		cmocka_unit_test(holds_the_lengths_of_rfc_5321_4_5_3_1),
		cmocka_unit_test(takes_utf8_only_where_it_is_allowed),
		cmocka_unit_test(takes_a_nul_for_no_terminator),
		cmocka_unit_test(null_sender_and_bare_local_part_need_permission),
		cmocka_unit_test(stops_after_the_path),
		cmocka_unit_test(written_and_read_again_it_is_the_same),
		cmocka_unit_test(the_longest_quoted_local_part_fits),
		cmocka_unit_test(the_same_mailbox_is_equal_however_it_is_written),
		cmocka_unit_test(a_key_is_lower_case_a_labels),
		cmocka_unit_test(detail_is_cut_behind_the_first_delimiter),
		cmocka_unit_test(decoding_refuses_what_no_parser_makes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
