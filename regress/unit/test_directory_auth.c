/*
 * Logins from first message to last, against the accounts database and tables.
 */
#include "test_directory_fixture.h"

#include <time.h>

#include <event2/event.h>

#include "common/log.h"
#include "lookup/auth.h"
#include "lookup/credentials.h"

#define BCRYPT "$2b$05$abcdefghijklmnopqrstuu/x6t4RVjlWRgqUDximoFlo74vmU4oxO" /* tanstaaftanstaaf */
#define RIGHT  "tanstaaftanstaaf"
#define SCRAM                                                                         \
	"4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=," \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static struct event_base *base;
static struct auth *auth;
static struct site *site;
static int peer;

/* What came last. */
static uint32_t answered;
static char challenge[1024];
static struct ipc_auth_done done;

static void
take_challenge(void *to, uint32_t request, const void *data, size_t length)
{
	assert_ptr_equal(to, &peer);
	assert_true(length < sizeof(challenge));
	memcpy(challenge, data, length);
	challenge[length] = '\0';
	answered = request;
}

static void
take_done(void *to, uint32_t request, const struct ipc_auth_done *answer)
{
	assert_ptr_equal(to, &peer);
	done = *answer;
	answered = request;
}

static const struct auth_calls calls = { take_challenge, take_done, NULL };

static int
start(void **state)
{
	struct ipc_result result;
	struct config *config;
	int failed = make_test_directory(state);

	if (failed != 0)
		return failed;
	base = event_base_new();
	config = new_config();
	config->auth_failures = 3;
	(void)add_table(config, "accounts", TABLE_ACCOUNTS, "");
	add_static_table(config, "people", "tim", BCRYPT, "Ann@Example.org",
	    "{PLAIN}" RIGHT ":1000:1000::/home/ann::", "locked", "!", "scram",
	    "{SCRAM-SHA-256}" SCRAM, NULL);
	(void)add_table(config, "missing", TABLE_FILE, "/nonexistent/file");
	site = site_new(config, accounts_new(test_path("accounts")), false);
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.org", NULL), 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "bob@example.org", BCRYPT, SCRAM, NULL), 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "old@example.org", BCRYPT, NULL), 0);
	auth = auth_new(base, &calls);
	auth_set_site(auth, site);
	return 0;
}

static int
end(void **state)
{
	struct accounts *accounts = site->accounts;

	auth_free(auth);
	site_free(site);
	accounts_free(accounts);
	event_base_free(base);
	return remove_test_directory(state);
}

static void
wait_for(uint32_t request)
{
	while (answered != request)
		assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	answered = 0;
}

static void
begin(uint32_t id, enum sasl_mechanism mechanism, const char *table, const char *initial,
    size_t length)
{
	struct ipc_auth begun = { .mechanism = mechanism,
		.service = "smtp",
		.client_family = CLIENT_INET4,
		.client_address = { 192, 0, 2, 1 } };

	memset(&done, 0, sizeof(done));
	strcpy(begun.table, table);
	begun.has_initial = initial != NULL;
	if (initial != NULL) {
		memcpy(begun.initial.bytes, initial, length);
		begun.initial.length = (uint16_t)length;
	}
	auth_begin(auth, &peer, id, &begun);
}

static bool
respond(uint32_t id, uint32_t request, const char *text)
{
	struct ipc_auth_data data = { .length = (uint16_t)strlen(text) };

	memcpy(data.bytes, text, data.length);
	return auth_respond(auth, &peer, id, request, &data);
}

/* The reply's code for PLAIN. */
static unsigned
try_plain(const char *table, const char *user, const char *password)
{
	static uint32_t id = 1000;
	char text[1024];
	int length = snprintf(text, sizeof(text), "%c%s%c%s", '\0', user, '\0', password);

	id++;
	begin(id, SASL_PLAIN, table, text, (size_t)length);
	wait_for(id);
	return done.reply.code;
}

static void
accounts_log_in_by_their_address(void **state)
{
	(void)state;
	assert_int_equal(try_plain("accounts", "bob@example.org", RIGHT), 235);
	assert_string_equal(done.user, "bob@example.org");
	assert_string_equal(done.reply.enhanced, "2.7.0");
	assert_int_equal(try_plain("accounts", "Bob@EXAMPLE.org", RIGHT), 235);
	assert_string_equal(done.user, "bob@example.org");
	assert_int_equal(try_plain("accounts", "bob@example.org", "wrong"), 535);
	assert_string_equal(done.user, "");
	assert_string_equal(done.reply.enhanced, "5.7.8");
}

static void
tables_of_credentials_are_read_as_opensmtpd_and_dovecot_write_them(void **state)
{
	(void)state;
	assert_int_equal(try_plain("people", "tim", RIGHT), 235);
	assert_int_equal(try_plain("people", "TIM", RIGHT), 235);
	assert_string_equal(done.user, "tim");
	assert_int_equal(try_plain("people", "ann@example.org", RIGHT), 235);
	assert_int_equal(try_plain("people", "scram", "pencil"), 235);
	assert_int_equal(try_plain("people", "locked", "!"), 535);
}

static void
wrong_user_and_wrong_password_are_answered_alike(void **state)
{
	struct reply wrong;

	(void)state;
	throttle_set_limit(auth_throttle(auth), 1000);
	assert_int_equal(try_plain("accounts", "bob@example.org", "wrong"), 535);
	wrong = done.reply;
	assert_int_equal(try_plain("accounts", "eve@example.org", "wrong"), 535);
	assert_string_equal(done.reply.text, wrong.text);
	assert_int_equal(try_plain("accounts", "not an address", "wrong"), 535);
	assert_string_equal(done.reply.text, wrong.text);
	assert_int_equal(try_plain("people", "eve", "wrong"), 535);
	assert_string_equal(done.reply.text, wrong.text);
}

