/*
 * An expression becomes a short program whose states are all followed at once, byte by byte of the
 * text (Thompson, "Regular expression search algorithm", 1968): no state is there twice, so that no
 * expression makes a search slower than its length times the text's.
 *
 * Jumps are relative, so that a repeated part is copied as it is.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/regular_program.h"

#define DEPTH_MAX 32 /* parentheses within each other */

struct compiler {
	struct regular *regular;
	const char *at;
	unsigned depth;
	size_t limit; /* of steps */
	bool finds;   /* for regular_find(), with what the C library knows beyond POSIX */
	bool notes;   /* groups */
	char *why;
	size_t why_size;
	bool failed;
};

static bool parse_alternatives(struct compiler *);

__attribute__((format(printf, 2, 3))) static bool
fail(struct compiler *compiler, const char *format, ...)
{
	va_list args;

	if (!compiler->failed) {
		va_start(args, format);
		vsnprintf(compiler->why, compiler->why_size, format, args);
		va_end(args);
	}
	compiler->failed = true;
	return false;
}

static bool
has_room(struct compiler *compiler, size_t more)
{
	if (more <= compiler->limit && compiler->regular->count <= compiler->limit - more)
		return true;
	return fail(compiler, "it is too large: its repetitions come to more than %zu steps",
	    compiler->limit);
}

static bool
add(struct compiler *compiler, struct step step)
{
	if (!has_room(compiler, 1))
		return false;
	compiler->regular->steps[compiler->regular->count++] = step;
	return true;
}

/* Before the steps from `start` on, whose jumps stay among themselves. */
static bool
insert(struct compiler *compiler, size_t start, struct step step)
{
	struct regular *regular = compiler->regular;

	if (!has_room(compiler, 1))
		return false;
	memmove(&regular->steps[start + 1], &regular->steps[start],
	    (regular->count - start) * sizeof(*regular->steps));
	regular->steps[start] = step;
	regular->count++;
	return true;
}

/* Brackets */

static void
set_add(const struct compiler *compiler, struct set *set, unsigned byte)
{
	if (compiler->regular->fold_case)
		byte = (unsigned)tolower((int)byte);
	set->bits[byte / 8] |= (uint8_t)(1U << (byte % 8));
}

static bool
set_has(const struct set *set, unsigned byte)
{
	return (set->bits[byte / 8] & (1U << (byte % 8))) != 0;
}

/* "[:alpha:]", behind its "[:". */
static bool
parse_class(struct compiler *compiler, struct set *set)
{
	static const struct {
		const char *name;
		int (*has)(int);
	} classes[] = { { "alnum", isalnum }, { "alpha", isalpha }, { "blank", isblank },
		{ "cntrl", iscntrl }, { "digit", isdigit }, { "graph", isgraph },
		{ "lower", islower }, { "print", isprint }, { "punct", ispunct },
		{ "space", isspace }, { "upper", isupper }, { "xdigit", isxdigit } };
	size_t length = strcspn(compiler->at, ":]");

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		if (strlen(classes[i].name) != length ||
		    strncmp(classes[i].name, compiler->at, length) != 0 ||
		    strncmp(compiler->at + length, ":]", 2) != 0)
			continue;
		for (int byte = 0; byte < 128; byte++) {
			/* Without regard to case both of a letter are in it. */
			if (classes[i].has(byte) ||
			    (compiler->regular->fold_case &&
			        classes[i].has(isupper(byte) ? tolower(byte) : toupper(byte))))
				set_add(compiler, set, (unsigned)byte);
		}
		compiler->at += length + 2;
		return true;
	}
	return fail(
	    compiler, "there is no class [:%.*s:]", (int)(length > 20 ? 20 : length), compiler->at);
}

/* One byte, or the bytes from one to another. */
static bool
parse_range(struct compiler *compiler, struct set *set)
{
	const char *at = compiler->at;
	unsigned from = (unsigned char)at[0], to = from;

	if (at[0] == '[' && (at[1] == '.' || at[1] == '='))
		return fail(compiler, "[%c is not supported", at[1]);
	compiler->at++;
	if (at[1] == '-' && at[2] != ']' && at[2] != '\0') {
		to = (unsigned char)at[2];
		if (to < from)
			return fail(compiler, "the range %c-%c is backwards", at[0], at[2]);
		compiler->at += 2;
	}
	for (unsigned byte = from; byte <= to; byte++)
		set_add(compiler, set, byte);
	return true;
}

