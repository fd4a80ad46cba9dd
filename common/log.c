/*
 * The log. A line is put together in memory, where each value is made harmless as it is added, and
 * leaves with one write. To stderr it goes through a description of our own in non-blocking mode
 * where one can be had, so that a reader that has stopped reading costs lines and never the
 * service; lines lost so are counted, and the count is logged when there is room again.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <stdlib.h>

#include <bsd/string.h>

#include "common/log.h"

#define VALUE_MAX  256
#define CUT        "..."
#define PREFIX_MAX 96
/* What must stay free behind a value: the dots, a closing quote and the terminator. */
#define TAIL_ROOM (sizeof(CUT) - 1 + 2)

static struct {
	char process[32];
	enum log_target target;
	int fd;
	bool may_block; /* poll before writing */
	bool lost;
	unsigned long dropped;
	enum log_level level;
	unsigned trace;
} state = { .process = "smtpd", .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO };

const char *
log_trace_name(size_t index, unsigned *bits)
{
	static const struct {
		const char *name;
		unsigned bits;
	} subsystems[] = {
		{ "all", LOG_TRACE_ALL },
		{ "bounce", LOG_TRACE_BOUNCE },
		{ "expand", LOG_TRACE_EXPAND },
		{ "imsg", LOG_TRACE_IMSG },
		{ "io", LOG_TRACE_IO },
		{ "lookup", LOG_TRACE_LOOKUP },
		{ "mda", LOG_TRACE_MDA },
		{ "mproc", LOG_TRACE_IMSG },
		{ "mta", LOG_TRACE_MTA },
		{ "rules", LOG_TRACE_RULES },
		{ "scheduler", LOG_TRACE_SCHEDULER },
		{ "smtp", LOG_TRACE_SMTP },
	};

	if (index >= sizeof(subsystems) / sizeof(subsystems[0]))
		return NULL;
	*bits = subsystems[index].bits;
	return subsystems[index].name;
}

/*
 * Pipes and terminals are shared with others who expect them to block: their mode isn't ours to
 * change, but a second open gives a description whose mode is.
 */
static void
prepare_fd(int fd)
{
	char path[32];
	struct stat info;
	int again;

	state.fd = fd;
	state.may_block = false;
	if (state.target == LOG_TARGET_SYSLOG)
		return;
	if (fstat(fd, &info) != 0 || (!S_ISFIFO(info.st_mode) && !S_ISCHR(info.st_mode)))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (again == -1) {
		state.may_block = true;
		return;
	}
	if (fd > STDERR_FILENO)
		close(fd);
	state.fd = again;
}

void
log_set_fd(int fd)
{
	if (state.fd > STDERR_FILENO)
		close(state.fd);
	prepare_fd(fd);
	state.lost = false;
}

void
log_open(const char *process, enum log_target target, int fd)
{
	strlcpy(state.process, process, sizeof(state.process));
	state.target = target;
	log_set_fd(fd);
}

void
log_set_level(enum log_level level)
{
	state.level = level;
}

void
log_set_trace(unsigned mask)
{
	state.trace = mask;
}

bool
log_is_traced(unsigned mask)
{
	return (state.trace & mask) != 0;
}

bool
log_is_debug(void)
{
	return state.level >= LOG_LEVEL_DEBUG;
}

bool
log_is_lost(void)
{
	return state.lost;
}

static int
syslog_priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_MAIL | LOG_ERR;
	case LOG_LEVEL_WARNING:
		return LOG_MAIL | LOG_WARNING;
	case LOG_LEVEL_INFO:
		return LOG_MAIL | LOG_INFO;
	case LOG_LEVEL_DEBUG:
		return LOG_MAIL | LOG_DEBUG;
	}
	return LOG_MAIL | LOG_ERR;
}

static const char *
level_word(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return "error: ";
	case LOG_LEVEL_WARNING:
		return "warning: ";
	case LOG_LEVEL_INFO:
	case LOG_LEVEL_DEBUG:
		break;
	}
	return "";
}

