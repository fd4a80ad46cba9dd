/*
 * The Sender Rewriting Scheme. What others make of the same key, at the same time, is postsrsd's tests'
 * (and so libsrs2's): the addresses must be those, and both lead back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/srs.h"

#define NOW INT64_C(1577836860) /* 2020-01-01 00:01 UTC */
#define DAY 86400

static const struct srs_keys keys = { "tops3cr3t", "", 4 * DAY };

static const char *
encoded_by(const struct srs_keys *by, const char *text)
{
	static char result[ADDRESS_TEXT_MAX + 1];
	struct address sender, out;

	assert_int_equal(address_parse(text, ADDRESS_ALLOW_UTF8, &sender), ADDRESS_OK);
	if (!srs_encode(by, &sender, "example.com", NOW, &out))
		return "none";
	address_format(&out, result, sizeof(result));
	return result;
}

static const char *
decoded_by(const struct srs_keys *by, const char *text, int64_t now)
{
	static char result[ADDRESS_TEXT_MAX + 1];
	struct address address, out;

	assert_int_equal(address_parse(text, ADDRESS_ALLOW_UTF8, &address), ADDRESS_OK);
	assert_true(srs_is_address(&address));
	switch (srs_decode(by, &address, now, &out)) {
	case SRS_OK:
		address_format(&out, result, sizeof(result));
		return result;
	case SRS_FORGED:
		return "forged";
	case SRS_EXPIRED:
		break;
	}
	return "expired";
}

static const char *
decoded(const char *text)
{
	return decoded_by(&keys, text, NOW);
}

static void
what_postsrsd_makes_is_made(void **state)
{
	(void)state;
	assert_string_equal(encoded_by(&keys, "test@otherdomain.com"),
	    "SRS0=vmyz=2W=otherdomain.com=test@example.com");
	assert_string_equal(encoded_by(&keys, "sender@otherdomain.com"),
	    "SRS0=9KJ+=2W=otherdomain.com=sender@example.com");
	assert_string_equal(encoded_by(&keys, "SRS0=opaque+string@otherdomain.com"),
	    "SRS1=chaI=otherdomain.com==opaque+string@example.com");
	assert_string_equal(
	    encoded_by(&keys, "SRS1=X=thirddomain.com==opaque+string@otherdomain.com"),
	    "SRS1=JIBX=thirddomain.com==opaque+string@example.com");
}

static void
what_postsrsd_made_leads_back(void **state)
{
	(void)state;
	assert_string_equal(
	    decoded("SRS0=vmyz=2W=otherdomain.com=test@example.com"), "test@otherdomain.com");
	assert_string_equal(
	    decoded("SRS0=XjO9=2V=otherdomain.com=test@example.com"), "test@otherdomain.com");
	assert_string_equal(decoded("SRS1=JIBX=thirddomain.com==opaque+string@example.com"),
	    "SRS0=opaque+string@thirddomain.com");
	/* In another case, as servers on the way may make it. */
	assert_string_equal(
	    decoded("srs0=VMYZ=2w=OtherDomain.com=TEST@example.com"), "TEST@OtherDomain.com");
	assert_string_equal(
	    decoded("SRS0+vmyz=2W=otherdomain.com=test@example.com"), "test@otherdomain.com");
}

