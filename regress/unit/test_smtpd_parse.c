/*
 * smtpd.conf: what its statements mean, and that a config is printed as it was read.
 */
#include <sys/un.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

static void
six_lines_serve_an_organization(void **state)
{
	struct config *config = good("listen on 0.0.0.0\n"
	                             "action \"deliver\" maildir virtual <accounts>\n"
	                             "match from any for domain <accounts> action \"deliver\"\n");
	const struct table_config *table = config_find_table(config, "accounts");

	(void)state;
	assert_int_equal(config->listener_count, 2); /* the other is local */
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
	struct config *config =
	    good("match ! from src { 10.0.0.0/8, ::1 } !for rcpt-to \"@b.org\" "
	         "! tag t helo \"x.org\" !mail-from { \"<>\" } "
	         "rcpt-to <r> reject\n"
	         "table r { a@b.org, postmaster }\n"
	         "match from mail-from \"c@d.org\" for any reject\n"
	         "match from auth for any reject\n"
	         "match from socket for local reject\n"
	         "match !from rdns regex \"^dyn[0-9]+\" for any !tls reject\n"
	         "match from rdns for any auth regex { a, \"^b\" } tls reject\n");
	const struct rule_config *rule = &config->rules[0];

	(void)state;
	assert_int_equal(rule->from, MATCH_FROM_SOURCE);
	assert_true(rule->from_negated);
	assert_int_equal(config_find_table(config, rule->from_table)->entry_count, 2);
	assert_int_equal(rule->for_, MATCH_FOR_RCPT);
	assert_true(rule->for_negated);
	assert_string_equal(config_find_table(config, rule->tag_table)->entries[0].key, "t");
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
	rule = &config->rules[4];
	assert_int_equal(rule->from, MATCH_FROM_RDNS);
	assert_true(rule->from_negated && rule->from_regex && rule->tls && rule->tls_negated);
	assert_string_equal(
	    config_find_table(config, rule->from_table)->entries[0].key, "^dyn[0-9]+");
	rule++;
	assert_string_equal(rule->from_table, "");
	assert_true(rule->auth && rule->auth_regex && rule->tls && !rule->tls_negated);
	config_free(config);
}

static void
logins_are_asked_for_by_listeners_and_rules(void **state)
{
	struct config *config = good("table people file:/etc/passwd\n"
	                             "table names { a = b@c.org }\n"
	                             "listen on 127.0.0.1 port 587 auth auth-cleartext\n"
	                             "listen on 127.0.0.1 port 588 auth-optional <people> "
	                             "auth-cleartext senders <names> masquerade received-auth\n"
	                             "smtp limit auth-failures 4\n"
	                             "smtp limit user-mails-per-hour 100 hold\n"
	                             "match from auth { ann } for any reject\n"
	                             "match ! auth <names> from any for any reject\n"
	                             "match auth from any for any reject\n");

	(void)state;
	assert_int_equal(config->listeners[0].auth, LISTEN_AUTH_REQUIRED);
	assert_string_equal(config->listeners[0].auth_table, "accounts");
	assert_string_equal(config->listeners[0].senders_table, "");
	assert_false(config->listeners[0].masquerade);
	assert_int_equal(config->listeners[1].auth, LISTEN_AUTH_OPTIONAL);
	assert_string_equal(config->listeners[1].auth_table, "people");
	assert_string_equal(config->listeners[1].senders_table, "names");
	assert_true(config->listeners[1].masquerade);
	assert_true(config->listeners[1].received_auth);
	assert_true(config->listeners[1].auth_without_tls);
	assert_int_equal(config->auth_failures, 4);
	assert_int_equal(config->user_mails_per_hour, 100);
	assert_true(config->user_mails_hold);
	assert_int_equal(config->rules[0].from, MATCH_FROM_AUTH);
	assert_int_equal(config_find_table(config, config->rules[0].from_table)->entry_count, 1);
	assert_true(config->rules[1].auth && config->rules[1].auth_negated);
	assert_string_equal(config->rules[1].auth_table, "names");
	assert_true(config->rules[2].auth);
	assert_string_equal(config->rules[2].auth_table, "");
	config_free(config);
}