static bool
add_set(struct compiler *compiler, const struct set *set)
{
	struct regular *regular = compiler->regular;
	struct set *larger;

	larger = reallocarray(regular->sets, regular->set_count + 1, sizeof(*larger));
	if (larger == NULL)
		return fail(compiler, "out of memory");
	regular->sets = larger;
	regular->sets[regular->set_count] = *set;
	return add(
	    compiler, (struct step){ .kind = STEP_SET, .set = (uint16_t)regular->set_count++ });
}

static void
negate(struct set *set)
{
	for (size_t i = 0; i < sizeof(set->bits); i++)
		set->bits[i] = (uint8_t)~set->bits[i];
}

static bool
parse_bracket(struct compiler *compiler)
{
	struct set set;
	bool negated = false, first = true;

	memset(&set, 0, sizeof(set));
	if (*compiler->at == '^') {
		negated = true;
		compiler->at++;
	}
	for (; *compiler->at != ']' || first; first = false) {
		if (*compiler->at == '\0')
			return fail(compiler, "a [ is not closed");
		if (strncmp(compiler->at, "[:", 2) == 0) {
			compiler->at += 2;
			if (!parse_class(compiler, &set))
				return false;
		} else if (!parse_range(compiler, &set))
			return false;
	}
	compiler->at++;
	if (negated)
		negate(&set);
	return add_set(compiler, &set);
}

/* Atoms and their repetitions */

static bool
parse_group(struct compiler *compiler)
{
	bool is_noted = compiler->notes && compiler->regular->groups < REGULAR_GROUPS_MAX - 1;
	unsigned slot = is_noted ? 2 * ++compiler->regular->groups : 0;

	if (++compiler->depth > DEPTH_MAX)
		return fail(compiler, "more than %d parentheses within each other", DEPTH_MAX);
	if (is_noted && !add(compiler, (struct step){ .kind = STEP_SAVE, .set = (uint16_t)slot }))
		return false;
	if (!parse_alternatives(compiler))
		return false;
	if (*compiler->at != ')')
		return fail(compiler, "a ( is not closed");
	compiler->at++;
	compiler->depth--;
	slot++;
	return !is_noted ||
	    add(compiler, (struct step){ .kind = STEP_SAVE, .set = (uint16_t)slot });
}

/* What the C library has behind a backslash beside POSIX; false: nothing, or an error. */
static bool
parse_escape(struct compiler *compiler, unsigned char byte, bool *good)
{
	static const struct {
		char byte;
		enum step_kind kind;
	} places[] = { { 'b', STEP_WORD_EDGE }, { 'B', STEP_WORD_NONE }, { '<', STEP_WORD_BEGIN },
		{ '>', STEP_WORD_END }, { '`', STEP_BEGIN }, { '\'', STEP_END } };
	struct set set;

	*good = true;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if ((unsigned char)places[i].byte == byte) {
			*good = add(compiler, (struct step){ .kind = places[i].kind });
			return true;
		}
	}
	if (byte >= '1' && byte <= '9') {
		*good = fail(compiler, "back-references such as \\%c are not supported", byte);
		return true;
	}
	if (strchr("wWsS", byte) == NULL)
		return false;
	memset(&set, 0, sizeof(set));
	for (int one = 0; one < 128; one++) {
		if (tolower(byte) == 'w' ? isalnum(one) || one == '_' : isspace(one))
			set_add(compiler, &set, (unsigned)one);
	}
	if (isupper(byte))
		negate(&set);
	*good = add_set(compiler, &set);
	return true;
}

