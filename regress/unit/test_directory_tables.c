/*
 * Tables: lookups in what the configuration, text files and db files hold; that a file is read
 * again when it changes, and that a bad one never takes the place of a good one.
 */
#include <sys/stat.h>
#include <time.h>

#include <db.h>

#include "regress/unit/test_directory_fixture.h"

#include "lookup/tables.h"

static struct config *config;
static struct tables *tables;
static struct table *table;

static void
open_table(enum table_backend backend, const char *path)
{
	config = new_config();
	add_table(config, "t", backend, path);
	tables = tables_new(config, NULL);
	table = tables_find(tables, "t");
	assert_non_null(table);
	assert_null(tables_find(tables, "u"));
}

static void
open_file(const char *text)
{
	write_file("t", text);
	open_table(TABLE_FILE, test_path("t"));
}

static void
close_table(void)
{
	tables_free(tables);
	config_free(config);
}

static const char *
get(const char *key)
{
	static struct buf value;
	static char text[256];

	buf_init(&value, 1 << 20);
	switch (table_get(table, key, &value)) {
	case TABLE_FOUND:
		snprintf(text, sizeof(text), "%s", (const char *)value.data);
		break;
	case TABLE_NONE:
		strcpy(text, "-");
		break;
	case TABLE_BROKEN:
		strcpy(text, "broken");
		break;
	}
	buf_free(&value);
	return text;
}

static enum table_result
mailbox(const char *text)
{
	struct address address;

	assert_int_equal(
	    address_parse(text, ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_UTF8, &address), ADDRESS_OK);
	return table_match_mailbox(table, &address, "+");
}

static enum table_result
network(const char *text)
{
	struct netaddr netaddr;

	assert_true(netaddr_parse(text, &netaddr));
	return table_match_network(table, &netaddr);
}

static void
a_file_is_read_and_keys_found_in_any_case(void **state)
{
	(void)state;
	open_file("# users\n\nBob@Example.org: bob,\n\tcarol\n  dave@example.org dave\nlast x");
	assert_string_equal(get("bob@example.ORG"), "bob, \tcarol");
	assert_string_equal(get("dave@example.org"), "dave");
	assert_string_equal(get("last"), "x");
	assert_string_equal(get("nobody"), "-");
	close_table();
}

static void
an_entry_goes_on_behind_comments_and_empty_lines(void **state)
{
	(void)state;
	open_file("team: a,\n# b,\n\n\tc\nlist\n  key\nlast: x,");
	assert_string_equal(get("team"), "a,       \tc");
	assert_string_equal(get("list"), "");
	assert_string_equal(get("key"), "");
	assert_string_equal(get("last"), "x,");
	close_table();
}

static void
domains_match_with_wildcards(void **state)
{
	(void)state;
	open_file("example.org\n*.wild.example\nmx*.glob.example\nb\xc3\xbc"
	          "cher.example\n");
	assert_int_equal(table_match_domain(table, "Example.Org"), TABLE_FOUND);
	assert_int_equal(table_match_domain(table, "sub.example.org"), TABLE_NONE);
	assert_int_equal(table_match_domain(table, "a.wild.example"), TABLE_FOUND);
	assert_int_equal(table_match_domain(table, "a.b.wild.example"), TABLE_FOUND);
	assert_int_equal(table_match_domain(table, "wild.example"), TABLE_NONE);
	assert_int_equal(table_match_domain(table, "mx1.glob.example"), TABLE_FOUND);
	assert_int_equal(table_match_domain(table, "x1.glob.example"), TABLE_NONE);
	assert_int_equal(table_match_domain(table, "xn--bcher-kva.example"), TABLE_FOUND);
	assert_int_equal(table_match_domain(table,
	                     "b\xc3\xbc"
	                     "cher.example"),
	    TABLE_FOUND);
	/* A client's word is no pattern. */
	assert_int_equal(table_match_domain(table, "*"), TABLE_NONE);
	assert_int_equal(table_match_domain(table, "*.wild.example"), TABLE_NONE);
	assert_int_equal(table_match_domain(table, ""), TABLE_NONE);
	close_table();
}

