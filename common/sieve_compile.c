/*
 * The grammar of RFC 5228 8.2, by descent whose depth is bounded: a script nested deeper is refused.
 * Which arguments a command has is in the tables of sieve_verbs.c; what they may be, sieve_check.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/sieve_lexer.h"
#include "common/sieve_script.h"

struct parser {
	struct sieve *sieve;
	struct sieve_lexer lexer;
	struct sieve_error *error;
	size_t nodes;
	bool after_requires; /* a command other than require was there */
};

void
sieve_fail(struct sieve_error *error, unsigned line, const char *format, ...)
{
	char words[SIEVE_ERROR_MAX];
	va_list arguments;

	if (error->is_set)
		return;
	error->is_set = true;
	va_start(arguments, format);
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	/* What it quotes of the script may have been cut. */
	sieve_mend_utf8(words);
	snprintf(error->text, error->size, "line %u: %s", line, words);
}

static bool
no_memory(struct parser *parser)
{
	sieve_fail(parser->error, parser->lexer.token_line, "script needs too much memory");
	return false;
}

static bool
expected(struct parser *parser, const char *what)
{
	char words[SIEVE_IDENTIFIER_MAX + 8];

	sieve_lexer_describe(&parser->lexer, words, sizeof(words));
	sieve_fail(parser->error, parser->lexer.token_line, "%s instead of %s", words, what);
	return false;
}

static bool
is_mark(const struct parser *parser, char mark)
{
	return parser->lexer.kind == TOKEN_MARK && parser->lexer.mark == mark;
}

static bool
take_mark(struct parser *parser, char mark)
{
	if (!is_mark(parser, mark))
		return false;
	sieve_lexer_next(&parser->lexer);
	return true;
}

/* `needs`: any of these extensions. */
static bool
is_allowed(struct parser *parser, const char *word, uint32_t needs)
{
	char name[SIEVE_IDENTIFIER_MAX];
	unsigned i;

	if (needs == 0 || (parser->sieve->extensions & needs) != 0)
		return true;
	for (i = 0; (needs & 1u << i) == 0; i++)
		;
	sieve_extension_name((enum sieve_extension)i, name, sizeof(name));
	sieve_fail(
	    parser->error, parser->lexer.token_line, "\"%s\" needs require \"%s\"", word, name);
	return false;
}

/* Whether variables are in it; words of what is wrong with them, or NULL. */
static const char *
find_references(struct sieve_string *string)
{
	const char *at = string->text, *end = at + string->length;
	char name[SIEVE_IDENTIFIER_MAX + 1];
	unsigned number;

	while ((at = memmem(at, (size_t)(end - at), "${", 2)) != NULL) {
		const char *after = at + 2;

		switch (sieve_read_reference(at, end, &after, name, &number)) {
		case REFERENCE_NONE:
			break;
		case REFERENCE_NAMED:
		case REFERENCE_MATCH:
			string->has_variables = true;
			break;
		case REFERENCE_BAD:
			return "a variable of a namespace or number that isn't known";
		}
		at = after;
	}
	return NULL;
}

static struct sieve_string *
take_string(struct parser *parser)
{
	struct sieve_string *string = sieve_arena_get(&parser->sieve->arena, sizeof(*string));
	const char *wrong = NULL;

	if (string == NULL) {
		(void)no_memory(parser);
		return NULL;
	}
	string->text = parser->lexer.text;
	string->length = parser->lexer.length;
	if ((parser->sieve->extensions & NEEDS(ENCODED_CHARACTER)) != 0)
		wrong = sieve_decode_characters(string->text, &string->length);
	if (wrong == NULL && (parser->sieve->extensions & NEEDS(VARIABLES)) != 0)
		wrong = find_references(string);
	if (wrong != NULL) {
		sieve_fail(parser->error, parser->lexer.token_line, "%s", wrong);
		return NULL;
	}
	sieve_lexer_next(&parser->lexer);
	return string;
}

