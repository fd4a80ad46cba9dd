/*
 * A script and, behind its first NUL, a message: whatever they are, the script compiles or says where
 * it doesn't, and a run ends with actions that make sense.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/folder_name.h"
#include "common/sieve.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check(bool good)
{
	if (!good)
		abort();
}

static bool
exists(void *arg, const char *name)
{
	return arg != NULL && strlen(name) % 2 == 0;
}

static bool
is_duplicate(void *arg, const char *handle, const char *id, uint32_t seconds, bool last)
{
	return arg != NULL && (strlen(handle) + strlen(id) + seconds + last) % 2 == 0;
}

static void
check_action(const struct sieve_action *action)
{
	char clean[FOLDER_NAME_SIZE];

	switch (action->kind) {
	case SIEVE_KEEP:
		return;
	case SIEVE_FILEINTO:
		check(
		    folder_name_clean(action->folder, clean) && strcmp(clean, action->folder) == 0);
		check(strlen(action->flags) < SIEVE_FLAGS_MAX);
		return;
	case SIEVE_REDIRECT:
		check(action->to.local[0] != '\0' && action->to.domain[0] != '\0');
		return;
	case SIEVE_REJECT:
		check(strlen(action->text) <= SIEVE_REASON_MAX);
		return;
	case SIEVE_VACATION:
		check(strlen(action->text) <= SIEVE_REASON_MAX && action->handle[0] != '\0' &&
		    action->seconds >= 60);
		return;
	}
	abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct address sender = { "s", "s.test" }, recipient = { "b+d", "b.test" },
	                            owner = { "b", "b.test" };
	static struct sieve_result result;
	const uint8_t *end = memchr(data, '\0', size);
	size_t length = end == NULL ? size : (size_t)(end - data);
	char error[SIEVE_ERROR_MAX], *text;
	struct sieve_message message = { .sender = &sender,
		.recipient = &recipient,
		.owner = &owner,
		.delimiters = "+",
		.now = 1700000000,
		.mailbox_exists = exists,
		.is_duplicate = is_duplicate,
		.arg = error };
	struct sieve *sieve = sieve_compile((const char *)data, length, error, sizeof(error));

	check((sieve == NULL) == (strncmp(error, "line ", 5) == 0));
	if (sieve == NULL)
		return 0;
	check(strlen(sieve_warnings(sieve)) < SIEVE_WARNINGS_MAX &&
	    (*sieve_warnings(sieve) == '\0' || strncmp(sieve_warnings(sieve), "line ", 5) == 0));
	message.length = size - length - (end != NULL);
	message.size = message.length;
	/* Of its own, so that not even one byte behind it is looked at. */
	text = malloc(message.length + (message.length == 0));
	check(text != NULL);
	memcpy(text, data + size - message.length, message.length);
	message.text = text;
	sieve_run(sieve, &message, &result);
	check(result.count <= SIEVE_ACTIONS_MAX);
	for (size_t i = 0; i < result.count; i++)
		check_action(&result.actions[i]);
	if (result.error[0] != '\0')
		check(result.count == 1 && result.actions[0].kind == SIEVE_KEEP);
	sieve_result_free(&result);
	sieve_free(sieve);
	free(text);
	return 0;
}
