/*
 * What users of OpenSMTPD 7 have in their smtpd.conf: each statement is taken and means the same, as
 * the configuration printed tells, or is refused by the word that isn't there.
 */
#include <netinet/in.h>
#include <stdlib.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

/* Stands before each statement; it has eight lines. */
#define BEFORE                                               \
	"pki Mx.example.org cert /c key /k dhe none\n"       \
	"ca trust cert /a\n"                                 \
	"table creds { joe = \"$2b$08$x\" }\n"               \
	"table hosts { a.org, \"smtps://b.org\" }\n"         \
	"table secrets { l => \"u:p\" }\n"                   \
	"table own { 127.0.0.1 = one.org, ::1 = two.org }\n" \
	"action in mbox\n"                                   \
	"action out relay\n"
#define LINE 9

struct taken {
	const char *statement;
	const char *printed; /* a part of what -n -v prints */
};

static const struct taken taken[] = {
	{ "bounce warn-interval 1h, 2h, 1d", "bounce warn-interval { 1h 2h 1d }" },
	{ "bounce warn-interval 1h", "bounce warn-interval { 1h }" },
	{ "x = \"a.org\"\nmatch from any for domain $x action in", "for domain { \"a.org\" }" },
	{ "x = \"{ a.org, b.org }\"\nmatch from any for domain $x action in",
	    "{ \"a.org\", \"b.org\" }" },
	{ "table t { a => b, \"c\" = d }\naction a mbox alias <t>",
	    "{ \"a\" = \"b\", \"c\" = \"d\" }" },
	{ "table t static:/etc/hosts", "table t \"file:/etc/hosts\"" },
	{ "table t \"/etc/hosts\"", "table t \"file:/etc/hosts\"" },
	{ "table t {\n\ta\n\tb,\n\tc\n}", "table t { \"a\", \"b\", \"c\" }" },
	{ "listen on lo0 inet4", "listen on 127.0.0.1 port 25\n" },
	{ "listen on all", "listen on 0.0.0.0 port 25\nlisten on :: port 25\n" },
	{ "listen on all inet6 port smtp", "listen on :: port 25\n" },
	{ "listen on 127.0.0.1 port smtps smtps pki mx.EXAMPLE.org",
	    "port 465 smtps pki \"mx.example.org\"" },
	{ "listen on 127.0.0.1 port submission tls-require pki mx.example.org auth <creds> "
	  "mask-src senders <own> masquerade received-auth no-dsn tag S",
	    "port 587 tag \"S\" no-dsn mask-src tls-require pki \"mx.example.org\" auth <creds> "
	    "senders <own> masquerade received-auth" },
	{ "listen on 127.0.0.1 tls-require verify pki mx.example.org ca TRUST",
	    "tls-require verify" },
	{ "listen on 127.0.0.1 tls pki mx.example.org protocols \"TLSv1.2,TLSv1.3\"", " tls pki" },
	{ "listen on 127.0.0.1 tls pki mx.example.org protocols \"TLSv1.3\"", "protocols tlsv1.3" },
	{ "listen on 127.0.0.1 hostnames <own>", " hostnames <own>" },
	{ "listen on 127.0.0.1 hostnames { 127.0.0.1 = a.org } hostname b.org",
	    " hostname \"b.org\" hostnames { \"127.0.0.1\" = \"a.org\" }" },
	{ "action a maildir \"/m\" junk alias { a = b } ttl 1d", "junk" },
	{ "action a lmtp /run/lmtp rcpt-to virtual { \"@\" = joe }", "lmtp \"/run/lmtp\" rcpt-to" },
	{ "action a relay host <hosts>", "host \"a.org\" host \"smtps://b.org\"" },
	{ "action a relay host smtp+tls://l@a.org:587 auth <secrets> tls no-verify",
	    "host \"smtp+tls://l@a.org:587\" auth <secrets>" },
	{ "action a relay backup mx mx2.org pki MX.example.org ca trust",
	    "pki \"mx.example.org\"" },
	{ "action a relay tls ciphers \"HIGH:!aNULL\" protocols \"TLSv1.3\"",
	    " ciphers \"HIGH:!aNULL\" protocols tlsv1.3" },
	{ "action a relay protocols \"secure\"", "action \"a\" relay" },
	{ "action a relay src { 127.0.0.1 } helo-src <own>", "helo-src <own>" },
	{ "match !from src 10.0.0.0/8 !for local action out",
	    "match ! from src { \"10.0.0.0/8\" } ! for local" },
	{ "match from any auth joe for any action out", "auth { \"joe\" }" },
	{ "match !tag regex \"^x\" helo a.org from any for any reject",
	    "! tag regex { \"^x\" } helo" },
	{ "match reject", "match from local for local reject" },
	{ "smtp limit max-rcpt 10 max-mails 20", "smtp limit max-rcpt 10\n" },
	{ "smtp limit max-rcpt 10 max-mails 20", "smtp limit max-mails 20\n" },
	{ "smtp limit user-mails-per-hour 5 hold max-mails 20", "user-mails-per-hour 5 hold\n" },
	{ "smtp max-message-size 1.5M", "smtp max-message-size 1536K" },
	{ "smtp max-message-size 2000B", "smtp max-message-size 2000\n" },
	{ "smtp sub-addr-delim '_'", "smtp sub-addr-delim \"_\"" },
	{ "mda wrapper w \"/x | %{mda}\"\naction a mda \"/p -f -\" wrapper w", "wrapper \"w\"" },
	{ "srs key \"a b\"\nsrs ttl 5d", "srs ttl 5d" },
	{ "match for local action 'in' # \\\n and so on",
	    "match from local for local action \"in\"" },
};