/* A string, strings in brackets, or a number. NULL: it is none of them, or wrong. */
static struct sieve_argument *
take_argument(struct parser *parser)
{
	struct sieve_argument *argument = sieve_arena_get(&parser->sieve->arena, sizeof(*argument));
	struct sieve_string **last;

	if (argument == NULL) {
		(void)no_memory(parser);
		return NULL;
	}
	if (parser->lexer.kind == TOKEN_NUMBER) {
		argument->is_number = true;
		argument->number = parser->lexer.number;
		sieve_lexer_next(&parser->lexer);
		return argument;
	}
	last = &argument->strings;
	argument->is_list = take_mark(parser, '[');
	do {
		if (parser->lexer.kind != TOKEN_STRING) {
			(void)expected(parser, "a string");
			return NULL;
		}
		*last = take_string(parser);
		if (*last == NULL)
			return NULL;
		last = &(*last)->next;
		argument->count++;
	} while (argument->is_list && take_mark(parser, ','));
	if (argument->is_list && !take_mark(parser, ']')) {
		(void)expected(parser, "\",\" or \"]\"");
		return NULL;
	}
	return argument;
}

static bool
fits(const struct sieve_argument *argument, char type)
{
	if (type == 'n')
		return argument->is_number;
	return !argument->is_number && (type == 'l' || !argument->is_list);
}

static bool
take_tag(struct parser *parser, struct sieve_node *node)
{
	const struct sieve_verb_rule *rule = &sieve_verbs[node->verb];
	const struct sieve_tag_rule *tag = sieve_find_tag(parser->lexer.name, rule->slots);
	struct sieve_argument *argument;

	if (tag == NULL) {
		sieve_fail(parser->error, parser->lexer.token_line, "\"%s\" has no \":%s\"",
		    rule->name, parser->lexer.name);
		return false;
	}
	if (!is_allowed(parser, parser->lexer.name, tag->needs))
		return false;
	if (node->tags[tag->slot] != TAG_NONE) {
		sieve_fail(parser->error, parser->lexer.token_line,
		    "\":%s\" beside another one, or one that excludes it", tag->name);
		return false;
	}
	node->tags[tag->slot] = tag->tag;
	sieve_lexer_next(&parser->lexer);
	if (tag->argument == 0)
		return true;
	argument = take_argument(parser);
	if (argument == NULL)
		return false;
	node->values[tag->slot] = argument;
	if (fits(argument, tag->argument))
		return true;
	sieve_fail(parser->error, node->line, "\":%s\" needs %s", tag->name,
	    tag->argument == 'n' ? "a number" : "a string");
	return false;
}

static bool
begins_argument(const struct parser *parser)
{
	return parser->lexer.kind == TOKEN_STRING || parser->lexer.kind == TOKEN_NUMBER ||
	    is_mark(parser, '[');
}

/* Puts the positional arguments to their places; those that may be left out are NULL then. */
static bool
place(struct parser *parser, struct sieve_node *node)
{
	const struct sieve_verb_rule *rule = &sieve_verbs[node->verb];
	struct sieve_argument *given[SIEVE_POSITIONS_MAX];
	size_t count = node->position_count, all = 0, taken = 0, place = 0;
	bool is_left_out;

	memcpy(given, node->positions, sizeof(given));
	for (const char *at = rule->positions; *at != '\0'; at++)
		all += *at != '?';
	for (const char *at = rule->positions; *at != '\0'; at++) {
		is_left_out = *at == '?' && count < all;
		at += *at == '?';
		if (is_left_out) {
			node->positions[place++] = NULL;
			all--;
			continue;
		}
		if (taken == count || !fits(given[taken], *at)) {
			sieve_fail(parser->error, node->line, "argument %zu of \"%s\" must be %s",
			    taken + 1, rule->name,
			    *at == 'n'       ? "a number"
			        : *at == 's' ? "a string"
			                     : "a string or a list of strings");
			return false;
		}
		node->positions[place++] = given[taken++];
	}
	if (taken < count) {
		sieve_fail(parser->error, node->line, "too many arguments for \"%s\"", rule->name);
		return false;
	}
	node->position_count = place;
	return true;
}

