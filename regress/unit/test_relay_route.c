/* Routes: which hosts, in which order; and the limits of a destination. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "deliver/relay_addresses.h"
#include "deliver/relay_limits.h"
#include "deliver/relay_policy.h"
#include "deliver/relay_route.h"

static struct ipc_answer answer;

static void
answer_begin(enum answer_status status)
{
	memset(&answer, 0, sizeof(answer));
	answer.status = status;
}

static void
add_mx(uint16_t preference, const char *name)
{
	answer.records[answer.count].preference = preference;
	answer.records[answer.count].data = (const uint8_t *)name;
	answer.records[answer.count++].length = (uint16_t)strlen(name);
}

/* The route's hosts, joined by spaces; or the reply. */
static const char *
route_of(const char *own)
{
	static char text[1024];
	const char *const names[2] = { own, "" };
	struct route *route = route_new();
	struct failure failure;

	assert_non_null(route);
	*text = '\0';
	if (!route_add_mx(route, "example.org", &answer, names, &failure))
		snprintf(text, sizeof(text), "%u %s", failure.reply.code, failure.reply.enhanced);
	for (size_t i = 0; i < route->count; i++) {
		if (i > 0)
			strcat(text, " ");
		strcat(text, route->hops[i].host);
		assert_int_equal(route->hops[i].port, 25);
	}
	route_drop(route);
	return text;
}

static void
test_mx_by_preference(void **state)
{
	(void)state;
	answer_begin(ANSWER_FOUND);
	add_mx(20, "b.example.org");
	add_mx(10, "a.example.org.");
	add_mx(65535, "c.example.org");
	assert_string_equal(route_of("mail.test"), "a.example.org b.example.org c.example.org");
}

static void
test_equal_preference_is_shuffled(void **state)
{
	unsigned first = 0;

	(void)state;
	answer_begin(ANSWER_FOUND);
	add_mx(10, "a");
	add_mx(10, "b");
	add_mx(20, "c");
	for (int i = 0; i < 200; i++) {
		const char *route = route_of("mail.test");

		assert_true(strcmp(route, "a b c") == 0 || strcmp(route, "b a c") == 0);
		first += *route == 'a';
	}
	assert_in_range(first, 40, 160);
}

static void
test_only_better_ones_than_ourselves(void **state)
{
	(void)state;
	answer_begin(ANSWER_FOUND);
	add_mx(10, "a");
	add_mx(20, "MAIL.test");
	add_mx(20, "b");
	add_mx(30, "c");
	assert_string_equal(route_of("mail.test"), "a");
	assert_true(strncmp(route_of("c"), "a ", 2) == 0 && strlen(route_of("c")) == 13);
	answer_begin(ANSWER_FOUND);
	add_mx(10, "mail.test");
	add_mx(20, "b");
	assert_string_equal(route_of("mail.test"), "554 5.4.6");
}

static void
test_null_mx(void **state)
{
	(void)state;
	answer_begin(ANSWER_FOUND);
	add_mx(0, "");
	assert_string_equal(route_of("mail.test"), "556 5.1.10");
	answer_begin(ANSWER_FOUND);
	add_mx(0, ".");
	assert_string_equal(route_of("mail.test"), "556 5.1.10");
	/* Beside others it means nothing (RFC 7505 3). */
	add_mx(10, "a");
	assert_string_equal(route_of("mail.test"), "a");
}

static void
test_without_mx(void **state)
{
	(void)state;
	answer_begin(ANSWER_NO_DATA);
	assert_string_equal(route_of("mail.test"), "example.org");
	assert_string_equal(route_of("example.org"), "554 5.4.6");
	answer_begin(ANSWER_NO_NAME);
	assert_string_equal(route_of("mail.test"), "550 5.1.2");
	answer_begin(ANSWER_FAILED);
	assert_string_equal(route_of("mail.test"), "451 4.4.3");
}

static void
test_more_mxs_than_are_tried(void **state)
{
	static char names[IPC_ANSWER_RECORDS_MAX][8];
	const char *const own[2] = { "", "" };
	struct route *route = route_new();
	struct failure failure;

	(void)state;
	answer_begin(ANSWER_FOUND);
	for (unsigned i = 0; i < IPC_ANSWER_RECORDS_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "h%u", i);
		add_mx((uint16_t)(1000 - i), names[i]);
	}
	assert_true(route_add_mx(route, "example.org", &answer, own, &failure));
	assert_int_equal(route->count, ROUTE_HOPS_MAX);
	assert_string_equal(route->hops[0].host, "h63");
	route_drop(route);
}

