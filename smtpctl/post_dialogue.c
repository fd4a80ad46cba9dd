/*
 * SMTP with the server over its local socket, waiting for each reply: there is nothing else to do
 * meanwhile. What the server says is read within bounds, and shown without what isn't printable.
 */
#include <sys/socket.h>
#include <sys/time.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/reply.h"
#include "smtpctl/post.h"

#define ANSWER_SECONDS  600 /* RFC 5321 4.5.3.2.6, the longest */
#define GOODBYE_SECONDS 2
#define LINE_MAX_BYTES  2048
#define LINES_MAX       128 /* of one reply */

struct dialogue {
	int fd;
	bool traced;
	bool failed; /* the connection */
	post_report_fn report;
	void *arg;
	char host[HOSTNAME_MAX + 1];
	bool has_size, has_eight_bit, has_utf8, has_dsn;
	size_t start, end; /* of what is in `bytes` and not yet read */
	char bytes[4096];
};

static void report(const struct dialogue *dialogue, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
report(const struct dialogue *dialogue, const char *format, ...)
{
	char words[REPLY_TEXT_MAX + ADDRESS_TEXT_MAX + 64];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	dialogue->report(dialogue->arg, words);
}

static bool
fail(struct dialogue *dialogue, const char *why)
{
	if (!dialogue->failed)
		report(dialogue, "the mail server: %s", why);
	dialogue->failed = true;
	return false;
}

static bool
send_bytes(void *arg, const void *data, size_t length)
{
	struct dialogue *dialogue = arg;
	const char *at = data;

	while (length > 0) {
		ssize_t sent = send(dialogue->fd, at, length, MSG_NOSIGNAL);

		if (sent == -1 && errno == EINTR)
			continue;
		if (sent <= 0)
			return fail(dialogue, strerror(errno));
		at += sent;
		length -= (size_t)sent;
	}
	return true;
}

static int
next_byte(struct dialogue *dialogue)
{
	ssize_t count;

	if (dialogue->start < dialogue->end)
		return (unsigned char)dialogue->bytes[dialogue->start++];
	do
		count = recv(dialogue->fd, dialogue->bytes, sizeof(dialogue->bytes), 0);
	while (count == -1 && errno == EINTR);
	if (count <= 0) {
		(void)fail(dialogue,
		    count == 0                                    ? "closed the connection"
		        : errno == EAGAIN || errno == EWOULDBLOCK ? "doesn't answer"
		                                                  : strerror(errno));
		return -1;
	}
	dialogue->start = 1;
	dialogue->end = (size_t)count;
	return (unsigned char)dialogue->bytes[0];
}

/* Without its end; of one that is too long, the beginning. */
static bool
read_line(struct dialogue *dialogue, char line[LINE_MAX_BYTES])
{
	size_t length = 0, seen = 0;
	int c;

	while ((c = next_byte(dialogue)) != '\n') {
		if (c == -1)
			return false;
		if (++seen > 16 * LINE_MAX_BYTES)
			return fail(dialogue, "a line without an end");
		if (length < LINE_MAX_BYTES - 1 && c != '\0')
			line[length++] = (char)c;
	}
	while (length > 0 && line[length - 1] == '\r')
		length--;
	line[length] = '\0';
	return true;
}

static void
note_extension(struct dialogue *dialogue, const char *words)
{
	size_t length = strcspn(words, " ");
	const struct {
		const char *name;
		bool *has;
	} known[] = {
		{ "SIZE", &dialogue->has_size },
		{ "8BITMIME", &dialogue->has_eight_bit },
		{ "SMTPUTF8", &dialogue->has_utf8 },
		{ "DSN", &dialogue->has_dsn },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i].name) == length &&
		    strncasecmp(known[i].name, words, length) == 0)
			*known[i].has = true;
}

/* "5.1.1 words": the enhanced code, if it is one of this reply. */
static size_t
enhanced_length(const char *words, char class)
{
	size_t length = strspn(words, "0123456789.");

	return words[0] == class && words[1] == '.' && length >= 5 && length < 12 &&
	        words[length] == ' '
	    ? length
	    : 0;
}

static bool
read_reply(struct dialogue *dialogue, struct reply *reply)
{
	char line[LINE_MAX_BYTES], enhanced[12];
	size_t lines = 0, length;
	unsigned code;

	do {
		if (!read_line(dialogue, line))
			return false;
		if (dialogue->traced)
			fprintf(stderr, "<<< %s\n", line);
		if (strspn(line, "0123456789") != 3 || line[0] < '2' || line[0] > '5' ||
		    (line[3] != ' ' && line[3] != '-' && line[3] != '\0') || ++lines > LINES_MAX)
			return fail(dialogue, "not a reply");
		code = (unsigned)(line[0] - '0') * 100 + (unsigned)(line[1] - '0') * 10 +
		    (unsigned)(line[2] - '0');
		if (line[3] == '\0')
			line[4] = '\0';
		if (lines > 1)
			note_extension(dialogue, line + 4);
	} while (line[3] == '-');
	length = enhanced_length(line + 4, line[0]);
	strlcpy(enhanced, line + 4, length + 1);
	reply_set(reply, code, enhanced, "%s", line + 4 + length + (length > 0));
	return true;
}

