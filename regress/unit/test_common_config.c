/* The config's defaults and what becomes of it on its way to a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <sys/un.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"

static char *
copy(const char *text)
{
	char *string = strdup(text);

	assert_non_null(string);
	return string;
}

/* A config in which every member differs from its default and from its neighbours. */
static struct config *
full_config(void)
{
	struct config *config = config_new();
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = 7, .sin6_scope_id = 3 };
	struct sockaddr_un local = { .sun_family = AF_UNIX, .sun_path = "/run/lmtp" };
	uint32_t *limit = &config->limits.sessions;

	for (uint32_t i = 0; i < sizeof(config->limits) / sizeof(*limit); i++)
		limit[i] = 1000 + i;
	free(config->hostname);
	config->hostname = copy("mx.example.org");
	free(config->postmaster);
	config->postmaster = copy("pm@example.org");
	config->max_message_size = UINT64_C(1) << 40;
	config->line_ends = LINE_ENDS_NORMALISE;
	config->queue_ttl = 11;
	config->queue_retry_first = 12;
	config->queue_retry_max = 13;
	config->queue_free_percent = 14;
	config->queue_segment_size = UINT64_C(5) << 32;
	config->mda_sessions = 15;
	config->mda_processes = 16;
	config->bounce_warn_count = 8;
	for (uint32_t i = 0; i < 8; i++)
		config->bounce_warn[i] = 100 + i;
	config->listener_count = 2;
	config->listeners = calloc(2, sizeof(*config->listeners));
	memcpy(&config->listeners[0].address, &in6, sizeof(in6));
	config->listeners[0].address_length = sizeof(in6);
	config->listeners[0].proxy_v2 = true;
	config->listeners[0].proxy_trusted = copy("balancers");
	config->listeners[0].hostname = copy("in.example.org");
	config->listeners[0].tag = copy("outside");
	config->listeners[0].mask_source = true;
	memcpy(&config->listeners[1].address, &local, sizeof(local));
	config->listeners[1].address_length = sizeof(local);
	config->listeners[1].protocol = LISTEN_LMTP;
	config->listeners[1].no_dsn = true;
	config->listeners[1].tls = LISTEN_TLS_IMPLICIT;
	config->listeners[1].pkis = copy("mx.example.org mx2.example.org");
	config->listeners[1].auth = LISTEN_AUTH_REQUIRED;
	config->listeners[1].auth_table = copy("passwords");
	config_complete_listener(&config->listeners[0]);
	config_complete_listener(&config->listeners[1]);
	config->table_count = 1;
	config->tables = calloc(1, sizeof(*config->tables));
	config->tables[0].name = copy("balancers");
	config->tables[0].backend = TABLE_STATIC;
	config->tables[0].path = copy("");
	config->tables[0].entry_count = 2;
	config->tables[0].entries = calloc(2, sizeof(struct table_entry));
	config->tables[0].entries[0] = (struct table_entry){ copy("10.0.0.1"), copy("") };
	config->tables[0].entries[1] = (struct table_entry){ copy("k"), copy("v") };
	config->action_count = 1;
	config->actions = calloc(1, sizeof(*config->actions));
	config->actions[0] = (struct action_config){ .name = copy("in"),
		.method = ACTION_EXPAND_ONLY,
		.path = copy("/p"),
		.alias_table = copy("a"),
		.virtual_table = copy("v"),
		.userbase_table = copy("u"),
		.user = copy("me"),
		.allow_pipes = true,
		.ttl = 77,
		.lmtp_rcpt_to = true,
		.relay_hosts = copy("smtp://h") };
	config->actions[0].relay_tls = RELAY_TLS_REQUIRED;
	config->actions[0].relay_mail_from = copy("@example.org");
	config->actions[0].relay_srs = true;
	config_complete_action(&config->actions[0]);
	config->rule_count = 1;
	config->rules = calloc(1, sizeof(*config->rules));
	config->rules[0] = (struct rule_config){ MATCH_FROM_SOURCE, true, true, copy("f"),
		MATCH_FOR_RCPT, true, true, copy("t"), copy("tag"), true, true, copy("h"), true,
		true, copy("m"), true, true, copy("r"), true, true, true, true, true, copy("users"),
		true, true, copy("in"), 99, copy("/rules") };
	config->pki_count = 1;
	config->pkis = calloc(1, sizeof(*config->pkis));
	config->pkis[0] =
	    (struct pki_config){ copy("mx.example.org"), copy("/c.pem"), copy("/k.pem") };
	config->ca_count = 1;
	config->cas = calloc(1, sizeof(*config->cas));
	config->cas[0] = (struct ca_config){ copy("ours"), copy("/ca.pem") };
	config->mta_limit_count = 1;
	config->mta_limits = calloc(1, sizeof(*config->mta_limits));
	config->mta_limits[0] =
	    (struct mta_limit_config){ copy("example.com"), NULL, 1, 2, 3, 4, 5, 6, RELAY_INET6 };
	config_complete_mta_limit(&config->mta_limits[0]);
	return config;
}