static void
what_is_forged_or_broken_is_refused(void **state)
{
	static const char *const wrong[] = {
		"SRS0=vmya=2W=otherdomain.com=test@example.com",
		"SRS0=vmyz=2X=otherdomain.com=test@example.com",
		"SRS0=vmyz=2W=otherdomain.net=test@example.com",
		"SRS0=vmyz=2W=otherdomain.com=tess@example.com",
		"SRS0=vmy=2W=otherdomain.com=test@example.com",
		"SRS0=v=2W=otherdomain.com=test@example.com",
		"SRS0==2W=otherdomain.com=test@example.com",
		"SRS0=vmyz==otherdomain.com=test@example.com",
		"SRS0=vmyz=2W==test@example.com",
		"SRS0=vmyz=2W=otherdomain.com=@example.com",
		"SRS0=vmyz=2W=otherdomain.com@example.com",
		"SRS0=@example.com",
		"SRS0=vmyz@example.com",
		"SRS1=JIBX=thirddomain.com==opaque+strinG2@example.com",
		"SRS1=JIBY=thirddomain.com==opaque+string@example.com",
		"SRS1=JIBX=thirddomain.com@example.com",
		"SRS1=JIBX==thirddomain.com@example.com",
		"SRS1=@example.com",
		"SRS1=J=thirddomain.com==opaque+string@example.com",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_string_equal(decoded(wrong[i]), "forged");
}

static void
addresses_grow_old(void **state)
{
	static const char address[] = "SRS0=vmyz=2W=otherdomain.com=test@example.com";
	const int64_t good[] = { 0, 4 * DAY, 1024 * DAY, 1028 * DAY };
	const int64_t bad[] = { -DAY, 5 * DAY, 512 * DAY, 1023 * DAY };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_string_equal(
		    decoded_by(&keys, address, NOW + good[i]), "test@otherdomain.com");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(decoded_by(&keys, address, NOW + bad[i]), "expired");
}

static void
a_backup_key_is_for_what_it_made(void **state)
{
	static const struct srs_keys later = { "another", "tops3cr3t", 4 * DAY };
	static const struct srs_keys last = { "another", "", 4 * DAY }, none = { "", "", DAY };
	char made[ADDRESS_TEXT_MAX + 1];

	(void)state;
	strcpy(made, encoded_by(&later, "test@otherdomain.com"));
	assert_string_equal(decoded_by(&later, made, NOW), "test@otherdomain.com");
	assert_string_equal(decoded_by(&last, made, NOW), "test@otherdomain.com");
	assert_string_equal(decoded(made), "forged");
	strcpy(made, encoded_by(&keys, "test@otherdomain.com"));
	assert_string_equal(decoded_by(&later, made, NOW), "test@otherdomain.com");
	assert_string_equal(decoded_by(&last, made, NOW), "forged");
	/* Without a key nothing is anybody's. */
	assert_string_equal(encoded_by(&none, "test@otherdomain.com"), "none");
	assert_string_equal(decoded_by(&none, made, NOW), "forged");
}

static void
others_lead_back_by_two_steps(void **state)
{
	static const struct srs_keys first = { "of the first", "", DAY };
	struct address sender, one, two, back;
	char made[ADDRESS_TEXT_MAX + 1];

	(void)state;
	assert_int_equal(address_parse("joe=x@a.example", 0, &sender), ADDRESS_OK);
	assert_true(srs_encode(&first, &sender, "b.example", NOW, &one));
	assert_true(srs_encode(&keys, &one, "c.example", NOW, &two));
	assert_int_equal(srs_decode(&keys, &two, NOW, &back), SRS_OK);
	assert_true(address_equal(&back, &one));
	assert_int_equal(srs_decode(&first, &back, NOW, &back), SRS_OK);
	address_format(&back, made, sizeof(made));
	assert_string_equal(made, "joe=x@a.example");
}

static void
some_senders_have_no_such_address(void **state)
{
	struct address null = { .local = "" }, out;
	char text[ADDRESS_LOCAL_MAX + 40];

	(void)state;
	/* One that only looks as if. */
	assert_string_equal(encoded_by(&keys, "SRS1=a=b.example=c@d.example") + 10,
	    "2W=d.example=SRS1=a=b.example=c@example.com");
	assert_false(srs_encode(&keys, &null, "example.com", NOW, &out));
	/* 64 bytes in all, and one more. */
	snprintf(
	    text, sizeof(text), "%.46s@a.de", "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee");
	assert_int_equal(strlen(encoded_by(&keys, text)), 64 + strlen("@example.com"));
	snprintf(
	    text, sizeof(text), "%.47s@a.de", "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee");
	assert_string_equal(encoded_by(&keys, text), "none");
	assert_string_equal(
	    encoded_by(&keys, "\"a b\"@c.example") + 1, "SRS0=7qf5=2W=c.example=a b\"@example.com");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_postsrsd_makes_is_made),
		cmocka_unit_test(what_postsrsd_made_leads_back),
		cmocka_unit_test(what_is_forged_or_broken_is_refused),
		cmocka_unit_test(addresses_grow_old),
		cmocka_unit_test(a_backup_key_is_for_what_it_made),
		cmocka_unit_test(others_lead_back_by_two_steps),
		cmocka_unit_test(some_senders_have_no_such_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
