/*
 * The receiver of message text: the one parser of line ends on the way in.
 *
 * A text ends only with CRLF "." CRLF (RFC 5321 4.1.1.4, 2.3.8). What other software might read as
 * a line end and this parser doesn't, a bare CR or LF or a NUL beside a dot, is how a second
 * message is smuggled in or out; such a text is refused, or, where the configuration says so, its
 * bare line ends become CRLF. Either way a line after a bare line end never ends the text.
 *
 * The loop runs over stretches without CR and LF that memchr() finds; only the first bytes of
 * header lines are looked at one by one.
 */
#include <sys/mman.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/ipc_listener_queue.h"
#include "common/write.h"
#include "common/dkim.h"
#include "smtpd/fields.h"
#include "smtpd/message.h"
#include "smtpd/submission.h"

#define HEAP_MAX (64 * 1024)  /* then a memfd */
#define TEXT_MAX (512 * 1024) /* what one call can add, beyond HEAP_MAX */
/* A header that is to be signed stays in memory until it is over. */
#define SIGNED_HEADER_MAX (256 * 1024)

enum text_state {
	TEXT_LINE_START,      /* after CRLF, or at the very start */
	TEXT_LINE_DOT,        /* and a dot */
	TEXT_LINE_DOT_CR,     /* and a CR */
	TEXT_SOFT_LINE_START, /* after a bare CR or LF, or a NUL at a line's start */
	TEXT_SOFT_LINE_DOT,
	TEXT_IN_LINE,
	TEXT_IN_LINE_CR, /* a CR that isn't stored yet */
};

struct message {
	struct message_limits limits;
	enum message_form form;
	enum text_state state;
	struct fields fields;
	uint64_t line_length; /* of the line so far */
	uint64_t header_bytes;
	uint64_t received_bytes; /* raw, off the wire */
	uint64_t text_bytes;     /* of the text as stored */
	uint64_t stored_bytes;   /* text and our fields */
	uint64_t memory_bytes;   /* of them in memory, as counted in *limits.memory */

	struct submission *submission; /* through which the header goes; NULL: it doesn't */
	struct buf heap;               /* not yet written */
	int fd;                        /* memfd or spool file; -1 */
	bool in_file;
	uint64_t written; /* to fd */

	struct dkim *signer;  /* owned; NULL: it isn't to be signed */
	bool header_is_whole; /* in the heap, and to be signed when it is over */
	size_t header_start;  /* in the heap */

	bool refused;
	struct reply refusal;
};

struct message *
message_new(const struct message_limits *limits, enum message_form form)
{
	struct message *message = calloc(1, sizeof(*message));

	if (message == NULL)
		return NULL;
	message->limits = *limits;
	message->form = form;
	message->fd = -1;
	buf_init(&message->heap, HEAP_MAX + TEXT_MAX);
	return message;
}

/* What was in memory no longer is. */
static void
release_memory(struct message *message)
{
	*message->limits.memory -= message->memory_bytes;
	message->memory_bytes = 0;
}

/* Lets go of all that is stored. */
static void
drop(struct message *message)
{
	release_memory(message);
	buf_free(&message->heap);
	if (message->fd != -1)
		(void)close(message->fd); /* nothing of it is wanted */
	message->fd = -1;
}

void
message_free(struct message *message)
{
	if (message == NULL)
		return;
	drop(message);
	submission_free(message->submission);
	dkim_free(message->signer);
	free(message);
}

void
message_refuse(struct message *message, const struct reply *reply)
{
	if (message->refused)
		return;
	message->refused = true;
	message->refusal = *reply;
	drop(message);
}

static void __attribute__((format(printf, 4, 5)))
refuse(struct message *message, unsigned code, const char *enhanced, const char *format, ...)
{
	struct reply reply;
	char text[200];
	va_list arguments;

	if (message->refused)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	reply_set(&reply, code, enhanced, "%s", text);
	message_refuse(message, &reply);
}

void
message_refuse_size(struct message *message)
{
	/* RFC 1870 6.3 */
	refuse(message, 552, "5.3.4", "message exceeds the maximum of %llu bytes",
	    (unsigned long long)message->limits.size);
}

static void
refuse_storage(struct message *message)
{
	refuse(message, 452, "4.3.1", "no storage for the message, try again later");
}

bool
message_is_refused(const struct message *message, struct reply *reply)
{
	if (message->refused && reply != NULL)
		*reply = message->refusal;
	return message->refused;
}

