/*
 * Options of actions that relay, and what is said of the connections to other hosts.
 */
#include <stdlib.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

static void
hosts_stand_in_their_order(void **state)
{
	struct config *config = good("action a relay host smtp://b.org host smtps://c.org:4465 "
	                             "host d.org tls no-verify helo me.example.org\n");
	const struct action_config *action = &config->actions[0];

	(void)state;
	assert_string_equal(action->relay_hosts, "smtp://b.org smtps://c.org:4465 d.org");
	assert_int_equal(action->relay_tls, RELAY_TLS_REQUIRED_UNVERIFIED);
	assert_string_equal(action->relay_helo, "me.example.org");
	config_free(config);
}

static void
hosts_may_stand_in_a_list(void **state)
{
	struct config *config =
	    good("action a relay host { \"smtps://b.org\",\n\tc.org\n\td.org:26 } tls\n");

	(void)state;
	assert_string_equal(config->actions[0].relay_hosts, "smtps://b.org c.org d.org:26");
	config_free(config);
}

/* As its users have it, but for the Maildir. */
static void
a_smarthost_of_opensmtpd_is_understood(void **state)
{
	struct config *config = good("table aliases file:/etc/mail/aliases\n"
	                             "table secrets file:/etc/mail/secrets\n"
	                             "listen on 127.0.0.1\n"
	                             "action \"local\" maildir alias <aliases>\n"
	                             "action \"relay\" relay host smtp+tls://bob@mail.example.com "
	                             "auth <secrets>\n"
	                             "match for local action \"local\"\n"
	                             "match for any action \"relay\"\n");

	(void)state;
	assert_string_equal(config->actions[1].relay_hosts, "smtp+tls://bob@mail.example.com");
	assert_string_equal(config->actions[1].relay_auth, "secrets");
	assert_int_equal(config->rule_count, 2);
	config_free(config);
}

static void
options_reach_the_config(void **state)
{
	struct config *config =
	    good("ca mine cert \"/etc/ca.pem\"\n"
	         "pki ours cert \"/etc/ours.crt\"\npki ours key \"/etc/ours.key\"\n"
	         "table secrets { work = \"me:pass:word\" }\n"
	         "action a relay host \"smtps://work@b.org\" auth <secrets> tls "
	         "pki ours ca mine mail-from \"x@example.org\"\n"
	         "action b relay backup mx mx2.example.org\n"
	         "action c relay domain { \"*.x.org\" = \"smtp://y.org\", \"*\" "
	         "= z.org }\n"
	         "action d relay backup\n"
	         "action e relay mail-from \"@example.net\"\n");

	(void)state;
	assert_string_equal(config->actions[0].relay_auth, "secrets");
	assert_string_equal(config->actions[0].relay_ca, "mine");
	assert_string_equal(config->actions[0].relay_pki, "ours");
	assert_int_equal(config->actions[0].relay_tls, RELAY_TLS_REQUIRED);
	assert_string_equal(config->actions[0].relay_mail_from, "x@example.org");
	assert_true(config->actions[1].relay_backup);
	assert_string_equal(config->actions[1].relay_backup_name, "mx2.example.org");
	assert_string_not_equal(config->actions[2].relay_domains, "");
	assert_true(config->actions[3].relay_backup);
	assert_string_equal(config->actions[3].relay_backup_name, "");
	assert_string_equal(config->actions[4].relay_mail_from, "@example.net");
	config_free(config);
}

static void
limits_of_destinations(void **state)
{
	struct config *config =
	    good("mta sessions 20\nmta sessions-per-host 3\n"
	         "mta messages-per-session 5\nmta recipients 50\n"
	         "mta connect-time 10s\nmta idle-time 2s\nmta no mta-sts\nmta no line-limit\n"
	         "mta no private-networks\n"
	         "mta tls-reports-from \"tls@example.org\"\n"
	         "mta limit sessions 7\n"
	         "mta limit for domain \"*.example.org\" messages-per-minute 60\n"
	         "mta limit for mx mx.example.net pause-ms 500\n"
	         "mta limit inet4\nmta limit for domain example.org inet6\n"
	         "mta limit for mx \"*.example.net\" inet4\n");

	(void)state;
	assert_int_equal(config->mta_sessions, 20);
	assert_int_equal(config->mta_sessions_per_host, 3);
	assert_int_equal(config->mta_messages_per_session, 5);
	assert_int_equal(config->mta_recipients, 50);
	assert_int_equal(config->mta_connect_time, 10);
	assert_int_equal(config->mta_idle_time, 2);
	assert_true(config->mta_no_sts);
	assert_true(config->mta_no_line_limit);
	assert_true(config->mta_no_private_networks);
	assert_string_equal(config->tls_reports_from, "tls@example.org");
	assert_int_equal(config->mta_limit_count, 6);
	assert_int_equal(config->mta_limits[0].sessions, 7);
	assert_string_equal(config->mta_limits[0].mx, "");
	assert_string_equal(config->mta_limits[1].domain, "*.example.org");
	assert_int_equal(config->mta_limits[1].messages_per_minute, 60);
	assert_string_equal(config->mta_limits[2].mx, "mx.example.net");
	assert_int_equal(config->mta_limits[2].pause_ms, 500);
	assert_int_equal(config->mta_limits[2].family, RELAY_FAMILY_ANY);
	assert_int_equal(config->mta_limits[3].family, RELAY_INET4);
	assert_int_equal(config->mta_limits[4].family, RELAY_INET6);
	assert_string_equal(config->mta_limits[4].domain, "example.org");
	assert_string_equal(config->mta_limits[5].mx, "*.example.net");
	config_free(config);
}

