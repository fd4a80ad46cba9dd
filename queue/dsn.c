/* Builds DSNs. Lines are short, words are plain; a field's value never holds a line end. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "queue/dsn.h"

#define LINE_WIDTH     76
#define DIALOGUE_WIDTH 900

static bool
is_ascii(const char *text)
{
	for (; *text != '\0'; text++) {
		if (!isascii((unsigned char)*text))
			return false;
	}
	return true;
}

/* One line's worth: printable ASCII, and UTF-8 where the DSN allows it. */
static void
add_value(struct buf *buf, const char *text, bool utf8)
{
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;

		buf_add_u8(
		    buf, byte >= ' ' && byte != 0x7f && (isascii(byte) || utf8) ? byte : '?');
	}
}

static void
add_field(struct buf *buf, const char *name, const char *value, bool utf8)
{
	buf_add_text(buf, name);
	buf_add_text(buf, ": ");
	add_value(buf, value, utf8);
	buf_add_text(buf, "\r\n");
}

static void
add_date(struct buf *buf, const char *name, int64_t wall)
{
	char text[64];

	clock_format_rfc5322(wall, text, sizeof(text));
	add_field(buf, name, text, false);
}

/* A paragraph, its lines broken at blanks. */
static void
add_paragraph(struct buf *buf, const char *text, const char *indent, bool utf8)
{
	size_t column = 0, word;

	while (*text != '\0') {
		word = strcspn(text, " ");
		if (column > 0 && column + 1 + word > LINE_WIDTH) {
			buf_add_text(buf, "\r\n");
			column = 0;
		}
		if (column > 0) {
			buf_add_u8(buf, ' ');
			column++;
		} else {
			buf_add_text(buf, indent);
			column = strlen(indent);
		}
		for (size_t i = 0; i < word; i++) {
			unsigned char byte = (unsigned char)text[i];

			buf_add_u8(buf,
			    byte > ' ' && byte != 0x7f && (isascii(byte) || utf8) ? byte : '?');
		}
		column += word;
		text += word;
		text += strspn(text, " ");
	}
	buf_add_text(buf, "\r\n");
}

static const char *
words_of(const struct dsn *dsn)
{
	if (dsn->is_double)
		return "A message could not be delivered, and could not be returned to its sender "
		       "either. This is what is known of it; the message itself is gone from the "
		       "queue.";
	switch (dsn->kind) {
	case DSN_FAILED:
		return "Your message could not be delivered to the recipients below. No further "
		       "attempts will be made.";
	case DSN_DELAYED:
		return "Your message has not been delivered yet to the recipients below. You need "
		       "not send it again: attempts go on until the time given.";
	case DSN_DELIVERED:
		return "Your message was delivered to the mailboxes of the recipients below.";
	case DSN_RELAYED:
		return "Your message was relayed to another mail system for the recipients below. "
		       "It doesn't report on deliveries, so that you will hear no more of them "
		       "unless they fail.";
	case DSN_HELD:
		return "A user has sent to more recipients within an hour than \"smtp limit "
		       "user-mails-per-hour\" allows: the mail below waits, and so does what the "
		       "user sends above the limit from now on. `smtpctl show queue state held` "
		       "lists it, `smtpctl release` lets it go, and `smtpctl remove` drops it. If "
		       "it "
		       "isn't the user's own, the password is known to others: change it.";
	}
	return "";
}

static const char *
subject_of(const struct dsn *dsn)
{
	if (dsn->is_double)
		return "Undeliverable and unreturnable message";
	switch (dsn->kind) {
	case DSN_FAILED:
		return "Delivery failed";
	case DSN_DELAYED:
		return "Delivery delayed";
	case DSN_DELIVERED:
		return "Message delivered";
	case DSN_RELAYED:
		return "Message relayed";
	case DSN_HELD:
		return "Mail is held";
	}
	return "";
}

