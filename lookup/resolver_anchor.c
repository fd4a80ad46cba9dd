/*
 * Records are put on one line each here, since that is how libunbound takes them; what they say is
 * for libunbound to judge. A key that RFC 5011 has seen revoked or removed, or not long enough, is
 * left out: its state is a number in a comment, ";;state=2".
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "lookup/resolver_anchor.h"

/* https://data.iana.org/root-anchors/root-anchors.xml */
const char anchors_of_the_root[] =
    ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n"
    ". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16\n";

/* RFC 5011 4.1, as unbound numbers the states. */
enum key_state {
	KEY_START,
	KEY_PENDING,
	KEY_VALID,
	KEY_MISSING,
	KEY_REVOKED,
	KEY_REMOVED,
};

static bool
comment_revokes(const char *comment)
{
	const char *state = strstr(comment, ";state=");

	if (state == NULL)
		return false;
	state += strlen(";state=");
	return *state != '0' + KEY_VALID && *state != '0' + KEY_MISSING;
}

/* The record that begins at *at, behind which that is moved; "" when it is an empty line, or a key
 * that isn't to be trusted. */
static void
take_record(const char **at, char *record)
{
	unsigned parentheses = 0;
	bool revoked = false;
	size_t length = 0;

	for (; **at != '\0' && (**at != '\n' || parentheses > 0); (*at)++) {
		if (**at == ';') {
			const char *end = *at + strcspn(*at, "\n");
			char *comment = strndup(*at, (size_t)(end - *at));

			if (comment == NULL)
				fatal("a trust anchor");
			revoked |= comment_revokes(comment);
			free(comment);
			*at = end - 1;
		} else if (**at == '(') {
			parentheses++;
		} else if (**at == ')') {
			parentheses -= parentheses > 0;
		} else if (!isspace((unsigned char)**at)) {
			record[length++] = **at;
		} else if (length > 0 && record[length - 1] != ' ') {
			record[length++] = ' ';
		}
	}
	if (**at == '\n')
		(*at)++;
	while (length > 0 && record[length - 1] == ' ')
		length--;
	record[revoked ? 0 : length] = '\0';
}

bool
anchors_each(const char *text, bool (*add)(void *arg, const char *record), void *arg)
{
	char *record = malloc(strlen(text) + 1);
	bool goes_on = true, is_empty = true;

	if (record == NULL)
		fatal("trust anchors");
	while (*text != '\0' && goes_on) {
		take_record(&text, record);
		if (*record == '\0')
			continue;
		is_empty = false;
		goes_on = add(arg, record);
	}
	free(record);
	return goes_on && !is_empty;
}