/* Writes the heap's bytes to fd, making a memfd first when there is none. */
static bool
write_out(struct message *message)
{
	if (message->fd == -1)
		message->fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (message->fd == -1) {
		refuse_storage(message);
		return false;
	}
	if (!write_all(message->fd, message->heap.data, message->heap.length)) {
		refuse_storage(message);
		return false;
	}
	message->written += message->heap.length;
	buf_clear(&message->heap);
	return true;
}

static void
store(struct message *message, const void *data, size_t length)
{
	if (message->refused)
		return;
	if (message->signer != NULL && !message->header_is_whole)
		dkim_feed(message->signer, data, length);
	buf_add(&message->heap, data, length);
	if (!buf_ok(&message->heap)) {
		refuse_storage(message);
		return;
	}
	message->stored_bytes += length;
	if (!message->in_file) {
		message->memory_bytes += length;
		*message->limits.memory += length;
	}
	if (message->heap.length >= HEAP_MAX && !message->header_is_whole &&
	    !message_needs_file(message))
		(void)write_out(message); /* a failure is a fault already */
}

static void
store_submitted(void *arg, const void *data, size_t length)
{
	store(arg, data, length);
}

bool
message_submit(struct message *message, const struct submission_options *options)
{
	message->submission = submission_new(options, store_submitted, message);
	return message->submission != NULL;
}

/* Signing: a signature goes in front of a text that it covers. How long it will be is known once the
 * header is, which is all in memory then; so much room is made for it there, and filled in at the
 * end, wherever the text is by then. */

void
message_sign(struct message *message, struct dkim *signer)
{
	message->signer = signer;
	message->header_is_whole = true;
}

static void
leave_room(struct message *message, size_t length)
{
	struct buf *heap = &message->heap;

	if (!buf_reserve(heap, length)) {
		refuse_storage(message);
		return;
	}
	memmove(heap->data + length, heap->data, heap->length);
	memset(heap->data, ' ', length);
	heap->length += length;
	message->stored_bytes += length;
	message->memory_bytes += length;
	*message->limits.memory += length;
}

/* Without a key, or with a fault, there is nothing to sign. */
static bool
take_verdict(struct message *message, enum dkim_verdict verdict)
{
	switch (verdict) {
	case DKIM_SIGNS:
		return true;
	case DKIM_NO_KEY:
		break;
	case DKIM_TOO_MANY:
		refuse(message, 550, "5.6.0", "too many header fields to sign them");
		break;
	case DKIM_FAILED:
		refuse_storage(message);
		break;
	}
	dkim_free(message->signer);
	message->signer = NULL;
	return false;
}

/* The header is over, with an empty line unless the text is; behind that line there may be a first
 * piece of the body. */
static void
sign_header(struct message *message)
{
	const char *header, *end;
	size_t length;

	if (!message->header_is_whole || message->refused)
		return;
	message->header_is_whole = false;
	header = (const char *)message->heap.data + message->header_start;
	length = message->heap.length - message->header_start;
	end = memmem(header, length, "\r\n\r\n", 4);
	if (!take_verdict(message,
	        dkim_header(
	            message->signer, header, end == NULL ? length : (size_t)(end - header) + 2)))
		return;
	if (end != NULL)
		dkim_feed(message->signer, end + 4, length - (size_t)(end + 4 - header));
	leave_room(message, dkim_fields_length(message->signer));
}

struct dkim *
message_signer(const struct message *message)
{
	return message->refused ? NULL : message->signer;
}

void
message_set_signature(struct message *message)
{
	const char *fields = dkim_fields(message->signer);
	size_t length = dkim_fields_length(message->signer), done = 0;
	ssize_t count;

	if (message->refused)
		return;
	if (fields == NULL) {
		refuse_storage(message);
		return;
	}
	if (message->written == 0)
		memcpy(message->heap.data, fields, length);
	while (message->written > 0 && done < length) {
		count = pwrite(message->fd, fields + done, length - done, (off_t)done);
		if (count == -1 && errno == EINTR)
			continue;
		if (count <= 0) {
			refuse_storage(message);
			return;
		}
		done += (size_t)count;
	}
}

/* The header of a submitted message is over when submission.c says so. */
static void
end_submission(struct message *message)
{
	submission_free(message->submission);
	message->submission = NULL;
	sign_header(message);
}

/* The text ended within its header. */
static void
finish_submission(struct message *message)
{
	if (message->submission == NULL)
		return;
	submission_finish(message->submission);
	end_submission(message);
}

void
message_add_prefix(struct message *message, const char *fields)
{
	store(message, fields, strlen(fields));
	message->header_start = message->heap.length;
}