/* RFC 3164 4.1 (what /dev/log takes), or an ISO 8601 time for people. */
static int
format_prefix(char *prefix, size_t size, enum log_level level)
{
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	struct timespec now = { 0 };
	struct tm tm = { 0 };

	if (state.target == LOG_TARGET_USER)
		return snprintf(prefix, size, "%s: ", state.process);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (state.target == LOG_TARGET_SYSLOG) {
		(void)localtime_r(&now.tv_sec, &tm);
		return snprintf(prefix, size,
		    "<%d>%s %2d %02d:%02d:%02d %s[%d]: ", syslog_priority(level),
		    months[tm.tm_mon % 12], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		    state.process, (int)getpid());
	}
	(void)gmtime_r(&now.tv_sec, &tm);
	return snprintf(prefix, size,
	    "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s[%d]: ", tm.tm_year + 1900, tm.tm_mon + 1,
	    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000, state.process,
	    (int)getpid());
}

static bool
write_out(const char *text, size_t length)
{
	struct pollfd ready = { .fd = state.fd, .events = POLLOUT };
	ssize_t written;

	if (state.target == LOG_TARGET_SYSLOG) {
		written = send(state.fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (written == -1 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
			state.lost = true;
		return written != -1;
	}
	if (state.may_block && poll(&ready, 1, 0) != 1)
		return false;
	return write(state.fd, text, length) == (ssize_t)length;
}

/* A line that is safe already leaves this process. */
static void
emit(enum log_level level, const char *line)
{
	char text[PREFIX_MAX + 16 + sizeof(((struct log_line *)0)->text)];
	int saved_errno = errno;
	int length;

	if (state.dropped > 0) {
		length = format_prefix(text, sizeof(text), LOG_LEVEL_WARNING);
		length += snprintf(text + length, sizeof(text) - (size_t)length,
		    "warning: log-lines-lost count=%lu%s", state.dropped,
		    state.target == LOG_TARGET_SYSLOG ? "" : "\n");
		if (write_out(text, (size_t)length))
			state.dropped = 0;
	}
	length = format_prefix(text, sizeof(text), level);
	length += snprintf(text + length, sizeof(text) - (size_t)length, "%s%s%s",
	    state.target == LOG_TARGET_USER && level == LOG_LEVEL_ERROR ? "" : level_word(level),
	    line, state.target == LOG_TARGET_SYSLOG ? "" : "\n");
	if (!write_out(text, (size_t)length))
		state.dropped++;
	errno = saved_errno;
}

/* How `byte` is written: 1, 2 or 4 characters, always printable ASCII. */
static size_t
escape(char unit[5], unsigned char byte, bool field)
{
	if (byte < ' ' || byte > '~')
		return (size_t)snprintf(unit, 5, "\\x%02x", byte);
	if (field && (byte == '"' || byte == '\\')) {
		unit[0] = '\\';
		unit[1] = (char)byte;
		return 2;
	}
	unit[0] = (char)byte;
	return 1;
}

/* A full line takes no more; its length says so by being the size of the whole array. */
static bool
is_full(const struct log_line *line)
{
	return line->length >= sizeof(line->text);
}

static bool
has_room(const struct log_line *line, size_t length)
{
	return !is_full(line) && line->length + length + TAIL_ROOM <= sizeof(line->text);
}

static void
append(struct log_line *line, const char *text, size_t length)
{
	memcpy(line->text + line->length, text, length);
	line->length += length;
	line->text[line->length] = '\0';
}

static void
cut_off(struct log_line *line)
{
	append(line, CUT, sizeof(CUT) - 1);
	line->length = sizeof(line->text);
}

/* " key=", or false after ending the line when not even that and a short value fit. */
static bool
begin_field(struct log_line *line, const char *key)
{
	size_t length = strlen(key);

	if (is_full(line))
		return false;
	if (!has_room(line, length + 24)) {
		append(line, " ", 1);
		cut_off(line);
		return false;
	}
	append(line, " ", 1);
	append(line, key, length);
	append(line, "=", 1);
	return true;
}

void
log_begin(struct log_line *line, enum log_level level, const char *event)
{
	line->level = level;
	line->traced = false;
	line->length = 0;
	append(line, event, strnlen(event, 64));
}

bool
log_trace_begin(struct log_line *line, unsigned mask, const char *event)
{
	if (!log_is_traced(mask))
		return false;
	log_begin(line, LOG_LEVEL_DEBUG, event);
	line->traced = true;
	return true;
}

static size_t
value_max(const struct log_line *line)
{
	return line->traced ? sizeof(line->text) : VALUE_MAX;
}

void
log_bytes(struct log_line *line, const char *key, const void *value, size_t length)
{
	const unsigned char *bytes = value;
	char unit[5];
	bool quoted, full = false;
	size_t i, unit_length, most = value_max(line);

	if (!begin_field(line, key))
		return;
	quoted = length == 0;
	for (i = 0; i < length && i < most && !quoted; i++)
		quoted = bytes[i] == ' ' || bytes[i] == '"' || bytes[i] == '=';
	if (quoted)
		append(line, "\"", 1);
	for (i = 0; i < length && i < most; i++) {
		unit_length = escape(unit, bytes[i], true);
		if (!has_room(line, unit_length)) {
			full = true;
			break;
		}
		append(line, unit, unit_length);
	}
	if (i < length)
		append(line, CUT, sizeof(CUT) - 1);
	if (quoted)
		append(line, "\"", 1);
	if (full)
		line->length = sizeof(line->text);
}

void
log_text(struct log_line *line, const char *key, const char *value)
{
	log_bytes(line, key, value, strnlen(value, value_max(line) + 1));
}

void
log_number(struct log_line *line, const char *key, int64_t value)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%lld", (long long)value);

	log_bytes(line, key, text, (size_t)length);
}

void
log_hex64(struct log_line *line, const char *key, uint64_t value)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%016llx", (unsigned long long)value);

	log_bytes(line, key, text, (size_t)length);
}