static bool
take_arguments(struct parser *parser, struct sieve_node *node)
{
	for (;;) {
		if (parser->lexer.kind == TOKEN_TAG) {
			if (node->position_count > 0) {
				sieve_fail(parser->error, parser->lexer.token_line,
				    "\":%s\" must stand before the other arguments",
				    parser->lexer.name);
				return false;
			}
			if (!take_tag(parser, node))
				return false;
		} else if (begins_argument(parser)) {
			if (node->position_count == SIEVE_POSITIONS_MAX) {
				sieve_fail(parser->error, node->line,
				    "too many arguments for \"%s\"", sieve_verbs[node->verb].name);
				return false;
			}
			node->positions[node->position_count] = take_argument(parser);
			if (node->positions[node->position_count++] == NULL)
				return false;
		} else {
			return place(parser, node);
		}
	}
}

/* A node of the verb that the next token names. */
static struct sieve_node *
begin_node(struct parser *parser, bool is_test, unsigned depth)
{
	struct sieve_node *node;
	enum sieve_verb verb;

	if (parser->lexer.kind != TOKEN_IDENTIFIER) {
		(void)expected(parser, is_test ? "a test" : "a command");
		return NULL;
	}
	if (!sieve_find_verb(parser->lexer.name, is_test, &verb)) {
		sieve_fail(parser->error, parser->lexer.token_line, "unknown %s \"%s\"",
		    is_test ? "test" : "command", parser->lexer.name);
		return NULL;
	}
	if (!is_allowed(parser, sieve_verbs[verb].name, sieve_verbs[verb].needs))
		return NULL;
	if (depth > SIEVE_DEPTH_MAX || ++parser->nodes > SIEVE_NODES_MAX) {
		sieve_fail(parser->error, parser->lexer.token_line,
		    depth > SIEVE_DEPTH_MAX ? "nested too deeply" : "too many commands");
		return NULL;
	}
	node = sieve_arena_get(&parser->sieve->arena, sizeof(*node));
	if (node == NULL) {
		(void)no_memory(parser);
		return NULL;
	}
	node->verb = verb;
	node->line = parser->lexer.token_line;
	sieve_lexer_next(&parser->lexer);
	return node;
}

static bool
is_good(struct parser *parser, struct sieve_node *node)
{
	if (!sieve_check_node(parser->sieve, node, parser->error))
		return false;
	sieve_warn_of_node(parser->sieve, node);
	return true;
}

/* --- what depends on extensions that may not be there (RFC 5463) --- */

/* Reads over what stands before this mark, which must be outside all that is opened there. */
static void
skip_to(struct parser *parser, char mark)
{
	size_t opened = 0;

	for (;; sieve_lexer_next(&parser->lexer)) {
		if (parser->lexer.kind == TOKEN_END || parser->lexer.kind == TOKEN_ERROR ||
		    (opened == 0 && is_mark(parser, mark)))
			return;
		if (is_mark(parser, '(') || is_mark(parser, '{') || is_mark(parser, '['))
			opened++;
		else if (is_mark(parser, ')') || is_mark(parser, '}') || is_mark(parser, ']')) {
			if (opened-- == 0)
				return;
		}
	}
}

/* An extension; EXTENSION_COUNT: there is none. True for what is always there. */
static bool
find_extension(const struct sieve_string *name, enum sieve_extension *extension)
{
	*extension = EXTENSION_COUNT;
	/* RFC 5228 2.7.3 */
	if (strcmp(name->text, "comparator-i;octet") == 0 ||
	    strcmp(name->text, "comparator-i;ascii-casemap") == 0)
		return true;
	*extension = sieve_find_extension(name->text, name->length);
	return *extension != EXTENSION_COUNT;
}