static void
check_header(struct message *message)
{
	uint32_t most = message->limits.header_size;

	if (message->header_is_whole && most > SIGNED_HEADER_MAX)
		most = SIGNED_HEADER_MAX;
	if (message->fields.received > message->limits.received)
		refuse(message, 554, "5.4.6", "too many Received fields, this is a mail loop");
	else if (message->header_bytes > most)
		refuse(message, 552, "5.3.4", "message header exceeds %u bytes", most);
}

/* Bytes of a line, without its end. */
static void
add_text(struct message *message, const char *data, size_t length)
{
	if (length == 0 || message->refused)
		return;
	if (!fields_are_over(&message->fields)) {
		fields_text(&message->fields, data, length);
		message->header_bytes += length;
		check_header(message);
	}
	message->line_length += length;
	message->text_bytes += length;
	if (message->line_length > message->limits.text_line) /* RFC 5321 4.5.3.1.6 */
		refuse(message, 550, "5.6.0", "a line exceeds %u bytes", message->limits.text_line);
	else if (message->text_bytes > message->limits.size)
		message_refuse_size(message);
	else if (message->submission != NULL)
		submission_text(message->submission, data, length);
	else
		store(message, data, length);
}

static void
add_line_end(struct message *message)
{
	if (message->refused)
		return;
	if (!fields_are_over(&message->fields)) {
		message->header_bytes += 2;
		check_header(message);
		fields_line_end(&message->fields, message->line_length == 0);
	}
	message->line_length = 0;
	message->text_bytes += 2;
	if (message->text_bytes > message->limits.size)
		message_refuse_size(message);
	else if (message->submission == NULL)
		store(message, "\r\n", 2);
	else {
		submission_line_end(message->submission);
		if (submission_is_over(message->submission))
			end_submission(message);
	}
}

static void
meet_bare_line_end(struct message *message, const char *what)
{
	if (message->limits.line_ends == LINE_ENDS_NORMALISE)
		add_line_end(message);
	else /* RFC 5321 2.3.8; 5.6.11 of the IANA registry that RFC 5248 began */
		refuse(message, 550, "5.6.11", "a bare %s in the message", what);
	message->state = TEXT_SOFT_LINE_START;
}

/* A NUL before or behind the dot that starts a line: with NULs dropped, as some software does, the
 * line would end the text. */
static void
meet_hidden_dot(struct message *message)
{
	if (message->limits.line_ends == LINE_ENDS_STRICT)
		refuse(message, 550, "5.6.11", "a NUL at the start of a line");
}

struct stretch {
	const char *at;
	const char *end;
	const char *cr; /* the next one at or after `at`, or end */
	const char *lf;
};

static const char *
next_of(const struct stretch *stretch, int byte)
{
	const char *found = memchr(stretch->at, byte, (size_t)(stretch->end - stretch->at));

	return found == NULL ? stretch->end : found;
}

/* The rest of the line at hand, as far as there is more. */
static void
run_in_line(struct message *message, struct stretch *s)
{
	const char *stop;

	if (s->cr < s->at)
		s->cr = next_of(s, '\r');
	if (s->lf < s->at)
		s->lf = next_of(s, '\n');
	stop = s->cr < s->lf ? s->cr : s->lf;
	add_text(message, s->at, (size_t)(stop - s->at));
	s->at = stop;
	if (stop == s->end)
		return;
	s->at++;
	if (*stop == '\r')
		message->state = TEXT_IN_LINE_CR;
	else
		meet_bare_line_end(message, "LF");
}

/* One step of the machine; true when the text has ended. */
static bool
step(struct message *message, struct stretch *s)
{
	char byte = *s->at;

	switch (message->state) {
	case TEXT_LINE_START:
		if (byte == '\0') {
			meet_hidden_dot(message);
			message->state = TEXT_SOFT_LINE_START;
			s->at++;
		} else if (byte == '.' && message->form == MESSAGE_DATA) {
			message->state = TEXT_LINE_DOT; /* RFC 5321 4.5.2: not stored */
			s->at++;
		} else
			message->state = TEXT_IN_LINE;
		break;
	case TEXT_LINE_DOT:
		if (byte == '\r') {
			message->state = TEXT_LINE_DOT_CR;
			s->at++;
		} else if (byte == '\0') {
			meet_hidden_dot(message);
			message->state = TEXT_SOFT_LINE_DOT;
			s->at++;
		} else {
			if (byte == '\n') /* a lone dot that doesn't end the text is text */
				add_text(message, ".", 1);
			message->state = TEXT_IN_LINE;
		}
		break;
	case TEXT_LINE_DOT_CR:
		if (byte == '\n') {
			s->at++;
			return true;
		}
		add_text(message, ".", 1);
		message->state = TEXT_IN_LINE_CR;
		break;
	case TEXT_SOFT_LINE_START:
		if (byte == '\0') {
			meet_hidden_dot(message);
			s->at++;
		} else if (byte == '.' && message->form == MESSAGE_DATA) {
			message->state = TEXT_SOFT_LINE_DOT;
			s->at++;
		} else
			message->state = TEXT_IN_LINE;
		break;
	case TEXT_SOFT_LINE_DOT:
		if (byte == '\0') {
			meet_hidden_dot(message);
			s->at++;
			break;
		}
		if (byte == '\r' || byte == '\n')
			add_text(message, ".", 1);
		message->state = TEXT_IN_LINE;
		break;
	case TEXT_IN_LINE:
		run_in_line(message, s);
		break;
	case TEXT_IN_LINE_CR:
		if (byte == '\n') {
			s->at++;
			add_line_end(message);
			message->state = TEXT_LINE_START;
		} else
			meet_bare_line_end(message, "CR");
		break;
	}
	return false;
}