static bool
parse_atom(struct compiler *compiler)
{
	unsigned char byte = (unsigned char)*compiler->at++;
	bool good;

	switch (byte) {
	case '(':
		return parse_group(compiler);
	case '[':
		return parse_bracket(compiler);
	case '.':
		return add(compiler, (struct step){ .kind = STEP_ANY });
	case '^':
		return add(compiler, (struct step){ .kind = STEP_BEGIN });
	case '$':
		return add(compiler, (struct step){ .kind = STEP_END });
	case '*':
	case '+':
	case '?':
	case '{':
		return fail(compiler, "there is nothing before a %c", byte);
	case '\\':
		byte = (unsigned char)*compiler->at;
		if (byte == '\0')
			return fail(compiler, "a backslash ends it");
		if (compiler->finds && parse_escape(compiler, byte, &good)) {
			compiler->at++;
			return good;
		}
		/* "\d", "\b", "\1" mean something elsewhere, and a plain letter nowhere. */
		if (!compiler->finds && isalnum(byte))
			return fail(
			    compiler, "\\%c has no meaning in POSIX's extended expressions", byte);
		compiler->at++;
		break;
	default:
		break;
	}
	if (compiler->regular->fold_case)
		byte = (unsigned char)tolower(byte);
	return add(compiler, (struct step){ .kind = STEP_BYTE, .byte = byte });
}

/* The steps from `start` on may be left out; or come again. */
static bool
make_optional(struct compiler *compiler, size_t start)
{
	int16_t length = (int16_t)(compiler->regular->count - start);

	return insert(compiler, start,
	    (struct step){ .kind = STEP_SPLIT, .to = 1, .or_to = (int16_t)(length + 1) });
}

static bool
make_again(struct compiler *compiler, size_t start)
{
	int16_t length = (int16_t)(compiler->regular->count - start);

	return add(
	    compiler, (struct step){ .kind = STEP_SPLIT, .to = (int16_t)-length, .or_to = 1 });
}

static bool
repeat(struct compiler *compiler, size_t start, unsigned least, unsigned most, bool for_ever)
{
	struct regular *regular = compiler->regular;
	size_t length = regular->count - start, last = start;
	unsigned copies = for_ever ? (least == 0 ? 1 : least) : most;

	if (!has_room(compiler, (size_t)copies * length - length))
		return false;
	/* What may be left out is changed first, so that it is copied as such. */
	if (!for_ever && least == 0 && !make_optional(compiler, start))
		return false;
	length = regular->count - start;
	for (unsigned i = 1; i < copies; i++) {
		last = regular->count;
		if (!has_room(compiler, length))
			return false;
		memcpy(&regular->steps[last], &regular->steps[start],
		    length * sizeof(*regular->steps));
		regular->count += length;
		if (!for_ever && least > 0 && i >= least && !make_optional(compiler, last))
			return false;
	}
	if (!for_ever)
		return true;
	return make_again(compiler, last) && (least > 0 || make_optional(compiler, start));
}

static bool
parse_number(struct compiler *compiler, unsigned *number)
{
	for (*number = 0; isdigit((unsigned char)*compiler->at); compiler->at++) {
		*number = *number * 10 + (unsigned)(*compiler->at - '0');
		if (*number > REGULAR_REPEAT_MAX)
			return fail(compiler, "a repetition of more than %d", REGULAR_REPEAT_MAX);
	}
	return true;
}

/* "{2}", "{2,}", "{2,4}", behind the brace. */
static bool
parse_braces(struct compiler *compiler, size_t start)
{
	unsigned least, most;
	bool for_ever = false;

	if (!isdigit((unsigned char)*compiler->at) && !(compiler->finds && *compiler->at == ','))
		return fail(compiler, "a { wants {2}, {2,} or {2,4}; a brace itself is \\{");
	if (!parse_number(compiler, &least))
		return false;
	most = least;
	if (*compiler->at == ',') {
		compiler->at++;
		for_ever = *compiler->at == '}';
		if (!parse_number(compiler, &most))
			return false;
	}
	if (*compiler->at != '}')
		return fail(compiler, "a { is not closed");
	compiler->at++;
	if (!for_ever && most == 0 && compiler->finds) {
		compiler->regular->count = start;
		return true;
	}
	if (!for_ever && (most == 0 || most < least))
		return fail(compiler, "a repetition of {%u,%u}", least, most);
	return repeat(compiler, start, least, most, for_ever);
}

