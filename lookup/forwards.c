/*
 * A set is a list of files, each asked for at most once. Sets grow in rounds (a .forward may lead to
 * another user's): their number is bounded, and what a later round would note counts as one that
 * can't be used.
 *
 * While a file is asked for, more that want it wait with the first: however much mail there is for a
 * user whose home hangs, it takes one of the queue's places.
 */
#include <sys/queue.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/pending.h"
#include "lookup/forwards.h"

#define ROUNDS_MAX  20
#define ASKED_MAX   64 /* at once, of a set */
#define TOO_DEEP    "it is reached through too many others"
#define OUT_OF_TIME "too many of them must be read"

struct answer {
	enum ipc_forward_state state;
	char *text;
};

enum item_state {
	ITEM_NOTED,
	ITEM_ASKED,
	ITEM_KNOWN,
};

/* One that was asked for and isn't answered yet. */
struct question {
	LIST_ENTRY(question) next;
	uint32_t uid;
	char *home;
	TAILQ_HEAD(, item) waiting;
};

struct item {
	TAILQ_ENTRY(item) waits;
	struct forward_set *set;
	enum item_state state;
	struct question *question;   /* ITEM_ASKED */
	struct ipc_mailbox *mailbox; /* until it is asked for */
	uint32_t uid;
	char *home;
	struct answer answer;
};

struct forward_set {
	struct forwards *forwards;
	void *owner;
	struct item **items;
	size_t count;
	size_t capacity;
	size_t next; /* all before were asked for */
	size_t asked;
	unsigned rounds;
	int64_t since_ms;
	bool gathering; /* it isn't told before forward_set_gather() returns */
};

struct forwards {
	struct pending *pending;
	forwards_ask_fn ask;
	forwards_ready_fn ready;
	void *arg;
	LIST_HEAD(, question) questions;
};

static void failed(void *owner, uint32_t id, const char *why, void *arg);

static char *
copy(const char *text)
{
	char *copied = strdup(text);

	if (copied == NULL)
		fatal("out of memory");
	return copied;
}

struct forwards *
forwards_new(struct event_base *base, forwards_ask_fn ask, forwards_ready_fn ready, void *arg)
{
	struct forwards *forwards = calloc(1, sizeof(*forwards));

	if (forwards == NULL)
		fatal("out of memory");
	forwards->pending = pending_new(base, failed, forwards);
	forwards->ask = ask;
	forwards->ready = ready;
	forwards->arg = arg;
	return forwards;
}

static void
question_free(struct question *question)
{
	LIST_REMOVE(question, next);
	free(question->home);
	free(question);
}

void
forwards_free(struct forwards *forwards)
{
	struct question *question;

	if (forwards == NULL)
		return;
	pending_free(forwards->pending);
	while ((question = LIST_FIRST(&forwards->questions)) != NULL)
		question_free(question);
	free(forwards);
}

/* A recipient's set. */

struct forward_set *
forward_set_new(struct forwards *forwards, void *owner)
{
	struct forward_set *set = calloc(1, sizeof(*set));

	if (set == NULL)
		fatal("out of memory");
	set->forwards = forwards;
	set->owner = owner;
	set->since_ms = clock_monotonic_ms();
	return set;
}

void
forward_set_free(struct forward_set *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->count; i++) {
		struct item *item = set->items[i];

		if (item->state == ITEM_ASKED)
			TAILQ_REMOVE(&item->question->waiting, item, waits);
		free(item->mailbox);
		free(item->home);
		free(item->answer.text);
		free(item);
	}
	free(set->items);
	free(set);
}

static void
note(struct forward_set *set, const struct ipc_mailbox *mailbox)
{
	struct item *item = calloc(1, sizeof(*item));

	if (set->count == set->capacity) {
		size_t capacity = set->capacity == 0 ? 4 : set->capacity * 2;

		set->items = reallocarray(set->items, capacity, sizeof(*set->items));
		set->capacity = capacity;
	}
	if (item == NULL || set->items == NULL ||
	    (item->mailbox = malloc(sizeof(*item->mailbox))) == NULL)
		fatal("out of memory");
	item->set = set;
	*item->mailbox = *mailbox;
	item->uid = mailbox->uid;
	item->home = copy(mailbox->home);
	set->items[set->count++] = item;
}