static void
listeners_take_addresses_interfaces_and_sockets(void **state)
{
	struct config *config = good("listen on lo port 2525 inet4 tag inside no-dsn mask-src\n"
	                             "listen on ::1 port smtp proxy-v2 hostname in.example.org\n"
	                             "listen on 127.0.0.2 port 24 lmtp proxy-v2 { 127.0.0.0/8 }\n"
	                             "listen on socket \"/run/x/lmtp.sock\" lmtp\n"
	                             "listen on socket tag own mask-src\n"
	                             "directory run \"/run/x\"\n"
	                             "listen on localhost port 2526 inet4\n");
	const struct listener_config *listener = config->listeners;

	(void)state;
	assert_int_equal(config->listener_count, 6);
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
	listener++;
	assert_string_equal(
	    ((const struct sockaddr_un *)&listener->address)->sun_path, "/run/x/smtp.sock");
	assert_string_equal(listener->tag, "own");
	assert_true(listener->mask_source);
	config_free(config);
}

static void
programs_of_this_machine_have_a_socket_whatever_is_said(void **state)
{
	struct config *config = good("directory run \"/run/x\"\n");
	const struct sockaddr_un *address = (const struct sockaddr_un *)&config->listeners->address;

	(void)state;
	assert_int_equal(config->listener_count, 1);
	assert_int_equal(address->sun_family, AF_UNIX);
	assert_string_equal(address->sun_path, "/run/x/smtp.sock");
	assert_int_equal(config->listeners->address_length, sizeof(*address));
	assert_string_equal(config->listeners->tag, "");
	config_free(config);
	/* Said with its path it is the same. */
	config = good("listen on socket \"/run/x/smtp.sock\" tag t\ndirectory run \"/run/x\"\n");
	assert_int_equal(config->listener_count, 1);
	assert_string_equal(config->listeners->tag, "t");
	config_free(config);
}

static void
assert_access(const struct listener_config *listener, enum listener_protocol protocol,
    enum listener_tls tls, unsigned port)
{
	assert_true(listener_is_access(listener));
	assert_int_equal(listener->protocol, protocol);
	assert_int_equal(listener->tls, tls);
	assert_int_equal(listener->auth, LISTEN_AUTH_REQUIRED);
	assert_string_equal(listener->auth_table, "accounts");
	assert_int_equal(ntohs(((const struct sockaddr_in *)&listener->address)->sin_port), port);
}

/* RFC 9051 2.1, RFC 1939 3, RFC 8314 3.2 and 3.3, RFC 5804 1.8. */
static void
mail_is_read_at_ports_of_its_own_after_a_login(void **state)
{
	struct config *config = good("pki mx cert \"/c\"\npki mx key \"/k\"\n"
	                             "listen on 127.0.0.1 imap tls pki mx\n"
	                             "listen on 127.0.0.1 imaps pki mx\n"
	                             "listen on 127.0.0.1 pop3 tls-require pki mx\n"
	                             "listen on 127.0.0.1 pop3s pki mx\n"
	                             "listen on 127.0.0.1 sieve tls-require pki mx\n"
	                             "listen on 127.0.0.1\n");
	const struct listener_config *listeners = config->listeners;

	(void)state;
	assert_int_equal(config->listener_count, 7); /* the last is this machine's programs' */
	assert_access(&listeners[0], LISTEN_IMAP, LISTEN_TLS_OPTIONAL, 143);
	assert_access(&listeners[1], LISTEN_IMAP, LISTEN_TLS_IMPLICIT, 993);
	assert_access(&listeners[2], LISTEN_POP3, LISTEN_TLS_REQUIRED, 110);
	assert_access(&listeners[3], LISTEN_POP3, LISTEN_TLS_IMPLICIT, 995);
	assert_access(&listeners[4], LISTEN_SIEVE, LISTEN_TLS_REQUIRED, 4190);
	assert_false(listener_is_access(&listeners[5]));
	assert_false(listener_is_access(&listeners[6]));
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
	                             "smtp limit resolver-time-ms 200\nsmtp limit lookup-time 2m\n"
	                             "queue ttl 4d\nqueue retry-first 20\nqueue retry-max 1h\n"
	                             "queue free-space 7%\nqueue segment-size 128m\n"
	                             "mda limit sessions 21\nmda limit processes 22\n"
	                             "bounce warn-interval { 1h, 4h\n 1d }\n"
	                             "postmaster admin@example.org\n"
	                             "directory spool /s\ndirectory state /t\ndirectory run /r\n"
	                             "mail user vmail\nmail directory \"/m\"\n"
	                             "resolver nameserver ::1@5353\n"
	                             "resolver trust-anchor /etc/dns/root.key\n"
	                             "ca default cert /etc/ssl/own.pem\n");

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
	assert_int_equal(config->limits.lookup_time, 120);
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
	assert_string_equal(config->trust_anchor, "/etc/dns/root.key");
	assert_string_equal(config->default_ca, "/etc/ssl/own.pem");
	assert_int_equal(config->ca_count, 0);
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
	         "action r relay host \"smtp+tls://label@mx.example.org:587\" ttl 2d "
	         "auth { label = \"me:secret\" }\n"
	         "action e expand-only virtual { \"@x.org\" = y }\n"
	         "action l lmtp \"/run/lmtp\" rcpt-to user mail userbase { u = \"1:1:/h\" }\n"
	         "action n lmtp \"[::1]:24\" alias { a = b }\n");

	(void)state;
	assert_string_equal(config->actions[1].path, "~/Mail");
	assert_string_equal(config->actions[1].user, "mail");
	assert_true(config->actions[1].allow_pipes);
	assert_int_equal(config->actions[1].ttl, 86400);
	assert_string_equal(
	    config_find_table(config, config->actions[1].alias_table)->entries[0].value, "b, c");
	assert_string_equal(config->actions[2].relay_hosts, "smtp+tls://label@mx.example.org:587");
	assert_int_equal(config->actions[3].method, ACTION_EXPAND_ONLY);
	assert_int_equal(config->actions[4].method, ACTION_LMTP);
	assert_string_equal(config->actions[4].relay_hosts, LMTP_URL "/run/lmtp");
	assert_true(config->actions[4].lmtp_rcpt_to);
	assert_string_equal(config->actions[5].relay_hosts, LMTP_URL "[::1]:24");
	assert_false(config->actions[5].lmtp_rcpt_to);
	config_free(config);
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
	strcat(text, "action l lmtp \"/run/lmtp\" rcpt-to\naction m lmtp \"h:24\" pipes\n");
	strcat(text,
	    "match ! from src 10.0.0.1 ! for rcpt-to { a@b } ! tag t ! helo h "
	    "! mail-from x@y ! rcpt-to c@d action a\n");
	strcat(text, "match from auth for domain <accounts> action r\nmatch action e\n");
	strcat(text, "srs key \"a \\\"b\"\nsrs key backup c\nsrs ttl 2d\naction s relay srs\n");
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
	assert_int_equal(config->action_count, 6);
	assert_true(config->actions[5].relay_srs);
	assert_string_equal(config->srs_key, "a \"b");
	assert_string_equal(config->srs_key_backup, "c");
	assert_int_equal(config->srs_ttl, 2 * 86400);
	assert_int_equal(config->listener_count, 4);
	assert_string_equal(config->subaddress_delimiters, "\"\\");
	config_free(config);
	free(first);
	free(second);
}

