/*
 * What a user's .forward or a list in a file says: reading it ends, no target comes from a comment or
 * reaches over a line's end, and an address is one that the address parser takes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "lookup/table_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_target(const struct target *target)
{
	char address[ADDRESS_TEXT_MAX + 1];
	struct address parsed;

	assert(strlen(target->text) < sizeof(target->text));
	assert(strchr(target->text, '\n') == NULL);
	switch (target->kind) {
	case TARGET_ADDRESS:
		address_format(&target->address, address, sizeof(address));
		assert(address_parse(address, ADDRESS_ALLOW_UTF8, &parsed) == ADDRESS_OK);
		break;
	case TARGET_USER:
		assert(*target->text != '\0' && strlen(target->text) <= ADDRESS_LOCAL_MAX);
		break;
	case TARGET_PIPE:
		assert(*target->text != '\0');
		break;
	case TARGET_FILE:
	case TARGET_INCLUDE:
		assert(*target->text == '/');
		break;
	case TARGET_DOMAIN:
	case TARGET_ERROR:
	case TARGET_INVALID:
		break;
	}
	assert(!target->direct || target->kind == TARGET_USER || target->kind == TARGET_INVALID);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *copy = malloc(size + 1), *line, *rest;
	struct target_lines lines;
	struct target target;
	size_t count = 0, alone = 0;

	assert(text != NULL && copy != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	memcpy(copy, text, size + 1);
	target_lines_begin(&lines, text);
	while (target_lines_next(&lines, &target)) {
		check_target(&target);
		assert(++count <= size);
	}
	assert(!target_lines_next(&lines, &target));
	/* As many as its lines have, each read alone. */
	for (rest = copy; (line = strsep(&rest, "\n")) != NULL;) {
		const char *at = line + strspn(line, " \t\r");

		while (*at != '#' && target_next(&at, &target))
			alone++;
	}
	assert(alone == count);
	free(text);
	free(copy);
	return 0;
}
