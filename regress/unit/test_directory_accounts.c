/*
 * The accounts database as smtpctl changes it: what each verb does and refuses, listings, and that
 * a database that can't be used is tried again.
 */
#include <fcntl.h>
#include <sys/file.h>
#include <sysexits.h>

#include "regress/unit/test_directory_fixture.h"

#include "common/log.h"
#include "common/store.h"

#define HASH "$y$j9T$AAAAAAAAAAAAAAAAAAAAAA$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"

static struct site *site;
static struct ipc_result result;

static int
open_site(void **state)
{
	struct config *config;

	if (make_test_directory(state) != 0)
		return -1;
	config = new_config();
	config->limits.targets = 40;
	add_table(config, "accounts", TABLE_ACCOUNTS, "");
	set(&add_action(config, "in", ACTION_MAILDIR)->virtual_table, "accounts");
	add_rule(config, MATCH_FROM_ANY, "accounts", "in");
	site = site_new(config, accounts_new(test_path("accounts")), false);
	return 0;
}

static int
close_site(void **state)
{
	struct accounts *accounts = site->accounts;

	site_free(site);
	accounts_free(accounts);
	return remove_test_directory(state);
}

static void
add_bob(void)
{
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.org", NULL), EX_OK);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "bob@example.org", HASH, NULL), EX_OK);
}

static void
a_user_is_there_at_once_and_after_reopening(void **state)
{
	struct account_user user;

	(void)state;
	add_bob();
	assert_string_equal(ask(site, "Bob@example.org"), "250 maildir:bob@example.org");
	accounts_free(site->accounts);
	site->accounts = accounts_new(test_path("accounts"));
	assert_int_equal(
	    accounts_find_user(site->accounts, "example.org", "BOB", &user), ACCOUNT_FOUND);
	assert_string_equal(user.hash, HASH);
	assert_true(user.created > 0);
}

static void
domains_are_added_once_and_kept_while_used(void **state)
{
	(void)state;
	add_bob();
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "EXAMPLE.org", NULL), EX_CANTCREAT);
	assert_string_equal(result.words, "domain example.org already exists");
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_DOMAIN_DELETE, "example.org", NULL), EX_DATAERR);
	assert_string_equal(
	    result.words, "domain example.org still has 1 user and 0 aliases: delete them first");
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_DELETE, "bob@example.org", NULL), EX_OK);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_DOMAIN_DELETE, "example.org", NULL), EX_OK);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_DOMAIN_DELETE, "example.org", NULL), EX_NOHOST);
	assert_string_equal(result.words, "domain example.org doesn't exist");
}

static void
a_domain_is_not_kept_by_one_that_begins_like_it(void **state)
{
	(void)state;
	add_bob();
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.or", NULL), EX_OK);
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_DELETE, "example.or", NULL), EX_OK);
}

static void
wrong_domains_are_refused(void **state)
{
	static const char *const wrong[] = { "", "-x", "a..b", "[127.0.0.1]", "a b", "postmaster",
		"..", "a/b", "x\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(
		    run_verb(site, &result, ACCOUNT_DOMAIN_ADD, wrong[i], NULL), EX_DATAERR);
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, NULL), EX_USAGE);
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "a", "b", NULL), EX_USAGE);
}

static void
users_need_a_domain_and_a_safe_name(void **state)
{
	static const char *const wrong[] = { "bob", "@example.org", "\"a b\"@example.org",
		"a/b@example.org", "\"../x\"@example.org", "\"..\"@example.org",
		"\".x\"@example.org", "\"a:b\"@example.org", "bob@[127.0.0.1]", "a@b@example.org",
		"bob@example.org\n" };

	(void)state;
	add_bob();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (run_verb(site, &result, ACCOUNT_USER_ADD, wrong[i], HASH, NULL) != EX_DATAERR)
			fail_msg("%s: %u %s", wrong[i], result.exit_code, result.words);
	}
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "x@nowhere.test", HASH, NULL), EX_NOHOST);
	assert_string_equal(result.words, "domain nowhere.test doesn't exist");
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "BOB@example.org", HASH, NULL), EX_CANTCREAT);
	assert_string_equal(result.words, "user bob@example.org already exists");
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "o'b-r.i_en+x@example.org", "", NULL), EX_OK);
}

