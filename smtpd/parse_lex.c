/*
 * The lexer reads whole files into memory, a stack of them for includes, and hands out words with
 * the place where each began.
 *
 * A macro's value is read again as if it stood in the file, as OpenBSD's configuration files do it,
 * so that it may hold several words; what follows it directly joins its last word. A value is not
 * searched for macros again: no expansion can grow or loop.
 *
 * A backslash before the line's end joins the next line, in comments and in quotes too. Outside
 * quotes any other is left out, and what follows it stands for itself, as in OpenSMTPD.
 */
#include <sys/stat.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "smtpd/parse_lex.h"

#define FILE_SIZE_MAX (16 * 1024 * 1024)
#define DEPTH_MAX     16
#define INCLUDE_MAX   1000 /* in all */
#define MACRO_MAX     1000
#define ERROR_MAX     100

struct source {
	const char *name;
	char *data;
	size_t length;
	size_t at;
	unsigned line;
	dev_t device; /* of a file; 0 of a text */
	ino_t inode;
};

struct macro {
	char *name;
	char *value;
	struct place place;
	bool used;
};

struct lexer {
	struct problems *problems;
	struct source stack[DEPTH_MAX];
	size_t depth;
	struct source pending; /* an included file that starts after the line */
	bool has_pending;
	bool line_started;     /* something but blanks was read since the last LEX_NEWLINE */
	const char *expansion; /* rest of the macro's value being read, or NULL */
	struct macro macros[MACRO_MAX];
	size_t macro_count;
	char *names[INCLUDE_MAX + 1]; /* of all files read, for places */
	size_t name_count;
};

static void
report(struct problems *problems, bool is_error, struct place place, const char *words)
{
	char text[1024], safe[4 * sizeof(text)], *to = safe;
	const char *from;

	if (place.line == 0)
		snprintf(
		    text, sizeof(text), "%s: %s%s", place.file, is_error ? "" : "warning: ", words);
	else
		snprintf(text, sizeof(text), "%s:%u: %s%s", place.file, place.line,
		    is_error ? "" : "warning: ", words);
	for (from = text; *from != '\0'; from++) {
		if (isascii((unsigned char)*from) && isprint((unsigned char)*from))
			*to++ = *from;
		else
			to += snprintf(to, 5, "\\x%02x", (unsigned char)*from);
	}
	*to = '\0';
	problems->report(is_error, safe, problems->arg);
}

void
problem_error(struct problems *problems, struct place place, const char *format, ...)
{
	char words[768];
	va_list args;

	if (problems->errors++ >= ERROR_MAX)
		return;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	report(problems, true, place, words);
	if (problems->errors == ERROR_MAX)
		report(problems, true, place, "too many errors, stopping here");
}

void
problem_warning(struct problems *problems, struct place place, const char *format, ...)
{
	char words[768];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	report(problems, false, place, words);
}

bool
problem_too_many(const struct problems *problems)
{
	return problems->errors >= ERROR_MAX;
}

static char *
copy(const char *text)
{
	char *string = strdup(text);

	if (string == NULL)
		fatal("parse: strdup");
	return string;
}

const char *
lexer_main_name(const struct lexer *lexer)
{
	return lexer->name_count == 0 ? "" : lexer->names[0];
}

struct lexer *
lexer_new(struct problems *problems)
{
	struct lexer *lexer = calloc(1, sizeof(*lexer));

	if (lexer == NULL)
		fatal("parse: calloc");
	lexer->problems = problems;
	return lexer;
}

void
lexer_free(struct lexer *lexer)
{
	for (size_t i = 0; i < lexer->depth; i++)
		free(lexer->stack[i].data);
	if (lexer->has_pending)
		free(lexer->pending.data);
	for (size_t i = 0; i < lexer->macro_count; i++) {
		free(lexer->macros[i].name);
		free(lexer->macros[i].value);
	}
	for (size_t i = 0; i < lexer->name_count; i++)
		free(lexer->names[i]);
	free(lexer);
}

/* A source's lines begin here: one that is too long is reported and passed over. */
static void
begin_line(struct lexer *lexer, struct source *source)
{
	const char *start = source->data + source->at;
	size_t left = source->length - source->at;
	const char *end = left > 0 ? memchr(start, '\n', left) : NULL;
	size_t length = end != NULL ? (size_t)(end - start) : left;

	if (length <= LEX_LINE_MAX)
		return;
	problem_error(lexer->problems, (struct place){ source->name, source->line },
	    "the line that begins with \"%.20s\" is longer than %d bytes", start, LEX_LINE_MAX);
	source->at += length;
}

/* Room for `name` is what limits the number of files. */
static const char *
remember_name(struct lexer *lexer, const char *name)
{
	lexer->names[lexer->name_count] = copy(name);
	return lexer->names[lexer->name_count++];
}

