/*
 * Any bytes as a regular expression and, behind a NUL, a text: what is taken as one can be searched
 * for, within its bounds.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/regular.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* As Sieve does: what is an expression is one for it too, and finds where it matches. */
static void
find(const char *expression, const char *text, bool fold_case, bool is_known, bool matches)
{
	struct regular_group groups[REGULAR_GROUPS_MAX];
	size_t length = strlen(text);
	uint64_t steps = 2000000;
	enum regular_result result;
	struct regular *regular;
	char why[200] = "";

	regular = regular_new_find(expression, fold_case, true, why, sizeof(why));
	if ((regular == NULL) == (*why == '\0') || (is_known && regular == NULL))
		abort();
	if (regular == NULL)
		return;
	result = regular_find(regular, text, length, groups, &steps);
	if (is_known && result != REGULAR_TOO_MUCH && (result == REGULAR_FOUND) != matches)
		abort();
	for (size_t i = 0; result == REGULAR_FOUND && i < REGULAR_GROUPS_MAX; i++) {
		if (groups[i].from == SIZE_MAX
		        ? groups[i].to != SIZE_MAX || i == 0
		        : groups[i].from > groups[i].to || groups[i].from < groups[0].from ||
		            groups[i].to > groups[0].to || groups[i].to > length)
			abort();
	}
	regular_free(regular);
}

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
		/* Some that are escaped mean more there. */
		find(expression, text, true, strchr(expression, '\\') == NULL,
		    regular_matches(regular, text));
	} else
		find(expression, text, true, false, false);
	find(expression, text, false, false, false);
	regular_free(regular);
	free(expression);
	return 0;
}
