/*
 * The parts of a message (RFC 2045, 2046, RFC 5322): where each one's header and body are, and its
 * fields that IMAP speaks of. The text comes in pieces of any size and is not kept; nothing recurses,
 * time is linear, memory is bounded. What is nested too deeply, or comes after too many parts, belongs
 * to the last part before it.
 *
 * Offsets and sizes are of the bytes as stored. Where line ends lack their CR, as Maildir files have
 * it, IMAP sends them with it: `added` says how many that are up to a place, so that a difference of
 * two is what is to be added between them.
 */
#ifndef COMMON_MIME_H
#define COMMON_MIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIME_DEPTH_MAX    100
#define MIME_PARTS_MAX    10000
#define MIME_BOUNDARY_MAX 1000              /* bytes; RFC 2046 5.1.1 has 70 */
#define MIME_FIELD_MAX    (256 * 1024)      /* bytes kept of a field */
#define MIME_TEXT_MAX     (2 * 1024 * 1024) /* of all fields */

enum mime_field {
	MIME_CONTENT_TYPE,
	MIME_CONTENT_TRANSFER_ENCODING,
	MIME_CONTENT_ID,
	MIME_CONTENT_DESCRIPTION,
	MIME_CONTENT_DISPOSITION,
	MIME_CONTENT_LANGUAGE,
	MIME_CONTENT_LOCATION,
	MIME_CONTENT_MD5,
	/* Of messages only: the whole, and message/rfc822's. */
	MIME_DATE,
	MIME_SUBJECT,
	MIME_FROM,
	MIME_SENDER,
	MIME_REPLY_TO,
	MIME_TO,
	MIME_CC,
	MIME_BCC,
	MIME_IN_REPLY_TO,
	MIME_MESSAGE_ID,
	MIME_REFERENCES,
	MIME_FIELD_COUNT,
};

enum mime_kind {
	MIME_LEAF,
	MIME_MULTIPART,
	MIME_MESSAGE, /* message/rfc822 or message/global: its one child is a message */
};

enum mime_encoding {
	MIME_IDENTITY, /* 7bit, 8bit, binary */
	MIME_BASE64,
	MIME_QUOTED_PRINTABLE,
	MIME_ENCODING_UNKNOWN,
};

/* A place in the message. */
struct mime_place {
	uint64_t offset; /* stored bytes before it */
	uint64_t added;  /* CRs that the line ends before it lack */
	uint64_t lines;  /* line ends before it */
};

#define MIME_NONE UINT32_MAX
struct mime_part {
	enum mime_kind kind;
	enum mime_encoding encoding;
	uint32_t parent; /* MIME_NONE: the whole message */
	uint32_t first_child;
	uint32_t next; /* the next of the same parent */
	struct mime_place header;
	struct mime_place body; /* behind the empty line; the same as `end` when there is none */
	struct mime_place end;
	/* Fields, unfolded, without their names; where in the text they begin, 0: there is none. */
	uint32_t fields[MIME_FIELD_COUNT];
};

struct mime {
	size_t count;
	struct mime_part *parts; /* the first is the whole message; parents before their children */
	char *text;              /* of fields, each with a NUL at its end */
	size_t text_length;
};

struct mime_parser;

/* NULL without memory. */
struct mime_parser *mime_parser_new(void);
void mime_parser_free(struct mime_parser *);
void mime_parser_feed(struct mime_parser *, const char *bytes, size_t length);
/* Whether the message's own header is over, for who wants nothing else. */
bool mime_parser_has_header(const struct mime_parser *);
/* The message is over; frees the parser. NULL when memory ran out meanwhile. */
struct mime *mime_parser_finish(struct mime_parser *);
/* All of it at once; NULL without memory. */
struct mime *mime_parse_text(const char *, size_t length);
/* The same from a file; NULL with errno set when it can't be read, ENOMEM included. */
struct mime *mime_parse_file(int fd);
void mime_free(struct mime *);

/* A field of the part without leading and trailing blanks, or NULL. A NUL in it ends it. */
const char *mime_field(const struct mime *, uint32_t part, enum mime_field);

/* The part that a section's numbers name (RFC 9051 6.4.5.1), or MIME_NONE. Without numbers the whole
 * message. */
uint32_t mime_find(const struct mime *, const uint32_t *numbers, size_t count);
/* The message in a MIME_MESSAGE, and of the whole message itself: what HEADER and TEXT are of; else
 * MIME_NONE. `is_whole`: the section has no numbers. */
uint32_t mime_message_of(const struct mime *, uint32_t part, bool is_whole);

/* Bytes as IMAP sends them. */
uint64_t mime_header_size(const struct mime_part *);
uint64_t mime_body_size(const struct mime_part *);
uint64_t mime_body_lines(const struct mime_part *);

#endif
