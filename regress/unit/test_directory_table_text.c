/*
 * The formats of tables: lines, keys, targets, userbase values, networks, patterns.
 */
#include "regress/unit/test_directory_fixture.h"

#include "lookup/table_file.h"
#include "lookup/table_text.h"

static void
assert_line(const char *text, const char *expected_key, const char *expected_value)
{
	char line[512], *key, *value;
	const char *why;

	snprintf(line, sizeof(line), "%s", text);
	assert_int_equal(table_line_parse(line, &key, &value, &why), TABLE_LINE_ENTRY);
	assert_string_equal(key, expected_key);
	assert_string_equal(value, expected_value);
}

static enum table_line
line_kind(const char *text)
{
	char line[1024], *key, *value;
	const char *why = NULL;
	enum table_line kind;

	snprintf(line, sizeof(line), "%s", text);
	kind = table_line_parse(line, &key, &value, &why);
	assert_true(kind != TABLE_LINE_BAD || why != NULL);
	return kind;
}

static void
lines_of_all_tables_are_read(void **state)
{
	(void)state;
	assert_line("bob@example.org bob", "bob@example.org", "bob");
	assert_line("bob@example.org: bob, carol@x.org", "bob@example.org", "bob, carol@x.org");
	assert_line("  root:bob  ", "root", "bob");
	assert_line("root :bob", "root", ":bob");
	assert_line("root : bob\r", "root", "bob");
	assert_line("u1 5000:5000:/var/vmail", "u1", "5000:5000:/var/vmail");
	assert_line("example.org", "example.org", "");
	assert_line("example.org:", "example.org", "");
	assert_line("@example.org\tbob", "@example.org", "bob");
	assert_line("2001:db8::/32", "2001:db8::/32", "");
	assert_line("::1", "::1", "");
	assert_line("[::1] yes", "[::1]", "yes");
	assert_line("u@[IPv6:::1] bob", "u@[IPv6:::1]", "bob");
	assert_line("u@[IPv6:::1]: bob", "u@[IPv6:::1]", "bob");
	assert_line("list: :include:/etc/list", "list", ":include:/etc/list");
	assert_line("list :include:/etc/list", "list", ":include:/etc/list");
	assert_line("vac: \"|/usr/bin/vacation bob, x\"", "vac", "\"|/usr/bin/vacation bob, x\"");
}

static void
quoted_keys_may_hold_blanks_colons_and_percents(void **state)
{
	(void)state;
	assert_line("\"a b\"@example.org: bob", "a b@example.org", "bob");
	assert_line("\"Joe: R. User\" bob", "Joe: R. User", "bob");
	assert_line("\"q\\\"uote\" bob", "q\"uote", "bob");
	assert_line("50%off bob", "50%off", "bob");
}

static void
comments_and_empty_lines_are_nothing(void **state)
{
	(void)state;
	assert_int_equal(line_kind(""), TABLE_LINE_EMPTY);
	assert_int_equal(line_kind(" \t\r"), TABLE_LINE_EMPTY);
	assert_int_equal(line_kind("# bob: x"), TABLE_LINE_EMPTY);
	assert_int_equal(line_kind("   # bob: x"), TABLE_LINE_EMPTY);
}

static char entries[2000];

/* "1 key=value;" with the blanks of a value as one. */
static void
add_text(void *arg, size_t line, const char *key, const char *value)
{
	size_t length = strlen(entries);

	(void)arg;
	length +=
	    (size_t)snprintf(entries + length, sizeof(entries) - length, "%zu %s=", line, key);
	for (; *value != '\0' && length + 3 < sizeof(entries); value++) {
		if (strchr(" \t\r", *value) == NULL)
			entries[length++] = *value;
		else if (entries[length - 1] != ' ')
			entries[length++] = ' ';
	}
	strcpy(entries + length, ";");
}

static const char *
entries_of(const char *text, unsigned use)
{
	char copy[1000];

	snprintf(copy, sizeof(copy), "%s", text);
	*entries = '\0';
	return table_text_each("t", copy, strlen(copy), use, add_text, NULL) ? entries : "bad";
}

