/*
 * smtpd.conf: what its statements mean, and that whatever is wrong in it is reported with file,
 * line and word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>
#include <sys/un.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/parse.h"

#define NAME "t.conf"

struct reports {
	char text[32768];
	size_t errors;
	size_t warnings;
};

static void
gather(bool is_error, const char *text, void *arg)
{
	struct reports *reports = arg;
	size_t length = strlen(reports->text);

	snprintf(reports->text + length, sizeof(reports->text) - length, "%s\n", text);
	reports->errors += is_error;
	reports->warnings += !is_error;
	for (; *text != '\0'; text++)
		assert_true(*text >= ' ' && *text < 0x7f);
}

static struct config *
parse(const char *text, struct reports *reports)
{
	memset(reports, 0, sizeof(*reports));
	return parse_config_text(NAME, text, strlen(text), gather, reports);
}

/* A config that must be right. */
static struct config *
good(const char *text)
{
	struct reports reports;
	struct config *config = parse(text, &reports);

	if (config == NULL)
		fail_msg("refused:\n%s\n%s", text, reports.text);
	assert_int_equal(reports.errors, 0);
	return config;
}

static bool
reported(const struct reports *reports, unsigned line, const char *word)
{
	char place[64], text[sizeof(reports->text)], *at, *next;
	bool found = false;

	snprintf(place, sizeof(place), NAME ":%u: ", line);
	memcpy(text, reports->text, sizeof(text));
	for (at = text; at != NULL && *at != '\0'; at = next) {
		next = strchr(at, '\n');
		if (next != NULL)
			*next++ = '\0';
		found |= strncmp(at, place, strlen(place)) == 0 && strstr(at, word) != NULL;
	}
	return found;
}

/* A config that must be refused with a report of this line that holds `word`. */
static void
bad(const char *text, unsigned line, const char *word)
{
	struct reports reports;
	struct config *config = parse(text, &reports);

	if (config != NULL) {
		config_free(config);
		fail_msg("accepted: %s", text);
	}
	if (!reported(&reports, line, word))
		fail_msg("%s\nshould report line %u and %s, but says:\n%s", text, line, word,
		    reports.text);
}

static void
warns(const char *text, unsigned line, const char *word)
{
	struct reports reports;
	struct config *config = parse(text, &reports);

	assert_non_null(config);
	config_free(config);
	assert_int_equal(reports.errors, 0);
	if (!reported(&reports, line, word))
		fail_msg("%s\nshould warn of %s, but says:\n%s", text, word, reports.text);
}

static void
six_lines_serve_an_organization(void **state)
{
	struct config *config = good("listen on 0.0.0.0\n"
	                             "action \"deliver\" maildir virtual <accounts>\n"
	                             "match from any for domain <accounts> action \"deliver\"\n");
	const struct table_config *table = config_find_table(config, "accounts");

	(void)state;
	assert_int_equal(config->listener_count, 1);
	assert_int_equal(
	    ntohs(((struct sockaddr_in *)&config->listeners[0].address)->sin_port), 25);
	assert_non_null(table);
	assert_int_equal(table->backend, TABLE_ACCOUNTS);
	assert_int_equal(config->action_count, 1);
	assert_int_equal(config->actions[0].method, ACTION_MAILDIR);
	assert_string_equal(config->actions[0].virtual_table, "accounts");
	assert_string_equal(config->actions[0].path, "");
	assert_int_equal(config->rules[0].from, MATCH_FROM_ANY);
	assert_int_equal(config->rules[0].for_, MATCH_FOR_DOMAIN);
	assert_string_equal(config->rules[0].for_table, "accounts");
	assert_int_equal(config->rules[0].line, 3);
	config_free(config);
}

static void
opensmtpd_config_of_the_benchmark_parses_unchanged(void **state)
{
	struct config *config = good("table vusers file:/etc/mail-vusers\n"
	                             "table vbase file:/etc/mail-vbase\n"
	                             "smtp max-message-size 100M\n"
	                             "smtp limit max-mails 10000000\n"
	                             "listen on 127.0.0.1 port 2502 hostname mx.example.test\n"
	                             "action \"in\" maildir \"/var/vmail/%{dest.user:lowercase}\" "
	                             "virtual <vusers> userbase <vbase>\n"
	                             "action \"out\" relay\n"
	                             "match from any for domain \"example.test\" action \"in\"\n"
	                             "match from any for domain \"remote.test\" action \"out\"\n");
	const struct table_config *table;

	(void)state;
	assert_int_equal(config->max_message_size, 100 * 1024 * 1024);
	assert_int_equal(config->limits.transactions, 10000000);
	assert_string_equal(config->listeners[0].hostname, "mx.example.test");
	table = config_find_table(config, "vusers");
	assert_int_equal(table->backend, TABLE_FILE);
	assert_string_equal(table->path, "/etc/mail-vusers");
	assert_string_equal(config->actions[0].path, "/var/vmail/%{dest.user:lowercase}");
	assert_string_equal(config->actions[0].userbase_table, "vbase");
	assert_int_equal(config->actions[1].method, ACTION_RELAY);
	table = config_find_table(config, config->rules[1].for_table);
	assert_non_null(table);
	assert_int_equal(table->backend, TABLE_STATIC);
	assert_int_equal(table->entry_count, 1);
	assert_string_equal(table->entries[0].key, "remote.test");
	assert_string_equal(config->rules[1].action, "out");
	config_free(config);
}

