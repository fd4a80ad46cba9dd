/*
 * Two pieces of memory of fixed size: the head takes greeting and EHLO, the tail what followed. A
 * tail that is full loses its oldest lines.
 */
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "deliver/relay_dialogue.h"

void
dialogue_start(struct dialogue *dialogue, const char *host)
{
	strlcpy(dialogue->host, host, sizeof(dialogue->host));
	dialogue->head_length = 0;
	dialogue->tail_length = 0;
	dialogue->cut = false;
	dialogue->has_begun = false;
}

void
dialogue_transaction(struct dialogue *dialogue)
{
	dialogue->tail_length = 0;
	dialogue->cut = false;
	dialogue->has_begun = true;
}

/* Drops whole lines from the front until `length` bytes have room. */
static void
make_room(struct dialogue *dialogue, size_t length)
{
	size_t drop = dialogue->tail_length + length - sizeof(dialogue->tail);
	const char *end = memchr(dialogue->tail + drop - 1, '\n', dialogue->tail_length - drop + 1);

	drop = end == NULL ? dialogue->tail_length : (size_t)(end + 1 - dialogue->tail);
	dialogue->tail_length -= drop;
	memmove(dialogue->tail, dialogue->tail + drop, dialogue->tail_length);
	dialogue->cut = true;
}

static void
add_line(struct dialogue *dialogue, enum dialogue_side side, const char *text, size_t length)
{
	static const char *const marks[] = { ">>>", "<<<", "---" };
	char line[sizeof(dialogue->host) + 8 + DIALOGUE_LINE_MAX];
	size_t cut = length > DIALOGUE_LINE_MAX ? DIALOGUE_LINE_MAX : length, used;

	used = (size_t)snprintf(line, sizeof(line), "%s: %s ", dialogue->host, marks[side]);
	for (size_t i = 0; i < cut; i++)
		line[used++] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
	line[used++] = '\n';
	if (!dialogue->has_begun) {
		if (used <= sizeof(dialogue->head) - dialogue->head_length) {
			memcpy(dialogue->head + dialogue->head_length, line, used);
			dialogue->head_length += used;
			return;
		}
		dialogue->has_begun = true;
	}
	if (used > sizeof(dialogue->tail) - dialogue->tail_length)
		make_room(dialogue, used);
	memcpy(dialogue->tail + dialogue->tail_length, line, used);
	dialogue->tail_length += used;
}

void
dialogue_add(struct dialogue *dialogue, enum dialogue_side side, const char *text, size_t length)
{
	const char *end;
	size_t span, line;

	while (length > 0) {
		end = memchr(text, '\n', length);
		span = end == NULL ? length : (size_t)(end - text);
		line = span > 0 && text[span - 1] == '\r' ? span - 1 : span;
		add_line(dialogue, side, text, line);
		span += end != NULL;
		text += span;
		length -= span;
	}
}

void
dialogue_format(const struct dialogue *dialogue, char text[IPC_RELAY_DIALOGUE_MAX + 1])
{
	size_t used = dialogue->head_length;

	_Static_assert(DIALOGUE_HEAD_MAX + DIALOGUE_TAIL_MAX + 32 < IPC_RELAY_DIALOGUE_MAX, "fits");
	memcpy(text, dialogue->head, used);
	if (dialogue->cut) {
		memcpy(text + used, "...\n", 4);
		used += 4;
	}
	memcpy(text + used, dialogue->tail, dialogue->tail_length);
	text[used + dialogue->tail_length] = '\0';
}
