/*
 * A search that notes what each group found (Pike, "The text editor sam", 1987): all states are followed at
 * once as in regular_matches(), those that are preferred first, and each carries the places of its
 * groups. A state that is there already was come to by a way that is preferred.
 */
#include <ctype.h>
#include <string.h>

#include "common/regular_program.h"

#define UNSET 0xffff

struct search {
	struct regular *regular;
	const char *text;
	size_t length;
	size_t at; /* the place in the text */
	size_t slot_count;
	uint16_t slots[2 *
	    REGULAR_GROUPS_MAX]; /* of the state that is followed; slot 0 is where it began */
	uint16_t best[2 * REGULAR_GROUPS_MAX];
	bool is_found;
	uint64_t used; /* steps */
};

static bool
is_word(const struct search *search, size_t at)
{
	unsigned char byte;

	if (at >= search->length) /* before the first as well */
		return false;
	byte = (unsigned char)search->text[at];
	return byte < 128 && (isalnum(byte) || byte == '_');
}

/* Whether what a step asks of the place is so. */
static bool
holds(const struct search *search, enum step_kind kind)
{
	bool before = is_word(search, search->at - 1), behind = is_word(search, search->at);

	if (kind == STEP_BEGIN)
		return search->at == 0;
	if (kind == STEP_END)
		return search->at == search->length;
	if (kind == STEP_WORD_BEGIN)
		return !before && behind;
	if (kind == STEP_WORD_END)
		return before && !behind;
	return (before != behind) == (kind == STEP_WORD_EDGE);
}

/* It is found so; better than what was, when it begins sooner, or ends later. */
static void
take(struct search *search)
{
	search->slots[1] = (uint16_t)search->at;
	if (search->is_found && search->slots[0] >= search->best[0] &&
	    (search->slots[0] > search->best[0] || search->slots[1] <= search->best[1]))
		return;
	memcpy(search->best, search->slots, sizeof(search->best));
	search->is_found = true;
}

/* Adds to the next states that one, and those that it leads to without a byte, the preferred first. */
static void
follow(struct search *search, size_t state, size_t *count)
{
	struct regular *regular = search->regular;
	struct frame *frames = regular->frames;
	size_t height = 0;

	/* Each state is seen once, and puts two more frames there at most. */
	frames[height++] = (struct frame){ .state = (uint16_t)state };
	while (height > 0) {
		struct frame frame = frames[--height];
		const struct step *step = &regular->steps[frame.state];
		uint16_t next = (uint16_t)(frame.state + 1);

		if (frame.is_slot) {
			search->slots[frame.slot] = frame.value;
			continue;
		}
		if (regular->marks[frame.state] == regular->mark)
			continue;
		regular->marks[frame.state] = regular->mark;
		search->used++;
		switch (step->kind) {
		case STEP_FOUND:
			take(search);
			break;
		case STEP_JUMP:
			next = (uint16_t)(frame.state + step->to);
			frames[height++] = (struct frame){ .state = next };
			break;
		case STEP_SPLIT:
			next = (uint16_t)(frame.state + step->or_to);
			frames[height++] = (struct frame){ .state = next };
			next = (uint16_t)(frame.state + step->to);
			frames[height++] = (struct frame){ .state = next };
			break;
		case STEP_SAVE:
			frames[height++] = (struct frame){ .is_slot = true,
				.slot = step->set,
				.value = search->slots[step->set] };
			search->slots[step->set] = (uint16_t)search->at;
			frames[height++] = (struct frame){ .state = next };
			break;
		case STEP_BEGIN:
		case STEP_END:
		case STEP_WORD_BEGIN:
		case STEP_WORD_END:
		case STEP_WORD_EDGE:
		case STEP_WORD_NONE:
			if (holds(search, step->kind))
				frames[height++] = (struct frame){ .state = next };
			break;
		case STEP_BYTE:
		case STEP_ANY:
		case STEP_SET:
			regular->next[(*count)++] = frame.state;
			memcpy(regular->slots_next + frame.state * search->slot_count,
			    search->slots, search->slot_count * sizeof(uint16_t));
			break;
		}
	}
}

/* The states behind one byte. */
static size_t
move(struct search *search, size_t count, unsigned char byte)
{
	struct regular *regular = search->regular;
	size_t next_count = 0;

	if (regular->fold_case)
		byte = (unsigned char)tolower(byte);
	for (size_t i = 0; i < count; i++) {
		size_t state = regular->here[i];
		const uint16_t *slots = regular->slots_here + state * search->slot_count;

		search->used++;
		/* What began later can't be better any more. */
		if ((search->is_found && slots[0] > search->best[0]) ||
		    !regular_takes(regular, &regular->steps[state], byte))
			continue;
		memcpy(search->slots, slots, search->slot_count * sizeof(uint16_t));
		follow(search, state + 1, &next_count);
	}
	return next_count;
}

static void
swap(struct regular *regular)
{
	uint16_t *states = regular->here, *slots = regular->slots_here;

	regular->here = regular->next;
	regular->next = states;
	regular->slots_here = regular->slots_next;
	regular->slots_next = slots;
}

enum regular_result
regular_find(struct regular *regular, const char *text, size_t length,
    struct regular_group groups[REGULAR_GROUPS_MAX], uint64_t *steps)
{
	struct search search = { .regular = regular,
		.text = text,
		.length = length < REGULAR_TEXT_MAX ? length : REGULAR_TEXT_MAX,
		.slot_count = (size_t)2 * (regular->groups + 1) };
	size_t count = 0;

	for (; search.used <= *steps; search.at++) {
		regular_begin_marks(regular);
		count =
		    search.at == 0 ? 0 : move(&search, count, (unsigned char)text[search.at - 1]);
		if (!search.is_found) { /* it may begin here as well */
			memset(search.slots, 0xff, sizeof(search.slots));
			search.slots[0] = (uint16_t)search.at;
			follow(&search, 0, &count);
		}
		swap(regular);
		if (search.at == search.length || (search.is_found && count == 0))
			break;
	}
	if (search.used > *steps)
		return REGULAR_TOO_MUCH;
	*steps -= search.used;
	for (size_t i = 0; i < REGULAR_GROUPS_MAX; i++) {
		bool is_set = search.is_found && i <= regular->groups &&
		    search.best[2 * i] != UNSET && search.best[2 * i + 1] != UNSET;

		groups[i].from = is_set ? search.best[2 * i] : SIZE_MAX;
		groups[i].to = is_set ? search.best[2 * i + 1] : SIZE_MAX;
	}
	return search.is_found ? REGULAR_FOUND : REGULAR_NONE;
}