static void
a_rule_that_does_not_say_is_about_local_mail(void **state)
{
	struct config *config = good("action a maildir\nmatch action a\nmatch for any reject\n");

	(void)state;
	assert_int_equal(config->rules[0].from, MATCH_FROM_LOCAL);
	assert_int_equal(config->rules[0].for_, MATCH_FOR_LOCAL);
	assert_int_equal(config->rules[1].from, MATCH_FROM_LOCAL);
	assert_int_equal(config->rules[1].for_, MATCH_FOR_ANY);
	assert_string_equal(config->rules[1].action, "");
	config_free(config);
}

static void
conditions_are_kept_with_their_negation(void **state)
{
	struct config *config = good("match ! from src { 10.0.0.0/8, ::1 } !for rcpt-to \"@b.org\" "
	                             "! tag t helo \"x.org\" !mail-from { \"<>\" } "
	                             "rcpt-to <r> reject\n"
	                             "table r { a@b.org, postmaster }\n"
	                             "match from mail-from \"c@d.org\" for any reject\n"
	                             "match from auth for any reject\n"
	                             "match from socket for local reject\n");
	const struct rule_config *rule = &config->rules[0];

	(void)state;
	assert_int_equal(rule->from, MATCH_FROM_SOURCE);
	assert_true(rule->from_negated);
	assert_int_equal(config_find_table(config, rule->from_table)->entry_count, 2);
	assert_int_equal(rule->for_, MATCH_FOR_RCPT);
	assert_true(rule->for_negated);
	assert_string_equal(rule->tag, "t");
	assert_true(rule->tag_negated);
	assert_false(rule->helo_negated);
	assert_true(rule->mail_from_negated);
	assert_false(rule->rcpt_to_negated);
	assert_string_equal(rule->rcpt_to_table, "r");
	rule++;
	assert_int_equal(rule->from, MATCH_FROM_ANY);
	assert_string_not_equal(rule->mail_from_table, "");
	assert_int_equal(config->rules[2].from, MATCH_FROM_AUTH);
	assert_int_equal(config->rules[3].from, MATCH_FROM_SOCKET);
	config_free(config);
}

static void
listeners_take_addresses_interfaces_and_sockets(void **state)
{
	struct config *config = good("listen on lo port 2525 inet4 tag inside no-dsn mask-src\n"
	                             "listen on ::1 port smtp proxy-v2 hostname in.example.org\n"
	                             "listen on 127.0.0.2 port 24 lmtp proxy-v2 { 127.0.0.0/8 }\n"
	                             "listen on socket \"/run/x/lmtp.sock\" lmtp\n"
	                             "listen on socket\n"
	                             "listen on localhost port 2526 inet4\n");
	const struct listener_config *listener = config->listeners;

	(void)state;
	assert_int_equal(config->listener_count, 5);
	assert_int_equal(listener->address.ss_family, AF_INET);
	assert_int_equal(((const struct sockaddr_in *)&listener->address)->sin_addr.s_addr,
	    htonl(INADDR_LOOPBACK));
	assert_string_equal(listener->tag, "inside");
	assert_true(listener->no_dsn);
	assert_true(listener->mask_source);
	listener++;
	assert_int_equal(listener->address.ss_family, AF_INET6);
	assert_int_equal(listener->address_length, sizeof(struct sockaddr_in6));
	assert_int_equal(ntohs(((const struct sockaddr_in6 *)&listener->address)->sin6_port), 25);
	assert_true(listener->proxy_v2);
	assert_string_equal(listener->proxy_trusted, "");
	listener++;
	assert_int_equal(listener->protocol, LISTEN_LMTP);
	assert_non_null(config_find_table(config, listener->proxy_trusted));
	listener++;
	assert_int_equal(listener->address.ss_family, AF_UNIX);
	assert_string_equal(
	    ((const struct sockaddr_un *)&listener->address)->sun_path, "/run/x/lmtp.sock");
	config_free(config);
}