/* Why a file that was opened can't be a configuration, or NULL. */
static const char *
unfit(const struct stat *status)
{
	if (S_ISDIR(status->st_mode))
		return "is a directory";
	if (!S_ISREG(status->st_mode))
		return "is not a regular file";
	if ((status->st_mode & S_IWOTH) != 0)
		return "can be written by everybody: chmod o-w";
	if (status->st_size > FILE_SIZE_MAX)
		return "is larger than 16 MiB";
	return NULL;
}

/* All of a file, with a NUL after it; NULL and errno when it can't be read. */
static char *
read_all(int fd, size_t *length)
{
	size_t size = 8192;
	char *data = NULL, *larger;
	ssize_t count;

	*length = 0;
	for (;;) {
		if (data == NULL || *length + 1 == size) {
			size *= 2;
			larger = realloc(data, size);
			if (larger == NULL)
				fatal("parse: realloc");
			data = larger;
		}
		count = read(fd, data + *length, size - *length - 1);
		if (count == -1 && errno == EINTR)
			continue;
		if (count > 0 && *length + (size_t)count > FILE_SIZE_MAX) {
			errno = EFBIG;
			count = -1;
		}
		if (count == -1) {
			free(data);
			return NULL;
		}
		if (count == 0)
			break;
		*length += (size_t)count;
	}
	data[*length] = '\0';
	return data;
}

static bool
source_open(struct lexer *lexer, struct place place, const char *path, struct source *source)
{
	struct stat status;
	const char *why = NULL;
	int fd;

	/* A FIFO without a writer and a device must not hold us up. */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &status) == -1) {
		problem_error(
		    lexer->problems, place, "can't open \"%.200s\": %s", path, strerror(errno));
		if (fd != -1)
			close(fd);
		return false;
	}
	why = unfit(&status);
	for (size_t i = 0; i < lexer->depth && why == NULL; i++) {
		if (lexer->stack[i].inode == status.st_ino &&
		    lexer->stack[i].device == status.st_dev && status.st_ino != 0)
			why = "includes itself";
	}
	if (why != NULL) {
		problem_error(lexer->problems, place, "\"%.200s\" %s", path, why);
		close(fd);
		return false;
	}
	memset(source, 0, sizeof(*source));
	source->data = read_all(fd, &source->length);
	if (source->data == NULL)
		problem_error(
		    lexer->problems, place, "can't read \"%.200s\": %s", path, strerror(errno));
	close(fd);
	if (source->data == NULL)
		return false;
	source->name = remember_name(lexer, path);
	source->line = 1;
	source->device = status.st_dev;
	source->inode = status.st_ino;
	return true;
}

static void
source_push(struct lexer *lexer, const struct source *source)
{
	lexer->stack[lexer->depth++] = *source;
	lexer->line_started = false;
	begin_line(lexer, &lexer->stack[lexer->depth - 1]);
}

bool
lexer_open_file(struct lexer *lexer, const char *path)
{
	struct source source;

	if (!source_open(lexer, (struct place){ path, 0 }, path, &source))
		return false;
	source_push(lexer, &source);
	return true;
}

bool
lexer_open_text(struct lexer *lexer, const char *name, const char *text, size_t length)
{
	struct source source = { 0 };

	source.name = remember_name(lexer, name);
	source.line = 1;
	source.length = length;
	if (length > FILE_SIZE_MAX) {
		problem_error(
		    lexer->problems, (struct place){ source.name, 0 }, "is larger than 16 MiB");
		return false;
	}
	source.data = malloc(length + 1);
	if (source.data == NULL)
		fatal("parse: malloc");
	memcpy(source.data, text, length);
	source.data[length] = '\0';
	source_push(lexer, &source);
	return true;
}

bool
lexer_include(struct lexer *lexer, struct place place, const char *path)
{
	const char *slash = strrchr(place.file, '/');
	char *full = NULL;
	bool opened;

	if (lexer->depth == DEPTH_MAX || lexer->name_count > INCLUDE_MAX - 1) {
		problem_error(lexer->problems, place,
		    "include \"%.200s\": more than %d files deep or %d in all", path, DEPTH_MAX,
		    INCLUDE_MAX);
		return false;
	}
	if (lexer->has_pending || *path == '\0') {
		problem_error(lexer->problems, place, "include \"%.200s\" is out of place", path);
		return false;
	}
	if (*path != '/' && slash != NULL) {
		if (asprintf(&full, "%.*s/%s", (int)(slash - place.file), place.file, path) == -1)
			fatal("parse: asprintf");
	}
	opened = source_open(lexer, place, full != NULL ? full : path, &lexer->pending);
	free(full);
	if (!opened)
		return false;
	if (lexer->line_started)
		lexer->has_pending = true;
	else
		source_push(lexer, &lexer->pending);
	return true;
}

