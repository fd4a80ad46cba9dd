/*
 * What is said of Sieve scripts without reading one: the extensions that there are, and names.
 */
#include <string.h>

#include "common/sieve.h"

/* In the order of sieve_extension in sieve_script.h. */
const char sieve_extensions[] =
    "fileinto reject ereject envelope encoded-character comparator-i;ascii-numeric body copy "
    "variables vacation vacation-seconds relational imap4flags subaddress date index mailbox "
    "duplicate regex environment ihave";

/* The length of the UTF-8 character (RFC 3629) at `at`; 0 when it is none, or a control. */
static size_t
character_length(const unsigned char *at)
{
	if (at[0] < 0x20 || at[0] == 0x7f)
		return 0;
	if (at[0] < 0x80)
		return 1;
	if (at[0] == 0xc2 && at[1] < 0xa0) /* C1 controls */
		return 0;
	if (at[0] == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9)) /* U+2028, U+2029 */
		return 0;
	if (at[0] >= 0xc2 && at[0] < 0xe0)
		return (at[1] & 0xc0) == 0x80 ? 2 : 0;
	if (at[0] >= 0xe0 && at[0] < 0xf0) {
		if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f))
			return 0;
		return (at[1] & 0xc0) == 0x80 && (at[2] & 0xc0) == 0x80 ? 3 : 0;
	}
	if (at[0] >= 0xf0 && at[0] < 0xf5) {
		if ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
			return 0;
		return (at[1] & 0xc0) == 0x80 && (at[2] & 0xc0) == 0x80 && (at[3] & 0xc0) == 0x80
		    ? 4
		    : 0;
	}
	return 0;
}

bool
sieve_name_is_valid(const char *name)
{
	const unsigned char *at = (const unsigned char *)name;
	size_t length;

	if (*at == '\0' || *at == '.' || strlen(name) > SIEVE_NAME_MAX)
		return false;
	for (; *at != '\0'; at += length) {
		length = character_length(at);
		if (length == 0 || *at == '/')
			return false;
	}
	return true;
}