static void
settings_reach_their_members(void **state)
{
	struct config *config = good("smtp hostname mx.example.org\n"
	                             "smtp max-message-size 35M\n"
	                             "smtp sub-addr-delim \"+-\"\n"
	                             "smtp line-ends normalise\n"
	                             "smtp limit sessions 11\nsmtp limit sessions-per-address 12\n"
	                             "smtp limit sessions-per-network 13\n"
	                             "smtp limit max-mails 14\nsmtp limit max-rcpt 15\n"
	                             "smtp limit targets 16\nsmtp limit max-errors 17\n"
	                             "smtp limit unknown-users 0\nsmtp limit noops 18\n"
	                             "smtp limit command-line 4K\nsmtp limit text-line 1000\n"
	                             "smtp limit header-size 1M\nsmtp limit received 19\n"
	                             "smtp limit idle-time 10s\nsmtp limit session-time 1h30m\n"
	                             "smtp limit resolver-time-ms 200\n"
	                             "queue ttl 4d\nqueue retry-first 20\nqueue retry-max 1h\n"
	                             "queue free-space 7%\nqueue segment-size 128m\n"
	                             "mda limit sessions 21\nmda limit processes 22\n"
	                             "bounce warn-interval { 1h, 4h\n 1d }\n"
	                             "postmaster admin@example.org\n"
	                             "directory spool /s\ndirectory state /t\ndirectory run /r\n"
	                             "mail user vmail\nmail directory \"/m\"\n"
	                             "resolver nameserver ::1@5353\n");

	(void)state;
	assert_string_equal(config->hostname, "mx.example.org");
	assert_int_equal(config->max_message_size, 35 * 1024 * 1024);
	assert_string_equal(config->subaddress_delimiters, "+-");
	assert_int_equal(config->line_ends, LINE_ENDS_NORMALISE);
	assert_int_equal(config->limits.sessions, 11);
	assert_int_equal(config->limits.sessions_per_address, 12);
	assert_int_equal(config->limits.sessions_per_network, 13);
	assert_int_equal(config->limits.transactions, 14);
	assert_int_equal(config->limits.recipients, 15);
	assert_int_equal(config->limits.targets, 16);
	assert_int_equal(config->limits.errors, 17);
	assert_int_equal(config->limits.unknown_users, 0);
	assert_int_equal(config->limits.noops, 18);
	assert_int_equal(config->limits.command_line, 4096);
	assert_int_equal(config->limits.text_line, 1000);
	assert_int_equal(config->limits.header_size, 1024 * 1024);
	assert_int_equal(config->limits.received, 19);
	assert_int_equal(config->limits.idle_time, 10);
	assert_int_equal(config->limits.session_time, 5400);
	assert_int_equal(config->limits.resolver_time_ms, 200);
	assert_int_equal(config->queue_ttl, 4 * 86400);
	assert_int_equal(config->queue_retry_first, 20);
	assert_int_equal(config->queue_retry_max, 3600);
	assert_int_equal(config->queue_free_percent, 7);
	assert_int_equal(config->queue_segment_size, 128 * 1024 * 1024);
	assert_int_equal(config->mda_sessions, 21);
	assert_int_equal(config->mda_processes, 22);
	assert_int_equal(config->bounce_warn_count, 3);
	assert_int_equal(config->bounce_warn[1], 4 * 3600);
	assert_int_equal(config->bounce_warn[2], 86400);
	assert_string_equal(config->postmaster, "admin@example.org");
	assert_string_equal(config->spool_directory, "/s");
	assert_string_equal(config->state_directory, "/t");
	assert_string_equal(config->run_directory, "/r");
	assert_string_equal(config->mail_user, "vmail");
	assert_string_equal(config->mail_directory, "/m");
	assert_string_equal(config->nameserver, "::1@5353");
	config_free(config);
	config = good("bounce warn-interval none\n");
	assert_int_equal(config->bounce_warn_count, 0);
	config_free(config);
}

static void
actions_take_their_options(void **state)
{
	struct config *config =
	    good("table users { bob = \"1000:1000:/home/bob\" }\n"
	         "action p maildir \"~/%{dest.domain[0:-2]:lowercase|raw}/%%{x}/%{rcpt}\"\n"
	         "action m maildir \"~/Mail\" alias { a = \"b, c\" } userbase <users> user mail "
	         "ttl 1d pipes\n"
	         "action r relay host \"smtp+tls://label@mx.example.org:587\" ttl 2d\n"
	         "action e expand-only virtual { \"@x.org\" = y }\n");

	(void)state;
	assert_string_equal(config->actions[1].path, "~/Mail");
	assert_string_equal(config->actions[1].user, "mail");
	assert_true(config->actions[1].allow_pipes);
	assert_int_equal(config->actions[1].ttl, 86400);
	assert_string_equal(
	    config_find_table(config, config->actions[1].alias_table)->entries[0].value, "b, c");
	assert_string_equal(config->actions[2].relay_host, "smtp+tls://label@mx.example.org:587");
	assert_int_equal(config->actions[3].method, ACTION_EXPAND_ONLY);
	config_free(config);
}

