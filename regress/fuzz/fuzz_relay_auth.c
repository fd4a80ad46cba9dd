/* A login's challenges, one after another, separated by LF: whatever the server says, the dialogue
 * ends, and no login is complete whose server hasn't proved that it knows the password. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64.h"
#include "deliver/relay_auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define CHALLENGE 1024

/* The messages themselves, with the nonce known, so that they get further. */
static void
read_messages(const uint8_t *data, size_t size)
{
	static struct scram_keys keys; /* kept: most inputs have the same salt */
	struct scram *scram = scram_new("user", "pencil", NULL, NULL, 0, false, &keys);
	const uint8_t *end = memchr(data, '\n', size);
	size_t length = end == NULL ? size : (size_t)(end - data);
	char message[SCRAM_MESSAGE_MAX];
	const char *why;

	if (scram == NULL)
		abort();
	scram_set_nonce(scram, "rOprNGfwEbeRWgbNEkqO");
	(void)scram_make_first(scram, message);
	if (scram_take_first(scram, (const char *)data, length, &why)) {
		if (keys.iterations < SCRAM_ITERATIONS_LEAST ||
		    keys.iterations > SCRAM_ITERATIONS_MOST ||
		    scram_make_final(scram, message) >= sizeof(message))
			abort();
		if (end != NULL)
			(void)scram_take_final(
			    scram, (const char *)end + 1, size - length - 1, &why);
	}
	scram_free(scram);
}

static void
hold_dialogue(enum auth_mechanism mechanism, const uint8_t *data, size_t size)
{
	struct scram_keys keys = { .iterations = 0 };
	struct auth *auth = auth_new(mechanism, "user", "pencil", NULL, &keys);
	const uint8_t *end = data + size, *next;
	char challenge[CHALLENGE + 1];
	bool goes_on = auth != NULL;
	unsigned answers = 0;
	const char *why;
	struct buf buf;
	size_t length;

	buf_init(&buf, 65536);
	if (goes_on)
		auth_begin(auth, &buf);
	while (goes_on && data < end) {
		next = memchr(data, '\n', (size_t)(end - data));
		length = (size_t)((next == NULL ? end : next) - data);
		if (length > CHALLENGE)
			length = CHALLENGE;
		memcpy(challenge, data, length);
		challenge[length] = '\0';
		goes_on = auth_answer(auth, challenge, &buf, &why);
		data = next == NULL ? end : next + 1;
		if (++answers > 4 || !buf_ok(&buf))
			abort();
	}
	/* Nobody guesses the signature over a random nonce. */
	if (auth != NULL && mechanism == AUTH_SCRAM_SHA_256 && auth_is_complete(auth))
		abort();
	auth_free(auth);
	buf_free(&buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 4 == 3)
		read_messages(data + 1, size - 1);
	else
		hold_dialogue(
		    (enum auth_mechanism)(AUTH_SCRAM_SHA_256 + data[0] % 3), data + 1, size - 1);
	return 0;
}
