/*
 * Keywords as mailbox(8) and Dovecot keep them: a letter for each, which the folder's list names.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/keywords.h"
#include "common/log.h"
#include "deliver/maildir.h"

static int
compare_letters(const void *a, const void *b)
{
	return *(const char *)a - *(const char *)b;
}

void
maildir_set_keywords(const struct maildir *folder, struct maildir_into *into)
{
	size_t used = strlen(into->flags), first = used;
	char host[65] = "localhost", name[KEYWORD_NAME_MAX + 1];
	struct keywords keywords;
	const char *at = into->keywords;
	int bit;

	if (gethostname(host, sizeof(host) - 1) == -1)
		strcpy(host, "localhost");
	keywords_init(&keywords);
	while (*at != '\0' && used < MAILDIR_FLAGS_MAX) {
		size_t length = strcspn(at, " ");

		if (length <= KEYWORD_NAME_MAX) {
			memcpy(name, at, length);
			name[length] = '\0';
			if (keywords_add(&keywords, folder->root, host, name, &bit) == KEYWORDS_OK)
				into->flags[used++] = (char)('a' + bit);
			else
				log_debug("%s: no letter for keyword %s", folder->path, name);
		}
		at += length + (at[length] == ' ');
	}
	into->flags[used] = '\0';
	qsort(into->flags + first, used - first, 1, compare_letters);
	keywords_free(&keywords);
}
