/*
 * Received: the words in it are the peer's and DNS's, so each is copied byte by byte, and what
 * could end the field, open a comment or hide text becomes "?".
 */
#include <ctype.h>
#include <string.h>

#include "common/clock.h"
#include "smtpd/received.h"

const char *
received_protocol(bool lmtp, bool extended, bool smtputf8)
{
	if (lmtp)
		return smtputf8 ? "UTF8LMTP" : "LMTP";
	if (!extended)
		return "SMTP";
	return smtputf8 ? "UTF8SMTP" : "ESMTP";
}

/* A word of a domain's or literal's characters. */
static void
add_word(struct buf *buf, const char *word)
{
	for (; *word != '\0'; word++) {
		bool safe = isalnum((unsigned char)*word) || strchr(".-_:[]", *word) != NULL;

		buf_add_u8(buf, safe ? (uint8_t)*word : '?');
	}
}

static void
add_source(struct buf *buf, const struct received *received)
{
	buf_add_text(buf, "from ");
	add_word(buf, *received->helo == '\0' ? "unknown" : received->helo);
	buf_add_text(buf, " (");
	if (strcmp(received->client, "local") == 0)
		buf_add_text(buf, "local");
	else {
		if (*received->client_name != '\0') {
			add_word(buf, received->client_name);
			buf_add_u8(buf, ' ');
		}
		buf_add_u8(buf, '[');
		add_word(buf, received->client);
		buf_add_u8(buf, ']');
	}
	buf_add_text(buf, ")\r\n\t");
}

void
received_format(struct buf *buf, const struct received *received)
{
	char text[ADDRESS_TEXT_MAX + 1], *at;

	buf_add_text(buf, "Received: ");
	if (!received->mask_source)
		add_source(buf, received);
	buf_add_text(buf, "by ");
	add_word(buf, received->hostname);
	buf_printf(buf, " (Postern) with %s id %08x", received->protocol, received->message_id);
	if (received->rcpt != NULL) {
		address_format(received->rcpt, text, sizeof(text));
		for (at = text; *at != '\0'; at++) {
			if (iscntrl((unsigned char)*at) || *at == '<' || *at == '>')
				*at = '?';
		}
		buf_printf(buf, "\r\n\tfor <%s>", text);
	}
	clock_format_rfc5322(received->wall, text, sizeof(text));
	buf_printf(buf, ";\r\n\t%s\r\n", text);
}