static void
only_hashes_of_crypt_are_taken(void **state)
{
	static const char *const wrong[] = { "secret", "$", "$y$", "$$abcdefghijkl", "$y$short",
		"$y$j9T$abc:defghijkl", "$y$j9T$abc\ndefghijkl", "abcdefghijklm" };
	char large[600];

	(void)state;
	add_bob();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(run_verb(site, &result, ACCOUNT_USER_PASSWORD, "bob@example.org",
		                     wrong[i], NULL),
		    EX_DATAERR);
	memset(large, 'a', sizeof(large) - 1);
	memcpy(large, "$y$", 3);
	large[sizeof(large) - 1] = '\0';
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_PASSWORD, "bob@example.org", large, NULL),
	    EX_DATAERR);
	assert_int_equal(run_verb(site, &result, ACCOUNT_USER_PASSWORD, "bob@example.org",
	                     "$6$abcdefgh$0123456789", NULL),
	    EX_OK);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_PASSWORD, "eve@example.org", HASH, NULL),
	    EX_NOUSER);
}

static void
changes_are_logged_with_the_callers_uid_but_no_hash(void **state)
{
	char text[8192] = "";
	int fds[2];
	ssize_t length;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log_open("directory", LOG_TARGET_STDERR, fds[1]);
	add_bob();
	(void)run_verb(site, &result, ACCOUNT_USER_PASSWORD, "bob@example.org", HASH, NULL);
	(void)run_verb(site, &result, ACCOUNT_USER_PASSWORD, "eve@example.org", HASH, NULL);
	(void)run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", "bob", NULL);
	log_set_fd(dup(STDERR_FILENO));
	length = read(fds[0], text, sizeof(text) - 1);
	assert_true(length > 0);
	close(fds[0]);
	assert_non_null(
	    strstr(text, "account-changed verb=user-add uid=1000 name=bob@example.org"));
	assert_non_null(strstr(text, "verb=user-passwd uid=1000 name=bob@example.org"));
	assert_non_null(strstr(text, "account-change-refused verb=user-passwd uid=1000"));
	assert_non_null(strstr(text, "verb=alias-add uid=1000 name=info@example.org target=bob"));
	assert_null(strstr(text, "$y$"));
}

static void
a_quota_is_set_and_removed(void **state)
{
	struct ipc_mailbox_request request = {
		.kind = ENVELOPE_MAILDIR, .action = "in", .dest = { "bob", "example.org" }
	};
	struct ipc_mailbox mailbox;

	(void)state;
	add_bob();
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_QUOTA, "bob@example.org", "1000000", "500", NULL),
	    EX_OK);
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 250);
	assert_int_equal(mailbox.quota_bytes, 1000000);
	assert_int_equal(mailbox.quota_messages, 500);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_QUOTA, "bob@example.org", "0", NULL), EX_OK);
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.quota_bytes, 0);
	assert_int_equal(mailbox.quota_messages, 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_QUOTA, "bob@example.org", "-1", NULL), EX_DATAERR);
	assert_int_equal(run_verb(site, &result, ACCOUNT_USER_QUOTA, "bob@example.org",
	                     "99999999999999999999", NULL),
	    EX_DATAERR);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_QUOTA, "eve@example.org", "1", NULL), EX_NOUSER);
}

