/*
 * A destination gets a struct of its own with its first failure, and it goes with its line; a line
 * without mail stays as long as what it remembers is worth something. Of dialogues only as many are
 * kept as a bound allows, the newest.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/clock.h"
#include "queue/relay_memory.h"
#include "queue/retry.h"

#define KEPT_MS    (10 * 60 * 1000) /* a line without mail, after its last failure */
#define OURS_FIRST 30               /* seconds, when the failure was this host's own */

static struct destination *
get(struct line *line)
{
	if (line->destination == NULL) {
		line->destination = calloc(1, sizeof(struct destination));
		if (line->destination == NULL)
			return NULL; /* it is remembered the next time */
	}
	return line->destination;
}

static void
keep_until(struct line *line, int64_t ms)
{
	if (line->route_ms < ms)
		line->route_ms = ms;
}

void
destination_note(struct line *line, const struct ipc_relay_result *result)
{
	struct destination *destination = get(line);
	char *host;

	if (destination == NULL)
		return;
	destination->failed = clock_wall();
	destination->reply = result->reply;
	keep_until(line, clock_monotonic_ms() + KEPT_MS);
	if (destination->host != NULL && strcmp(destination->host, result->host) == 0)
		return;
	host = strdup(result->host);
	if (host == NULL)
		return;
	free(destination->host);
	destination->host = host;
}

static void
drop_dialogue(struct dialogues *dialogues, struct destination *destination)
{
	if (destination->dialogue == NULL)
		return;
	if (destination->older != NULL)
		destination->older->newer = destination->newer;
	else
		dialogues->oldest = destination->newer;
	if (destination->newer != NULL)
		destination->newer->older = destination->older;
	else
		dialogues->newest = destination->older;
	destination->older = destination->newer = NULL;
	dialogues->bytes -= destination->dialogue_length;
	free(destination->dialogue);
	destination->dialogue = NULL;
	destination->dialogue_length = 0;
}

void
destination_keep_dialogue(struct dialogues *dialogues, struct line *line, const char *text)
{
	struct destination *destination = get(line);
	char *copy = strdup(text);

	if (destination == NULL || copy == NULL) {
		free(copy);
		return;
	}
	drop_dialogue(dialogues, destination);
	destination->dialogue = copy;
	destination->dialogue_length = strlen(copy);
	destination->older = dialogues->newest;
	if (dialogues->newest != NULL)
		dialogues->newest->newer = destination;
	else
		dialogues->oldest = destination;
	dialogues->newest = destination;
	dialogues->bytes += destination->dialogue_length;
	while (dialogues->bytes > DIALOGUES_MAX)
		drop_dialogue(dialogues, dialogues->oldest);
	keep_until(line, clock_monotonic_ms() + KEPT_MS);
}

bool
destination_failed(
    struct line *line, enum relay_fault fault, uint32_t failures, const struct config *config)
{
	struct destination *destination = get(line);
	uint32_t first = config->queue_retry_first, delay;

	if (destination == NULL || destination->failures > failures)
		return false;
	/* What is wrong here may be over soon, and is not this destination's alone. */
	if (fault == RELAY_FAULT_OURS && first > OURS_FIRST)
		first = OURS_FIRST;
	destination->failures++;
	delay = retry_delay(destination->failures, first, config->queue_retry_max, arc4random());
	destination->until = retry_now() + delay;
	line->window = 1;
	keep_until(line, clock_monotonic_ms() + (int64_t)delay * 1000 + KEPT_MS);
	return true;
}

uint32_t
destination_failures(const struct line *line)
{
	return line->destination == NULL ? 0 : line->destination->failures;
}

bool
destination_reached(struct line *line)
{
	struct destination *destination = line->destination;
	bool was = destination != NULL && destination->until != 0;

	if (!was)
		return false;
	destination->until = 0;
	destination->failures = 0;
	if (line->window < RELAY_WINDOW_FIRST)
		line->window = RELAY_WINDOW_FIRST;
	return true;
}

void
destination_retry(struct line *line)
{
	if (line->destination != NULL && line->destination->until > retry_now())
		line->destination->until = retry_now();
}

bool
destination_is_put_off(const struct line *line)
{
	return line->destination != NULL && line->destination->until > retry_now();
}

uint32_t
destination_until(const struct line *line)
{
	return line->destination == NULL ? 0 : line->destination->until;
}

const struct reply *
destination_reply(const struct line *line, const char **host)
{
	const struct destination *destination = line->destination;

	if (destination == NULL || destination->reply.code == 0)
		return NULL;
	*host = destination->host == NULL ? "" : destination->host;
	return &destination->reply;
}

const char *
destination_dialogue(const struct line *line)
{
	return line->destination == NULL ? NULL : line->destination->dialogue;
}

void
destination_forget(struct dialogues *dialogues, struct line *line)
{
	if (line->destination == NULL)
		return;
	drop_dialogue(dialogues, line->destination);
	free(line->destination->host);
	free(line->destination);
	line->destination = NULL;
}