bool
lexer_define(struct lexer *lexer, struct place place, const char *name, const char *value)
{
	const char *at;

	for (at = name; isascii((unsigned char)*at) && (isalnum((unsigned char)*at) || *at == '_');
	     at++)
		;
	if (*at != '\0' || at == name) {
		problem_error(lexer->problems, place,
		    "\"%.40s\" can't name a macro: only letters, digits and \"_\"", name);
		return false;
	}
	for (size_t i = 0; i < lexer->macro_count; i++) {
		if (strcmp(lexer->macros[i].name, name) == 0) {
			problem_error(lexer->problems, place,
			    "macro \"%.40s\" was defined in line %u of %.200s already", name,
			    lexer->macros[i].place.line, lexer->macros[i].place.file);
			return false;
		}
	}
	if (lexer->macro_count == MACRO_MAX) {
		problem_error(
		    lexer->problems, place, "macro \"%.40s\" is one more than %d", name, MACRO_MAX);
		return false;
	}
	lexer->macros[lexer->macro_count++] =
	    (struct macro){ copy(name), copy(value), place, false };
	return true;
}

void
lexer_warn_unused(struct lexer *lexer)
{
	for (size_t i = 0; i < lexer->macro_count; i++) {
		const struct macro *macro = &lexer->macros[i];

		if (!macro->used)
			problem_warning(lexer->problems, macro->place,
			    "macro \"%.40s\" is not used", macro->name);
	}
}

static struct source *
current(struct lexer *lexer)
{
	return &lexer->stack[lexer->depth - 1];
}

static struct place
here(struct lexer *lexer)
{
	return (struct place){ current(lexer)->name, current(lexer)->line };
}

/* Moves over line ends that a backslash takes away. */
static void
skip_continuations(struct lexer *lexer)
{
	struct source *source = current(lexer);
	const char *at;
	size_t left;

	for (;;) {
		at = source->data + source->at;
		left = source->length - source->at;
		if (left >= 2 && at[0] == '\\' && at[1] == '\n')
			source->at += 2;
		else if (left >= 3 && at[0] == '\\' && at[1] == '\r' && at[2] == '\n')
			source->at += 3;
		else
			return;
		source->line++;
		begin_line(lexer, source);
	}
}

/* The next byte without taking it, -1 at the end of the file. */
static int
peek(struct lexer *lexer)
{
	struct source *source = current(lexer);

	if (lexer->expansion != NULL && *lexer->expansion != '\0')
		return (unsigned char)*lexer->expansion;
	lexer->expansion = NULL;
	skip_continuations(lexer);
	if (source->at == source->length)
		return -1;
	/* A line's end as other systems write it. */
	if (source->data[source->at] == '\r' && source->at + 1 < source->length &&
	    source->data[source->at + 1] == '\n')
		source->at++;
	return (unsigned char)source->data[source->at];
}

/* Takes the byte that peek() just gave. */
static void
advance(struct lexer *lexer)
{
	struct source *source = current(lexer);

	if (lexer->expansion != NULL) {
		lexer->expansion++;
		return;
	}
	if (source->data[source->at++] == '\n') {
		source->line++;
		begin_line(lexer, source);
	}
}

static bool
is_mark(int byte)
{
	return byte > 0 && strchr("{}<>!=,", byte) != NULL;
}

static bool
is_word_byte(int byte)
{
	return byte > ' ' && byte != 0x7f && byte != '#' && byte != '"' && byte != '\'' &&
	    !is_mark(byte);
}

/* A word that grows on the stack and is copied out once. */
struct word {
	char text[LEX_WORD_MAX + 1];
	size_t length;
	bool too_long;
};

static void
word_add(struct word *word, int byte)
{
	if (word->length == LEX_WORD_MAX)
		word->too_long = true;
	else
		word->text[word->length++] = (char)byte;
}

static enum lex_kind
word_finish(
    struct lexer *lexer, struct word *word, enum lex_kind kind, struct place place, char **text)
{
	word->text[word->length] = '\0';
	if (word->too_long) {
		problem_error(lexer->problems, place,
		    "the word that begins with \"%.20s\" is longer than %d bytes", word->text,
		    LEX_WORD_MAX);
		return LEX_BAD;
	}
	*text = copy(word->text);
	return kind;
}

static enum lex_kind
read_word(struct lexer *lexer, struct place place, char **text)
{
	struct word word;
	int byte;

	word.length = 0;
	word.too_long = false;
	while (is_word_byte(byte = peek(lexer))) {
		advance(lexer);
		if (byte != '\\')
			word_add(&word, byte);
		else if (!is_word_byte(peek(lexer)) || peek(lexer) == '\\') {
			problem_error(lexer->problems, place,
			    "\"\\\" joins the next line only as the last character of its line");
			return LEX_BAD;
		} else
			problem_warning(lexer->problems, place,
			    "the \"\\\" before \"%c\" is left out: quote the word to keep it",
			    peek(lexer));
	}
	return word_finish(lexer, &word, LEX_WORD, place, text);
}

