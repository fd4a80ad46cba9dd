/*
 * The messages of a login, one after another, separated by LF: whatever comes, the dialogue ends,
 * and what is taken for a user or password is a string that isn't empty.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lookup/password.h"
#include "lookup/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define VERIFIER                                                                      \
	"4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=," \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

/* One message; false when the dialogue is over. */
static bool
take(struct sasl *sasl, const uint8_t *data, size_t length)
{
	struct scram_verifier verifier;

	switch (sasl_respond(sasl, data, length)) {
	case SASL_CHALLENGE:
		return sasl->message_length < sizeof(sasl->message);
	case SASL_PASSWORD:
		if (*sasl->user == '\0' || *sasl->password == '\0' ||
		    strlen(sasl->user) > SASL_USER_MAX ||
		    strlen(sasl->password) > SASL_PASSWORD_MAX)
			abort();
		return false;
	case SASL_VERIFIER:
		if (*sasl->user == '\0' || !scram_verifier_parse(VERIFIER, &verifier))
			abort();
		scram_set_nonce(sasl->scram, "server");
		sasl_use_verifier(sasl, &verifier);
		return true;
	case SASL_PROOF:
		return sasl_check_proof(sasl);
	case SASL_DONE:
	case SASL_MALFORMED:
		break;
	}
	return false;
}

static void
read_stored(const uint8_t *data, size_t size)
{
	char text[4096], stored[PASSWORD_STORED_MAX + 1];
	struct scram_verifier verifier;

	if (size >= sizeof(text))
		return;
	memcpy(text, data, size);
	text[size] = '\0';
	if (password_from_value(text, stored) && strlen(stored) > PASSWORD_STORED_MAX)
		abort();
	if (password_verifier(stored, &verifier) &&
	    (verifier.iterations == 0 || verifier.salt_length == 0))
		abort();
	(void)password_is_usable(stored);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ipc_binding binding = { .length = 4, .bytes = "bind" }, none = { 0 };
	const uint8_t *end = data + size, *next;
	struct sasl sasl;
	unsigned kind;
	bool more = true;

	if (size == 0)
		return 0;
	kind = *data++;
	if (kind % 8 == 7) {
		read_stored(data, size - 1);
		return 0;
	}
	sasl_init(&sasl, (enum sasl_mechanism)(kind % SASL_MECHANISM_COUNT),
	    kind >= 128 ? &binding : &none, kind >= 128 ? &binding : &none);
	for (unsigned messages = 0; more && data <= end; messages++) {
		if (messages > 4)
			abort();
		next = data == end ? NULL : memchr(data, '\n', (size_t)(end - data));
		if (next == NULL)
			next = end;
		more = take(&sasl, data, (size_t)(next - data));
		data = next + 1;
	}
	sasl_free(&sasl);
	return 0;
}