static void
local_methods_are_read_and_printed(void **state)
{
	struct config *config =
	    good("mda wrapper \"w\" \"/usr/bin/wrap %{mda} \\\"x\\\"\"\n"
	         "action \"box\" mbox\n"
	         "action \"file\" mbox \"~/mail/%{dest.user:lowercase}\"\n"
	         "action \"lda\" mda \"lda -d %{user.username} -f '%{sender}'\" "
	         "user nobody wrapper \"w\"\n"
	         "action \"forward\" forward-only\n"
	         "action \"sort\" maildir junk wrapper \"w\"\n");

	(void)state;
	assert_int_equal(config->actions[0].method, ACTION_MBOX);
	assert_string_equal(config->actions[0].path, "");
	assert_string_equal(config->actions[1].path, "~/mail/%{dest.user:lowercase}");
	assert_int_equal(config->actions[2].method, ACTION_MDA);
	assert_string_equal(config->actions[2].command, "lda -d %{user.username} -f '%{sender}'");
	assert_string_equal(config->actions[2].wrapper, "w");
	assert_int_equal(config->actions[3].method, ACTION_FORWARD_ONLY);
	assert_true(config->actions[4].junk);
	assert_string_equal(config->actions[4].wrapper, "w");
	assert_string_equal(
	    config_find_wrapper(config, "w")->command, "/usr/bin/wrap %{mda} \"x\"");
	config_free(config);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(local_methods_are_read_and_printed),
		cmocka_unit_test(six_lines_serve_an_organization),
		cmocka_unit_test(opensmtpd_config_of_the_benchmark_parses_unchanged),
		cmocka_unit_test(a_rule_that_does_not_say_is_about_local_mail),
		cmocka_unit_test(conditions_are_kept_with_their_negation),
		cmocka_unit_test(logins_are_asked_for_by_listeners_and_rules),
		cmocka_unit_test(listeners_take_addresses_interfaces_and_sockets),
		cmocka_unit_test(programs_of_this_machine_have_a_socket_whatever_is_said),
		cmocka_unit_test(mail_is_read_at_ports_of_its_own_after_a_login),
		cmocka_unit_test(settings_reach_their_members),
		cmocka_unit_test(actions_take_their_options),
		cmocka_unit_test(printed_config_parses_to_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
