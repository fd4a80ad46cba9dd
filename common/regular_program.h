/*
 * What an expression is made into, for the searches. Private to common/regular*.c.
 */
#ifndef COMMON_REGULAR_PROGRAM_H
#define COMMON_REGULAR_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/regular.h"

enum step_kind {
	STEP_BYTE,
	STEP_ANY,
	STEP_SET,
	STEP_BEGIN,      /* "^" */
	STEP_END,        /* "$" */
	STEP_WORD_BEGIN, /* "\<" */
	STEP_WORD_END,   /* "\>" */
	STEP_WORD_EDGE,  /* "\b" */
	STEP_WORD_NONE,  /* "\B" */
	STEP_SAVE,       /* notes the place in slot `set` */
	STEP_JUMP,
	STEP_SPLIT, /* to both, rather to `to` */
	STEP_FOUND,
};

struct step {
	enum step_kind kind;
	uint8_t byte; /* in lower case without regard to it */
	uint16_t set;
	int16_t to;    /* STEP_JUMP, STEP_SPLIT: relative to this step */
	int16_t or_to; /* STEP_SPLIT: the other one */
};

struct set {
	uint8_t bits[256 / 8];
};

/* Of a search with groups: a state to go to, or a slot to be as it was. */
struct frame {
	uint16_t state;
	bool is_slot;
	uint16_t slot;
	uint16_t value;
};

struct regular {
	struct step *steps;
	size_t count;
	struct set *sets;
	size_t set_count;
	bool fold_case;
	unsigned groups; /* that are noted: of regular_find() */
	/* Of a search. */
	uint16_t *here; /* states at this byte */
	uint16_t *next;
	uint16_t *stack;
	uint32_t *marks; /* when each state was last added */
	uint32_t mark;
	/* Of a search with groups: the slots of each state, and what is to be done. */
	uint16_t *slots_here;
	uint16_t *slots_next;
	struct frame *frames;
};

/* Whether a byte step takes this byte, in lower case without regard to it. */
bool regular_takes(const struct regular *, const struct step *, unsigned byte);
/* For the next place in the text: each state is added once there. */
void regular_begin_marks(struct regular *);

#endif