static void
what_cannot_be_known_now_is_temporary(void **state)
{
	(void)state;
	assert_int_equal(try_plain("missing", "tim", RIGHT), 454);
	assert_int_equal(try_plain("nonesuch", "tim", RIGHT), 454);
}

/* The salt is where an unknown user could be told from a known one. */
static void
scram_asks_unknown_users_the_same_each_time(void **state)
{
	char first[1024];

	(void)state;
	begin(1, SASL_SCRAM_SHA_256, "accounts", "n,,n=eve@example.org,r=abc", 26);
	wait_for(1);
	strcpy(first, strchr(challenge, ','));
	begin(2, SASL_SCRAM_SHA_256, "accounts", "n,,n=eve@example.org,r=abc", 26);
	wait_for(2);
	assert_string_equal(strchr(challenge, ','), first);
	assert_non_null(strstr(first, ",i=65536"));
	begin(3, SASL_SCRAM_SHA_256, "accounts", "n,,n=old@example.org,r=abc", 26);
	wait_for(3);
	assert_string_not_equal(strchr(challenge, ','), first);
	assert_non_null(strstr(challenge, ",i=65536"));
	begin(4, SASL_SCRAM_SHA_256, "accounts", "n,,n=bob@example.org,r=abc", 26);
	wait_for(4);
	assert_non_null(strstr(challenge, ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
}

static void
login_is_a_dialogue(void **state)
{
	(void)state;
	begin(1, SASL_LOGIN, "people", NULL, 0);
	wait_for(1);
	assert_string_equal(challenge, "Username:");
	assert_true(respond(1, 2, "tim"));
	wait_for(2);
	assert_string_equal(challenge, "Password:");
	assert_true(respond(1, 3, RIGHT));
	/* An answer that nobody asked for. */
	assert_false(respond(1, 4, RIGHT));
	wait_for(3);
	assert_int_equal(done.reply.code, 235);
	assert_string_equal(done.user, "tim");
}

static void
a_cancelled_login_is_over(void **state)
{
	(void)state;
	begin(1, SASL_LOGIN, "people", NULL, 0);
	wait_for(1);
	auth_cancel(auth, &peer, 1);
	auth_cancel(auth, &peer, 1);
	assert_true(respond(1, 2, "tim"));
	wait_for(2);
	assert_int_equal(done.reply.code, 454);
}

static void
a_peer_that_is_gone_hears_nothing(void **state)
{
	(void)state;
	begin(1, SASL_PLAIN, "people", "\0tim\0" RIGHT, 21);
	begin(2, SASL_LOGIN, "people", NULL, 0);
	wait_for(2);
	auth_drop_peer(auth, &peer);
	assert_int_equal(try_plain("people", "tim", RIGHT), 235);
	assert_int_not_equal(answered, 1);
}

static void
failures_make_a_network_wait_but_not_a_user_that_was_there(void **state)
{
	struct timespec before, after;

	(void)state;
	assert_int_equal(try_plain("people", "tim", RIGHT), 235);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(try_plain("people", "ann@example.org", "wrong"), 535);
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_int_equal(try_plain("people", "scram", "pencil"), 235);
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec >
	    200000000L);
	begin(1, SASL_PLAIN, "people", "\0tim\0" RIGHT, 21);
	begin(2, SASL_PLAIN, "people", "\0ann@example.org\0" RIGHT, 33);
	wait_for(1);
	assert_int_equal(done.reply.code, 235);
	wait_for(2);
	assert_int_equal(done.reply.code, 235);
}

static void
no_secret_is_logged(void **state)
{
	char text[8192] = "";
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log_open("directory", LOG_TARGET_STDERR, fds[1]);
	log_set_trace(LOG_TRACE_ALL);
	assert_int_equal(try_plain("people", "tim", RIGHT), 235);
	assert_int_equal(try_plain("accounts", "bob@example.org", "Sesame1"), 535);
	begin(1, SASL_LOGIN, "people", NULL, 0);
	wait_for(1);
	assert_true(respond(1, 2, "tim"));
	wait_for(2);
	assert_true(respond(1, 3, "Sesame2"));
	wait_for(3);
	log_set_trace(0);
	log_set_fd(dup(STDERR_FILENO));
	assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
	close(fds[0]);
	assert_non_null(strstr(text,
	    "auth-ok session=0000000000000000 service=smtp address=192.0.2.1 user=tim "
	    "mechanism=PLAIN"));
	assert_non_null(strstr(text, "auth-failed "));
	assert_non_null(strstr(text,
	    "address=192.0.2.1 user=bob@example.org mechanism=PLAIN "
	    "reason=\"wrong password\""));
	assert_null(strstr(text, RIGHT));
	assert_null(strstr(text, "Sesame"));
	assert_null(strstr(text, "$2b$"));
}

int
main(void)
{
#define AUTH_TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		AUTH_TEST(accounts_log_in_by_their_address),
		AUTH_TEST(tables_of_credentials_are_read_as_opensmtpd_and_dovecot_write_them),
		AUTH_TEST(wrong_user_and_wrong_password_are_answered_alike),
		AUTH_TEST(what_cannot_be_known_now_is_temporary),
		AUTH_TEST(scram_asks_unknown_users_the_same_each_time),
		AUTH_TEST(login_is_a_dialogue),
		AUTH_TEST(a_cancelled_login_is_over),
		AUTH_TEST(a_peer_that_is_gone_hears_nothing),
		AUTH_TEST(failures_make_a_network_wait_but_not_a_user_that_was_there),
		AUTH_TEST(no_secret_is_logged),
	};
#undef AUTH_TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
