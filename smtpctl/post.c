/*
 * The envelope, and the text as it goes out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "smtpctl/address_list.h"
#include "smtpctl/post.h"

#define CHUNK 65536

void
post_init(struct post *post)
{
	memset(post, 0, sizeof(*post));
	post->fd = -1;
	buf_init(&post->header, POST_HEADER_MAX + 2);
}

void
post_free(struct post *post)
{
	if (post->fd != -1)
		close(post->fd);
	buf_free(&post->header);
	free(post->recipients);
	post->recipients = NULL;
	post->fd = -1;
}

static bool
add_recipient(struct post *post, const struct address *address, char *why, size_t size)
{
	struct address *grown;

	for (size_t i = 0; i < post->recipient_count; i++)
		if (strcmp(post->recipients[i].local, address->local) == 0 &&
		    strcmp(post->recipients[i].domain, address->domain) == 0)
			return true;
	if (post->recipient_count == POST_RECIPIENTS_MAX) {
		snprintf(why, size, "more than %d recipients", POST_RECIPIENTS_MAX);
		return false;
	}
	/* The capacity is the next power of two. */
	if ((post->recipient_count & (post->recipient_count - 1)) == 0) {
		grown = reallocarray(post->recipients,
		    post->recipient_count == 0 ? 1 : 2 * post->recipient_count, sizeof(*grown));
		if (grown == NULL) {
			snprintf(why, size, "out of memory");
			return false;
		}
		post->recipients = grown;
	}
	post->recipients[post->recipient_count++] = *address;
	return true;
}

/* Some of a text that is no list, up to where that was seen, for people. */
static void
say_bad(const char *text, size_t length, size_t at, char *why, size_t size)
{
	size_t start = at > 60 ? at - 60 : 0, end = at + 20 < length ? at + 20 : length, i;
	char part[96];

	for (i = 0; start + i < end && i < sizeof(part) - 1; i++) {
		unsigned char c = (unsigned char)text[start + i];

		part[i] = c < ' ' || c == 0x7f ? ' ' : (char)c;
	}
	part[i] = '\0';
	snprintf(why, size, "not an address: %s", part);
}

bool
post_add_recipients(struct post *post, const char *text, size_t length, char *why, size_t size)
{
	struct address_list_mailbox mailbox;
	enum address_list_result result;
	struct address_list list;

	address_list_init(&list, text, length);
	while ((result = address_list_next(&list, &mailbox)) == ADDRESS_LIST_MAILBOX)
		if (!add_recipient(post, &mailbox.address, why, size))
			return false;
	if (result == ADDRESS_LIST_BAD)
		say_bad(text, length, list.at, why, size);
	return result == ADDRESS_LIST_END;
}

bool
post_set_notify(struct post *post, const char *words)
{
	static const struct {
		const char *word;
		uint8_t notify;
	} known[] = {
		{ "success", DSN_NOTIFY_SUCCESS },
		{ "failure", DSN_NOTIFY_FAILURE },
		{ "delay", DSN_NOTIFY_DELAY },
	};
	uint8_t notify = 0;

	if (strcasecmp(words, "never") == 0) {
		post->notify = DSN_NOTIFY_NEVER;
		return true;
	}
	while (*words != '\0') {
		size_t length = strcspn(words, ","), i;

		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (strlen(known[i].word) == length &&
			    strncasecmp(known[i].word, words, length) == 0)
				break;
		if (i == sizeof(known) / sizeof(known[0]))
			return false;
		notify |= known[i].notify;
		words += length + (words[length] == ',');
	}
	post->notify = notify;
	return notify != 0;
}

bool
post_set_return(struct post *post, const char *word)
{
	if (strcasecmp(word, "full") == 0)
		post->dsn_return = DSN_RETURN_FULL;
	else if (strcasecmp(word, "hdrs") == 0)
		post->dsn_return = DSN_RETURN_HEADERS;
	else
		return false;
	return true;
}

bool
post_parse_sender(const char *text, struct address *sender)
{
	struct address_list_mailbox mailbox;
	struct address_list list;

	memset(sender, 0, sizeof(*sender));
	if (*text == '\0' || strcmp(text, "<>") == 0)
		return true;
	address_list_init(&list, text, strlen(text));
	if (address_list_next(&list, &mailbox) != ADDRESS_LIST_MAILBOX)
		return false;
	*sender = mailbox.address;
	return address_list_next(&list, &mailbox) == ADDRESS_LIST_END;
}

struct writer {
	post_sink_fn sink;
	void *arg;
	bool stuffed;
	bool at_start; /* of a line */
	bool after_cr;
	bool failed;
	size_t length;
	char bytes[CHUNK];
};

static void
flush(struct writer *writer)
{
	if (writer->length > 0 && !writer->sink(writer->arg, writer->bytes, writer->length))
		writer->failed = true;
	writer->length = 0;
}

static void
end_line(struct writer *writer)
{
	writer->bytes[writer->length++] = '\r';
	writer->bytes[writer->length++] = '\n';
	writer->at_start = true;
}

static void
put(struct writer *writer, char c)
{
	if (writer->length > sizeof(writer->bytes) - 8)
		flush(writer);
	if (writer->after_cr) {
		writer->after_cr = false;
		end_line(writer);
		if (c == '\n')
			return;
	}
	if (c == '\r') {
		writer->after_cr = true;
	} else if (c == '\n') {
		end_line(writer);
	} else {
		if (writer->at_start && c == '.' && writer->stuffed)
			writer->bytes[writer->length++] = '.';
		writer->bytes[writer->length++] = c;
		writer->at_start = false;
	}
}

static bool
write_body(const struct post *post, struct writer *writer)
{
	off_t at = post->body;
	char chunk[CHUNK];
	ssize_t count;

	while (!writer->failed && (count = pread(post->fd, chunk, sizeof(chunk), at)) != 0) {
		if (count < 0)
			return false;
		for (ssize_t i = 0; i < count; i++)
			put(writer, chunk[i]);
		at += count;
	}
	if (writer->after_cr || !writer->at_start)
		end_line(writer);
	flush(writer);
	return !writer->failed;
}

bool
post_write(
    const struct post *post, const struct buf *header, bool stuffed, post_sink_fn sink, void *arg)
{
	struct writer *writer = calloc(1, sizeof(*writer));
	bool good;

	if (writer == NULL)
		return false;
	writer->sink = sink;
	writer->arg = arg;
	writer->stuffed = stuffed;
	writer->at_start = true;
	for (size_t i = 0; i < header->length; i++)
		put(writer, (char)header->data[i]);
	good = write_body(post, writer);
	free(writer);
	return good;
}