static void
words_are_joined_quoted_and_expanded(void **state)
{
	struct config *config =
	    good("# a comment \\\nthat goes on\n"
	         "host = \"mx.example.org\"\r\n"
	         "where = 127.0.0.1 \"port\" 2525\n"
	         "base = '/var/mail'\n"
	         "listen on $where \\\n  hostname $host # why\n"
	         "mail directory $base/x\n"
	         "postmaster \"\\\"a b\\\"@example.org\"\n"
	         "table t { \"listen\", 'it\"s',\n\n # in a list\n \"a\\\\b\", c\\d, }\n"
	         "match helo <t> reject");
	const struct table_config *table = config_find_table(config, "t");

	(void)state;
	assert_string_equal(config->listeners[0].hostname, "mx.example.org");
	assert_string_equal(config->mail_directory, "/var/mail/x");
	assert_string_equal(config->postmaster, "\"a b\"@example.org");
	assert_int_equal(table->entry_count, 4);
	assert_string_equal(table->entries[0].key, "listen");
	assert_string_equal(table->entries[1].key, "it\"s");
	assert_string_equal(table->entries[2].key, "a\\b");
	assert_string_equal(table->entries[3].key, "c\\d");
	assert_int_equal(config->rules[0].line, 14);
	config_free(config);
}

/* Statements that are right, each alone. */
static const char *const statements[] = {
	"include \"/nonexistent\"",
	"name = value",
	"table t file:/etc/hosts",
	"table t { a, b }",
	"table t { a = b, c = d }",
	"listen on 127.0.0.1 port 25 hostname a.org tag b no-dsn mask-src proxy-v2",
	"listen on ::1 inet6 port 24 lmtp proxy-v2 { 10.0.0.1 }",
	"listen on socket \"/run/s\" lmtp",
	"action a maildir \"/m\" virtual <accounts> user u ttl 4d pipes",
	"action a maildir alias { a = b } userbase { u = 1:1:/h }",
	"action a relay host a.org ttl 1d",
	"action a expand-only alias { a = b }",
	"match from any for domain <accounts> reject",
	"match ! from src 10.0.0.1 ! for rcpt-to { a@b } ! tag t reject",
	"match ! helo h ! mail-from x@y ! rcpt-to c@d reject",
	"match from auth for local reject",
	"match from mail-from @a.org for any reject",
	"queue ttl 4d",
	"queue retry-first 400s",
	"queue retry-max 4h",
	"queue free-space 5%",
	"queue segment-size 64M",
	"bounce warn-interval 4h",
	"bounce warn-interval { 1h, 4h }",
	"smtp hostname a.org",
	"smtp max-message-size 35M",
	"smtp sub-addr-delim \"+\"",
	"smtp line-ends strict",
	"smtp limit max-rcpt 10",
	"mda limit sessions 3",
	"mda limit processes 3",
	"postmaster a@b.org",
	"directory spool /s",
	"directory state /s",
	"directory run /s",
	"mail user u",
	"mail directory /m",
	"resolver nameserver 127.0.0.1@5353",
};
#define STATEMENT_COUNT (sizeof(statements) / sizeof(statements[0]))

/* The report of any damage to a statement names the file, the line and a word. */
static void
check_damage(const char *text)
{
	struct reports reports;
	struct config *config = parse(text, &reports);
	char *line, *next;

	if (config != NULL) {
		config_free(config);
		return;
	}
	assert_true(reports.errors > 0);
	for (line = reports.text; *line != '\0'; line = next) {
		next = strchr(line, '\n');
		*next++ = '\0';
		if (strncmp(line, NAME ":2: ", strlen(NAME ":2: ")) != 0 &&
		    strncmp(line, NAME ":3: ", strlen(NAME ":3: ")) != 0)
			fail_msg("%s\nno place in: %s", text, line);
		if (strpbrk(line, "\"'<") == NULL)
			fail_msg("%s\nno word in: %s", text, line);
	}
}

/* Each word of each statement missing, doubled, and replaced. */
static void
damaged_statements_are_reported_with_line_and_word(void **state)
{
	static const char *const replacements[] = { "junk", "\"\"", "{", "}", "=", "-1",
		"99999999999999999999", "listen", "<x>", "!", "\"a b\"", "tls", "\x01", "\"open" };
	const size_t kinds = 2 + sizeof(replacements) / sizeof(replacements[0]);

	(void)state;
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		for (size_t word = 0;; word++) {
			char copy[256], *words[40], *at, *save;
			size_t count = 0;

			snprintf(copy, sizeof(copy), "%s", statements[i]);
			for (at = strtok_r(copy, " ", &save); at != NULL;
			     at = strtok_r(NULL, " ", &save))
				words[count++] = at;
			if (word == count)
				break;
			for (size_t kind = 0; kind < kinds; kind++) {
				char text[1024] = "#\n";

				for (size_t j = 0; j < count; j++) {
					if (j == word && kind == 0)
						continue;
					strcat(text,
					    j == word && kind > 1 ? replacements[kind - 2]
					                          : words[j]);
					strcat(text, " ");
					if (j == word && kind == 1)
						strcat(strcat(text, words[j]), " ");
				}
				check_damage(strcat(text, "\n"));
			}
		}
	}
}