static char *
print(const struct config *config)
{
	char *text;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	assert_non_null(file);
	parse_print_config(file, config);
	assert_int_equal(fclose(file), 0);
	return text;
}

static void
statements_mean_what_they_mean_there(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		char text[2048], *printed;
		struct config *config, *again;

		snprintf(text, sizeof(text), BEFORE "%s\n", taken[i].statement);
		config = good(text);
		printed = print(config);
		if (strstr(printed, taken[i].printed) == NULL)
			fail_msg(
			    "%s\nisn't understood as %s", taken[i].statement, taken[i].printed);
		again = good(printed);
		config_free(again);
		config_free(config);
		free(printed);
	}
}

static void
a_default_route_leads_through_egress(void **state)
{
	struct reports reports;
	struct config *config = parse("listen on egress\n", &reports);

	(void)state;
	/* A machine on its own has none, which is told; loopback is never part of it. */
	if (config == NULL) {
		assert_true(reported(&reports, 1, "\"egress\": no interface has a default route"));
		return;
	}
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct sockaddr_in *address = (const void *)&config->listeners[i].address;

		if (address->sin_family == AF_INET)
			assert_int_not_equal(ntohl(address->sin_addr.s_addr) >> 24, IN_LOOPBACKNET);
	}
	config_free(config);
}

