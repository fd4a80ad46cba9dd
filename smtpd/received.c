/*
 * Received: the words in it are the peer's and DNS's, so each is copied byte by byte, and what
 * could end the field, open a comment or hide text becomes "?".
 */
#include <ctype.h>
#include <string.h>

#include "common/clock.h"
#include "smtpd/received.h"

const char *
received_protocol(bool lmtp, bool extended, bool smtputf8, bool encrypted, bool authenticated)
{
	static const char *const names[4][4] = {
		{ "ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA" },
		{ "UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA" },
		{ "LMTP", "LMTPS", "LMTPA", "LMTPSA" },
		{ "UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA" },
	};

	if (!lmtp && !extended)
		return "SMTP";
	return names[2 * lmtp + smtputf8][encrypted + 2 * authenticated];
}

/* Text of these characters only, beside letters and digits. */
static void
add_safe(struct buf *buf, const char *text, const char *others)
{
	for (; *text != '\0'; text++) {
		bool safe = isalnum((unsigned char)*text) || strchr(others, *text) != NULL;

		buf_add_u8(buf, safe ? (uint8_t)*text : '?');
	}
}

/* A word of a domain's or literal's characters. */
static void
add_word(struct buf *buf, const char *word)
{
	add_safe(buf, word, ".-_:[]");
}

static void
add_source(struct buf *buf, const struct received *received)
{
	buf_add_text(buf, "from ");
	add_word(buf, *received->helo == '\0' ? "unknown" : received->helo);
	buf_add_text(buf, " (");
	if (strcmp(received->client, "local") == 0) {
		buf_add_text(buf, "local");
		if (received->client_uid >= 0)
			buf_printf(buf, ", uid %lld", (long long)received->client_uid);
	} else {
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
	buf_printf(buf, " (Postern) with %s", received->protocol);
	if (*received->tls != '\0') {
		buf_add_text(buf, "\r\n\t(");
		add_safe(buf, received->tls, ".-_ ");
		buf_add_text(buf, ")\r\n\t");
	} else
		buf_add_u8(buf, ' ');
	buf_printf(buf, "id %08x", received->message_id);
	if (*received->user != '\0') {
		buf_add_text(buf, "\r\n\t(authenticated as ");
		add_safe(buf, received->user, ".-_+=@");
		buf_add_u8(buf, ')');
	}
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