static struct config *
encode_decode(const struct config *config)
{
	struct config *decoded;
	struct buf buf;

	buf_init(&buf, 1 << 20);
	config_encode(&buf, config);
	assert_true(buf_ok(&buf));
	decoded = config_decode(buf.data, buf.length);
	assert_non_null(decoded);
	buf_free(&buf);
	return decoded;
}

static void
defaults_are_those_of_the_manual(void **state)
{
	struct config *config = config_new();

	(void)state;
	assert_string_equal(config->subaddress_delimiters, "+");
	assert_int_equal(config->max_message_size, 35 * 1024 * 1024);
	assert_int_equal(config->limits.sessions, 20000);
	assert_int_equal(config->limits.sessions_per_address, 500);
	assert_int_equal(config->limits.recipients, 1000);
	assert_int_equal(config->limits.idle_time, 300);
	assert_int_equal(config->limits.resolver_time_ms, 5000);
	assert_int_equal(config->limits.lookup_time, 30);
	assert_int_equal(config->queue_ttl, 4 * 86400);
	assert_int_equal(config->queue_free_percent, 5);
	assert_int_equal(config->bounce_warn_count, 1);
	assert_int_equal(config->bounce_warn[0], 4 * 3600);
	assert_string_equal(config->mail_user, "_vmail");
	assert_string_not_equal(config->hostname, "");
	assert_string_equal(config->postmaster, "");
	assert_int_equal(config->listener_count + config->table_count, 0);
	config_free(config);
}

static void
every_member_survives_the_encoding(void **state)
{
	struct config *config = full_config(), *decoded = encode_decode(config);

	(void)state;
	assert_memory_equal(&decoded->limits, &config->limits, sizeof(config->limits));
	assert_memory_equal(decoded->bounce_warn, config->bounce_warn, sizeof(config->bounce_warn));
	assert_string_equal(decoded->hostname, "mx.example.org");
	assert_string_equal(decoded->postmaster, "pm@example.org");
	assert_true(decoded->max_message_size == config->max_message_size);
	assert_true(decoded->queue_segment_size == config->queue_segment_size);
	assert_int_equal(decoded->line_ends, LINE_ENDS_NORMALISE);
	assert_int_equal(decoded->mda_processes, 16);
	assert_int_equal(decoded->listener_count, 2);
	assert_memory_equal(&decoded->listeners[0].address, &config->listeners[0].address,
	    sizeof(decoded->listeners[0].address));
	assert_string_equal(decoded->listeners[0].proxy_trusted, "balancers");
	assert_true(decoded->listeners[0].mask_source);
	assert_int_equal(decoded->listeners[1].protocol, LISTEN_LMTP);
	assert_true(decoded->listeners[1].no_dsn);
	assert_string_equal(
	    ((struct sockaddr_un *)&decoded->listeners[1].address)->sun_path, "/run/lmtp");
	assert_string_equal(decoded->tables[0].entries[0].key, "10.0.0.1");
	assert_string_equal(decoded->tables[0].entries[1].value, "v");
	assert_string_equal(decoded->actions[0].relay_hosts, "smtp://h");
	assert_int_equal(decoded->actions[0].ttl, 77);
	assert_true(decoded->actions[0].allow_pipes);
	assert_int_equal(decoded->rules[0].from, MATCH_FROM_SOURCE);
	assert_int_equal(decoded->rules[0].for_, MATCH_FOR_RCPT);
	assert_true(decoded->rules[0].rcpt_to_negated);
	assert_true(decoded->rules[0].tls && decoded->rules[0].tls_negated);
	assert_string_equal(decoded->rules[0].action, "in");
	assert_int_equal(decoded->rules[0].line, 99);
	assert_int_equal(decoded->listeners[1].tls, LISTEN_TLS_IMPLICIT);
	assert_string_equal(decoded->listeners[1].pkis, "mx.example.org mx2.example.org");
	assert_int_equal(decoded->listeners[1].auth, LISTEN_AUTH_REQUIRED);
	assert_int_equal(decoded->actions[0].relay_tls, RELAY_TLS_REQUIRED);
	assert_string_equal(config_find_pki(decoded, "mx.example.org")->key, "/k.pem");
	assert_string_equal(config_find_ca(decoded, "ours")->certificates, "/ca.pem");
	assert_string_equal(decoded->mta_limits[0].mx, "");
	assert_int_equal(decoded->mta_limits[0].pause_ms, 6);
	assert_int_equal(decoded->mta_limits[0].family, RELAY_INET6);
	config_free(decoded);
	config_free(config);
}

/* Encoding the decoded gives the same bytes: so no member is left out that the test above forgot.
 */
static void
encoding_is_stable(void **state)
{
	struct config *config = full_config(), *decoded = encode_decode(config);
	struct buf first, second;

	(void)state;
	buf_init(&first, 1 << 20);
	buf_init(&second, 1 << 20);
	config_encode(&first, config);
	config_encode(&second, decoded);
	assert_int_equal(first.length, second.length);
	assert_memory_equal(first.data, second.data, first.length);
	buf_free(&first);
	buf_free(&second);
	config_free(decoded);
	config_free(config);
}