/* As in files that were written for sendmail and Postfix. */
static void
lines_go_on_behind_commas_and_colons(void **state)
{
	static const char team[] =
	    "team: alice,\n# dave has left\n\t# long ago\n  bob,\r\n\tcarol\n"
	    "next: x,\n# a comment\nlast: y,\n";
	static const char joined[] = "1 team=alice, bob, carol;6 next=x,;8 last=y,;";

	(void)state;
	assert_string_equal(entries_of(team, TABLE_USE_TARGETS), joined);
	assert_string_equal(entries_of(team, 0), joined);
	assert_string_equal(
	    entries_of("a:\n  x,\n  y\nb: x\n\t, y\n , z\nc: x\n", TABLE_USE_TARGETS),
	    "1 a=x, y;4 b=x , y , z;7 c=x;");
	/* Elsewhere a key may stand alone, and a key behind blanks is one. */
	assert_string_equal(entries_of("a:\n  b\nc\n", 0), "1 a=;2 b=;3 c=;");
	assert_string_equal(entries_of("a: x,\n\n  y\n", TABLE_USE_TARGETS), "1 a=x, y;");
	/* What is left over is a mistake. */
	assert_string_equal(entries_of("a: x\n  y\n", TABLE_USE_TARGETS), "bad");
	assert_string_equal(entries_of("a:\n", TABLE_USE_TARGETS), "bad");
	assert_string_equal(entries_of("# c: x,\n  y\na: x\n", TABLE_USE_TARGETS), "3 a=x;");
	assert_string_equal(entries_of("# c: x\n  b: y\n", TABLE_USE_TARGETS), "2 b=y;");
	assert_string_equal(entries_of("a: x,\n#", TABLE_USE_TARGETS), "1 a=x,;");
	assert_string_equal(entries_of("a: x,\n  ", TABLE_USE_TARGETS), "1 a=x,;");
}