static void
add_header(struct buf *buf, const struct dsn *dsn, bool utf8)
{
	char to[ADDRESS_TEXT_MAX + 1];

	address_format(dsn->to, to, sizeof(to));
	add_date(buf, "Date", dsn->now);
	buf_printf(buf, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", dsn->hostname);
	buf_add_text(buf, "To: <");
	add_value(buf, to, utf8);
	buf_add_text(buf, ">\r\n");
	add_field(buf, "Subject", subject_of(dsn), false);
	buf_printf(buf, "Message-ID: <%08" PRIx32 ".%" PRId64 ".dsn@%s>\r\n", dsn->message_id,
	    dsn->now, dsn->hostname);
	/* RFC 3834 5 */
	buf_add_text(buf,
	    "Auto-Submitted: auto-replied\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=");
	buf_add_text(buf, utf8 ? "global-delivery-status" : "delivery-status");
	buf_printf(buf, ";\r\n\tboundary=\"%s\"\r\n\r\n", dsn->boundary);
	buf_add_text(
	    buf, "This is a delivery status notification in MIME format (RFC 3464).\r\n\r\n");
}

static void
start_part(struct buf *buf, const struct dsn *dsn, const char *type, bool eight_bit)
{
	buf_printf(buf, "--%s\r\nContent-Type: %s\r\n", dsn->boundary, type);
	if (eight_bit)
		buf_add_text(buf, "Content-Transfer-Encoding: 8bit\r\n");
	buf_add_text(buf, "\r\n");
}

/* What another host said line by line: each indented, none too long (RFC 5322 2.1.1). */
static void
add_dialogue(struct buf *buf, const char *dialogue)
{
	size_t length;

	buf_add_text(buf, "\r\nThe last attempt, without what was sent of the message:\r\n\r\n");
	while (*dialogue != '\0') {
		length = strcspn(dialogue, "\n");
		buf_add_text(buf, "    ");
		for (size_t i = 0; i < length && i < DIALOGUE_WIDTH; i++) {
			unsigned char byte = (unsigned char)dialogue[i];

			if (byte != '\r')
				buf_add_u8(buf, byte >= ' ' && byte < 0x7f ? byte : '?');
		}
		buf_add_text(buf, length > DIALOGUE_WIDTH ? "...\r\n" : "\r\n");
		dialogue += length;
		dialogue += *dialogue == '\n';
	}
}

static void
add_people_part(struct buf *buf, const struct dsn *dsn, bool utf8)
{
	char address[ADDRESS_TEXT_MAX + 1], text[REPLY_TEXT_MAX + 64], date[64];

	start_part(
	    buf, dsn, utf8 ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii", utf8);
	buf_printf(buf, "This is the mail system at %s.\r\n\r\n", dsn->hostname);
	add_paragraph(buf, words_of(dsn), "", utf8);
	for (size_t i = 0; i < dsn->recipient_count; i++) {
		const struct dsn_recipient *recipient = &dsn->recipients[i];

		buf_add_text(buf, "\r\n");
		address_format(&recipient->envelope->rcpt, address, sizeof(address));
		buf_add_u8(buf, '<');
		add_value(buf, address, utf8);
		buf_add_text(buf, ">:\r\n");
		if (recipient->reply != NULL) {
			reply_format(recipient->reply, text, sizeof(text));
			add_paragraph(buf, text, "    ", utf8);
		}
		if (dsn->kind == DSN_DELAYED) {
			clock_format_rfc5322(recipient->envelope->expires, date, sizeof(date));
			snprintf(text, sizeof(text), "Attempts go on until %s.", date);
			add_paragraph(buf, text, "    ", utf8);
		}
	}
	if (dsn->dialogue != NULL)
		add_dialogue(buf, dsn->dialogue);
	buf_add_text(buf, "\r\n");
}

/* Of xtext, where they are upper case. */
static int
xtext_digit(char digit)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *at = digit == '\0' ? NULL : strchr(digits, digit);

	return at == NULL ? -1 : (int)(at - digits);
}

/* RFC 3461 4: xtext's "+XX", back to what it stands for where that is printable. */
static void
decode_xtext(const char *from, char *to)
{
	while (*from != '\0') {
		int high = *from == '+' ? xtext_digit(from[1]) : -1;
		int low = high == -1 ? -1 : xtext_digit(from[2]);
		int byte = low == -1 ? -1 : high * 16 + low;

		if (byte >= ' ' && byte < 0x7f) {
			*to++ = (char)byte;
			from += 3;
		} else
			*to++ = *from++;
	}
	*to = '\0';
}

static const char *
action_of(enum dsn_kind kind)
{
	switch (kind) {
	case DSN_FAILED:
		return "failed";
	case DSN_DELAYED:
		return "delayed";
	case DSN_DELIVERED:
		return "delivered";
	case DSN_RELAYED:
		return "relayed";
	case DSN_HELD:
		break;
	}
	return "delayed";
}

/* RFC 3461 6.3 (g): 4.0.0 or 5.0.0 where nothing more is known. */
static void
add_status(struct buf *buf, const struct dsn *dsn, const struct reply *reply)
{
	static const char classes[] = "54224";
	char class = classes[dsn->kind];

	/* The class must be that of the action (RFC 3464 2.3.4), whatever the answer said. */
	if (reply != NULL && *reply->enhanced == class)
		add_field(buf, "Status", reply->enhanced, false);
	else if (dsn->kind == DSN_FAILED && reply != NULL && *reply->enhanced == '4')
		buf_printf(buf, "Status: 5%s\r\n", reply->enhanced + 1);
	else
		buf_printf(buf, "Status: %c.0.0\r\n", class);
}

static void
add_recipient_fields(
    struct buf *buf, const struct dsn *dsn, const struct dsn_recipient *recipient, bool utf8)
{
	const struct envelope *envelope = recipient->envelope;
	char text[ADDRESS_TEXT_MAX + DSN_ORCPT_MAX + REPLY_TEXT_MAX];

	buf_add_text(buf, "\r\n");
	if (*envelope->dsn_orcpt != '\0') {
		decode_xtext(envelope->dsn_orcpt, text);
		add_field(buf, "Original-Recipient", text, utf8);
	}
	address_format(&envelope->rcpt, text, sizeof(text));
	buf_printf(buf, "Final-Recipient: %s; ", is_ascii(text) ? "rfc822" : "utf-8");
	add_value(buf, text, utf8);
	buf_printf(buf, "\r\nAction: %s\r\n", action_of(dsn->kind));
	add_status(buf, dsn, recipient->reply);
	/* RFC 3464 2.3.5: only when another host has said so. */
	if (recipient->host != NULL && *recipient->host != '\0') {
		buf_add_text(buf, "Remote-MTA: dns; ");
		add_value(buf, recipient->host, utf8);
		buf_add_text(buf, "\r\n");
	}
	if (recipient->reply != NULL && dsn->kind != DSN_DELIVERED && dsn->kind != DSN_RELAYED) {
		reply_format(recipient->reply, text, sizeof(text));
		buf_add_text(buf, "Diagnostic-Code: smtp; ");
		add_value(buf, text, false);
		buf_add_text(buf, "\r\n");
	}
	if (envelope->last_try != 0)
		add_date(buf, "Last-Attempt-Date", envelope->last_try);
	if (dsn->kind == DSN_DELAYED)
		add_date(buf, "Will-Retry-Until", envelope->expires);
}

static void
add_status_part(struct buf *buf, const struct dsn *dsn, bool utf8)
{
	const struct transaction *original = dsn->original;

	start_part(
	    buf, dsn, utf8 ? "message/global-delivery-status" : "message/delivery-status", utf8);
	buf_printf(buf, "Reporting-MTA: dns; %s\r\n", dsn->hostname);
	/* RFC 3461 6.3 (a): only when the client gave one. */
	if (*original->dsn_envid != '\0')
		add_field(buf, "Original-Envelope-Id", original->dsn_envid, false);
	if (*original->helo != '\0') {
		buf_add_text(buf, "Received-From-MTA: dns; ");
		add_value(buf, original->helo, utf8);
		buf_add_text(buf, "\r\n");
	}
	add_date(buf, "Arrival-Date", original->created_us / 1000000);
	for (size_t i = 0; i < dsn->recipient_count; i++)
		add_recipient_fields(buf, dsn, &dsn->recipients[i], utf8);
	buf_add_text(buf, "\r\n");
}

size_t
dsn_header_length(const uint8_t *text, size_t length)
{
	size_t i, line = 0;

	for (i = 0; i < length; i++) {
		if (text[i] != '\n')
			continue;
		/* An empty line ends the header section (RFC 5322 2.1). */
		if (i == line || (i == line + 1 && text[line] == '\r'))
			return line;
		line = i + 1;
	}
	/* No end in sight: whole lines of it. */
	return line > 0 ? line : length;
}

static void
add_returned_part(struct buf *buf, const struct dsn *dsn, bool utf8)
{
	const char *type = dsn->is_full ? (utf8 ? "message/global" : "message/rfc822")
	                                : (utf8 ? "message/global-headers" : "text/rfc822-headers");
	size_t length =
	    dsn->is_full ? dsn->text_length : dsn_header_length(dsn->text, dsn->text_length);
	bool eight_bit = false;

	for (size_t i = 0; i < length && !eight_bit; i++)
		eight_bit = dsn->text[i] >= 0x80 || dsn->text[i] == '\0';
	start_part(buf, dsn, type, eight_bit);
	buf_add(buf, dsn->text, length);
	if (length > 0 && dsn->text[length - 1] != '\n')
		buf_add_text(buf, "\r\n");
	buf_printf(buf, "\r\n--%s--\r\n", dsn->boundary);
}

void
dsn_build(struct buf *buf, const struct dsn *dsn)
{
	bool utf8 = dsn->original->smtputf8;

	add_header(buf, dsn, utf8);
	add_people_part(buf, dsn, utf8);
	add_status_part(buf, dsn, utf8);
	add_returned_part(buf, dsn, utf8);
}