static bool
parse_piece(struct compiler *compiler)
{
	size_t start = compiler->regular->count;
	bool good = parse_atom(compiler);

	while (good) {
		switch (*compiler->at) {
		case '*':
			compiler->at++;
			good = repeat(compiler, start, 0, 0, true);
			break;
		case '+':
			compiler->at++;
			good = repeat(compiler, start, 1, 0, true);
			break;
		case '?':
			compiler->at++;
			good = repeat(compiler, start, 0, 1, false);
			break;
		case '{':
			compiler->at++;
			good = parse_braces(compiler, start);
			break;
		default:
			return true;
		}
	}
	return false;
}

static bool
parse_branch(struct compiler *compiler)
{
	if (*compiler->at == '\0' || *compiler->at == '|' || *compiler->at == ')') {
		if (compiler->finds && (*compiler->at != ')' || compiler->depth > 0))
			return true;
		return fail(compiler, "%s",
		    *compiler->at == ')' && compiler->depth == 0
		        ? "a ) has no ("
		        : "there is nothing before or behind a |, or between parentheses");
	}
	do {
		if (!parse_piece(compiler))
			return false;
	} while (*compiler->at != '\0' && *compiler->at != '|' && *compiler->at != ')');
	return true;
}

static bool
parse_alternatives(struct compiler *compiler)
{
	struct regular *regular = compiler->regular;
	size_t start = regular->count, jump;

	if (!parse_branch(compiler))
		return false;
	while (*compiler->at == '|') {
		compiler->at++;
		if (!insert(compiler, start,
		        (struct step){ .kind = STEP_SPLIT,
		            .to = 1,
		            .or_to = (int16_t)(regular->count - start + 2) }))
			return false;
		jump = regular->count;
		if (!add(compiler, (struct step){ .kind = STEP_JUMP }) || !parse_branch(compiler))
			return false;
		regular->steps[jump].to = (int16_t)(regular->count - jump);
	}
	return true;
}

static bool
compile(struct compiler *compiler, const char *expression)
{
	if ((*expression == '\0' && !compiler->finds) || strlen(expression) > REGULAR_LENGTH_MAX)
		return fail(compiler, "it is empty, or longer than %d bytes", REGULAR_LENGTH_MAX);
	compiler->at = expression;
	if (!parse_alternatives(compiler))
		return false;
	if (*compiler->at != '\0')
		return fail(compiler, "a ) has no (");
	return add(compiler, (struct step){ .kind = STEP_FOUND });
}

/* Memory for a search, and no more than needed for the steps. */
static bool
make_room(struct regular *regular, bool finds)
{
	struct step *steps = reallocarray(regular->steps, regular->count, sizeof(*steps));
	size_t slots = (size_t)2 * (regular->groups + 1);

	if (steps != NULL)
		regular->steps = steps;
	regular->here = calloc(regular->count, sizeof(*regular->here));
	regular->next = calloc(regular->count, sizeof(*regular->next));
	regular->marks = calloc(regular->count, sizeof(*regular->marks));
	if (finds) {
		regular->slots_here = calloc(regular->count * slots, sizeof(uint16_t));
		regular->slots_next = calloc(regular->count * slots, sizeof(uint16_t));
		regular->frames = calloc(2 * regular->count + 2, sizeof(*regular->frames));
	} else
		regular->stack = calloc(regular->count, sizeof(*regular->stack));
	return regular->here != NULL && regular->next != NULL && regular->marks != NULL &&
	    (!finds || (regular->slots_here != NULL && regular->slots_next != NULL)) &&
	    (finds ? (void *)regular->frames : (void *)regular->stack) != NULL;
}

static struct regular *
make(struct compiler *compiler, const char *expression, bool fold_case)
{
	struct regular *regular = calloc(1, sizeof(*regular));

	compiler->regular = regular;
	if (regular != NULL) {
		regular->fold_case = fold_case;
		regular->steps = calloc(compiler->limit, sizeof(*regular->steps));
	}
	if (regular == NULL || regular->steps == NULL)
		fail(compiler, "out of memory");
	else if (compile(compiler, expression) && !make_room(regular, compiler->finds))
		fail(compiler, "out of memory");
	if (!compiler->failed)
		return regular;
	regular_free(regular);
	return NULL;
}