static void
alias_targets_are_added_and_removed_one_by_one(void **state)
{
	(void)state;
	add_bob();
	(void)run_verb(site, &result, ACCOUNT_USER_ADD, "carol@example.org", "", NULL);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", "bob", NULL), EX_OK);
	assert_int_equal(run_verb(site, &result, ACCOUNT_ALIAS_ADD, "Info@example.org",
	                     "carol@example.org", "bob@example.org", NULL),
	    EX_OK);
	assert_string_equal(
	    ask(site, "info@example.org"), "250 maildir:bob@example.org maildir:carol@example.org");
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_DELETE, "info@example.org", "bob", NULL), EX_OK);
	assert_string_equal(ask(site, "info@example.org"), "250 maildir:carol@example.org");
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_DELETE, "info@example.org", "bob", NULL),
	    EX_DATAERR);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_DELETE, "info@example.org", "carol", NULL),
	    EX_OK);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_DELETE, "info@example.org", NULL), EX_NOUSER);
	assert_string_equal(ask(site, "info@example.org"), "550 5.1.1 no such user here");
}

static void
aliases_refuse_what_cant_be_a_target(void **state)
{
	static const char *const wrong[] = { "/etc/passwd", ":include:/etc/list", "a@b@c", "|", "",
		"bob@" };

	(void)state;
	add_bob();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(
		    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", wrong[i], NULL),
		    EX_DATAERR);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", "|/bin/true", NULL),
	    EX_NOPERM);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@nowhere.test", "bob", NULL),
	    EX_NOHOST);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", NULL), EX_USAGE);
}

static void
an_alias_to_nobody_yet_is_taken_with_a_note(void **state)
{
	(void)state;
	add_bob();
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", "eve", NULL), EX_OK);
	assert_string_equal(result.words, "eve@example.org doesn't exist yet");
}

static void
an_alias_has_no_more_targets_than_the_limit(void **state)
{
	char target[32];

	(void)state;
	add_bob();
	for (unsigned i = 0; i < 40; i++) {
		snprintf(target, sizeof(target), "user%u", i);
		assert_int_equal(
		    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "all@example.org", target, NULL),
		    EX_OK);
	}
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "all@example.org", "user40", NULL),
	    EX_DATAERR);
}

static void
a_user_is_not_added_under_an_aliases_name(void **state)
{
	(void)state;
	add_bob();
	(void)run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", "bob", NULL);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "info@example.org", "", NULL), EX_DATAERR);
	assert_string_equal(result.words, "info@example.org is an alias: delete it first");
}

static void
gather(const char *line, void *arg)
{
	buf_printf(arg, "%s\n", line);
}

static const char *
list(enum account_verb verb, const char *domain, size_t items)
{
	static struct buf lines;
	struct ipc_account account = { .verb = verb };
	struct accounts_listing listing;
	char word[256];

	if (domain != NULL) {
		snprintf(word, sizeof(word), "%s", domain);
		account.words[account.word_count++] = word;
	}
	buf_free(&lines);
	buf_init(&lines, 1 << 20);
	if (!accounts_admin_list(site, &account, &listing, &result))
		return result.words;
	while (accounts_admin_portion(site, &listing, items, gather, &lines, &result))
		;
	assert_int_equal(result.exit_code, 0);
	buf_add_u8(&lines, '\0');
	return (const char *)lines.data;
}

static void
listings_come_in_order_whatever_the_portions(void **state)
{
	(void)state;
	add_bob();
	(void)run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.net", NULL);
	(void)run_verb(site, &result, ACCOUNT_USER_ADD, "carol@example.org", "", NULL);
	(void)run_verb(site, &result, ACCOUNT_USER_ADD, "dave@example.net", "", NULL);
	(void)run_verb(site, &result, ACCOUNT_USER_QUOTA, "bob@example.org", "5000", "7", NULL);
	(void)run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", "bob", "carol", NULL);
	(void)run_verb(site, &result, ACCOUNT_ALIAS_ADD, "@example.org", "bob", NULL);
	for (size_t items = 1; items < 5; items++) {
		assert_string_equal(
		    list(ACCOUNT_DOMAIN_LIST, NULL, items), "example.net\nexample.org\n");
		assert_string_equal(list(ACCOUNT_USER_LIST, NULL, items),
		    "dave@example.net\t0\t0\nbob@example.org\t5000\t7\ncarol@example.org\t0\t0\n");
		assert_string_equal(list(ACCOUNT_USER_LIST, "Example.org", items),
		    "bob@example.org\t5000\t7\ncarol@example.org\t0\t0\n");
		assert_string_equal(list(ACCOUNT_ALIAS_LIST, NULL, items),
		    "@example.org\tbob@example.org\n"
		    "info@example.org\tbob@example.org\tcarol@example.org\n");
	}
	assert_string_equal(
	    list(ACCOUNT_USER_LIST, "nowhere.test", 10), "domain nowhere.test doesn't exist");
}

