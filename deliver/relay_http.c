/*
 * Lines are collected up to their LF and looked at whole; content goes where it belongs as it comes.
 * What could be read in two ways is refused: folded fields, two lengths, a length and chunks,
 * codings that weren't asked for (RFC 9112 5.2, 6.1, 6.3).
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "deliver/relay_http.h"

#define CHUNKS_COST 8 /* bytes of chunks' size lines, for each byte of the content */

void
http_response_init(struct http_response *response, size_t most)
{
	memset(response, 0, sizeof(*response));
	buf_init(&response->content, most);
	response->lines_left = HTTP_HEAD_MAX;
}

void
http_response_free(struct http_response *response)
{
	buf_free(&response->content);
}

static void
fail(struct http_response *response, enum http_result failure)
{
	response->state = HTTP_FAILED;
	response->failure = failure;
}

static void
too_large_or_more(struct http_response *response, enum http_state state)
{
	/* Before it comes; a length near UINT64_MAX must not wrap. */
	if (response->left > response->content.limit - response->content.length)
		fail(response, HTTP_TOO_LARGE);
	else
		response->state = response->left > 0 ? state
		    : state == HTTP_CONTENT          ? HTTP_COMPLETE
		                                     : HTTP_TRAILER;
}

/* RFC 9112 4: HTTP/1.1 200 OK */
static void
take_status(struct http_response *response, const char *line)
{
	if (strncmp(line, "HTTP/1.", 7) != 0 || !isdigit((unsigned char)line[7]) ||
	    line[8] != ' ' || !isdigit((unsigned char)line[9]) ||
	    !isdigit((unsigned char)line[10]) || !isdigit((unsigned char)line[11]) ||
	    (line[12] != ' ' && line[12] != '\0')) {
		fail(response, HTTP_BROKEN);
		return;
	}
	response->code = (unsigned)((line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0');
	if (response->code < 100 || response->code > 599 || response->code == 101)
		fail(response, HTTP_BROKEN);
	else
		response->state = HTTP_FIELD;
}

/* The digits of base 10 or 16 at the start; false when there is none, or too many. */
static bool
take_number(const char **text, unsigned base, uint64_t *number)
{
	const char *at = *text;
	unsigned digit;

	*number = 0;
	for (; isxdigit((unsigned char)*at); at++) {
		digit = isdigit((unsigned char)*at)
		    ? (unsigned)(*at - '0')
		    : (unsigned)(tolower((unsigned char)*at) - 'a' + 10);
		if (digit >= base)
			break;
		if (*number > (UINT64_MAX - digit) / base)
			return false;
		*number = *number * base + digit;
	}
	if (at == *text)
		return false;
	*text = at;
	return true;
}

static void
take_length(struct http_response *response, const char *value)
{
	uint64_t length;

	if (!take_number(&value, 10, &length) || *value != '\0' ||
	    (response->has_length && length != response->left)) {
		fail(response, HTTP_BROKEN);
		return;
	}
	response->has_length = true;
	response->left = length;
}

static void
take_type(struct http_response *response, const char *value)
{
	size_t length = strcspn(value, "; \t");

	if (*response->type != '\0' || length > HTTP_TYPE_MAX)
		return;
	for (size_t i = 0; i < length; i++)
		response->type[i] = (char)tolower((unsigned char)value[i]);
	response->type[length] = '\0';
}

static void
take_field(struct http_response *response, char *line)
{
	char *value = strchr(line, ':'), *end;

	if (value == NULL || value == line || strcspn(line, " \t") < (size_t)(value - line)) {
		fail(response, HTTP_BROKEN);
		return;
	}
	*value++ = '\0';
	value += strspn(value, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	if (strcasecmp(line, "Content-Length") == 0)
		take_length(response, value);
	else if (strcasecmp(line, "Content-Type") == 0)
		take_type(response, value);
	else if (strcasecmp(line, "Transfer-Encoding") == 0 && strcasecmp(value, "chunked") == 0 &&
	    !response->is_chunked)
		response->is_chunked = true;
	else if (strcasecmp(line, "Transfer-Encoding") == 0 ||
	    (strcasecmp(line, "Content-Encoding") == 0 && strcasecmp(value, "identity") != 0))
		fail(response, HTTP_BROKEN);
}

/* The empty line: what follows? (RFC 9112 6.3) */
static void
end_head(struct http_response *response)
{
	if (response->code < 200) { /* another one follows (RFC 9110 15.2) */
		response->state = HTTP_STATUS;
		response->has_length = response->is_chunked = false;
		response->left = 0;
		*response->type = '\0';
		return;
	}
	response->has_head = true;
	if (response->code == 204 || response->code == 304) {
		response->state = HTTP_COMPLETE;
	} else if (response->is_chunked && response->has_length) {
		fail(response, HTTP_BROKEN);
	} else if (response->is_chunked) {
		response->lines_left += CHUNKS_COST * response->content.limit;
		response->state = HTTP_CHUNK_SIZE;
	} else if (response->has_length) {
		too_large_or_more(response, HTTP_CONTENT);
	} else {
		response->state = HTTP_UNTIL_END;
	}
}

/* Its extensions mean nothing here (RFC 9112 7.1.1). */
static void
take_chunk_size(struct http_response *response, const char *line)
{
	if (!take_number(&line, 16, &response->left) || strchr("; \t", *line) == NULL)
		fail(response, HTTP_BROKEN);
	else
		too_large_or_more(response, HTTP_CHUNK);
}

static void
take_line(struct http_response *response, char *line)
{
	switch (response->state) {
	case HTTP_STATUS:
		take_status(response, line);
		return;
	case HTTP_FIELD:
		if (*line == '\0')
			end_head(response);
		else
			take_field(response, line);
		return;
	case HTTP_CHUNK_SIZE:
		take_chunk_size(response, line);
		return;
	case HTTP_CHUNK_END:
		if (*line == '\0')
			response->state = HTTP_CHUNK_SIZE;
		else
			fail(response, HTTP_BROKEN);
		return;
	case HTTP_TRAILER:
		if (*line == '\0')
			response->state = HTTP_COMPLETE;
		return;
	case HTTP_CONTENT:
	case HTTP_UNTIL_END:
	case HTTP_CHUNK:
	case HTTP_COMPLETE:
	case HTTP_FAILED:
		return;
	}
}

/* Up to a line's end; how much it was. */
static size_t
collect_line(struct http_response *response, const char *data, size_t length)
{
	const char *end = memchr(data, '\n', length);
	size_t count = end != NULL ? (size_t)(end - data) + 1 : length;

	if (count > HTTP_LINE_MAX - response->line_length || count > response->lines_left) {
		fail(response, HTTP_BROKEN);
		return length;
	}
	memcpy(response->line + response->line_length, data, count);
	response->line_length += count;
	response->lines_left -= count;
	if (end == NULL)
		return count;
	response->line_length--;
	if (response->line_length > 0 && response->line[response->line_length - 1] == '\r')
		response->line_length--;
	response->line[response->line_length] = '\0';
	for (size_t i = 0; i < response->line_length; i++)
		if (iscntrl((unsigned char)response->line[i]) && response->line[i] != '\t') {
			fail(response, HTTP_BROKEN);
			return length;
		}
	response->line_length = 0;
	take_line(response, response->line);
	return count;
}

static size_t
collect_content(
    struct http_response *response, const char *data, size_t length, enum http_state end)
{
	size_t count = length < response->left ? length : (size_t)response->left;

	buf_add(&response->content, data, count);
	response->left -= count;
	if (!buf_ok(&response->content))
		fail(response, HTTP_TOO_LARGE);
	else if (response->left == 0)
		response->state = end;
	return count;
}

enum http_result
http_response_feed(struct http_response *response, const void *data, size_t length)
{
	const char *at = data;
	size_t count;

	while (length > 0) {
		count = length;
		switch (response->state) {
		case HTTP_STATUS:
		case HTTP_FIELD:
		case HTTP_CHUNK_SIZE:
		case HTTP_CHUNK_END:
		case HTTP_TRAILER:
			count = collect_line(response, at, length);
			break;
		case HTTP_CONTENT:
			count = collect_content(response, at, length, HTTP_COMPLETE);
			break;
		case HTTP_CHUNK:
			count = collect_content(response, at, length, HTTP_CHUNK_END);
			break;
		case HTTP_UNTIL_END:
			buf_add(&response->content, at, length);
			if (!buf_ok(&response->content))
				fail(response, HTTP_TOO_LARGE);
			break;
		case HTTP_COMPLETE:
		case HTTP_FAILED:
			break;
		}
		at += count;
		length -= count;
	}
	if (response->state == HTTP_FAILED)
		return response->failure;
	return response->state == HTTP_COMPLETE ? HTTP_DONE : HTTP_MORE;
}

enum http_result
http_response_end(struct http_response *response)
{
	if (response->state == HTTP_UNTIL_END)
		response->state = HTTP_COMPLETE;
	if (response->state == HTTP_FAILED)
		return response->failure;
	return response->state == HTTP_COMPLETE ? HTTP_DONE : HTTP_BROKEN;
}
