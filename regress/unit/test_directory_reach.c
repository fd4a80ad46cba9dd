/*
 * No rule that smtpd.conf(5)'s parser calls out of reach ever decides: rules made at random of what
 * depends on each other, and mail of all kinds for them.
 */
#include "regress/unit/test_directory_fixture.h"

#include "lookup/rules.h"
#include "smtpd/parse.h"

#define RULES_MAX 5
#define ASKED     3000 /* of each set with a warning */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const from[] = { "", "from any", "from any", "from local", "!from local",
	"from socket", "!from socket", "from auth", "!from auth", "from auth ann", "!from auth ann",
	"from auth { ANN, bob@a.org }", "from auth regex \"^a\"", "from src 192.0.2.0/24",
	"from src 192.0.2.7", "!from src 192.0.2.0/24", "!from src 192.0.2.7",
	"from src 2001:db8::/32", "from src { 192.0.2.7, \"::/0\" }", "from src regex \"^192\"",
	"from rdns", "!from rdns", "from rdns mx.isp.test", "!from rdns mx.isp.test",
	"from rdns \"*.isp.test\"", "!from rdns \"*.isp.test\"", "from rdns regex \"^dyn\"",
	"!from rdns regex \"^dyn\"", "from mail-from x@a.org", "from mail-from @a.org",
	"!from mail-from @a.org", "!from any" };
static const char *const for_[] = { "", "for any", "for any", "!for any", "for local", "!for local",
	"for domain a.org", "for domain \"*.a.org\"", "for domain { A.org, \"*.a.org\" }",
	"!for domain a.org", "!for domain \"*.a.org\"", "for domain \"*\"", "for domain \"*.org\"",
	"for domain \"?.org\"", "for domain regex \"^a\"", "for rcpt-to x@a.org",
	"for rcpt-to X@A.org", "for rcpt-to @a.org", "for rcpt-to \"@*.a.org\"", "for rcpt-to x",
	"for rcpt-to \"@\"", "!for rcpt-to x@a.org", "!for rcpt-to @a.org", "for rcpt-to x+z@a.org",
	"for rcpt-to regex \"^x\"", "!for rcpt-to regex \"^x\"" };
static const char *const other[] = { "", "", "", "auth", "!auth", "auth ann", "!auth ann",
	"auth { ann, bob@a.org }", "tls", "!tls", "tag T", "tag t", "!tag T", "tag { T, U }",
	"!tag { T, U }", "tag regex \"^T\"", "helo x.a.org", "helo \"*.a.org\"", "!helo x.a.org",
	"!helo \"*.a.org\"", "helo \"*\"", "helo \"[192.0.2.7]\"", "helo 192.0.2.7",
	"mail-from @a.org", "mail-from x@a.org", "mail-from \"<>\"", "!mail-from \"<>\"",
	"mail-from \"@\"", "!mail-from \"@\"", "!mail-from @a.org", "mail-from x",
	"mail-from \"@*.org\"", "rcpt-to x@a.org", "rcpt-to @a.org", "!rcpt-to @a.org",
	"rcpt-to \"@\"" };

static const char *const clients[] = { "127.0.0.1", "192.0.2.7", "192.0.2.200", "2001:db8::1",
	"2001:db9::1", "local", "" };
static const char *const client_names[] = { "", "mx.isp.test", "dyn1.isp.test", "MX.isp.test",
	"other.test" };
static const char *const users[] = { "", "", "ann", "Ann", "bob@a.org", "carl" };
static const char *const addresses[] = { "x@a.org", "y@a.org", "x+z@a.org", "X@A.ORG", "x@b.a.org",
	"x@c.b.a.org", "x@c.org", "w@else.test", "x@localhost", "x@[192.0.2.7]" };
static const char *const tags[] = { "", "T", "U" };
static const char *const helos[] = { "x.a.org", "X.A.org", "y.x.a.org", "h.test", "[192.0.2.7]",
	"192.0.2.7" };

static uint32_t seed;

static uint32_t
below(size_t limit)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)(seed >> 8) * limit) >> 24);
}

#define ONE_OF(array) (array)[below(COUNT(array))]

static struct ipc_rcpt
make_mail(void)
{
	struct ipc_rcpt rcpt = make_rcpt(ONE_OF(clients), ONE_OF(addresses));

	strcpy(rcpt.client_name, ONE_OF(client_names));
	strcpy(rcpt.auth_user, ONE_OF(users));
	strcpy(rcpt.tag, ONE_OF(tags));
	strcpy(rcpt.helo, ONE_OF(helos));
	rcpt.tls = below(2) == 1;
	memset(&rcpt.sender, 0, sizeof(rcpt.sender));
	if (below(4) != 0)
		assert_int_equal(address_parse(ONE_OF(addresses), 0, &rcpt.sender), ADDRESS_OK);
	return rcpt;
}

struct warned {
	bool line[RULES_MAX + 3]; /* of the text */
	unsigned count;
};

static void
note(bool is_error, const char *text, void *arg)
{
	struct warned *warned = arg;
	unsigned line;

	if (!is_error && strstr(text, "is never reached") != NULL) {
		assert_int_equal(sscanf(text, "t.conf:%u:", &line), 1);
		warned->line[line] = true;
		warned->count++;
	}
}

/* True when there was a warning to look at. */
static bool
try_rules(struct accounts *accounts)
{
	char text[4096] =
	    "listen on 127.0.0.1 port 2525 tag T\nlisten on 127.0.0.1 port 2526 tag U\n";
	struct warned warned = { .count = 0 };
	struct config *config;
	struct site *site;

	for (uint32_t rules = 2 + below(RULES_MAX - 1); rules > 0; rules--) {
		char rule[512];

		snprintf(rule, sizeof(rule), "match %s %s %s %s reject\n", ONE_OF(from),
		    ONE_OF(for_), ONE_OF(other), below(3) == 0 ? ONE_OF(other) : "");
		strcat(text, rule);
	}
	config = parse_config_text("t.conf", text, strlen(text), note, &warned);
	if (config == NULL || warned.count == 0) {
		config_free(config); /* a condition twice, most likely */
		return false;
	}
	site = site_new(config, accounts, false);
	for (unsigned i = 0; i < ASKED; i++) {
		struct ipc_rcpt rcpt = make_mail();
		const struct rule *rule;

		(void)rules_match(
		    site, &rcpt, &rcpt.rcpt, rcpt.client_family == CLIENT_INTERNAL, &rule);
		if (rule != NULL && warned.line[rule->config->line])
			fail_msg("%sline %u decides about mail for %s@%s from %s (%s), user %s",
			    text, rule->config->line, rcpt.rcpt.local, rcpt.rcpt.domain,
			    rcpt.client_name, rcpt.helo, rcpt.auth_user);
	}
	site_free(site);
	return true;
}

static void
what_is_warned_of_never_decides(void **state)
{
	struct accounts *accounts = accounts_new(test_path("accounts"));
	const char *sets = getenv("REACH_SETS");
	unsigned tried = 0;

	(void)state;
	for (seed = 1; tried < (sets == NULL ? 150U : (unsigned)atoi(sets));)
		tried += try_rules(accounts);
	accounts_free(accounts);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_warned_of_never_decides),
	};

	return cmocka_run_group_tests(tests, make_test_directory, remove_test_directory);
}