/* What isn't there, by the word that says so. */
static const struct taken refused[] = {
	{ "filter f proc-exec \"x\"", "\"filter\" is not supported" },
	{ "filter f phase connect match !rdns disconnect \"550 x\"",
	    "\"filter\" is not supported" },
	{ "proc p \"x\"", "\"proc\" is not supported" },
	{ "admd a.org", "\"admd\" is not supported" },
	{ "scheduler limit max-inflight 10", "\"scheduler\" is not supported" },
	{ "queue compression", "\"compression\" is not supported" },
	{ "queue encryption key", "\"encryption\" is not supported" },
	{ "mta max-deferred 10", "\"mta max-deferred\"" },
	{ "mta limit max-conn-per-host 10", "\"max-conn-per-host\"" },
	{ "mda limit max-session 10", "\"mda limit max-session\"" },
	{ "listen on 127.0.0.1 filter f", "\"filter\" is not supported" },
	{ "action a relay filter f", "\"filter\" is not supported" },
	{ "action a lmtp /x wrapper w", "\"wrapper\" is not an option" },
	{ "action a relay helo-src <own>", "\"helo-src\" needs \"src\"" },
	{ "table t sqlite:/etc/x", "\"sqlite:/etc/x\" is not supported" },
	{ "listen on nosuch0", "\"nosuch0\" is no address" },
	{ "listen on 127.0.0.1 hostnames { a.org = b.org }", "\"a.org\" is not an address" },
	{ "listen on 127.0.0.1 hostnames { 127.0.0.1 = \"a b\" }", "\"a b\" is not a host name" },
	{ "table t file:/etc/hosts\nlisten on 127.0.0.1 hostnames <t>", "in the configuration" },
	{ "listen on socket hostnames <own>", "\"hostnames\"" },
	{ "listen on 127.0.0.1 imap auth-cleartext hostnames <own>", "\"hostnames\" doesn't go" },
	{ "action a relay host <own>", "wants a list" },
	{ "table t file:/etc/hosts\naction a relay host <t>", "in the configuration" },
	{ "action a relay host <nosuch>", "<nosuch> is not defined" },
	{ "action a relay host <hosts> host a.org", "\"host\" is given twice" },
	{ "action a relay host a.org host <hosts>", "\"host\" is given twice" },
	{ "action a relay host <hosts> host <hosts>", "\"host\" is given twice" },
	{ "action a relay host <hosts> backup", "not both" },
	{ "action a mbox ciphers HIGH", "\"ciphers\" is not an option" },
	{ "action a mbox protocols tlsv1.3", "\"protocols\" is not an option" },
	{ "action a relay ciphers JUNK9", "\"JUNK9\"" },
	{ "action a relay protocols tlsv1.1", "\"tlsv1.1\"" },
	{ "action a relay protocols tlsv1.3 protocols tlsv1.3", "given twice" },
	{ "action a relay ciphers HIGH ciphers HIGH", "given twice" },
	{ "action a mbox host <hosts>", "\"host\" is not an option" },
	{ "table t { \"ftp://a.org\" }\naction a relay host <t>", "\"ftp://a.org\"" },
	{ "table t { \"smtps://l@a.org\" }\naction a relay host <t>", "needs \"auth <table>\"" },
	{ "bounce warn-interval 1h, none", "\"none\"" },
	{ "bounce warn-interval none, 1h", "\"none\" stands alone" },
	{ "bounce warn-interval 1h,", "end of line" },
	{ "smtp limit max-rcpt 10 max-mails", "\"max-mails\": a limit's name and its value" },
	{ "smtp limit max-rcpt 10 hold", "\"hold\"" },
	{ "smtp max-message-size 1.55M", "\"1.55M\"" },
	{ "smtp max-message-size 2000.5", "\"2000.5\"" },
	{ "match from any => reject", "\"=>\"" },
	{ "accept from any for local deliver to mbox", "\"accept\" begins a statement of" },
	{ "reject from any for any", "before 6.4" },
	{ "limit mta inet4", "\"limit\" begins a statement of" },
	{ "expire 4d", "\"expire\" begins a statement of" },
	{ "accepted", "begins no statement" },
	{ "action a relay host secure+auth://l@a.org", "by smtp, smtp+tls, smtp+notls, smtps or" },
	{ "x => y", "\"x\" begins no statement" },
};

static void
what_is_not_there_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const char *statement = refused[i].statement;
		char text[2048];

		snprintf(text, sizeof(text), BEFORE "%s\n", statement);
		bad(text,
		    LINE +
		        (strncmp(statement, "table t ", 8) == 0 && strchr(statement, '\n') != NULL),
		    refused[i].printed);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statements_mean_what_they_mean_there),
		cmocka_unit_test(a_default_route_leads_through_egress),
		cmocka_unit_test(what_is_not_there_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