static void
check_hop(const char *url, const char *expected)
{
	struct hop hop;
	char text[512];

	if (!hop_parse(&hop, url))
		strcpy(text, "no");
	else
		snprintf(text, sizeof(text), "%d %s %s %u%s", (int)hop.scheme, hop.label, hop.host,
		    hop.port, hop.is_address ? " address" : "");
	assert_string_equal(text, expected);
}

static void
test_smarthosts(void **state)
{
	(void)state;
	check_hop("mx.example.org", "0  mx.example.org 25");
	check_hop("smtp://mx.example.org:2525", "0  mx.example.org 2525");
	check_hop("smtps://label@mx.example.org", "3 label mx.example.org 465");
	check_hop("smtp+tls://me@mx.example.org:587", "1 me mx.example.org 587");
	check_hop("smtp+notls://127.0.0.1", "2  127.0.0.1 25 address");
	check_hop("lmtp://127.0.0.1:24", "4  127.0.0.1 24 address");
	check_hop("lmtp:///run/a/lmtp", "4  /run/a/lmtp 0 address");
	check_hop("smtp://[::1]:26", "0  ::1 26 address");
	check_hop("[IPv6:2001:db8::1]", "0  2001:db8::1 25 address");
	check_hop("http://x", "no");
	check_hop("smtp://", "no");
	check_hop("smtp://x:0", "no");
	check_hop("smtp://x:70000", "no");
	check_hop("smtp://x:1:2", "no");
	check_hop("smtp://a b", "no");
	check_hop("smtp://[::1", "no");
}

static void
test_several_smarthosts_keep_their_order(void **state)
{
	struct route *route = route_new();

	(void)state;
	assert_true(route_add_smarthosts(route, " smtp://b  smtp://a lmtp://c "));
	assert_int_equal(route->count, 3);
	assert_string_equal(route->hops[0].host, "b");
	assert_string_equal(route->hops[1].host, "a");
	assert_string_equal(route->hops[2].host, "c");
	assert_false(route_add_smarthosts(route, "bogus://x"));
	route_drop(route);
}

static void
test_literals(void **state)
{
	struct route *route = route_new();

	(void)state;
	assert_true(route_add_literal(route, "[192.0.2.1]"));
	assert_true(route_add_literal(route, "[IPv6:2001:db8::1]"));
	assert_string_equal(route->hops[1].host, "2001:db8::1");
	assert_false(route_add_literal(route, "[example.org]"));
	assert_false(route_add_literal(route, "[192.0.2.1]:26"));
	route_drop(route);
}

static void
test_limits_of_rules(void **state)
{
	char any[] = "", domain[] = "*.example.org", mx[] = "*.big.test";
	struct mta_limit_config rules[] = {
		{ .domain = any, .mx = any, .sessions = 5, .pause_ms = 10, .family = RELAY_INET4 },
		{ .domain = domain, .mx = any, .sessions = 2, .family = RELAY_INET6 },
		{ .domain = any, .mx = mx, .messages = 3, .sessions_total = 7 },
	};
	struct config *config = config_new();
	struct limits limits;

	(void)state;
	config->mta_limits = rules;
	config->mta_limit_count = 3;
	limits_for(&limits, config, "example.org", "mx.small.test");
	assert_int_equal(limits.sessions, 5);
	assert_int_equal(limits.messages, config->mta_messages_per_session);
	assert_int_equal(limits.family, RELAY_INET4);
	assert_false(limits.of_domain);
	limits_for(&limits, config, "A.Example.Org", "mx.big.test");
	assert_int_equal(limits.sessions, 2);
	assert_int_equal(limits.messages, 3);
	assert_int_equal(limits.pause_ms, 10);
	assert_int_equal(limits.sessions_total, 7);
	assert_int_equal(limits.total_rule, 2);
	assert_int_equal(limits.family, RELAY_INET6);
	assert_true(limits.of_domain);
	config->mta_limits = NULL;
	config->mta_limit_count = 0;
	config_free(config);
}

static enum security
security_of(enum relay_tls tls, enum relay_scheme scheme)
{
	struct action_config action = { .relay_tls = tls };

	return policy_for(&action, scheme).security;
}