static void
every_truncation_is_refused(void **state)
{
	struct config *config = full_config();
	struct buf buf;

	(void)state;
	buf_init(&buf, 1 << 20);
	config_encode(&buf, config);
	for (size_t length = 0; length < buf.length; length++) {
		uint8_t *exact = malloc(length + 1);

		assert_non_null(exact);
		memcpy(exact, buf.data, length);
		assert_null(config_decode(exact, length));
		free(exact);
	}
	buf_add_u8(&buf, 0);
	assert_null(config_decode(buf.data, buf.length));
	buf_free(&buf);
	config_free(config);
}

/* Any byte may be anything: a decode either refuses or gives a config that can be freed. */
static void
changed_bytes_never_hurt(void **state)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0xff };
	struct config *config = full_config(), *decoded;
	size_t refused = 0;
	struct buf buf;

	(void)state;
	buf_init(&buf, 1 << 20);
	config_encode(&buf, config);
	for (size_t at = 0; at < buf.length; at++) {
		uint8_t before = buf.data[at];

		for (size_t i = 0; i < sizeof(values); i++) {
			buf.data[at] = values[i];
			decoded = config_decode(buf.data, buf.length);
			refused += decoded == NULL;
			config_free(decoded);
		}
		buf.data[at] = before;
	}
	assert_true(refused > 0);
	buf_free(&buf);
	config_free(config);
}

static void
another_version_is_refused(void **state)
{
	struct config *config = config_new();
	struct buf buf;

	(void)state;
	buf_init(&buf, 1 << 20);
	config_encode(&buf, config);
	buf.data[0]++;
	assert_null(config_decode(buf.data, buf.length));
	buf_free(&buf);
	config_free(config);
}

static void
descriptor_is_sealed_and_read_back(void **state)
{
	struct config *config = full_config(), *back;
	int fd = config_to_fd(config);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(
	    fcntl(fd, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	back = config_from_fd(fd);
	assert_non_null(back);
	assert_string_equal(back->hostname, config->hostname);
	/* Several children read the same one, each from its start. */
	config_free(back);
	back = config_from_fd(fd);
	assert_non_null(back);
	config_free(back);
	close(fd);
	config_free(config);
}

static void
descriptor_that_is_no_config_is_refused(void **state)
{
	int fds[2], fd;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_null(config_from_fd(fds[0]));
	close(fds[0]);
	close(fds[1]);
	assert_null(config_from_fd(-1));
	fd = memfd_create("empty", MFD_CLOEXEC);
	assert_null(config_from_fd(fd));
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	assert_null(config_from_fd(fd));
	close(fd);
}

static void
tables_and_actions_are_found_by_name(void **state)
{
	struct config *config = full_config();

	(void)state;
	assert_ptr_equal(config_find_table(config, "balancers"), &config->tables[0]);
	assert_null(config_find_table(config, "balancer"));
	assert_ptr_equal(config_find_action(config, "in"), &config->actions[0]);
	assert_null(config_find_action(config, ""));
	config_free(config);
}

static void
values_of_tables_can_be_left_out(void **state)
{
	struct config *config = config_new(), *decoded;
	struct buf buf;
	int fd;

	(void)state;
	config->table_count = 1;
	config->tables = calloc(1, sizeof(*config->tables));
	config->tables[0].name = copy("people");
	config->tables[0].path = copy("");
	config->tables[0].entry_count = 1;
	config->tables[0].entries = calloc(1, sizeof(*config->tables[0].entries));
	config->tables[0].entries[0] = (struct table_entry){ copy("tim"), copy("s3cret") };
	free(config->srs_key);
	config->srs_key = copy("s3cret too");
	fd = config_to_fd_without_values(config, true);
	decoded = config_from_fd(fd);
	close(fd);
	assert_string_equal(decoded->srs_key, "s3cret too");
	config_free(decoded);
	fd = config_to_fd_without_values(config, false);
	decoded = config_from_fd(fd);
	close(fd);
	assert_non_null(decoded);
	assert_string_equal(decoded->tables[0].entries[0].key, "tim");
	assert_string_equal(decoded->tables[0].entries[0].value, "");
	buf_init(&buf, 1 << 20);
	config_encode(&buf, decoded);
	assert_null(memmem(buf.data, buf.length, "s3cret", 6));
	buf_free(&buf);
	config_free(decoded);
	config_free(config);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_tables_can_be_left_out),
		cmocka_unit_test(defaults_are_those_of_the_manual),
		cmocka_unit_test(every_member_survives_the_encoding),
		cmocka_unit_test(encoding_is_stable),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(changed_bytes_never_hurt),
		cmocka_unit_test(another_version_is_refused),
		cmocka_unit_test(descriptor_is_sealed_and_read_back),
		cmocka_unit_test(descriptor_that_is_no_config_is_refused),
		cmocka_unit_test(tables_and_actions_are_found_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