/* A statement that ends too early says after which word. */
static void
missing_arguments_are_reported(void **state)
{
	(void)state;
	bad("listen\n", 1, "\"listen\"");
	bad("listen on\n", 1, "\"on\"");
	bad("listen on 127.0.0.1 port\n", 1, "\"port\"");
	bad("action\n", 1, "\"action\"");
	bad("action a\n", 1, "\"a\"");
	bad("action a maildir alias\n", 1, "\"alias\"");
	bad("match\n", 1, "\"match\"");
	bad("match from\n", 1, "\"from\"");
	bad("match for domain\n", 1, "\"domain\"");
	bad("match from any\n", 1, "\"any\"");
	bad("table\n", 1, "\"table\"");
	bad("table t\n", 1, "\"t\"");
	bad("smtp\n", 1, "\"smtp\"");
	bad("smtp limit\n", 1, "\"limit\"");
	bad("smtp limit max-rcpt\n", 1, "\"max-rcpt\"");
	bad("queue\n", 1, "\"queue\"");
	bad("bounce\n", 1, "\"bounce\"");
	bad("mda\n", 1, "\"mda\"");
	bad("mail\n", 1, "\"mail\"");
	bad("directory\n", 1, "\"directory\"");
	bad("postmaster\n", 1, "\"postmaster\"");
	bad("include\n", 1, "\"include\"");
	bad("name =\n", 1, "\"=\"");
	bad("name\n", 1, "\"name\"");
	bad("action a relay host\n", 1, "\"host\"");
	bad("table t { a =\n", 1, "\"=\"");
}

static void
every_setting_given_twice_is_an_error(void **state)
{
	(void)state;
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		char text[1024], word[64];

		if (strncmp(statements[i], "match", 5) == 0)
			continue; /* the same rule twice does no harm */
		snprintf(text, sizeof(text), "%s\n%s\n", statements[i], statements[i]);
		snprintf(word, sizeof(word), "\"");
		bad(text, 2, word);
	}
	bad("listen on ::1 tag a tag b\n", 1, "\"tag\"");
	bad("listen on ::1 no-dsn no-dsn\n", 1, "\"no-dsn\"");
	bad("listen on ::1 port 24 lmtp lmtp\n", 1, "\"lmtp\"");
	bad("listen on ::1 port 25 port 26\n", 1, "\"port\"");
	bad("action a maildir ttl 1d ttl 2d\n", 1, "\"ttl\"");
	bad("action a maildir alias <x> alias <x>\n", 1, "\"alias\"");
	bad("match from any from any for any reject\n", 1, "\"from\"");
	bad("match for any for local reject\n", 1, "\"for\"");
	bad("match tag a tag b reject\n", 1, "\"tag\"");
	bad("match mail-from a@b mail-from c@d reject\n", 1, "\"mail-from\"");
}