static void
malformed_lines_are_told(void **state)
{
	char line[1000];

	(void)state;
	assert_int_equal(line_kind("\"bob: x"), TABLE_LINE_BAD);
	assert_int_equal(line_kind(": x"), TABLE_LINE_BAD);
	assert_int_equal(line_kind("bob: a\x01z"), TABLE_LINE_BAD);
	assert_int_equal(line_kind("b\x1bob: a"), TABLE_LINE_BAD);
	memset(line, 'k', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(line_kind(line), TABLE_LINE_BAD);
}

static void
assert_key(const char *text, const char *expected)
{
	char key[TABLE_KEY_MAX];

	assert_true(table_key_normalise(text, key, sizeof(key)));
	assert_string_equal(key, expected);
}

static void
keys_have_one_form(void **state)
{
	char key[TABLE_KEY_MAX], text[600];

	(void)state;
	assert_key("Bob@Example.ORG", "bob@example.org");
	assert_key("bob@b\xc3\xbc"
	           "cher.example",
	    "bob@xn--bcher-kva.example");
	assert_key("bob@XN--Bcher-kva.example", "bob@xn--bcher-kva.example");
	assert_key("a@b@example.org", "a@b@example.org");
	assert_key("@", "@");
	assert_key("*.Example.org", "*.example.org");
	assert_key("192.0.2.1", "192.0.2.1/32");
	assert_key("192.0.2.77/24", "192.0.2.0/24");
	assert_key("2001:DB8::1/32", "2001:db8::/32");
	assert_key("[::1]", "::1/128");
	memset(text, 'k', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_false(table_key_normalise(text, key, sizeof(key)));
}

/* "kind text" of each target. */
static const char *
targets(const char *list)
{
	static char text[2000];
	static const char *const kinds[] = { "user", "address", "domain", "pipe", "error", "file",
		"include", "invalid" };
	char address[ADDRESS_TEXT_MAX + 1];
	struct target target;

	*text = '\0';
	while (target_next(&list, &target)) {
		size_t length = strlen(text);

		address_format(&target.address, address, sizeof(address));
		snprintf(text + length, sizeof(text) - length, "%s%s %s", length == 0 ? "" : "; ",
		    kinds[target.kind], target.kind == TARGET_ADDRESS ? address : target.text);
	}
	return text;
}

static void
targets_are_told_apart(void **state)
{
	(void)state;
	assert_string_equal(targets("bob"), "user bob");
	assert_string_equal(targets(" Bob , carol@Example.org,dave"),
	    "user bob; address carol@example.org; user dave");
	assert_string_equal(targets("@example.net"), "domain example.net");
	assert_string_equal(targets("|/usr/bin/procmail -d bob"), "pipe /usr/bin/procmail -d bob");
	assert_string_equal(targets("\"|/bin/x a,b\", bob"), "pipe /bin/x a,b; user bob");
	assert_string_equal(targets("|\"/bin/x a,b\""), "pipe /bin/x a,b");
	assert_string_equal(targets("\"a b\"@example.org"), "address \"a b\"@example.org");
	assert_string_equal(targets("/var/mail/bob"), "file /var/mail/bob");
	assert_string_equal(targets(":include:/etc/list"), "include /etc/list");
	assert_string_equal(targets("error:550 gone"), "error 550 gone");
	assert_string_equal(targets(""), "");
	assert_string_equal(targets(" ,, , "), "");
}

static void
what_is_no_target_is_invalid(void **state)
{
	char text[3000];

	(void)state;
	assert_string_equal(targets("a@b@c"), "invalid a@b@c");
	assert_string_equal(targets("bob@"), "invalid bob@");
	assert_string_equal(targets("@"), "invalid @");
	assert_string_equal(targets("@-x"), "invalid @-x");
	assert_string_equal(targets("|"), "invalid |");
	/* A comma that was forgotten, or a comment; a name with blanks stands in quotes. */
	assert_string_equal(targets("alice bob"), "invalid alice bob");
	assert_string_equal(targets("alice # who is that"), "invalid alice # who is that");
	assert_string_equal(targets("\"First Last\""), "user first last");
	assert_string_equal(targets("a\x01"
	                            "b"),
	    "invalid a\x01"
	    "b");
	memset(text, 'u', sizeof(text) - 1);
	text[65] = '\0';
	assert_memory_equal(targets(text), "invalid ", 8);
	text[65] = 'u';
	text[sizeof(text) - 1] = '\0';
	assert_memory_equal(targets(text), "invalid ", 8);
}

static void
a_quote_that_never_ends_ends_with_the_list(void **state)
{
	(void)state;
	assert_string_equal(targets("\"|cmd, bob"), "invalid \"|cmd, bob");
	assert_string_equal(targets("bob, \"\\"), "user bob; invalid \"\\");
}

static void
userbase_values_are_uid_gid_home(void **state)
{
	static const char *const wrong[] = { "", "1000", "1000:1000", "1000:1000:", "a:b:/h",
		"-1:0:/h", "1000:1000:h", "4294967295:1:/h", "99999999999999999999:1:/h", " 1:1:/h",
		"1:1 :/h", "1:1:/h\x01" };
	struct table_user user;

	(void)state;
	assert_true(table_user_parse("5000:5001:/var/vmail", &user));
	assert_int_equal(user.uid, 5000);
	assert_int_equal(user.gid, 5001);
	assert_string_equal(user.home, "/var/vmail");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (table_user_parse(wrong[i], &user))
			fail_msg("taken: %s", wrong[i]);
	}
}

static void
networks_are_parsed_and_wrong_ones_refused(void **state)
{
	static const char *const wrong[] = { "", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1",
		"1.2.3.4/2x", "::1/129", "[::1", "example.org", "1.2.3.4 ", "01.2.3.4.5" };
	struct netaddr netaddr;
	char text[64];

	(void)state;
	assert_true(netaddr_parse("10.1.2.3/9", &netaddr));
	netaddr_format(&netaddr, text, sizeof(text));
	assert_string_equal(text, "10.0.0.0/9");
	assert_true(netaddr_parse("IPv6:2001:db8:ffff::/33", &netaddr));
	netaddr_format(&netaddr, text, sizeof(text));
	assert_string_equal(text, "2001:db8:8000::/33");
	assert_true(netaddr_parse("0.0.0.0/0", &netaddr));
	assert_int_equal(netaddr.bits, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (netaddr_parse(wrong[i], &netaddr))
			fail_msg("taken: %s", wrong[i]);
	}
}

static void
patterns_match_as_in_a_shell(void **state)
{
	(void)state;
	assert_true(pattern_matches("*.example.org", "a.b.example.org"));
	assert_false(pattern_matches("*.example.org", "example.org"));
	assert_true(pattern_matches("mx?.example.*", "MX1.example.net"));
	assert_false(pattern_matches("mx?.example.*", "mx.example.net"));
	assert_true(pattern_matches("*", ""));
	assert_true(pattern_matches("a*b*c", "axxbyybc"));
	assert_false(pattern_matches("a*b*c", "axxbyybcd"));
}

static void
a_hostile_pattern_takes_no_exponential_time(void **state)
{
	char pattern[200], text[2000];

	(void)state;
	for (size_t i = 0; i < sizeof(pattern) - 2; i += 2)
		memcpy(pattern + i, "*a", 2);
	pattern[sizeof(pattern) - 2] = 'b';
	pattern[sizeof(pattern) - 1] = '\0';
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_false(pattern_matches(pattern, text));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_all_tables_are_read),
		cmocka_unit_test(quoted_keys_may_hold_blanks_colons_and_percents),
		cmocka_unit_test(comments_and_empty_lines_are_nothing),
		cmocka_unit_test(lines_go_on_behind_commas_and_colons),
		cmocka_unit_test(malformed_lines_are_told),
		cmocka_unit_test(keys_have_one_form),
		cmocka_unit_test(targets_are_told_apart),
		cmocka_unit_test(what_is_no_target_is_invalid),
		cmocka_unit_test(a_quote_that_never_ends_ends_with_the_list),
		cmocka_unit_test(userbase_values_are_uid_gid_home),
		cmocka_unit_test(networks_are_parsed_and_wrong_ones_refused),
		cmocka_unit_test(patterns_match_as_in_a_shell),
		cmocka_unit_test(a_hostile_pattern_takes_no_exponential_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
