/*
 * smtpd.conf as text: words and macros, included files, and what is too large or no file at all.
 */
#include <sys/stat.h>
#include <stdlib.h>
#include <unistd.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

static void
words_are_joined_quoted_and_expanded(void **state)
{
	struct config *config = good(
	    "# a comment \\\nthat goes on\n"
	    "host = \"mx.example.org\"\r\n"
	    "where = 127.0.0.1 \"port\" 2525\n"
	    "base = '/var/mail'\n"
	    "listen on $where \\\n  hostname $host # why\n"
	    "mail directory $base/x\n"
	    "postmaster \"\\\"a b\\\"@example.org\"\n"
	    "table t { \"listen\", 'it\"s',\n\n # in a list\n \"a\\\\b\", c\\d, \"e\\ f\\.\", }\n"
	    "match helo <t> reject");
	const struct table_config *table = config_find_table(config, "t");

	(void)state;
	assert_string_equal(config->listeners[0].hostname, "mx.example.org");
	assert_string_equal(config->mail_directory, "/var/mail/x");
	assert_string_equal(config->postmaster, "\"a b\"@example.org");
	assert_int_equal(table->entry_count, 5);
	assert_string_equal(table->entries[0].key, "listen");
	assert_string_equal(table->entries[1].key, "it\"s");
	assert_string_equal(table->entries[2].key, "a\\b");
	assert_string_equal(table->entries[3].key, "cd");
	assert_string_equal(table->entries[4].key, "e f\\.");
	assert_int_equal(config->rules[0].line, 14);
	config_free(config);
}

static void
backslashes_that_mean_something_else_are_told(void **state)
{
	struct reports reports;

	(void)state;
	config_free(parse("match from any for domain regex a\\.org reject\n", &reports));
	assert_true(reported(&reports, 1, "before \".\" is left out"));
	assert_int_equal(reports.errors, 0);
	bad("match for local \\ \n reject\n", 1, "last character of its line");
	bad("match for local a\\\\b reject\n", 1, "last character of its line");
}

static void
lines_and_words_of_megabytes_are_refused(void **state)
{
	size_t length = 10 << 20;
	char *text = malloc(length + 64);

	(void)state;
	assert_non_null(text);
	strcpy(text, "queue ttl 4d\nsmtp hostname ");
	memset(text + strlen(text), 'x', length);
	strcpy(text + length, "\nqueue ttl 5d\n");
	bad(text, 2, "\"smtp hostname xxxxxx");
	/* And what follows is read. */
	bad(text, 3, "\"queue ttl\"");
	for (size_t i = 13; i < length; i += 2)
		memcpy(text + i, "a ", 2);
	bad(text, 2, "\"a a a");
	memset(text, 'x', 5000);
	strcpy(text + 5000, "\n");
	bad(text, 1, "\"xxxxxxxx");
	free(text);
}

/* A folder for the files of a test. */
static char folder[64];

static int
make_folder(void **state)
{
	(void)state;
	umask(022);
	strcpy(folder, "/tmp/postern-parse-XXXXXX");
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static const char *
write_file(const char *name, const char *text)
{
	static char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	return path;
}

static void
bad_file(const char *path, const char *report)
{
	static struct reports reports;

	memset(&reports, 0, sizeof(reports));
	assert_null(parse_config_file(path, gather, &reports));
	if (strstr(reports.text, report) == NULL)
		fail_msg("%s should report \"%s\", but says:\n%s", path, report, reports.text);
}

static void
included_files_are_read_in_place(void **state)
{
	static struct reports reports;
	struct config *config;

	(void)state;
	write_file("tables", "table d { a.org }\nname = mx.a.org");
	write_file("rules", "match for domain <d> reject\n");
	memset(&reports, 0, sizeof(reports));
	config = parse_config_file(write_file("main",
	                               "include \"tables\"\nsmtp hostname $name\ninclude \"rules\" "
	                               "# relative\nmatch for local reject\n"),
	    gather, &reports);
	assert_string_equal(reports.text, "");
	assert_non_null(config);
	assert_string_equal(config->hostname, "mx.a.org");
	assert_int_equal(config->rule_count, 2);
	assert_int_equal(config->rules[0].for_, MATCH_FOR_DOMAIN);
	assert_int_equal(config->rules[1].line, 4);
	config_free(config);
}

static void
files_that_are_no_config_are_refused(void **state)
{
	char report[256], path[128], text[256];

	(void)state;
	bad_file("/nonexistent/smtpd.conf", "\"/nonexistent/smtpd.conf\": No such file");
	bad_file(folder, "is a directory");
	snprintf(path, sizeof(path), "%s/fifo", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	bad_file(path, "is not a regular file");
	snprintf(text, sizeof(text), "\ninclude \"%s\"\n", path);
	snprintf(report, sizeof(report), "main:2: \"%s\" is not a regular file", path);
	bad_file(write_file("main", text), report);
	bad_file(write_file("main", "include \"/\"\n"), "main:1: \"/\" is a directory");
	bad_file(write_file("main", "include \"/dev/zero\"\n"), "main:1: \"/dev/zero\" is not");
	bad_file(write_file("main", "include nothere\n"), "nothere\": No such file");
	write_file("open", "queue ttl 4d\n");
	snprintf(path, sizeof(path), "%s/open", folder);
	assert_int_equal(chmod(path, 0666), 0);
	bad_file(path, "can be written by everybody");
	snprintf(report, sizeof(report), "main:1: \"%s\" can be written by everybody", path);
	bad_file(write_file("main", "include open\n"), report);
}

static void
include_loops_end(void **state)
{
	char path[128];

	(void)state;
	bad_file(write_file("self", "\ninclude \"self\"\n"), "self\" includes itself");
	bad_file(write_file("self", "\ninclude \"self\"\n"), "self:2: ");
	write_file("ping", "include \"pong\"\n");
	bad_file(write_file("pong", "include \"ping\"\n"), "pong\" includes itself");
	for (unsigned i = 0; i < 20; i++) {
		char name[16], text[64];

		snprintf(name, sizeof(name), "deep%u", i);
		snprintf(text, sizeof(text), "include deep%u\n", i + 1);
		write_file(name, text);
	}
	snprintf(path, sizeof(path), "%s/deep0", folder);
	bad_file(path, "deep15:1: include \"deep16\": more than 16 files deep");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_joined_quoted_and_expanded),
		cmocka_unit_test(backslashes_that_mean_something_else_are_told),
		cmocka_unit_test(lines_and_words_of_megabytes_are_refused),
		cmocka_unit_test(included_files_are_read_in_place),
		cmocka_unit_test(files_that_are_no_config_are_refused),
		cmocka_unit_test(include_loops_end),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
