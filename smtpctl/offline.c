/*
 * The file's form. It is read by enqueue as its owner, who may have written anything into it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/write.h"
#include "smtpctl/offline.h"
#include "smtpctl/temporary.h"

#define FIRST_LINE "postern-mail 1"
#define COPY_BYTES 65536

static void
add_mailbox(struct buf *out, const char *word, const struct address *address)
{
	char text[ADDRESS_TEXT_MAX + 1];

	address_format(address, text, sizeof(text));
	buf_printf(out, "%s %s\n", word, text);
}

static void
format_envelope(struct buf *out, const struct post *post)
{
	buf_add_text(out, FIRST_LINE "\n");
	add_mailbox(out, "from", &post->sender);
	add_mailbox(out, "author", &post->author);
	if (*post->name != '\0')
		buf_printf(out, "name %s\n", post->name);
	if (post->notify != 0)
		buf_printf(out, "notify %u\n", post->notify);
	if (post->dsn_return != DSN_RETURN_UNSET)
		buf_printf(
		    out, "return %s\n", post->dsn_return == DSN_RETURN_FULL ? "full" : "hdrs");
	if (*post->envid != '\0')
		buf_printf(out, "envid %s\n", post->envid);
	for (size_t i = 0; i < post->recipient_count; i++)
		add_mailbox(out, "to", &post->recipients[i]);
	buf_add_u8(out, '\n');
}

static bool
copy_text(int to, int from, off_t start)
{
	char *chunk = malloc(COPY_BYTES);
	ssize_t count = -1;

	while (chunk != NULL && (count = pread(from, chunk, COPY_BYTES, start)) > 0) {
		if (!write_all(to, chunk, (size_t)count)) {
			count = -1;
			break;
		}
		start += count;
	}
	free(chunk);
	return count == 0;
}

int
offline_write(const struct post *post, char *why, size_t size)
{
	struct buf envelope;
	bool good;
	int fd = temporary_file(NULL);

	buf_init(&envelope, OFFLINE_ENVELOPE_MAX);
	format_envelope(&envelope, post);
	good = fd != -1 && buf_ok(&envelope) && write_all(fd, envelope.data, envelope.length) &&
	    copy_text(fd, post->fd, post->start) && lseek(fd, 0, SEEK_SET) == 0;
	if (!good)
		snprintf(why, size, "can't make a temporary file: %s", strerror(errno));
	buf_free(&envelope);
	if (!good && fd != -1) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool
take_notify(struct post *post, const char *value)
{
	char *end;
	unsigned long notify = strtoul(value, &end, 10);

	if (end == value || *end != '\0' || notify == 0 ||
	    (notify & ~(unsigned long)DSN_NOTIFY_ALL))
		return false;
	post->notify = (uint8_t)notify;
	return true;
}

/* A mailbox as format_envelope() wrote it. */
static bool
take_address(const char *value, bool may_be_null, struct address *address)
{
	memset(address, 0, sizeof(*address));
	if (*value == '\0')
		return may_be_null;
	return address_parse(value, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL, address) ==
	    ADDRESS_OK;
}

static bool
is_text(const char *value)
{
	for (; *value != '\0'; value++)
		if ((unsigned char)*value < ' ' || *value == 0x7f)
			return false;
	return true;
}

static bool
take_line(struct post *post, const char *word, const char *value)
{
	char why[256];

	if (strcmp(word, "from") == 0)
		return take_address(value, true, &post->sender);
	if (strcmp(word, "author") == 0)
		return take_address(value, false, &post->author);
	if (strcmp(word, "name") == 0)
		return is_text(value) &&
		    strlcpy(post->name, value, sizeof(post->name)) < sizeof(post->name);
	if (strcmp(word, "notify") == 0)
		return take_notify(post, value);
	if (strcmp(word, "return") == 0)
		return post_set_return(post, value);
	if (strcmp(word, "envid") == 0)
		return is_text(value) &&
		    strlcpy(post->envid, value, sizeof(post->envid)) < sizeof(post->envid);
	return strcmp(word, "to") == 0 &&
	    post_add_recipients(post, value, strlen(value), why, sizeof(why));
}

bool
offline_parse(struct post *post, const char *bytes, size_t length, char *why, size_t size)
{
	char line[ADDRESS_TEXT_MAX + 16];
	size_t number = 0, at = 0;

	for (;;) {
		const char *end = memchr(bytes + at, '\n', length - at);
		size_t line_length = end == NULL ? 0 : (size_t)(end - (bytes + at));
		char *blank;

		number++;
		if (end == NULL || line_length >= sizeof(line))
			break;
		memcpy(line, bytes + at, line_length);
		line[line_length] = '\0';
		at += line_length + 1;
		if (strlen(line) != line_length || (number == 1) != (strcmp(line, FIRST_LINE) == 0))
			break;
		if (number == 1)
			continue;
		if (line_length == 0) {
			post->start = (off_t)at;
			if (post->recipient_count > 0 && *post->author.local != '\0')
				return true;
			break;
		}
		blank = strchr(line, ' ');
		if (blank == NULL)
			break;
		*blank = '\0';
		if (!take_line(post, line, blank + 1))
			break;
	}
	snprintf(why, size, "line %zu of the file isn't as it must be", number);
	return false;
}

bool
offline_read(struct post *post, int fd, char *why, size_t size)
{
	char *bytes = malloc(OFFLINE_ENVELOPE_MAX);
	size_t length = 0;
	ssize_t count = -1;
	bool good;

	post->fd = fd;
	while (bytes != NULL && length < OFFLINE_ENVELOPE_MAX &&
	    (count = pread(fd, bytes + length, OFFLINE_ENVELOPE_MAX - length, (off_t)length)) > 0)
		length += (size_t)count;
	if (bytes == NULL || count < 0) {
		snprintf(why, size, "can't read the file: %s", strerror(errno));
		good = false;
	} else {
		good = offline_parse(post, bytes, length, why, size) &&
		    post_load_header(post, why, size);
	}
	free(bytes);
	return good;
}