static void
mailboxes_match_by_address_domain_or_user(void **state)
{
	(void)state;
	open_file("bob@example.org\n@all.example\n*@no.example\nabuse\ncarol@*.sub.example\n"
	          "@*.any.example\n");
	assert_int_equal(mailbox("Bob@example.org"), TABLE_FOUND);
	assert_int_equal(mailbox("bob+x@example.org"), TABLE_FOUND);
	assert_int_equal(mailbox("bobby@example.org"), TABLE_NONE);
	assert_int_equal(mailbox("x@all.example"), TABLE_FOUND);
	assert_int_equal(mailbox("x@no.example"), TABLE_NONE);
	assert_int_equal(mailbox("abuse@else.example"), TABLE_FOUND);
	assert_int_equal(mailbox("carol@a.sub.example"), TABLE_FOUND);
	assert_int_equal(mailbox("bob@a.sub.example"), TABLE_NONE);
	assert_int_equal(mailbox("bob@a.any.example"), TABLE_FOUND);
	assert_int_equal(mailbox("\"bob@example.org\"@else.example"), TABLE_NONE);
	assert_int_equal(mailbox(""), TABLE_NONE);
	close_table();
	open_file("<>\n");
	assert_int_equal(mailbox(""), TABLE_FOUND);
	assert_int_equal(mailbox("bob@example.org"), TABLE_NONE);
	close_table();
}

static void
networks_hold_their_addresses(void **state)
{
	(void)state;
	open_file("192.0.2.0/25\n198.51.100.7\n2001:db8::/32\n");
	assert_int_equal(network("192.0.2.1"), TABLE_FOUND);
	assert_int_equal(network("192.0.2.128"), TABLE_NONE);
	assert_int_equal(network("198.51.100.7"), TABLE_FOUND);
	assert_int_equal(network("198.51.100.8"), TABLE_NONE);
	assert_int_equal(network("2001:db8:1::1"), TABLE_FOUND);
	assert_int_equal(network("2001:db9::1"), TABLE_NONE);
	close_table();
	open_file("0.0.0.0/0\n");
	assert_int_equal(network("203.0.113.1"), TABLE_FOUND);
	assert_int_equal(network("::1"), TABLE_NONE);
	close_table();
}

static void
a_hundred_thousand_entries_are_found_quickly(void **state)
{
	struct timespec start, end;
	struct buf text;
	char key[64], value[64];

	(void)state;
	buf_init(&text, 16 << 20);
	for (unsigned i = 0; i < 100000; i++)
		buf_printf(&text, "user%u@example.org user%u\n", i, i);
	buf_add_u8(&text, '\0');
	open_file((const char *)text.data);
	buf_free(&text);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(key, sizeof(key), "user%u@example.org", i);
		snprintf(value, sizeof(value), "user%u", i);
		assert_string_equal(get(key), value);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	/* A search through the entries would take minutes. */
	assert_true(end.tv_sec - start.tv_sec < 20);
	close_table();
}

static void
a_changed_file_is_read_when_it_has_settled(void **state)
{
	(void)state;
	open_file("bob: a\n");
	assert_false(tables_refresh(tables));
	write_file("t", "bob: b\n");
	/* Seen for the first time: it may still be being written. */
	assert_false(tables_refresh(tables));
	assert_string_equal(get("bob"), "a");
	assert_true(tables_refresh(tables));
	assert_string_equal(get("bob"), "b");
	assert_false(tables_refresh(tables));
	close_table();
}

static void
a_bad_or_missing_file_leaves_the_old_content(void **state)
{
	static const char *const bad[] = { "bob: x\n\"carol: y\n", "bob: x\n: y\n", "a\x01\n" };

	(void)state;
	open_file("bob: a\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_file("t", bad[i]);
		(void)tables_refresh(tables);
		(void)tables_refresh(tables);
		assert_string_equal(get("bob"), "a");
	}
	assert_int_equal(unlink(test_path("t")), 0);
	(void)tables_refresh(tables);
	(void)tables_refresh(tables);
	assert_string_equal(get("bob"), "a");
	write_file("t", "bob: c\n");
	(void)tables_refresh(tables);
	(void)tables_refresh(tables);
	assert_string_equal(get("bob"), "c");
	close_table();
}

static void
what_was_never_readable_is_broken_until_it_is(void **state)
{
	(void)state;
	open_table(TABLE_FILE, test_path("t"));
	assert_string_equal(get("bob"), "broken");
	assert_int_equal(table_match_domain(table, "example.org"), TABLE_BROKEN);
	assert_int_equal(mailbox("bob@example.org"), TABLE_BROKEN);
	assert_int_equal(network("192.0.2.1"), TABLE_BROKEN);
	write_file("t", "bob: a\n");
	(void)tables_refresh(tables);
	(void)tables_refresh(tables);
	assert_string_equal(get("bob"), "a");
	close_table();
}

