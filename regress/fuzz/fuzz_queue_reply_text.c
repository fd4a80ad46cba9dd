/*
 * An automatic reply made of whatever an mda says: a header of printable lines with the fields that it
 * must have, each once, and no other recipient; lines end in CRLF and are as long as SMTP takes them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/ipc_queue_mda.h"
#include "queue/reply_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
check_text(const struct buf *text, bool is_mime)
{
	static const char *const once[] = { "From:", "To:", "Subject:", "Date:", "Message-ID:",
		"Auto-Submitted:", "MIME-Version:" };
	size_t seen[sizeof(once) / sizeof(once[0])] = { 0 };
	const char *at = (const char *)text->data, *end = at + text->length;
	bool in_header = true;

	while (at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));

		check(line_end != NULL && line_end > at && line_end[-1] == '\r');
		for (const char *byte = at; byte < line_end - 1; byte++)
			check(*byte != '\r' &&
			    (!in_header || (*byte >= ' ' && *byte < 0x7f) || *byte == '\t' ||
			        is_mime));
		check(is_mime || line_end - at <= 999);
		if (line_end == at + 1)
			in_header = false;
		for (size_t i = 0; in_header && i < sizeof(once) / sizeof(once[0]); i++)
			seen[i] += strncasecmp(at, once[i], strlen(once[i])) == 0;
		check(!in_header ||
		    (strncasecmp(at, "Bcc:", 4) != 0 && strncasecmp(at, "Cc:", 3) != 0));
		at = line_end + 1;
	}
	check(!in_header);
	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
		check(seen[i] == 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct address from = { "bob", "b.test" }, to = { "ann", "a.test" };
	struct ipc_delivered delivered;
	struct reply_text reply = { .from = &from, .to = &to, .hostname = "mx.b.test" };
	struct buf head, text;
	struct buf_reader reader;
	struct reply success;

	/* What comes before the effects is the same each time. */
	buf_init(&head, IMSG_PAYLOAD_MAX);
	memset(&delivered, 0, sizeof(delivered));
	delivered.envelope_id = 1;
	reply_set(&success, 250, "2.0.0", "ok");
	delivered.reply = success;
	ipc_delivered_encode(&head, &delivered);
	head.length--;
	buf_add_u8(&head, 1);
	buf_add_u8(&head, 0);
	buf_add_u8(&head, 1);
	buf_add(&head, data, size);
	if (buf_ok(&head)) {
		buf_reader_init(&reader, head.data, head.length);
		if (ipc_delivered_decode(&reader, &delivered)) {
			buf_init(&text, 65536);
			reply.effects = delivered.effects;
			reply_text_build(&text, &reply);
			check(buf_ok(&text));
			check_text(&text, delivered.effects->reply_is_mime);
			buf_free(&text);
			ipc_delivered_free(&delivered);
		}
	}
	buf_free(&head);
	return 0;
}