static void
what_makes_no_sense_is_refused(void **state)
{
	(void)state;
	bad("action a relay host \"smtps://me@b.org\"\n", 1, "auth <table>");
	bad("mta no sts\n", 1, "\"line-limit\" or \"private-networks\"");
	bad("action a relay backup host b.org\n", 1, "backup");
	bad("action a relay backup of x\n", 1, "mx");
	bad("action a relay tls tls\n", 1, "twice");
	bad("action a relay helo \"a b\"\n", 1, "\"helo\"");
	bad("action a relay mail-from \"m e\"\n", 1, "\"mail-from\"");
	bad("action a relay mail-from \"<>\"\n", 1, "\"mail-from\"");
	bad("action a relay mail-from \"@\"\n", 1, "\"mail-from\"");
	bad("action a relay mail-from \"@a b\"\n", 1, "\"mail-from\"");
	bad("action a relay mail-from \"@a@b\"\n", 1, "\"mail-from\"");
	bad("action a relay ca nobody\n", 1, "no ca \"nobody\"");
	bad("action a relay pki nobody\n", 1, "no pki \"nobody\"");
	bad("pki a cert \"/a\"\npki a key \"/b\"\naction a maildir pki a\n", 3, "\"pki\"");
	bad("action a relay auth { work = secret }\n", 1, "user:password");
	bad("action a relay auth { work }\n", 1, "mapping");
	bad("action a relay domain { \"x y\" = b.org }\n", 1, "x y");
	bad("action a relay helo-src { 192.0.2.1 = a.org }\n", 1, "\"src\"");
	bad("action a relay src { 192.0.2.0/24 }\n", 1, "192.0.2.0/24");
	bad("table t file:/x\naction a relay src <t>\n", 2, "stand in the configuration");
	bad("action a relay src 192.0.2.1 helo-src { 192.0.2.1 }\n", 1, "mapping");
	bad("action a maildir src 192.0.2.1\n", 1, "\"src\"");
	bad("action a maildir tls\n", 1, "\"tls\"");
	bad("action a maildir auth { a = \"b:c\" }\n", 1, "\"auth\"");
	bad("mta sessions 0\n", 1, "sessions");
	bad("mta sessions 1\nmta sessions 2\n", 2, "sessions");
	bad("mta limit colour 3\n", 1, "colour");
	bad("mta limit sessions many\n", 1, "many");
	bad("mta limit sessions 0\n", 1, "\"0\"");
	bad("mta limit for planet earth sessions 1\n", 1, "planet");
	bad("mta limit for planet earth inet4\n", 1, "planet");
	bad("mta limit inet4 4\n", 1, "\"4\"");
	bad("mta limit for mx a..b inet6\n", 1, "a..b");
	bad("mta limit for domain \"*\" sessions 1\n", 1, "\"*\"");
}

static void
what_is_printed_reads_back(void **state)
{
	static const char text[] = "ca mine cert \"/etc/ca.pem\"\n"
	                           "mta limit for mx \"*.example.net\" sessions 2\n"
	                           "mta limit for mx \"*.example.net\" inet4\nmta limit inet6\n"
	                           "action a relay host smtp://b.org host \"smtps://w@c.org\" auth "
	                           "{ w = \"u:p\" } tls ca mine\n"
	                           "action b relay backup mx mx2.example.org helo x.example.org\n"
	                           "action c relay src { 192.0.2.1, 2001:db8::1 } helo-src { "
	                           "192.0.2.1 = \"a.example.org\" }\n";
	struct config *config = good(text), *again;
	char *first = NULL, *second = NULL;
	size_t size;
	FILE *file = open_memstream(&first, &size);

	(void)state;
	parse_print_config(file, config);
	fclose(file);
	again = good(first);
	file = open_memstream(&second, &size);
	parse_print_config(file, again);
	fclose(file);
	assert_string_equal(first, second);
	assert_non_null(strstr(first, "backup mx \"mx2.example.org\""));
	config_free(config);
	config_free(again);
	free(first);
	free(second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_stand_in_their_order),
		cmocka_unit_test(hosts_may_stand_in_a_list),
		cmocka_unit_test(a_smarthost_of_opensmtpd_is_understood),
		cmocka_unit_test(options_reach_the_config),
		cmocka_unit_test(limits_of_destinations),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(what_is_printed_reads_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