void
log_hex32(struct log_line *line, const char *key, uint32_t value)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%08x", value);

	log_bytes(line, key, text, (size_t)length);
}

void
log_end(struct log_line *line)
{
	if (line->traced || line->level <= state.level)
		emit(line->level, line->text);
}

static void log_free_text(enum log_level, const char *, va_list)
    __attribute__((format(printf, 2, 0)));

static void
log_free_text(enum log_level level, const char *format, va_list arguments)
{
	struct log_line line = { .level = level };
	char text[sizeof(line.text)], unit[5];
	size_t i, unit_length;
	bool cut;
	int length;

	length = vsnprintf(text, sizeof(text), format, arguments);
	if (length < 0)
		return;
	cut = (size_t)length >= sizeof(text);
	for (i = 0; text[i] != '\0'; i++) {
		unit_length = escape(unit, (unsigned char)text[i], false);
		if (!has_room(&line, unit_length)) {
			cut = true;
			break;
		}
		append(&line, unit, unit_length);
	}
	if (cut)
		cut_off(&line);
	emit(level, line.text);
}

void
log_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_free_text(LOG_LEVEL_ERROR, format, arguments);
	va_end(arguments);
}

void
log_warning(const char *format, ...)
{
	va_list arguments;

	if (state.level < LOG_LEVEL_WARNING)
		return;
	va_start(arguments, format);
	log_free_text(LOG_LEVEL_WARNING, format, arguments);
	va_end(arguments);
}

void
log_info(const char *format, ...)
{
	va_list arguments;

	if (state.level < LOG_LEVEL_INFO)
		return;
	va_start(arguments, format);
	log_free_text(LOG_LEVEL_INFO, format, arguments);
	va_end(arguments);
}

void
log_debug(const char *format, ...)
{
	va_list arguments;

	if (state.level < LOG_LEVEL_DEBUG)
		return;
	va_start(arguments, format);
	log_free_text(LOG_LEVEL_DEBUG, format, arguments);
	va_end(arguments);
}

/* Libraries seldom say that it was memory. */
static void
explain_fatal(int error)
{
	if (error == ENOMEM)
		log_error("memory has run out: give the machine more, or lower the limits of "
		          "sessions in smtpd.conf");
}

void
fatal(const char *format, ...)
{
	char text[sizeof(((struct log_line *)0)->text)];
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	if (vsnprintf(text, sizeof(text), format, arguments) < 0)
		text[0] = '\0';
	va_end(arguments);
	log_error("%s: %s", text, strerror(error));
	explain_fatal(error);
	exit(EX_OSERR);
}

void
fatalx(const char *format, ...)
{
	va_list arguments;
	int error = errno;

	va_start(arguments, format);
	log_free_text(LOG_LEVEL_ERROR, format, arguments);
	va_end(arguments);
	explain_fatal(error);
	exit(EX_SOFTWARE);
}
