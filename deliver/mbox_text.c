/*
 * What of a line's begin is cut off by the end of a chunk, and may yet be "From ", is put before the
 * next chunk.
 */
#include <inttypes.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/address.h"
#include "deliver/mbox_text.h"
#include "deliver/text.h"

#define FROM        "From "
#define FROM_LENGTH 5

struct quoting {
	mbox_sink_fn sink;
	void *arg;
	bool in_line; /* not at its begin */
};

void
mbox_mark(const struct ipc_deliver *request, char mark[MBOX_MARK_SIZE])
{
	snprintf(mark, MBOX_MARK_SIZE, "%016" PRIx64 ".%" PRId64, request->envelope_id,
	    request->created_us);
}

/* As asctime() writes it, of the local time: mbox has no zone. */
void
mbox_from_line(const struct ipc_deliver *request, struct buf *buf)
{
	char sender[ADDRESS_TEXT_MAX + 1], date[64];
	time_t created = (time_t)(request->created_us / 1000000);
	struct tm tm;

	address_format(&request->sender, sender, sizeof(sender));
	/* A reader takes it up to the first space. */
	for (char *at = sender; *at != '\0'; at++) {
		unsigned char byte = (unsigned char)*at;

		if (byte <= ' ' || byte == 0x7f)
			*at = '-';
	}
	memset(&tm, 0, sizeof(tm));
	if (localtime_r(&created, &tm) == NULL || asctime_r(&tm, date) == NULL)
		strcpy(date, "Thu Jan  1 00:00:00 1970\n");
	buf_add_text(buf, FROM);
	buf_add_text(buf, *sender != '\0' ? sender : "MAILER-DAEMON");
	buf_add_text(buf, "  ");
	buf_add_text(buf, date);
}

void
mbox_head(const struct ipc_deliver *request, struct buf *buf)
{
	char delivered_to[ADDRESS_TEXT_MAX + 1], mark[MBOX_MARK_SIZE];

	address_format(&request->dest, delivered_to, sizeof(delivered_to));
	mbox_from_line(request, buf);
	if (!request->is_wrapped)
		text_fields(buf, &request->sender,
		    *delivered_to != '\0' ? delivered_to : request->mailbox.user);
	mbox_mark(request, mark);
	buf_add_text(buf, MBOX_MARK);
	buf_add_text(buf, mark);
	buf_add_text(buf, "\n");
}

/* Gives out what can be: returns how many bytes at the end must wait, or -1 with errno. */
static ssize_t
quote(struct quoting *quoting, const uint8_t *data, size_t length)
{
	const uint8_t *at = data, *given = data, *end = data + length, *line_end;

	while (at < end) {
		size_t left = (size_t)(end - at);

		if (!quoting->in_line && left < FROM_LENGTH && memcmp(at, FROM, left) == 0)
			break;
		if (!quoting->in_line && left >= FROM_LENGTH &&
		    memcmp(at, FROM, FROM_LENGTH) == 0) {
			if (!quoting->sink(given, (size_t)(at - given), quoting->arg) ||
			    !quoting->sink(">", 1, quoting->arg))
				return -1;
			given = at;
		}
		line_end = memchr(at, '\n', left);
		quoting->in_line = line_end == NULL;
		at = line_end == NULL ? end : line_end + 1;
	}
	if (!quoting->sink(given, (size_t)(at - given), quoting->arg))
		return -1;
	return end - at;
}

bool
mbox_text(
    const struct ipc_deliver *request, int message, uint8_t *chunk, mbox_sink_fn sink, void *arg)
{
	struct quoting quoting = { .sink = sink, .arg = arg };
	struct text text;
	struct buf head;
	ssize_t length, held = 0;
	bool good;

	buf_init(&head, TEXT_CHUNK / 2);
	mbox_head(request, &head);
	good = buf_ok(&head);
	errno = ENOMEM;
	good = good && sink(head.data, head.length, arg);
	buf_free(&head);
	if (!good)
		return false;
	text_begin(&text, message, request->size);
	while ((length = text_read(&text, chunk, (size_t)held)) > held) {
		held = quote(&quoting, chunk, (size_t)length);
		if (held == -1)
			return false;
		memmove(chunk, chunk + length - held, (size_t)held);
	}
	if (length == -1)
		return false;
	if (held > 0) {
		quoting.in_line = true;
		if (!sink(chunk, (size_t)held, arg))
			return false;
	}
	/* The last line's end, and the empty line. */
	return sink("\n\n", quoting.in_line ? 2 : 1, arg);
}
