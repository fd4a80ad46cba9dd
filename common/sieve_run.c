/*
 * A run: the commands one after the other, blocks inside each other as deeply as the compiler allows.
 * There are no loops in Sieve; what is long is searching in long texts, and that is counted in
 * steps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sieve_run.h"

void
sieve_run_fail(struct sieve_run *run, unsigned line, const char *format, ...)
{
	char words[SIEVE_ERROR_MAX - 17];
	va_list arguments;

	if (run->has_failed)
		return;
	run->has_failed = true;
	va_start(arguments, format);
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	sieve_mend_utf8(words);
	if (line == 0)
		snprintf(run->result->error, sizeof(run->result->error), "%s", words);
	else
		snprintf(
		    run->result->error, sizeof(run->result->error), "line %u: %s", line, words);
}

bool
sieve_spend(struct sieve_run *run, uint64_t steps)
{
	if (steps > run->steps_left)
		sieve_run_fail(run, 0, "too much to do for one message");
	else
		run->steps_left -= steps;
	return !run->has_failed;
}

void *
sieve_run_get(struct sieve_run *run, size_t size)
{
	void *memory = run->has_failed ? NULL : sieve_arena_get(&run->arena, size);

	if (memory == NULL)
		sieve_run_fail(run, 0, "too much memory needed for one message");
	return memory;
}

char *
sieve_run_copy(struct sieve_run *run, const char *text, size_t length)
{
	char *copy = sieve_run_get(run, length + 1);

	if (copy != NULL && length > 0)
		memcpy(copy, text, length);
	return copy;
}

static void run_block(struct sieve_run *, const struct sieve_node *first);

/* An "if" with what belongs to it; gives the last of these. */
static const struct sieve_node *
run_if(struct sieve_run *run, const struct sieve_node *node)
{
	bool is_done = false;

	for (;;) {
		if (!is_done && !run->has_failed &&
		    (node->verb == VERB_ELSE || sieve_test(run, node->tests)) && !run->has_failed) {
			is_done = true;
			run_block(run, node->block);
		}
		if (node->next == NULL ||
		    (node->next->verb != VERB_ELSIF && node->next->verb != VERB_ELSE))
			return node;
		node = node->next;
	}
}

/* The script's own way to fail (RFC 5463 5). */
static void
do_error(struct sieve_run *run, const struct sieve_node *node)
{
	const char *words = sieve_expand_first(run, node->positions[0]);

	if (words != NULL)
		sieve_run_fail(run, node->line, "%s", words);
}

static void
run_block(struct sieve_run *run, const struct sieve_node *first)
{
	for (const struct sieve_node *node = first;
	     node != NULL && !run->has_stopped && sieve_spend(run, 1); node = node->next) {
		switch (node->verb) {
		case VERB_REQUIRE:
			break;
		case VERB_IF:
			node = run_if(run, node);
			break;
		case VERB_STOP:
			run->has_stopped = true;
			break;
		case VERB_SET:
			sieve_do_set(run, node);
			break;
		case VERB_SETFLAG:
		case VERB_ADDFLAG:
		case VERB_REMOVEFLAG:
			sieve_do_flags(run, node);
			break;
		case VERB_VACATION:
			sieve_do_vacation(run, node);
			break;
		case VERB_ERROR:
			do_error(run, node);
			break;
		case VERB_KEEP:
		case VERB_DISCARD:
		case VERB_REDIRECT:
		case VERB_FILEINTO:
		case VERB_REJECT:
		case VERB_EREJECT:
			sieve_do_action(run, node);
			break;
		case VERB_ELSIF: /* run_if() has been there */
		case VERB_ELSE:
		case VERB_ADDRESS: /* tests are no commands */
		case VERB_ALLOF:
		case VERB_ANYOF:
		case VERB_BODY:
		case VERB_CURRENTDATE:
		case VERB_DATE:
		case VERB_DUPLICATE:
		case VERB_ENVELOPE:
		case VERB_ENVIRONMENT:
		case VERB_EXISTS:
		case VERB_FALSE:
		case VERB_HASFLAG:
		case VERB_HEADER:
		case VERB_IHAVE:
		case VERB_MAILBOXEXISTS:
		case VERB_NOT:
		case VERB_SIZE:
		case VERB_STRING:
		case VERB_TRUE:
		case VERB_COUNT:
			break;
		}
	}
}

void
sieve_result_free(struct sieve_result *result)
{
	for (size_t i = 0; i < result->count; i++) {
		struct sieve_action *action = &result->actions[i];

		free(action->folder);
		free(action->flags);
		free(action->text);
		free(action->subject);
		free(action->from);
		free(action->handle);
	}
	result->count = 0;
}

/* RFC 5228 2.10.6: what failed is kept. */
static void
keep_only(struct sieve_result *result)
{
	sieve_result_free(result);
	result->actions[0] = (struct sieve_action){ .kind = SIEVE_KEEP };
	result->count = 1;
}

void
sieve_run(
    const struct sieve *sieve, const struct sieve_message *message, struct sieve_result *result)
{
	struct sieve_run *run = calloc(1, sizeof(*run));

	result->count = 0;
	result->error[0] = '\0';
	if (run == NULL) {
		snprintf(result->error, sizeof(result->error), "no memory");
		keep_only(result);
		return;
	}
	run->sieve = sieve;
	run->message = message;
	run->result = result;
	run->steps_left = SIEVE_STEPS_MAX;
	run->is_kept = true;
	sieve_arena_init(&run->arena, SIEVE_MEMORY_MAX);
	buf_init(&run->folded, SIEVE_TEXT_MAX * 3);
	if (!sieve_view_init(&run->view, message, &run->arena))
		sieve_run_fail(run, 0, "no memory");
	run_block(run, sieve->commands);
	sieve_finish_actions(run);
	if (run->has_failed)
		keep_only(result);
	sieve_free_regexes(run);
	sieve_view_free(&run->view);
	buf_free(&run->folded);
	sieve_arena_free(&run->arena);
	free(run);
}