/* What a backslash in quotes is left out before. */
static bool
is_escaped(int byte, int quote)
{
	return byte == quote || byte == '\\' || byte == ' ' || byte == '\t';
}

static enum lex_kind
read_quoted(struct lexer *lexer, struct place place, char **text)
{
	struct word word;
	int quote = peek(lexer), byte;

	word.length = 0;
	word.too_long = false;
	advance(lexer);
	for (;;) {
		byte = peek(lexer);
		if (byte == quote)
			break;
		if (byte == '\\') {
			advance(lexer);
			byte = peek(lexer);
			/* Any other backslash stands for itself: patterns use it. */
			if (!is_escaped(byte, quote))
				word_add(&word, '\\');
			else {
				word_add(&word, byte);
				advance(lexer);
			}
			continue;
		}
		if (byte == -1 || byte == '\n') {
			word.text[word.length] = '\0';
			problem_error(lexer->problems, place,
			    "the quote before \"%.20s\" is not closed in its line", word.text);
			return LEX_BAD;
		}
		if ((byte < ' ' && byte != '\t') || byte == 0x7f) {
			word.text[word.length] = '\0';
			problem_error(lexer->problems, place,
			    "control character \\x%02x in the string \"%.20s\"", (unsigned)byte,
			    word.text);
			return LEX_BAD;
		}
		word_add(&word, byte);
		advance(lexer);
	}
	advance(lexer);
	return word_finish(lexer, &word, LEX_STRING, place, text);
}

/* Takes "$name" and starts reading its value. */
static bool
expand(struct lexer *lexer, struct place place)
{
	char name[64];
	size_t length = 0;
	int byte;

	if (lexer->expansion != NULL) {
		problem_error(lexer->problems, place,
		    "\"%.40s\": a macro inside quotes is not expanded", lexer->expansion);
		return false;
	}
	advance(lexer);
	while ((byte = peek(lexer)) > 0 && isascii(byte) && (isalnum(byte) || byte == '_') &&
	    length < sizeof(name) - 1) {
		name[length++] = (char)byte;
		advance(lexer);
	}
	name[length] = '\0';
	for (size_t i = 0; i < lexer->macro_count; i++) {
		if (strcmp(lexer->macros[i].name, name) == 0) {
			lexer->macros[i].used = true;
			lexer->expansion = lexer->macros[i].value;
			return true;
		}
	}
	problem_error(lexer->problems, place, "macro \"$%s\" is not defined", name);
	return false;
}

static enum lex_kind
end_line(struct lexer *lexer)
{
	lexer->line_started = false;
	if (lexer->has_pending) {
		lexer->has_pending = false;
		source_push(lexer, &lexer->pending);
	}
	return LEX_NEWLINE;
}

static enum lex_kind
read_token(struct lexer *lexer, char **text, char *mark, struct place *place)
{
	int byte = peek(lexer);

	if (byte == '"' || byte == '\'')
		return read_quoted(lexer, *place, text);
	if (is_mark(byte)) {
		*mark = (char)byte;
		advance(lexer);
		if (byte == '=' && peek(lexer) == '>') {
			advance(lexer);
			return LEX_ARROW;
		}
		return LEX_MARK;
	}
	if (is_word_byte(byte))
		return read_word(lexer, *place, text);
	problem_error(lexer->problems, *place, "control character \"\\x%02x\"", (unsigned)byte);
	advance(lexer);
	return LEX_BAD;
}

enum lex_kind
lexer_next(struct lexer *lexer, char **text, char *mark, struct place *place)
{
	int byte;

	*text = NULL;
	*mark = '\0';
	while (lexer->depth > 0 && !problem_too_many(lexer->problems)) {
		while ((byte = peek(lexer)) == ' ' || byte == '\t')
			advance(lexer);
		*place = here(lexer);
		if (byte == '#') {
			while ((byte = peek(lexer)) != '\n' && byte != -1)
				advance(lexer);
			*place = here(lexer);
		}
		if (byte == '\n' || (byte == -1 && lexer->line_started)) {
			if (byte == '\n')
				advance(lexer);
			return end_line(lexer);
		}
		if (byte == -1) {
			free(current(lexer)->data);
			lexer->depth--;
			continue;
		}
		lexer->line_started = true;
		if (byte == '$') {
			if (expand(lexer, *place))
				continue;
			return LEX_BAD;
		}
		return read_token(lexer, text, mark, place);
	}
	return LEX_END;
}