bool
forward_set_find(
    struct forward_set *set, const struct ipc_mailbox *mailbox, struct forward *forward)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct item *item = set->items[i];

		if (item->uid != mailbox->uid || strcmp(item->home, mailbox->home) != 0)
			continue;
		if (item->state != ITEM_KNOWN)
			return false;
		*forward = (struct forward){ item->answer.state, item->answer.text };
		return true;
	}
	if (set->rounds >= ROUNDS_MAX) {
		*forward = (struct forward){ FORWARD_FAILED, TOO_DEEP };
		return true;
	}
	note(set, mailbox);
	return false;
}

static void
set_answer(struct item *item, enum ipc_forward_state state, const char *text)
{
	item->state = ITEM_KNOWN;
	item->answer = (struct answer){ state, copy(text) };
	free(item->mailbox);
	item->mailbox = NULL;
}

/* NULL when there is nobody to ask. */
static struct question *
find_question(struct forwards *forwards, const struct item *item)
{
	struct question *question;
	uint32_t id;

	LIST_FOREACH(question, &forwards->questions, next)
	{
		if (question->uid == item->uid && strcmp(question->home, item->home) == 0)
			return question;
	}
	question = calloc(1, sizeof(*question));
	if (question == NULL)
		fatal("out of memory");
	question->uid = item->uid;
	question->home = copy(item->home);
	TAILQ_INIT(&question->waiting);
	LIST_INSERT_HEAD(&forwards->questions, question, next);
	id = pending_add(forwards->pending, question, FORWARD_DEADLINE_MS);
	if (forwards->ask(id, item->mailbox, forwards->arg))
		return question;
	pending_cancel(forwards->pending, id);
	question_free(question);
	return NULL;
}

static void
ask(struct item *item)
{
	struct forward_set *set = item->set;

	if (clock_monotonic_ms() - set->since_ms > FORWARD_TOTAL_MS) {
		set_answer(item, FORWARD_FAILED, OUT_OF_TIME);
		return;
	}
	item->question = find_question(set->forwards, item);
	if (item->question == NULL) {
		set_answer(item, FORWARD_FAILED, "there is no queue to ask for it");
		return;
	}
	item->state = ITEM_ASKED;
	TAILQ_INSERT_TAIL(&item->question->waiting, item, waits);
	set->asked++;
}

static bool
go_on(struct forward_set *set)
{
	while (set->next < set->count && set->asked < ASKED_MAX)
		ask(set->items[set->next++]);
	return set->asked == 0;
}

bool
forward_set_gather(struct forward_set *set)
{
	bool all;

	set->rounds++;
	set->gathering = true;
	all = go_on(set);
	set->gathering = false;
	return all;
}

/* Who hears of it may ask again, and is gone afterwards. */
static void
answered(struct forwards *forwards, struct question *question, enum ipc_forward_state state,
    const char *text)
{
	TAILQ_HEAD(, item) waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct item *item;

	TAILQ_FOREACH(item, &question->waiting, waits)
	{
		item->set->asked--;
		set_answer(item, state, text);
	}
	TAILQ_CONCAT(&waiting, &question->waiting, waits);
	question_free(question);
	while ((item = TAILQ_FIRST(&waiting)) != NULL) {
		struct forward_set *set = item->set;

		TAILQ_REMOVE(&waiting, item, waits);
		if (go_on(set) && !set->gathering)
			forwards->ready(set->owner, forwards->arg);
	}
}

void
forwards_answer(struct forwards *forwards, uint32_t id, const struct ipc_forward *answer)
{
	struct question *question = pending_take(forwards->pending, id);

	if (question != NULL)
		answered(forwards, question, answer->state, answer->text);
}

static void
failed(void *owner, uint32_t id, const char *why, void *arg)
{
	(void)id;
	answered(arg, owner, FORWARD_FAILED, why);
}

void
forwards_fail_all(struct forwards *forwards, const char *why)
{
	pending_fail_all(forwards->pending, why);
}