static void
no_regular_file_is_read(void **state)
{
	char path[256];

	(void)state;
	snprintf(path, sizeof(path), "%s", test_path("fifo"));
	assert_int_equal(mkfifo(path, 0600), 0);
	open_table(TABLE_FILE, path);
	assert_string_equal(get("bob"), "broken");
	close_table();
	open_table(TABLE_FILE, test_directory);
	assert_string_equal(get("bob"), "broken");
	close_table();
}

static void
the_first_of_two_lines_with_one_key_counts(void **state)
{
	(void)state;
	open_file("bob: a\nBOB: b\n");
	assert_string_equal(get("bob"), "a");
	close_table();
}

static void
a_mapping_without_values_is_refused_where_values_are_needed(void **state)
{
	(void)state;
	config = new_config();
	write_file("t", "bob 1000:1000:/home/bob\ncarol /home/carol\n");
	add_table(config, "t", TABLE_FILE, test_path("t"));
	set(&add_action(config, "in", ACTION_MAILDIR)->userbase_table, "t");
	tables = tables_new(config, NULL);
	table = tables_find(tables, "t");
	assert_string_equal(get("bob"), "broken");
	write_file("t", "bob 1000:1000:/home/bob\n");
	(void)tables_refresh(tables);
	(void)tables_refresh(tables);
	assert_string_equal(get("bob"), "1000:1000:/home/bob");
	close_table();
}

static void
make_db(const char *name, const char *key_text, const char *value_text)
{
	char key_copy[64], value_copy[64];
	DB *db;
	DBT key, value;

	snprintf(key_copy, sizeof(key_copy), "%s", key_text);
	snprintf(value_copy, sizeof(value_copy), "%s", value_text);
	memset(&key, 0, sizeof(key));
	memset(&value, 0, sizeof(value));
	key.data = key_copy;
	key.size = (u_int32_t)strlen(key_copy) + 1;
	value.data = value_copy;
	value.size = (u_int32_t)strlen(value_copy) + 1;
	(void)unlink(test_path(name));
	assert_int_equal(db_create(&db, NULL, 0), 0);
	assert_int_equal(db->open(db, NULL, test_path(name), NULL, DB_HASH, DB_CREATE, 0600), 0);
	assert_int_equal(db->put(db, NULL, &key, &value, 0), 0);
	assert_int_equal(db->close(db, 0), 0);
}

static void
db_files_are_looked_up_and_opened_again_when_replaced(void **state)
{
	(void)state;
	make_db("t.db", "bob@example.org", "bob");
	open_table(TABLE_DB, test_path("t.db"));
	assert_string_equal(get("Bob@Example.org"), "bob");
	assert_string_equal(get("carol@example.org"), "-");
	make_db("t.db", "carol@example.org", "carol");
	(void)tables_refresh(tables);
	assert_true(tables_refresh(tables));
	assert_string_equal(get("carol@example.org"), "carol");
	assert_string_equal(get("bob@example.org"), "-");
	/* What is no db file doesn't replace it. */
	write_file("t.db", "bob: x\n");
	(void)tables_refresh(tables);
	(void)tables_refresh(tables);
	assert_string_equal(get("carol@example.org"), "carol");
	close_table();
	make_db("d.db", "*.example.org", "");
	open_table(TABLE_DB, test_path("d.db"));
	assert_int_equal(table_match_domain(table, "a.example.org"), TABLE_FOUND);
	assert_int_equal(table_match_domain(table, "a.example.net"), TABLE_NONE);
	close_table();
	make_db("n.db", "192.0.2.0/24", "");
	open_table(TABLE_DB, test_path("n.db"));
	assert_int_equal(network("192.0.2.9"), TABLE_FOUND);
	assert_int_equal(network("192.0.3.9"), TABLE_NONE);
	close_table();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_file_is_read_and_keys_found_in_any_case),
		TEST(an_entry_goes_on_behind_comments_and_empty_lines),
		TEST(domains_match_with_wildcards),
		TEST(mailboxes_match_by_address_domain_or_user),
		TEST(networks_hold_their_addresses),
		TEST(a_hundred_thousand_entries_are_found_quickly),
		TEST(a_changed_file_is_read_when_it_has_settled),
		TEST(a_bad_or_missing_file_leaves_the_old_content),
		TEST(what_was_never_readable_is_broken_until_it_is),
		TEST(no_regular_file_is_read),
		TEST(the_first_of_two_lines_with_one_key_counts),
		TEST(a_mapping_without_values_is_refused_where_values_are_needed),
		TEST(db_files_are_looked_up_and_opened_again_when_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
