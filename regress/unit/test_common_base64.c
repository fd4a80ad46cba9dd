/*
 * Base64: RFC 4648's vectors, and what isn't base64 though many decoders take it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base64.h"

static const struct {
	const char *bytes;
	const char *text;
} vectors[] = {
	/* RFC 4648 10 */
	{ "", "" },
	{ "f", "Zg==" },
	{ "fo", "Zm8=" },
	{ "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" },
	{ "fooba", "Zm9vYmE=" },
	{ "foobar", "Zm9vYmFy" },
};

static void
the_rfcs_vectors_are_encoded_and_decoded(void **state)
{
	char text[16], bytes[16];
	size_t length;

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		base64_encode(vectors[i].bytes, strlen(vectors[i].bytes), text);
		assert_string_equal(text, vectors[i].text);
		assert_int_equal(strlen(text), BASE64_LENGTH(strlen(vectors[i].bytes)));
		assert_true(base64_decode(text, strlen(text), bytes, sizeof(bytes), &length));
		assert_int_equal(length, strlen(vectors[i].bytes));
		assert_memory_equal(bytes, vectors[i].bytes, length);
	}
}

static void
all_bytes_come_back(void **state)
{
	uint8_t bytes[256], back[256];
	char text[BASE64_LENGTH(sizeof(bytes)) + 1];
	size_t length;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	for (size_t count = 0; count <= sizeof(bytes); count++) {
		base64_encode(bytes, count, text);
		assert_true(base64_decode(text, strlen(text), back, count, &length));
		assert_int_equal(length, count);
		assert_memory_equal(back, bytes, count);
	}
}

static void
what_is_not_base64_is_refused(void **state)
{
	static const char *const texts[] = { "Zg", "Zg=", "Zg===", "Z===", "====", "=",
		"Zg==Zg==", "Zm9v\n", "Zm9v\r\n", " Zm9v", "Zm 9v", "Zm9v!Zm9", "Zm9-", "Zm9_",
		"Zh==", "Zm9=", "Z\303\244==", "*", "A=BC" };
	char bytes[16];
	size_t length;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(
		    base64_decode(texts[i], strlen(texts[i]), bytes, sizeof(bytes), &length));
	assert_false(base64_decode("Zm\0v", 4, bytes, sizeof(bytes), &length));
}

static void
more_than_there_is_room_for_is_refused(void **state)
{
	char bytes[6];
	size_t length;

	(void)state;
	assert_true(base64_decode("Zm9vYmFy", 8, bytes, 6, &length));
	assert_false(base64_decode("Zm9vYmFy", 8, bytes, 5, &length));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rfcs_vectors_are_encoded_and_decoded),
		cmocka_unit_test(all_bytes_come_back),
		cmocka_unit_test(what_is_not_base64_is_refused),
		cmocka_unit_test(more_than_there_is_room_for_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
