/* Fields, keys and authors taken out of any message: texts that end where they must, and no line ends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/script_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check(bool good)
{
	if (!good)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct address address;
	char name[200], *text = malloc(size + 1), *key, *value;

	check(text != NULL);
	memcpy(text, data, size);
	value = script_field(text, size, "Message-ID", 100);
	check(value == NULL ||
	    (*value != '\0' && strlen(value) <= 100 && strpbrk(value, "\r\n") == NULL));
	free(value);
	key = script_header_key(text, size);
	check(key != NULL && strlen(key) <= 8192);
	free(key);
	text[size] = '\0';
	script_author(text, &address, name, sizeof(name));
	check(strlen(name) < sizeof(name));
	check((address.local[0] == '\0') == (address.domain[0] == '\0'));
	free(text);
	return 0;
}