/* Whether all are there, which may be used from here on. */
static bool
check_ihave(struct parser *parser, struct sieve_node *node)
{
	const struct sieve_string *name;
	enum sieve_extension extension;
	uint32_t extensions = 0;

	node->known = KNOWN_TRUE;
	for (name = node->positions[0]->strings; name != NULL; name = name->next) {
		if (name->has_variables) {
			sieve_fail(parser->error, node->line,
			    "an extension's name can't come from a variable");
			return false;
		}
		if (!find_extension(name, &extension))
			node->known = KNOWN_FALSE;
		else if (extension != EXTENSION_COUNT)
			extensions |= 1u << extension;
	}
	if (node->known == KNOWN_TRUE)
		parser->sieve->extensions |= extensions;
	return true;
}

/* Of "allof" and "anyof" behind one more of their tests: whether that decides. */
static bool
is_decided(struct sieve_node *node, const struct sieve_node *test)
{
	enum sieve_known decides = node->verb == VERB_ALLOF ? KNOWN_FALSE : KNOWN_TRUE;

	if (test->known == decides)
		node->known = decides;
	else if (test == node->tests)
		node->known = test->known;
	else if (test->known == KNOWN_NOT)
		node->known = KNOWN_NOT;
	return node->known == decides;
}

static struct sieve_node *
take_test(struct parser *parser, unsigned depth)
{
	struct sieve_node *node = begin_node(parser, true, depth), **last;

	if (node == NULL || !take_arguments(parser, node))
		return NULL;
	last = &node->tests;
	switch (sieve_verbs[node->verb].tests) {
	case TESTS_NONE:
		break;
	case TESTS_ONE:
		*last = take_test(parser, depth + 1);
		if (*last == NULL)
			return NULL;
		if ((*last)->known != KNOWN_NOT)
			node->known = (*last)->known == KNOWN_TRUE ? KNOWN_FALSE : KNOWN_TRUE;
		break;
	case TESTS_LIST:
		if (!take_mark(parser, '(')) {
			(void)expected(parser, "\"(\"");
			return NULL;
		}
		do {
			*last = take_test(parser, depth + 1);
			if (*last == NULL)
				return NULL;
			if (is_decided(node, *last))
				skip_to(parser, ')');
			last = &(*last)->next;
		} while (take_mark(parser, ','));
		if (!take_mark(parser, ')')) {
			(void)expected(parser, "\",\" or \")\"");
			return NULL;
		}
		break;
	}
	if (node->verb == VERB_IHAVE && !check_ihave(parser, node))
		return NULL;
	return is_good(parser, node) ? node : NULL;
}

static bool
require(struct parser *parser, const struct sieve_node *node)
{
	const struct sieve_string *string;
	enum sieve_extension extension;

	if (parser->after_requires) {
		sieve_fail(
		    parser->error, node->line, "\"require\" must stand before all other commands");
		return false;
	}
	for (string = node->positions[0]->strings; string != NULL; string = string->next) {
		if (!find_extension(string, &extension)) {
			sieve_fail(parser->error, node->line, "unsupported extension \"%.100s\"",
			    string->text);
			return false;
		}
		if (extension != EXTENSION_COUNT)
			parser->sieve->extensions |= 1u << extension;
	}
	return true;
}

static bool take_block(struct parser *, unsigned depth, struct sieve_node **first);

/* A test that is never asked. */
static struct sieve_node *
skip_test(struct parser *parser)
{
	struct sieve_node *node = sieve_arena_get(&parser->sieve->arena, sizeof(*node));

	if (node == NULL) {
		(void)no_memory(parser);
		return NULL;
	}
	node->verb = VERB_FALSE;
	node->line = parser->lexer.token_line;
	skip_to(parser, '{');
	return node;
}