size_t
message_feed(struct message *message, const char *data, size_t length, bool *ended)
{
	struct stretch stretch = { data, data + length, NULL, NULL };

	stretch.cr = next_of(&stretch, '\r');
	stretch.lf = next_of(&stretch, '\n');
	*ended = false;
	while (!*ended && stretch.at < stretch.end)
		*ended = step(message, &stretch);
	if (*ended)
		finish_submission(message);
	message->received_bytes += (uint64_t)(stretch.at - data);
	return (size_t)(stretch.at - data);
}

void
message_finish(struct message *message)
{
	switch (message->state) {
	case TEXT_IN_LINE_CR:
		meet_bare_line_end(message, "CR");
		break;
	case TEXT_IN_LINE:
		add_line_end(message);
		message->state = TEXT_LINE_START;
		break;
	case TEXT_LINE_START:
	case TEXT_LINE_DOT:
	case TEXT_LINE_DOT_CR:
	case TEXT_SOFT_LINE_START:
	case TEXT_SOFT_LINE_DOT:
		break;
	}
	finish_submission(message);
}

bool
message_needs_file(const struct message *message)
{
	if (message->refused || message->in_file || message->header_is_whole)
		return false;
	return message->stored_bytes > IPC_MEMFD_MAX ||
	    (message->stored_bytes > HEAP_MAX && *message->limits.memory > MESSAGE_MEMORY_MAX);
}

/* Copies the memfd's bytes into the file. */
static bool
copy_into(int from, int to, uint64_t length)
{
	char block[HEAP_MAX];
	uint64_t at = 0;
	size_t want;
	ssize_t count;

	while (at < length) {
		want = length - at < sizeof(block) ? (size_t)(length - at) : sizeof(block);
		count = pread(from, block, want, (off_t)at);
		if (count <= 0)
			return false;
		if (!write_all(to, block, (size_t)count))
			return false;
		at += (uint64_t)count;
	}
	return true;
}

void
message_use_file(struct message *message, int fd)
{
	int memfd = message->fd;

	if (message->refused || message->in_file) {
		(void)close(fd); /* nothing was written to it */
		return;
	}
	message->in_file = true;
	message->fd = fd;
	if (memfd != -1) {
		if (!copy_into(memfd, fd, message->written))
			refuse_storage(message);
		(void)close(memfd);
	}
	if (!message->refused)
		(void)write_out(message);
	release_memory(message);
}

bool
message_is_in_file(const struct message *message)
{
	return message->in_file;
}

bool
message_says_tls_optional(const struct message *message)
{
	return fields_say_tls_optional(&message->fields);
}

bool
message_was_delivered_to(const struct message *message, const struct address *address)
{
	return fields_were_delivered_to(&message->fields, address);
}

const char *
message_header_id(const struct message *message)
{
	return fields_message_id(&message->fields);
}

uint64_t
message_received_bytes(const struct message *message)
{
	return message->received_bytes;
}

uint64_t
message_stored_bytes(const struct message *message)
{
	return message->stored_bytes;
}

int
message_take_fd(struct message *message)
{
	int fd;

	if (message->refused || !write_out(message))
		return -1;
	fd = message->fd;
	message->fd = -1;
	release_memory(message);
	if (message->in_file) {
		/* The queue syncs the file; a close that fails may have lost what was written. */
		if (close(fd) == -1)
			refuse_storage(message);
		return -1;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) ==
	    -1) {
		(void)close(fd);
		refuse_storage(message);
		return -1;
	}
	return fd;
}
