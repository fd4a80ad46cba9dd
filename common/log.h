/*
 * The log: one line an event, key=value, to stderr or syslog.
 *
 * An event is built field by field in a struct log_line on the caller's stack and written with one
 * system call by log_end(). Whatever a peer said goes through log_text(), which quotes values that
 * hold blanks, quotes or "=" and writes every control, DEL and 8-bit byte as \xNN: no value can
 * end its line, its quotes or its field. Values over 256 bytes and lines over 1,024 are cut with
 * "...". Writing to the log never blocks and never fails the caller.
 *
 * The vocabulary of ids, so that one grep follows a mail: session=%016x (connection),
 * message=%08x (what the 250 told the client), envelope=%016x (upper half: the message).
 *
 * log_info() and its kin write free text (an "event" without fields); their whole line is made safe
 * in the same way, except that blanks stay.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR, /* somebody must act */
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,  /* the life of a mail; the default */
	LOG_LEVEL_DEBUG, /* smtpctl log verbose, smtpd -v */
};

/* Subsystems that smtpctl trace turns on one by one; a bit each. */
enum log_trace {
	LOG_TRACE_IMSG = 1 << 0,
	LOG_TRACE_SMTP = 1 << 1,
	LOG_TRACE_MDA = 1 << 2,
	LOG_TRACE_BOUNCE = 1 << 3,
	LOG_TRACE_SCHEDULER = 1 << 4,
	LOG_TRACE_EXPAND = 1 << 5,
	LOG_TRACE_LOOKUP = 1 << 6,
	LOG_TRACE_RULES = 1 << 7,
	LOG_TRACE_MTA = 1 << 8,
	LOG_TRACE_IO = 1 << 9,
	LOG_TRACE_ALL = (1 << 10) - 1,
};

/* Their names: the one at `index` from 0 and its bits; NULL behind the last. */
const char *log_trace_name(size_t index, unsigned *bits);

enum log_target {
	LOG_TARGET_STDERR,
	LOG_TARGET_USER, /* of a command, who reads "program: words" */
	LOG_TARGET_SYSLOG
};

/*
 * `process` names this process in every line. `fd` is where lines go: a descriptor to write
 * text to, or for LOG_TARGET_SYSLOG a datagram socket connected to /dev/log. The log owns it.
 */
void log_open(const char *process, enum log_target, int fd);
/* Replaces the descriptor (a new connection to syslog); closes the old one. */
void log_set_fd(int fd);
void log_set_level(enum log_level);
void log_set_trace(unsigned mask);
bool log_is_traced(unsigned mask);
bool log_is_debug(void);
/* True after a write found the syslog socket dead; cleared by log_set_fd(). */
bool log_is_lost(void);

struct log_line {
	enum log_level level;
	bool traced; /* written whatever the level */
	size_t length;
	char text[1024];
};

/* Starts a line "event"; an event is one word in words joined by "-": smtp-connected, delivered. */
void log_begin(struct log_line *, enum log_level, const char *event);
/*
 * The same for an event that is of use only to who traces `mask`: false when nobody does, and
 * nothing is done. Its values may be as long as its line.
 *
 *	if (log_trace_begin(&line, LOG_TRACE_RULES, "rule-tried")) {
 *		log_number(&line, "line", number);
 *		log_end(&line);
 *	}
 */
bool log_trace_begin(struct log_line *, unsigned mask, const char *event)
    __attribute__((warn_unused_result));
void log_text(struct log_line *, const char *key, const char *value);
void log_bytes(struct log_line *, const char *key, const void *value, size_t length);
void log_number(struct log_line *, const char *key, int64_t);
void log_hex64(struct log_line *, const char *key, uint64_t); /* 16 digits */
void log_hex32(struct log_line *, const char *key, uint32_t); /* 8 digits */
void log_end(struct log_line *);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Logs and exits with EX_SOFTWARE (fatalx) or, with errno's text, EX_OSERR (fatal). */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fatalx(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