struct regular *
regular_new(const char *expression, char *why, size_t size)
{
	struct compiler compiler = { .limit = REGULAR_STEPS_MAX, .why = why, .why_size = size };

	return make(&compiler, expression, true);
}

struct regular *
regular_new_find(const char *expression, bool fold_case, bool notes_groups, char *why, size_t size)
{
	struct compiler compiler = { .limit = REGULAR_FIND_STEPS_MAX,
		.finds = true,
		.notes = notes_groups,
		.why = why,
		.why_size = size };

	return make(&compiler, expression, fold_case);
}

void
regular_free(struct regular *regular)
{
	if (regular == NULL)
		return;
	free(regular->steps);
	free(regular->sets);
	free(regular->here);
	free(regular->next);
	free(regular->stack);
	free(regular->marks);
	free(regular->slots_here);
	free(regular->slots_next);
	free(regular->frames);
	free(regular);
}

size_t
regular_steps(const struct regular *regular)
{
	return regular->count;
}

static void
push(struct regular *regular, size_t *height, size_t step)
{
	if (regular->marks[step] == regular->mark)
		return;
	regular->marks[step] = regular->mark;
	regular->stack[(*height)++] = (uint16_t)step;
}

/* Adds to `states` the state, and those that it leads to without a byte; true when one is the end. */
static bool
follow(struct regular *regular, size_t state, bool at_begin, bool at_end, uint16_t *states,
    size_t *count)
{
	size_t height = 0;

	push(regular, &height, state);
	while (height > 0) {
		size_t at = regular->stack[--height];
		const struct step *step = &regular->steps[at];

		switch (step->kind) {
		case STEP_FOUND:
			return true;
		case STEP_JUMP:
			push(regular, &height, at + (size_t)step->to);
			break;
		case STEP_SPLIT:
			push(regular, &height, at + (size_t)step->to);
			push(regular, &height, at + (size_t)step->or_to);
			break;
		case STEP_BEGIN:
			if (at_begin)
				push(regular, &height, at + 1);
			break;
		case STEP_END:
			if (at_end)
				push(regular, &height, at + 1);
			break;
		case STEP_BYTE:
		case STEP_ANY:
		case STEP_SET:
			states[(*count)++] = (uint16_t)at;
			break;
		case STEP_WORD_BEGIN: /* regular_find()'s */
		case STEP_WORD_END:
		case STEP_WORD_EDGE:
		case STEP_WORD_NONE:
		case STEP_SAVE:
			break;
		}
	}
	return false;
}

bool
regular_takes(const struct regular *regular, const struct step *step, unsigned byte)
{
	return step->kind == STEP_ANY || (step->kind == STEP_BYTE && step->byte == byte) ||
	    (step->kind == STEP_SET && set_has(&regular->sets[step->set], byte));
}

void
regular_begin_marks(struct regular *regular)
{
	if (++regular->mark == 0) {
		memset(regular->marks, 0, regular->count * sizeof(*regular->marks));
		regular->mark = 1;
	}
}

bool
regular_matches(struct regular *regular, const char *text)
{
	uint16_t *here = regular->here, *next = regular->next, *other;
	size_t count = 0, next_count;

	regular_begin_marks(regular);
	if (follow(regular, 0, true, *text == '\0', here, &count))
		return true;
	for (; *text != '\0'; text++) {
		unsigned byte = (unsigned)tolower((unsigned char)*text);

		next_count = 0;
		regular_begin_marks(regular);
		for (size_t i = 0; i < count; i++) {
			if (regular_takes(regular, &regular->steps[here[i]], byte) &&
			    follow(
			        regular, here[i] + 1U, false, text[1] == '\0', next, &next_count))
				return true;
		}
		/* It may begin here as well. */
		if (follow(regular, 0, false, text[1] == '\0', next, &next_count))
			return true;
		other = here;
		here = next;
		next = other;
		count = next_count;
	}
	return false;
}
