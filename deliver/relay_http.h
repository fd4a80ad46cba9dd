/*
 * The reading side of an HTTP/1.1 client (RFC 9112): one response to a GET or POST, in whatever
 * pieces it comes. Nothing is kept of it but the code, the content's type and the content.
 */
#ifndef DELIVER_RELAY_HTTP_H
#define DELIVER_RELAY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define HTTP_LINE_MAX 4096
#define HTTP_HEAD_MAX (32 * 1024) /* all lines before the content */
#define HTTP_TYPE_MAX 127

enum http_result {
	HTTP_MORE,      /* isn't complete */
	HTTP_DONE,      /* all of it is there; what comes behind it is of no interest */
	HTTP_TOO_LARGE, /* its content is longer than it may be */
	HTTP_BROKEN,    /* it is no HTTP, or of a kind that wasn't asked for */
};

enum http_state {
	HTTP_STATUS, /* the status line */
	HTTP_FIELD,
	HTTP_CONTENT,    /* as many bytes as were announced */
	HTTP_UNTIL_END,  /* of the connection */
	HTTP_CHUNK_SIZE, /* RFC 9112 7.1 */
	HTTP_CHUNK,
	HTTP_CHUNK_END,
	HTTP_TRAILER,
	HTTP_COMPLETE,
	HTTP_FAILED,
};

struct http_response {
	unsigned code;                /* 200 to 599, once the head is over */
	char type[HTTP_TYPE_MAX + 1]; /* "text/plain", in lower case, without parameters; "" none */
	bool has_head;                /* the code is final, and what comes now is content */
	struct buf content;

	/* The rest is the parser's. */
	enum http_state state;
	enum http_result failure;
	char line[HTTP_LINE_MAX + 1];
	size_t line_length;
	size_t lines_left; /* bytes that lines may still have */
	bool has_length;
	bool is_chunked;
	uint64_t left; /* of the content, or the chunk */
};

/* Content of up to `most` bytes is taken. */
void http_response_init(struct http_response *, size_t most);
void http_response_free(struct http_response *);
enum http_result http_response_feed(struct http_response *, const void *data, size_t length)
    __attribute__((warn_unused_result));
/* The connection has ended, in good order: the content may have been all that came. */
enum http_result http_response_end(struct http_response *) __attribute__((warn_unused_result));

#endif