/* Sends a line, of at most LINE_MAX_BYTES, and takes its reply. */
static bool command(struct dialogue *dialogue, struct reply *reply, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool
command(struct dialogue *dialogue, struct reply *reply, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line) - 2, format, arguments);
	va_end(arguments);
	if (length < 0 || length >= (int)sizeof(line) - 2)
		return fail(dialogue, "a command is too long");
	if (dialogue->traced)
		fprintf(stderr, ">>> %s\n", line);
	memcpy(line + length, "\r\n", 2);
	return send_bytes(dialogue, line, (size_t)length + 2) && read_reply(dialogue, reply);
}

static bool
greet(struct dialogue *dialogue)
{
	struct reply reply;

	if (!read_reply(dialogue, &reply))
		return false;
	if (reply.code == 220) {
		strlcpy(dialogue->host, reply.text, sizeof(dialogue->host));
		dialogue->host[strcspn(dialogue->host, " ")] = '\0';
		if (!address_domain_is_valid(dialogue->host, true))
			return fail(dialogue, "it doesn't say its name");
		if (!command(dialogue, &reply, "EHLO localhost"))
			return false;
	}
	if (reply.code == 220 || reply_is_success(&reply))
		return true;
	report(dialogue, "the mail server: %u %s", reply.code, reply.text);
	return false;
}

struct dialogue *
dialogue_new(int fd, bool traced, post_report_fn report_fn, void *arg)
{
	struct dialogue *dialogue = calloc(1, sizeof(*dialogue));
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };

	if (dialogue == NULL) {
		close(fd);
		report_fn(arg, "out of memory");
		return NULL;
	}
	dialogue->fd = fd;
	dialogue->traced = traced;
	dialogue->report = report_fn;
	dialogue->arg = arg;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (greet(dialogue))
		return dialogue;
	dialogue_free(dialogue);
	return NULL;
}

void
dialogue_free(struct dialogue *dialogue)
{
	struct timeval limit = { .tv_sec = GOODBYE_SECONDS };
	struct reply reply;

	if (dialogue == NULL)
		return;
	(void)setsockopt(dialogue->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!dialogue->failed) {
		dialogue->failed = true; /* of what comes now nobody need hear */
		(void)command(dialogue, &reply, "QUIT");
	}
	close(dialogue->fd);
	free(dialogue);
}

const char *
dialogue_host(const struct dialogue *dialogue)
{
	return dialogue->host;
}

/* What the text is, for the parameters of MAIL. */
struct census {
	uint64_t size;
	bool eight_bit;
};

static bool
count_bytes(void *arg, const void *data, size_t length)
{
	struct census *census = arg;
	const unsigned char *bytes = data;

	for (size_t i = 0; i < length && !census->eight_bit; i++)
		census->eight_bit = bytes[i] >= 0x80;
	census->size += length;
	return true;
}