static void
test_security_of_schemes(void **state)
{
	(void)state;
	assert_int_equal(security_of(RELAY_TLS_OPPORTUNISTIC, SCHEME_SMTP), SECURITY_OPPORTUNISTIC);
	assert_int_equal(security_of(RELAY_TLS_REQUIRED, SCHEME_SMTP), SECURITY_VERIFIED);
	assert_int_equal(
	    security_of(RELAY_TLS_REQUIRED_UNVERIFIED, SCHEME_SMTP), SECURITY_ENCRYPTED);
	assert_int_equal(security_of(RELAY_TLS_OPPORTUNISTIC, SCHEME_SMTP_TLS), SECURITY_VERIFIED);
	assert_int_equal(
	    security_of(RELAY_TLS_REQUIRED_UNVERIFIED, SCHEME_SMTPS), SECURITY_ENCRYPTED);
	assert_int_equal(security_of(RELAY_TLS_OPPORTUNISTIC, SCHEME_SMTP_NOTLS), SECURITY_NONE);
	assert_int_equal(security_of(RELAY_TLS_OPPORTUNISTIC, SCHEME_LMTP), SECURITY_NONE);
}

static void
test_own_listeners_are_known(void **state)
{
	struct own_addresses *machine = own_addresses_new();
	struct config *config = config_new();
	struct listener_config listener = { .protocol = LISTEN_SMTP };
	struct addresses own = { .count = 0 }, there = { .count = 0 };

	(void)state;
	assert_true(addresses_add_text(&own, "0.0.0.0", 25));
	listener.address = own.all[0].address;
	config->listeners = &listener;
	config->listener_count = 1;
	assert_true(addresses_add_text(&there, "127.0.0.2", 25));
	assert_true(addresses_add_text(&there, "127.0.0.2", 26));
	assert_true(addresses_add_text(&there, "192.0.2.77", 25));
	assert_true(addresses_add_text(&there, "::1", 25));
	assert_true(own_addresses_listen(machine, config, &there.all[0].address));
	assert_false(own_addresses_listen(machine, config, &there.all[1].address));
	assert_false(own_addresses_listen(machine, config, &there.all[2].address));
	assert_false(own_addresses_listen(machine, config, &there.all[3].address));
	own.count = 0;
	assert_true(addresses_add_text(&own, "127.0.0.3", 25));
	listener.address = own.all[0].address;
	assert_false(own_addresses_listen(machine, config, &there.all[0].address));
	config->listeners = NULL;
	config->listener_count = 0;
	config_free(config);
	own_addresses_free(machine);
}

static void
test_both_kinds_of_addresses_in_turns(void **state)
{
	struct addresses all = { .count = 0 };

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(addresses_add_text(&all, "192.0.2.1", 25));
	assert_true(addresses_add_text(&all, "2001:db8::1", 25));
	assert_true(addresses_add_text(&all, "2001:db8::2", 25));
	assert_false(addresses_add_text(&all, "mx", 25));
	addresses_order(&all);
	assert_int_equal(all.count, 5);
	assert_int_equal(all.all[0].address.ss_family, AF_INET6);
	assert_int_equal(all.all[1].address.ss_family, AF_INET);
	assert_int_equal(all.all[2].address.ss_family, AF_INET6);
	assert_int_equal(all.all[3].address.ss_family, AF_INET);
	assert_int_equal(all.all[4].address.ss_family, AF_INET);
}

static bool
is_private(const char *text)
{
	uint8_t bytes[16];

	if (inet_pton(AF_INET, text, bytes) == 1)
		return address_is_private(AF_INET, bytes);
	assert_int_equal(inet_pton(AF_INET6, text, bytes), 1);
	return address_is_private(AF_INET6, bytes);
}

static void
test_private_addresses(void **state)
{
	static const char *const private[] = { "0.0.0.0", "0.255.255.255", "10.0.0.0",
		"10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.255",
		"169.254.0.0", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0",
		"192.168.255.255", "::", "::1", "::127.0.0.1", "::ffff:10.1.2.3",
		"64:ff9b::10.0.0.1", "fc00::", "fdff:ffff::1", "fe80::1", "febf:ffff::1", "fec0::1",
		"feff::1" };
	static const char *const public[] = { "1.0.0.0", "9.255.255.255", "11.0.0.0",
		"100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
		"169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
		"::ffff:192.0.2.1", "::192.0.2.1", "64:ff9b::192.0.2.1", "64:ff9b:1::10.0.0.1",
		"2001:db8::1", "fbff::1", "fe00::1", "fe7f::1", "0:1::", "::fffe:10.0.0.1" };

	(void)state;
	for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++)
		if (!is_private(private[i]))
			fail_msg("%s isn't private", private[i]);
	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++)
		if (is_private(public[i]))
			fail_msg("%s is private", public[i]);
}