static void
wrong_values_are_reported_with_what_is_wanted(void **state)
{
	(void)state;
	bad("smtp limit max-rcpt many\n", 1, "\"many\"");
	bad("smtp limit max-rcpt 0\n", 1, "\"0\"");
	bad("smtp limit command-line 511\n", 1, "\"511\"");
	bad("smtp limit colour 3\n", 1, "\"smtp limit colour\"");
	bad("mda limit colour 3\n", 1, "\"mda limit colour\"");
	bad("smtp max-message-size 35X\n", 1, "\"35X\"");
	bad("smtp max-message-size 99999999999999999999\n", 1, "\"99999999999999999999\"");
	bad("smtp max-message-size 18446744073709551615T\n", 1, "\"18446744073709551615T\"");
	bad("smtp line-ends loose\n", 1, "\"loose\"");
	bad("smtp sub-addr-delim a\n", 1, "\"a\"");
	bad("smtp sub-addr-delim \"@\"\n", 1, "\"@\"");
	bad("smtp hostname a..b\n", 1, "\"a..b\"");
	bad("queue ttl 4x\n", 1, "\"4x\"");
	bad("queue ttl 1h1h\n", 1, "\"1h1h\"");
	bad("queue ttl 1h30\n", 1, "\"1h30\"");
	bad("queue ttl 0\n", 1, "\"0\"");
	bad("queue free-space 95%\n", 1, "\"95%\"");
	bad("queue segment-size 1K\n", 1, "\"1K\"");
	bad("bounce warn-interval { 4h, 1h }\n", 1, "\"1h\"");
	bad("bounce warn-interval { 1h 2h 3h 4h 5h 6h 7h 8h 9h }\n", 1, "\"9h\"");
	bad("bounce warn-interval { 1h, none }\n", 1, "\"none\"");
	bad("postmaster nobody\n", 1, "\"nobody\"");
	bad("directory spool relative\n", 1, "\"relative\"");
	bad("directory spool /a/../b\n", 1, "\"/a/../b\"");
	bad("resolver nameserver 127.0.0.1@0\n", 1, "\"127.0.0.1@0\"");
	bad("resolver nameserver localhost\n", 1, "\"localhost\"");
	bad("mail user \"a b\"\n", 1, "\"a b\"");
	bad("listen on 127.0.0.1 port 65536\n", 1, "\"65536\"");
	bad("listen on 127.0.0.1 port nosuchservice\n", 1, "\"nosuchservice\"");
	bad("listen on nosuchinterface0 port 25\n", 1, "\"nosuchinterface0\"");
	bad("listen on 127.0.0.1 inet6\n", 1, "\"127.0.0.1\"");
	bad("listen on 127.0.0.1 lmtp\n", 1, "\"lmtp\"");
	bad("listen on socket relative\n", 1, "\"relative\"");
	bad("listen on socket \"/s\" port 25\n", 1, "\"port\"");
	bad("listen on ::1 hostname a..b\n", 1, "\"a..b\"");
	bad("listen on ::1 tag \"a b\"\n", 1, "\"a b\"");
	bad("listen on ::1\nlisten on ::1\n", 2, "\"::1\"");
	bad("action \"a b\" maildir\n", 1, "\"a b\"");
	bad("action a maildir host h\n", 1, "\"host\"");
	bad("action a relay alias <accounts>\n", 1, "\"alias\"");
	bad("action a expand-only\n", 1, "\"expand-only\"");
	bad("action a maildir alias { a = b } virtual { a = b }\n", 1, "\"alias\"");
	bad("action a maildir ttl never\n", 1, "\"never\"");
	bad("action a maildir \"/m/%{sender}\"\n", 1, "\"/m/%{sender}\"");
	bad("action a maildir \"/m/%{dest.user\"\n", 1, "\"/m/%{dest.user\"");
	bad("action a maildir \"/m/%{dest.user:upper}\"\n", 1, "\"/m/%{dest.user:upper}\"");
	bad("action a maildir \"/m/%{dest.user[x]}\"\n", 1, "\"/m/%{dest.user[x]}\"");
	bad("action a maildir \"%{\"\n", 1, "\"%{\"");
	bad("action a relay host \"ftp://x\"\n", 1, "\"ftp://x\"");
	bad("table t sqlite:/etc/x\n", 1, "\"sqlite:/etc/x\"");
	bad("table t file:etc/x\n", 1, "\"etc/x\"");
	bad("table \"t x\" { a }\n", 1, "\"t x\"");
	bad("table accounts { a }\n", 1, "\"accounts\"");
	bad("table t { a, b = c }\n", 1, "\"b\"");
	bad("table t { }\n", 1, "\"}\"");
	bad("table t { a,, b }\n", 1, "\",\"");
	bad("match for domain \"a b\" reject\n", 1, "\"a b\"");
	bad("match from src \"10.0.0.0/33\" reject\n", 1, "\"10.0.0.0/33\"");
	bad("match mail-from \"a@b@c\" reject\n", 1, "\"a@b@c\"");
	bad("queue retry-first 5h\n", 1, "\"queue retry-first\"");
}

static void
names_that_nothing_defines_are_reported_where_they_are_used(void **state)
{
	struct config *config;

	(void)state;
	bad("match for local action a\n", 1, "\"a\"");
	bad("\nmatch for domain <d> reject\n", 2, "<d>");
	bad("action a maildir alias <x>\n", 1, "<x>");
	bad("listen on ::1 proxy-v2 <p>\n", 1, "<p>");
	bad("table p file:/etc/hosts\nlisten on ::1 port 25 proxy-v2 <p>\n", 2, "<p>");
	bad("table p db:/etc/hosts\nlisten on ::1 port 25 proxy-v2 <p>\n", 2,
	    "stand in the configuration");
	bad("listen on ::1 port 25 proxy-v2 <accounts>\n", 1, "<accounts>");
	bad("table p { a.org }\nlisten on ::1 port 25 proxy-v2 <p>\n", 1, "\"a.org\"");
	bad("listen on $where\n", 1, "\"$where\"");
	bad("table l { a, b }\naction a maildir alias <l>\n", 2, "\"l\"");
	bad("action a maildir alias aliases\n", 1, "\"aliases\"");
	bad("action a maildir alias <accounts>\n", 1, "<accounts>");
	bad("match from src <accounts> reject\n", 1, "<accounts>");
	bad("table d {\n a.org\n b..org }\nmatch for domain <d> reject\n", 3, "\"b..org\"");
	bad("action a maildir userbase { u = nobody }\n", 1, "\"nobody\"");
	/* In any order. */
	config = good("match for domain <d> action a\naction a maildir\ntable d { a.org }\n");
	config_free(config);
}