static void
an_unusable_database_is_temporary_and_opened_again(void **state)
{
	int lock;

	(void)state;
	add_bob();
	accounts_free(site->accounts);
	lock = open(test_path("accounts/lock"), O_RDWR);
	assert_true(lock != -1);
	assert_int_equal(flock(lock, LOCK_EX), 0);
	site->accounts = accounts_new(test_path("accounts"));
	tables_free(site->tables);
	site->tables = tables_new(site->config, site->accounts);
	site->actions[0].virtuals = site->rules[0].for_ = tables_find(site->tables, "accounts");
	assert_false(accounts_is_open(site->accounts));
	assert_memory_equal(ask(site, "bob@example.org"), "451 4.3.0", 9);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_DELETE, "bob@example.org", NULL), EX_TEMPFAIL);
	close(lock);
	for (unsigned tries = 0; !accounts_retry(site->accounts); tries++) {
		assert_true(tries < 500);
		usleep(20000);
	}
	assert_string_equal(ask(site, "bob@example.org"), "250 maildir:bob@example.org");
}

static void
a_record_of_a_newer_version_is_temporary(void **state)
{
	struct store *store;
	struct store_transaction *transaction;

	(void)state;
	add_bob();
	accounts_free(site->accounts);
	store = store_open(test_path("accounts"));
	assert_non_null(store);
	transaction = store_begin(store);
	assert_int_equal(store_put(store_table_open(store, "users"), transaction, "example.org bob",
	                     "\x02"
	                     "future",
	                     7, true),
	    STORE_OK);
	assert_true(store_commit(transaction));
	store_close(store);
	site->accounts = accounts_new(test_path("accounts"));
	tables_free(site->tables);
	site->tables = tables_new(site->config, site->accounts);
	site->actions[0].virtuals = site->rules[0].for_ = tables_find(site->tables, "accounts");
	assert_memory_equal(ask(site, "bob@example.org"), "451 4.3.0", 9);
	assert_string_equal(list(ACCOUNT_USER_LIST, NULL, 10), "");
}

#define SITE_TEST(name) cmocka_unit_test_setup_teardown(name, open_site, close_site)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		SITE_TEST(a_user_is_there_at_once_and_after_reopening),
		SITE_TEST(domains_are_added_once_and_kept_while_used),
		SITE_TEST(a_domain_is_not_kept_by_one_that_begins_like_it),
		SITE_TEST(wrong_domains_are_refused),
		SITE_TEST(users_need_a_domain_and_a_safe_name),
		SITE_TEST(only_hashes_of_crypt_are_taken),
		SITE_TEST(changes_are_logged_with_the_callers_uid_but_no_hash),
		SITE_TEST(a_quota_is_set_and_removed),
		SITE_TEST(alias_targets_are_added_and_removed_one_by_one),
		SITE_TEST(aliases_refuse_what_cant_be_a_target),
		SITE_TEST(an_alias_to_nobody_yet_is_taken_with_a_note),
		SITE_TEST(an_alias_has_no_more_targets_than_the_limit),
		SITE_TEST(a_user_is_not_added_under_an_aliases_name),
		SITE_TEST(listings_come_in_order_whatever_the_portions),
		SITE_TEST(an_unusable_database_is_temporary_and_opened_again),
		SITE_TEST(a_record_of_a_newer_version_is_temporary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
