/*
 * Any bytes as a regular expression and, behind a NUL, a text: what is taken as one can be searched
 * for, within its bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/regular.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct regular *regular;
	char *expression = malloc(size + 2), why[200] = "";
	const char *text;

	if (expression == NULL)
		return 0;
	memcpy(expression, data, size);
	expression[size] = expression[size + 1] = '\0';
	text = expression + strlen(expression) + 1;
	if (text > expression + size)
		text--;
	regular = regular_new(expression, why, sizeof(why));
	if ((regular == NULL) == (*why == '\0'))
		abort();
	if (regular != NULL) {
		if (regular_steps(regular) > REGULAR_STEPS_MAX)
			abort();
		(void)regular_matches(regular, text);
	}
	regular_free(regular);
	free(expression);
	return 0;
}