/* A command; `before` is the one before it in its block, or NULL. */
static struct sieve_node *
take_command(struct parser *parser, const struct sieve_node *before, unsigned depth)
{
	struct sieve_node *node = begin_node(parser, false, depth);
	const struct sieve_verb_rule *rule;
	bool is_reached;

	if (node == NULL)
		return NULL;
	rule = &sieve_verbs[node->verb];
	if ((node->verb == VERB_ELSIF || node->verb == VERB_ELSE) &&
	    (before == NULL || (before->verb != VERB_IF && before->verb != VERB_ELSIF))) {
		sieve_fail(
		    parser->error, node->line, "\"%s\" without an \"if\" before it", rule->name);
		return NULL;
	}
	if (!take_arguments(parser, node))
		return NULL;
	is_reached = node->verb == VERB_IF || before == NULL || before->known != KNOWN_TRUE;
	if (rule->tests == TESTS_ONE) {
		node->tests = is_reached ? take_test(parser, depth + 1) : skip_test(parser);
		if (node->tests == NULL)
			return NULL;
		node->known = is_reached ? node->tests->known : KNOWN_TRUE;
	}
	is_reached = is_reached && (node->tests == NULL || node->known != KNOWN_FALSE);
	if (rule->has_block) {
		if (!take_mark(parser, '{')) {
			(void)expected(parser, "\"{\"");
			return NULL;
		}
		parser->after_requires = true;
		if (!is_reached)
			skip_to(parser, '}');
		else if (!take_block(parser, depth + 1, &node->block))
			return NULL;
		if (!take_mark(parser, '}')) {
			(void)expected(parser, "a command or \"}\"");
			return NULL;
		}
	} else if (!take_mark(parser, ';')) {
		(void)expected(parser, "\";\"");
		return NULL;
	}
	if (node->verb != VERB_REQUIRE)
		parser->after_requires = true;
	else if (!require(parser, node))
		return NULL;
	return is_good(parser, node) ? node : NULL;
}

static bool
take_block(struct parser *parser, unsigned depth, struct sieve_node **first)
{
	struct sieve_node **last = first, *before = NULL;

	while (parser->lexer.kind == TOKEN_IDENTIFIER) {
		*last = take_command(parser, before, depth);
		if (*last == NULL)
			return false;
		if (before != NULL && before->verb == VERB_STOP)
			sieve_warn_unreached(parser->sieve, *last);
		before = *last;
		last = &before->next;
	}
	return true;
}

struct sieve *
sieve_compile(const char *text, size_t length, char *error_text, size_t error_size)
{
	struct sieve_error error = { error_text, error_size, false };
	struct parser parser = { .error = &error };

	if (error_size > 0)
		*error_text = '\0';
	if (length > SIEVE_SCRIPT_MAX) {
		sieve_fail(&error, 1, "script larger than %d bytes", SIEVE_SCRIPT_MAX);
		return NULL;
	}
	if (!sieve_is_utf8(text, length)) {
		sieve_fail(&error, 1, "script with bytes that aren't UTF-8, or are NUL");
		return NULL;
	}
	parser.sieve = calloc(1, sizeof(*parser.sieve));
	if (parser.sieve == NULL) {
		sieve_fail(&error, 1, "no memory");
		return NULL;
	}
	sieve_arena_init(&parser.sieve->arena, SIEVE_MEMORY_MAX);
	sieve_lexer_init(&parser.lexer, text, length, &parser.sieve->arena, &error);
	if (take_block(&parser, 1, &parser.sieve->commands) && parser.lexer.kind != TOKEN_END)
		(void)expected(&parser, "a command");
	if (error.is_set) {
		sieve_free(parser.sieve);
		return NULL;
	}
	return parser.sieve;
}

void
sieve_free(struct sieve *sieve)
{
	if (sieve == NULL)
		return;
	sieve_arena_free(&sieve->arena);
	free(sieve);
}

const char *
sieve_warnings(const struct sieve *sieve)
{
	return sieve->warnings;
}

bool
sieve_needs_body(const struct sieve *sieve)
{
	return sieve->needs_body;
}
