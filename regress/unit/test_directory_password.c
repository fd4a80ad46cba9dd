/*
 * Hashes made by others (Python's crypt and hashlib) are known again, and nothing else is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "lookup/password.h"
#include "lookup/password_pool.h"

#define PASSWORD "tanstaaftanstaaf"
#define BCRYPT   "$2b$05$abcdefghijklmnopqrstuu/x6t4RVjlWRgqUDximoFlo74vmU4oxO"

static const char *const hashes[] = {
	"$1$abcdefgh$RTGLcvRQGVtbCganDQWDy.",
	"{MD5-CRYPT}$1$abcdefgh$RTGLcvRQGVtbCganDQWDy.",
	"$5$saltstring$IKznHIHz7yl8eagxp4ht8GG3BeBXNPfCvYfmVddNT/5",
	"{SHA256-CRYPT}$5$saltstring$IKznHIHz7yl8eagxp4ht8GG3BeBXNPfCvYfmVddNT/5",
	"{SHA512-CRYPT}$6$saltstring$jiaKavva7/lqATbirU9AOdgWny90a/"
	"VK5fWdF3wkfREPxp5TC1Ewv0vuuR71wRG4/"
	"EvGhJA0bP9aqywN8vfhT/",
	BCRYPT,
	"{BLF-CRYPT}" BCRYPT,
	"{CRYPT}$y$j75$abcdefghijklmnop$35IeAChM.urWvwRTBtm6zkLjxjH4II1Dw5bD9uDT4E6",
	"$y$j75$abcdefghijklmnop$35IeAChM.urWvwRTBtm6zkLjxjH4II1Dw5bD9uDT4E6",
	"ab/TdqTfG5VbQ",
	"{SSHA}7RkVVj4263GU29RkkJ44l/OzNP84Ynl0ZXMhIQ==",
	"{ssha.b64}7RkVVj4263GU29RkkJ44l/OzNP84Ynl0ZXMhIQ==",
	"{SSHA256}IXLQaPBtqtz/WYEMvXu0qHKb6nzJQEKxwPkcvhgdfIA4Ynl0ZXMhIQ==",
	"{SSHA512}ZGL6P7L0W1u7jGm4xvMU7tNCVUSdZoClxtTTPswZYHOImeb4mcxPFNT5/"
	"T69dU9FTrpwXqtCxyulidNVtrmcYzhi"
	"eXRlcyEh",
	"{SHA}HuBr0dbbiKEV0LCm4RYYIaf29J0=",
	"{SHA}HuBr0dbbiKEV0LCm4RYYIaf29J0",
	"{SHA256}a9a89732d1c0213c869908c79b05afaf0383b2932bac437a292ac24fd72028f1",
	"{SHA256.hex}a9a89732d1c0213c869908c79b05afaf0383b2932bac437a292ac24fd72028f1",
	"{SHA512}MGeWgHmV9IMgkaYRUav7v2kRBWuhgmTTs5KKBQSeUWcXUYFqibTlbSZr2y+"
	"buYuH9LpIPtTVXWUsiVSEE8BSiw==",
	"{PBKDF2}$1$aSaltOfIts$5000$ddc82d3d44b74922967179a3ec5cc1534dcf1f97",
	"{SCRAM-SHA-256}4096,OGJ5dGVzISE=,DZITfDivipuJE/cSQiZitqaXM+LKfqtmvLx0cvmTARI=,"
	"lsIKr+xGBZktuLwTZZ9kdbQBDPZs9Jtnlqfz7t+x7F0=",
	"{PLAIN}" PASSWORD,
	"{CLEARTEXT}" PASSWORD,
};
#define HASH_COUNT (sizeof(hashes) / sizeof(hashes[0]))

static void
each_scheme_knows_the_right_password(void **state)
{
	(void)state;
	for (size_t i = 0; i < HASH_COUNT; i++) {
		assert_true(password_is_usable(hashes[i]));
		assert_true(password_check(hashes[i], PASSWORD));
		assert_false(password_check(hashes[i], "Tanstaaftanstaaf"));
		assert_false(password_check(hashes[i], ""));
	}
}

static void
what_is_locked_unknown_or_broken_lets_nobody_in(void **state)
{
	static const char *const stored[] = { "", "*", "!", "x", "!" BCRYPT, "{", "{}", "{}x",
		"{SSHA}", "{NONESUCH}abc", "{PLAIN.x}" PASSWORD, "{CRYPT}", "{CRYPT}*",
		"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$aGFzaA" };
	static const char *const broken[] = { PASSWORD, "{SSHA}AAAA", "{SSHA256}!!!!", "{SHA}AAAA",
		"{SHA256}abc", "{PBKDF2}$1$salt$0$00", "{PBKDF2}$2$salt$1$00", "{PBKDF2}$1$salt",
		"{SCRAM-SHA-256}4096,AAAA", "{SHA256.hex}zz" };

	(void)state;
	for (size_t i = 0; i < sizeof(stored) / sizeof(stored[0]); i++) {
		assert_false(password_is_usable(stored[i]));
		assert_false(password_check(stored[i], PASSWORD));
		assert_false(password_check(stored[i], ""));
	}
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		assert_false(password_check(broken[i], PASSWORD));
}

static void
a_passwd_files_line_is_cut_behind_its_hash(void **state)
{
	char stored[PASSWORD_STORED_MAX + 1];

	(void)state;
	assert_true(password_from_value("{PLAIN}secret:1000:1000::/home/tim::", stored));
	assert_string_equal(stored, "{PLAIN}secret");
	assert_true(password_from_value(BCRYPT, stored));
	assert_string_equal(stored, BCRYPT);
	assert_false(password_from_value("", stored));
	assert_false(password_from_value(":1000:1000", stored));
}

static int right_count, wrong_count;
static struct event_base *base;

static void
checked(void *owner, bool right, void *arg)
{
	(void)arg;
	assert_ptr_equal(owner, &right_count);
	if (right)
		right_count++;
	else
		wrong_count++;
}

static void
threads_answer_all_that_still_want_to_know(void **state)
{
	struct password_pool *pool;
	int cancelled;

	(void)state;
	base = event_base_new();
	assert_non_null(base);
	pool = password_pool_new(base, checked, NULL);
	for (int i = 0; i < 40; i++) {
		assert_true(password_pool_check(pool, (enum password_order)(i % 2), BCRYPT,
		    i % 4 == 0 ? PASSWORD : "wrong", &right_count));
		assert_true(password_pool_check(pool, PASSWORD_LAST, BCRYPT, PASSWORD, &cancelled));
	}
	password_pool_cancel(pool, &cancelled);
	while (right_count + wrong_count < 40)
		assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	assert_int_equal(right_count, 10);
	assert_int_equal(wrong_count, 30);
	assert_int_equal(password_pool_waiting(pool), 0);
	assert_true(password_pool_check(pool, PASSWORD_FIRST, BCRYPT, PASSWORD, &right_count));
	password_pool_free(pool);
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_scheme_knows_the_right_password),
		cmocka_unit_test(what_is_locked_unknown_or_broken_lets_nobody_in),
		cmocka_unit_test(a_passwd_files_line_is_cut_behind_its_hash),
		cmocka_unit_test(threads_answer_all_that_still_want_to_know),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