static void
what_is_not_there_yet_is_not_supported(void **state)
{
	(void)state;
	bad("pki mx cert \"/etc/ssl/mx.crt\"\n", 1, "\"pki\" is not supported");
	bad("ca x cert \"/x\"\n", 1, "\"ca\" is not supported");
	bad("\n\nfilter f proc-exec \"x\"\n", 3, "\"filter\" is not supported");
	bad("mta max-deferred 100\n", 1, "\"mta\" is not supported");
	bad("srs key x\n", 1, "\"srs\" is not supported");
	bad("listen on ::1 tls pki mx\n", 1, "\"tls\" is not supported");
	bad("listen on ::1 smtps\n", 1, "\"smtps\" is not supported");
	bad("listen on ::1 auth\n", 1, "\"auth\" is not supported");
	bad("action a mbox\n", 1, "\"mbox\" is not supported");
	bad("action a lmtp \"/run/lmtp\"\n", 1, "\"lmtp\" is not supported");
	bad("action a mda \"x\"\n", 1, "\"mda\" is not supported");
	bad("action a maildir junk\n", 1, "\"junk\"");
	bad("action a relay helo x\n", 1, "\"helo\" is not supported");
	bad("action a relay tls\n", 1, "\"tls\" is not supported");
	bad("match from rdns regex x for any reject\n", 1, "\"rdns\" is not supported");
	bad("match auth for any reject\n", 1, "\"auth\" is not supported");
	bad("queue compression\n", 1, "\"compression\" is not supported");
	bad("tls = on\n", 1, "\"tls\"");
}

static void
slips_are_explained(void **state)
{
	(void)state;
	bad("lisen on ::1\n", 1, "\"lisen\"");
	bad("match for any reject reject\n", 1, "\"reject\"");
	bad("match from any for domain local reject\n", 1, "\"local\" is a keyword: quote it");
	bad("smtp hostname \"a.org\n", 1, "\"a.org\"");
	bad("smtp hostname 'a.org\n", 1, "\"a.org\"");
	bad("a = b\na = c\n", 2, "\"a\"");
	bad("\"a b\" = c\n", 1, "\"a b\"");
	bad("a = '$b'\nlisten on $a\n", 2, "\"$b\"");
	bad("smtp hostname a\x01\n", 1, "\\x01");
	bad("smtp hostname \"a\x7f\"\n", 1, "\\x7f");
	/* The line after one in error is read again. */
	bad("lisen\nqeue\nmacth\n", 3, "\"macth\"");
	bad("listen\nqueue ttl x\n", 2, "\"x\"");
}

static void
unused_and_unreachable_things_are_warned_of(void **state)
{
	(void)state;
	warns("table t { a }\n", 1, "\"t\"");
	warns("a = b\n", 1, "\"a\"");
	warns("action a maildir\n", 1, "\"a\"");
	warns("match from any for any reject\nmatch for local reject\n", 2, "line 1");
	warns("action a maildir virtual { a@b = c }\nmatch for domain <accounts> action a\n", 2,
	    "<accounts>");
	warns("table t file:/nonexistent/x\nmatch for domain <t> reject\n", 1, "/nonexistent/x");
}

static void
many_errors_are_cut_short(void **state)
{
	static char text[200000];
	struct reports reports;

	(void)state;
	for (size_t i = 0; i < 20000; i++)
		strcpy(text + 8 * i, "a b c d\n");
	assert_null(parse(text, &reports));
	assert_int_equal(reports.errors, 101);
	assert_non_null(strstr(reports.text, "too many errors"));
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

/* Printing, and parsing what was printed, comes to rest at once. */
static void
printed_config_parses_to_the_same(void **state)
{
	char text[8192] = "", *first = NULL, *second = NULL;
	size_t size;
	struct config *config;
	FILE *file;

	(void)state;
	strcat(
	    text, "table f file:/etc/x\ntable b db:/etc/y\ntable s { \"a\\\\\\\"b\" = \"c d\" }\n");
	strcat(text, "listen on ::1 port 26 hostname a.org tag b no-dsn mask-src proxy-v2\n");
	strcat(text, "listen on 127.0.0.1 port 24 lmtp proxy-v2 { 10.0.0.1 }\n");
	strcat(text, "listen on socket \"/run/s\"\n");
	strcat(text,
	    "action a maildir \"/m/%{dest.user}\" virtual <f> userbase <b> user u ttl 90s "
	    "pipes\naction r relay host \"smtp://h\"\naction e expand-only alias <s>\n");
	strcat(text,
	    "match ! from src 10.0.0.1 ! for rcpt-to { a@b } ! tag t ! helo h "
	    "! mail-from x@y ! rcpt-to c@d action a\n");
	strcat(text, "match from auth for domain <accounts> action r\nmatch action e\n");
	strcat(text, "bounce warn-interval { 1h, 90m }\nsmtp sub-addr-delim '\"\\\\'\n");
	config = good(text);
	file = open_memstream(&first, &size);
	parse_print_config(file, config);
	fclose(file);
	config_free(config);
	config = good(first);
	file = open_memstream(&second, &size);
	parse_print_config(file, config);
	fclose(file);
	assert_string_equal(first, second);
	assert_int_equal(config->rule_count, 3);
	assert_int_equal(config->action_count, 3);
	assert_int_equal(config->listener_count, 3);
	assert_string_equal(config->subaddress_delimiters, "\"\\");
	config_free(config);
	free(first);
	free(second);
}

/* The text of a file of this tree; tests run at its top. */
static char *
tree_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	if (file == NULL)
		fail_msg("can't open %s", path);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	return text;
}

