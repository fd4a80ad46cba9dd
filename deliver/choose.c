/*
 * A line of the header is kept as far as one of the two fields could be long; all that is longer is
 * none. A line that goes on with white space belongs to the field before it and begins no other.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/address.h"
#include "common/read.h"
#include "deliver/choose.h"

#define CHUNK (64 * 1024)

void
marks_begin(struct marks *marks)
{
	memset(marks, 0, sizeof(*marks));
}

static bool
is_mark(const char *line)
{
	static const char *const names[] = { "x-spam:", "x-spam-flag:" };
	size_t length;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		length = strlen(names[i]);
		if (strncasecmp(line, names[i], length) != 0)
			continue;
		line += length + strspn(line + length, " \t");
		return strncasecmp(line, "yes", 3) == 0 &&
		    line[3 + strspn(line + 3, " \t\r")] == '\0';
	}
	return false;
}

static void
end_line(struct marks *marks)
{
	bool is_empty = marks->length == 0 || (marks->length == 1 && marks->line[0] == '\r');

	marks->line[marks->length] = '\0';
	if (marks->state == MARKS_NAME && is_empty)
		marks->state = MARKS_ENDED;
	else if (marks->state == MARKS_NAME && is_mark(marks->line))
		marks->state = MARKS_FOUND;
	else
		marks->state = MARKS_NAME;
	marks->length = 0;
}

bool
marks_feed(struct marks *marks, const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (marks->state == MARKS_FOUND || marks->state == MARKS_ENDED)
			return false;
		if (data[i] == '\n')
			end_line(marks);
		else if (marks->state == MARKS_NAME && data[i] != '\0' &&
		    marks->length < sizeof(marks->line) - 1)
			marks->line[marks->length++] = (char)data[i];
		else
			marks->state = MARKS_OTHER;
	}
	return marks->state != MARKS_FOUND && marks->state != MARKS_ENDED;
}

bool
marks_end(struct marks *marks)
{
	if (marks->state == MARKS_NAME && marks->length > 0)
		end_line(marks);
	return marks->state == MARKS_FOUND;
}

static bool
is_marked(int message, uint64_t size)
{
	uint8_t *chunk = malloc(CHUNK);
	uint64_t offset = 0;
	struct marks marks;

	marks_begin(&marks);
	while (chunk != NULL && offset < size) {
		uint64_t left = size - offset;
		ssize_t got = read_some_at(
		    message, chunk, left < CHUNK ? (size_t)left : CHUNK, (off_t)offset);

		if (got <= 0 || !marks_feed(&marks, chunk, (size_t)got))
			break;
		offset += (uint64_t)got;
	}
	free(chunk);
	return marks_end(&marks);
}

void
choose_folder(const struct ipc_deliver *request, int message, const char *delimiters,
    struct maildir_into *into)
{
	char detail[ADDRESS_LOCAL_MAX + 1];
	struct address rcpt = request->rcpt;

	memset(into, 0, sizeof(*into));
	if (request->mailbox.junk && is_marked(message, request->size)) {
		strcpy(into->folder, MAILDIR_JUNK);
		into->create = true;
		return;
	}
	address_split_detail(&rcpt, delimiters, detail, sizeof(detail));
	/* What lies in the trash isn't counted by quotas: no stranger may put mail there. A name with
	 * "&" would have to be encoded. */
	if (strcasecmp(detail, "Trash") != 0 && strncasecmp(detail, "Trash.", 6) != 0 &&
	    strchr(detail, '&') == NULL && maildir_folder_is_sound(detail))
		strcpy(into->folder, detail);
}