/* What others chose may be kept out of there, and nothing else. */
static void
test_private_addresses_of_others(void **state)
{
	struct config config = { .mta_no_private_networks = true }, usual = { 0 };
	const char *const own[2] = { "", "" };
	struct route *by_mx = route_new(), *by_host = route_new(), *by_literal = route_new();
	struct failure failure;

	(void)state;
	answer_begin(ANSWER_FOUND);
	add_mx(10, "mx.example.org");
	assert_true(route_add_mx(by_mx, "example.org", &answer, own, &failure));
	assert_true(route_add_smarthosts(by_host, "mx.example.org 192.168.0.1"));
	assert_true(route_add_literal(by_literal, "[192.168.0.1]"));
	assert_true(hop_is_public_only(&by_mx->hops[0], &config));
	assert_false(hop_is_public_only(&by_mx->hops[0], &usual));
	assert_true(hop_is_public_only(&by_literal->hops[0], &config));
	assert_false(hop_is_public_only(&by_host->hops[0], &config));
	assert_false(hop_is_public_only(&by_host->hops[1], &config));
	route_drop(by_mx);
	route_drop(by_host);
	route_drop(by_literal);
}

/* Of an answer, what is an address, and public where that is asked for. */
static void
test_addresses_of_an_answer(void **state)
{
	const struct answer_record records[] = {
		{ .family = CLIENT_INET4,
		    .length = 4,
		    .data = (const uint8_t[16]){ 192, 168, 0, 1 } },
		{ .family = CLIENT_INET4,
		    .length = 4,
		    .data = (const uint8_t[16]){ 192, 0, 2, 1 } },
		{ .family = CLIENT_INET4,
		    .length = 16,
		    .data = (const uint8_t[16]){ 192, 0, 2, 2 } },
		{ .family = CLIENT_INET6,
		    .length = 16,
		    .data = (const uint8_t[16]){ 0x20, 0x01, 0x0d, 0xb8 } },
		{ .family = CLIENT_INET6, .length = 16, .data = (const uint8_t[16]){ 0xfd } },
		{ .family = CLIENT_INET6,
		    .length = 4,
		    .data = (const uint8_t[16]){ 192, 0, 2, 3 } },
		{ .family = CLIENT_LOCAL,
		    .length = 4,
		    .data = (const uint8_t[16]){ 192, 0, 2, 4 } },
	};
	struct addresses all = { .count = 0 }, public = { .count = 0 }, none = { .count = 0 };

	(void)state;
	answer_begin(ANSWER_FOUND);
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		answer.records[answer.count++] = records[i];
	addresses_add_answer(&all, &answer, 25, false);
	assert_int_equal(all.count, 4);
	addresses_add_answer(&public, &answer, 25, true);
	assert_int_equal(public.count, 2);
	addresses_keep(&public, RELAY_FAMILY_ANY);
	assert_int_equal(public.count, 2);
	addresses_keep(&public, RELAY_INET6);
	assert_int_equal(public.count, 1);
	assert_int_equal(public.all[0].address.ss_family, AF_INET6);
	addresses_keep(&public, RELAY_INET4);
	assert_int_equal(public.count, 0);
	answer.status = ANSWER_FAILED;
	addresses_add_answer(&none, &answer, 25, false);
	assert_int_equal(none.count, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_of_an_answer),
		cmocka_unit_test(test_mx_by_preference),
		cmocka_unit_test(test_equal_preference_is_shuffled),
		cmocka_unit_test(test_only_better_ones_than_ourselves),
		cmocka_unit_test(test_null_mx),
		cmocka_unit_test(test_without_mx),
		cmocka_unit_test(test_more_mxs_than_are_tried),
		cmocka_unit_test(test_smarthosts),
		cmocka_unit_test(test_several_smarthosts_keep_their_order),
		cmocka_unit_test(test_literals),
		cmocka_unit_test(test_limits_of_rules),
		cmocka_unit_test(test_security_of_schemes),
		cmocka_unit_test(test_own_listeners_are_known),
		cmocka_unit_test(test_both_kinds_of_addresses_in_turns),
		cmocka_unit_test(test_private_addresses),
		cmocka_unit_test(test_private_addresses_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