/* What mdoc escapes in a literal block. */
static void
unescape(char *text)
{
	char *to = text;

	for (; *text != '\0'; text++) {
		*to++ = *text;
		if (text[0] == '\\' && text[1] == 'e')
			text++;
	}
	*to = '\0';
}

static void
examples_of_the_manual_parse(void **state)
{
	char *manual = tree_file("smtpd/smtpd.conf.5"), *at = manual, *end;
	size_t examples = 0;

	(void)state;
	while ((at = strstr(at, "\n.Bd -literal")) != NULL) {
		at = strchr(at + 1, '\n') + 1;
		end = strstr(at, "\n.Ed");
		assert_non_null(end);
		*end = '\0';
		unescape(at);
		config_free(good(at));
		at = end + 1;
		examples++;
	}
	assert_int_equal(examples, 4);
	free(manual);
}

static void
manual_names_every_setting(void **state)
{
	char *manual = tree_file("smtpd/smtpd.conf.5"), *printed = NULL, *line, *save, *end;
	struct config *config = config_new();
	size_t size, settings = 0;
	FILE *file = open_memstream(&printed, &size);

	(void)state;
	parse_print_config(file, config);
	fclose(file);
	for (line = strtok_r(printed, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		char wanted[128], *name;

		/* "smtp limit max-rcpt 1000" is "\n.It Ic smtp limit Cm max-rcpt Ar" there. */
		end = strpbrk(line, "0123456789\"{");
		if (end == NULL)
			end = strrchr(line, ' ') + 1;
		end[-1] = '\0';
		name = strrchr(line, ' ');
		assert_non_null(name);
		*name++ = '\0';
		snprintf(wanted, sizeof(wanted), "\n.It Ic %s Cm %s ", line, name);
		if (strstr(manual, wanted) == NULL)
			fail_msg("not in the manual: %s %s", line, name);
		settings++;
	}
	assert_true(settings > 30);
	config_free(config);
	free(printed);
	free(manual);
}

static void
installed_configs_parse(void **state)
{
	static const char *const paths[] = { "etc/smtpd.conf", "etc/examples/behind-proxy.conf",
		"etc/examples/system-users.conf", "etc/examples/virtual-users.conf" };

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		char *text = tree_file(paths[i]);

		config_free(good(text));
		free(text);
	}
}

static void
reports_go_to_a_stream(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	(void)state;
	assert_null(parse_config_text("x", "nonsense", 8, parse_report_to_file, file));
	fclose(file);
	assert_int_equal(strncmp(text, "x:1: \"nonsense\"", 15), 0);
	assert_int_equal(text[size - 1], '\n');
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(six_lines_serve_an_organization),
		cmocka_unit_test(opensmtpd_config_of_the_benchmark_parses_unchanged),
		cmocka_unit_test(a_rule_that_does_not_say_is_about_local_mail),
		cmocka_unit_test(conditions_are_kept_with_their_negation),
		cmocka_unit_test(listeners_take_addresses_interfaces_and_sockets),
		cmocka_unit_test(settings_reach_their_members),
		cmocka_unit_test(actions_take_their_options),
		cmocka_unit_test(words_are_joined_quoted_and_expanded),
		cmocka_unit_test(damaged_statements_are_reported_with_line_and_word),
		cmocka_unit_test(missing_arguments_are_reported),
		cmocka_unit_test(every_setting_given_twice_is_an_error),
		cmocka_unit_test(wrong_values_are_reported_with_what_is_wanted),
		cmocka_unit_test(names_that_nothing_defines_are_reported_where_they_are_used),
		cmocka_unit_test(what_is_not_there_yet_is_not_supported),
		cmocka_unit_test(slips_are_explained),
		cmocka_unit_test(unused_and_unreachable_things_are_warned_of),
		cmocka_unit_test(many_errors_are_cut_short),
		cmocka_unit_test(lines_and_words_of_megabytes_are_refused),
		cmocka_unit_test(included_files_are_read_in_place),
		cmocka_unit_test(files_that_are_no_config_are_refused),
		cmocka_unit_test(include_loops_end),
		cmocka_unit_test(printed_config_parses_to_the_same),
		cmocka_unit_test(examples_of_the_manual_parse),
		cmocka_unit_test(manual_names_every_setting),
		cmocka_unit_test(installed_configs_parse),
		cmocka_unit_test(reports_go_to_a_stream),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