static bool
is_ascii(const struct address *address)
{
	for (const char *at = address->local; *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			return false;
	for (const char *at = address->domain; *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			return false;
	return true;
}

/* The mailbox as text, at this host where it isn't said. */
static void
format_mailbox(const struct dialogue *dialogue, const struct address *address, char *text)
{
	struct address whole = *address;

	if (!address_is_null(&whole) && *whole.domain == '\0')
		strlcpy(whole.domain, dialogue->host, sizeof(whole.domain));
	address_format(&whole, text, ADDRESS_TEXT_MAX + 1);
}

static bool
command_mail(struct dialogue *dialogue, const struct post *post, const struct census *census,
    struct reply *reply)
{
	char sender[ADDRESS_TEXT_MAX + 1], size[40] = "", envid[3 * DSN_ENVID_MAX + 8] = "";
	bool utf8 = !is_ascii(&post->sender);
	size_t length;

	for (size_t i = 0; i < post->recipient_count && !utf8; i++)
		utf8 = !is_ascii(&post->recipients[i]);
	format_mailbox(dialogue, &post->sender, sender);
	if (dialogue->has_size)
		snprintf(size, sizeof(size), " SIZE=%llu", (unsigned long long)census->size);
	if (*post->envid != '\0' && dialogue->has_dsn) {
		strlcpy(envid, " ENVID=", sizeof(envid));
		for (const char *at = post->envid; *at != '\0'; at++) {
			length = strlen(envid);
			/* RFC 3461 4: xtext. */
			snprintf(envid + length, sizeof(envid) - length,
			    *at > ' ' && *at < 0x7f && *at != '+' && *at != '=' ? "%c" : "+%02X",
			    (unsigned char)*at);
		}
	}
	return command(dialogue, reply, "MAIL FROM:<%s>%s%s%s%s%s", sender, size,
	    census->eight_bit && dialogue->has_eight_bit ? " BODY=8BITMIME" : "",
	    utf8 && dialogue->has_utf8 ? " SMTPUTF8" : "",
	    !dialogue->has_dsn                           ? ""
	        : post->dsn_return == DSN_RETURN_FULL    ? " RET=FULL"
	        : post->dsn_return == DSN_RETURN_HEADERS ? " RET=HDRS"
	                                                 : "",
	    envid);
}

static const char *
notify_parameter(const struct dialogue *dialogue, const struct post *post, char text[48])
{
	if (post->notify == 0 || !dialogue->has_dsn)
		return "";
	if (post->notify == DSN_NOTIFY_NEVER)
		return " NOTIFY=NEVER";
	strlcpy(text, " NOTIFY=", 48);
	if ((post->notify & DSN_NOTIFY_SUCCESS) != 0)
		strlcat(text, "SUCCESS,", 48);
	if ((post->notify & DSN_NOTIFY_FAILURE) != 0)
		strlcat(text, "FAILURE,", 48);
	if ((post->notify & DSN_NOTIFY_DELAY) != 0)
		strlcat(text, "DELAY,", 48);
	text[strlen(text) - 1] = '\0';
	return text;
}

/* Too many recipients: there will be no fewer later. */
static bool
is_hopeless(const struct reply *reply)
{
	return reply_is_permanent(reply) || strcmp(reply->enhanced, "4.5.3") == 0;
}

/* sysexits(3) has no more words than these. */
static int
status_of(const struct reply *reply)
{
	const char *enhanced = reply->enhanced;

	if (!reply_is_permanent(reply))
		return is_hopeless(reply) ? EX_UNAVAILABLE : EX_TEMPFAIL;
	if (strcmp(enhanced, "5.1.2") == 0)
		return EX_NOHOST;
	if (strncmp(enhanced, "5.1.", 4) == 0 || (reply->code == 550 && *enhanced == '\0'))
		return EX_NOUSER;
	if (strncmp(enhanced, "5.7.", 4) == 0)
		return EX_NOPERM;
	if (strncmp(enhanced, "5.6.", 4) == 0 || strcmp(enhanced, "5.3.4") == 0)
		return EX_DATAERR;
	return EX_UNAVAILABLE;
}

static enum post_result
refused(const struct dialogue *dialogue, const char *what, const struct reply *reply, int *status)
{
	char text[REPLY_TEXT_MAX + 32];

	reply_format(reply, text, sizeof(text));
	report(dialogue, "%s: %s", what, text);
	*status = status_of(reply);
	return is_hopeless(reply) ? POST_REFUSED : POST_LATER;
}

/* All are asked about, so that all who aren't taken are named; one is enough to send nothing. */
static enum post_result
name_recipients(struct dialogue *dialogue, const struct post *post, int *status)
{
	enum post_result worst = POST_SENT, result;
	char text[ADDRESS_TEXT_MAX + 1], notify[48];
	struct reply reply;
	int its_status;

	for (size_t i = 0; i < post->recipient_count && !dialogue->failed; i++) {
		format_mailbox(dialogue, &post->recipients[i], text);
		if (!command(dialogue, &reply, "RCPT TO:<%s>%s", text,
		        notify_parameter(dialogue, post, notify)))
			return POST_LATER;
		if (reply_is_success(&reply))
			continue;
		result = refused(dialogue, text, &reply, &its_status);
		if (result > worst) {
			worst = result;
			*status = its_status;
		}
	}
	return worst;
}

static enum post_result
transact(struct dialogue *dialogue, const struct post *post, const struct buf *header, int *status)
{
	struct census census = { 0 };
	enum post_result result;
	struct reply reply;

	*status = EX_TEMPFAIL;
	if (!post_write(post, header, false, count_bytes, &census)) {
		(void)fail(dialogue, "the message can't be read");
		return POST_LATER;
	}
	if (!command_mail(dialogue, post, &census, &reply))
		return POST_LATER;
	if (!reply_is_success(&reply))
		return refused(dialogue, "the sender", &reply, status);
	result = name_recipients(dialogue, post, status);
	if (result != POST_SENT)
		return result;
	if (!command(dialogue, &reply, "DATA"))
		return POST_LATER;
	if (reply.code != 354)
		return refused(dialogue, "the message", &reply, status);
	/* Cut short, it is no message: the server hasn't seen its end. */
	if (!post_write(post, header, true, send_bytes, dialogue)) {
		(void)fail(dialogue, "the message can't be read");
		return POST_LATER;
	}
	if (!command(dialogue, &reply, "."))
		return POST_LATER;
	if (!reply_is_success(&reply))
		return refused(dialogue, "the message", &reply, status);
	*status = EX_OK;
	return POST_SENT;
}

enum post_result
dialogue_post(struct dialogue *dialogue, const struct post *post, int *status)
{
	enum post_result result = POST_REFUSED;
	struct reply reply;
	struct buf header;

	buf_init(&header, 9 * POST_HEADER_MAX);
	if (post_compose_header(post, dialogue->host, &header)) {
		result = transact(dialogue, post, &header, status);
	} else {
		report(dialogue, "the header is too large");
		*status = EX_DATAERR;
	}
	buf_free(&header);
	if (result != POST_SENT && !dialogue->failed)
		(void)command(dialogue, &reply, "RSET");
	return result;
}
