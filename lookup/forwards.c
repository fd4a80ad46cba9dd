/*
 * A set is a list of files, each asked for at most once. Sets grow in rounds (a .forward may lead to
 * another user's): their number is bounded, and what a later round would note counts as one that
 * can't be used.
 *
 * While a file is asked for, more that want it wait with the first; and of one user's files for details,
 * few are asked for at once. So however much mail there is for a user whose home hangs, and for
 * whatever details, it takes few of the queue's places.
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
#define OF_ONE_MAX  4  /* at once, of a user */
#define TOO_DEEP    "it is reached through too many others"
#define OUT_OF_TIME "too many of them must be read"

struct answer {
	enum ipc_forward_state state;
	bool is_detailed;
	char *text;
};

/* Whose .forward, and for which detail. */
struct file {
	uint32_t uid;
	char *home;
	char *detail;
};

enum item_state {
	ITEM_NOTED,
	ITEM_ASKED,
	ITEM_KNOWN,
};

/* One that was asked for and isn't answered yet. */
struct question {
	TAILQ_ENTRY(question) next;
	struct file file;
	uint32_t id;
	struct ipc_mailbox *mailbox; /* until it is sent: others of the same user are before it */
	TAILQ_HEAD(, item) waiting;
};

struct item {
	TAILQ_ENTRY(item) waits;
	struct forward_set *set;
	enum item_state state;
	struct question *question;   /* ITEM_ASKED */
	struct ipc_mailbox *mailbox; /* until it is asked for */
	struct file file;
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
	TAILQ_HEAD(, question) questions; /* oldest first */
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
	TAILQ_INIT(&forwards->questions);
	return forwards;
}

static void
file_set(struct file *file, uint32_t uid, const char *home, const char *detail)
{
	file->uid = uid;
	file->home = copy(home);
	file->detail = copy(detail);
}

static void
file_clear(struct file *file)
{
	free(file->home);
	free(file->detail);
}

static bool
is_of_user(const struct file *file, uint32_t uid, const char *home)
{
	return file->uid == uid && strcmp(file->home, home) == 0;
}

/* It isn't in the list any more. */
static void
question_free(struct question *question)
{
	file_clear(&question->file);
	free(question->mailbox);
	free(question);
}

void
forwards_free(struct forwards *forwards)
{
	struct question *question;

	if (forwards == NULL)
		return;
	pending_free(forwards->pending);
	while ((question = TAILQ_FIRST(&forwards->questions)) != NULL) {
		TAILQ_REMOVE(&forwards->questions, question, next);
		question_free(question);
	}
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
		file_clear(&item->file);
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
	file_set(&item->file, mailbox->uid, mailbox->home, mailbox->detail);
	set->items[set->count++] = item;
}

bool
forward_set_find(
    struct forward_set *set, const struct ipc_mailbox *mailbox, struct forward *forward)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct item *item = set->items[i];

		if (!is_of_user(&item->file, mailbox->uid, mailbox->home) ||
		    strcmp(item->file.detail, mailbox->detail) != 0)
			continue;
		if (item->state != ITEM_KNOWN)
			return false;
		*forward = (struct forward){ item->answer.state, item->answer.is_detailed,
			item->answer.text };
		return true;
	}
	if (set->rounds >= ROUNDS_MAX) {
		*forward = (struct forward){ FORWARD_FAILED, false, TOO_DEEP };
		return true;
	}
	note(set, mailbox);
	return false;
}

static void
set_answer(struct item *item, enum ipc_forward_state state, bool is_detailed, const char *text)
{
	item->state = ITEM_KNOWN;
	item->answer = (struct answer){ state, is_detailed, copy(text) };
	free(item->mailbox);
	item->mailbox = NULL;
}

/* Sends it, unless others of the same user's must be answered first; false when there is nobody to
 * ask. */
static bool
send_question(struct forwards *forwards, struct question *question)
{
	const struct question *other;
	size_t sent = 0;
	bool there;

	TAILQ_FOREACH(other, &forwards->questions, next)
	{
		sent += other->mailbox == NULL &&
		    is_of_user(&other->file, question->file.uid, question->file.home);
	}
	if (sent >= OF_ONE_MAX)
		return true;
	there = forwards->ask(question->id, question->mailbox, forwards->arg);
	free(question->mailbox);
	question->mailbox = NULL;
	return there;
}

/* The one that stands for this item, which is then asked; NULL when there is nobody to ask. */
static struct question *
find_question(struct forwards *forwards, struct item *item)
{
	struct question *question;

	TAILQ_FOREACH(question, &forwards->questions, next)
	{
		if (is_of_user(&question->file, item->file.uid, item->file.home) &&
		    strcmp(question->file.detail, item->file.detail) == 0)
			return question;
	}
	question = calloc(1, sizeof(*question));
	if (question == NULL)
		fatal("out of memory");
	file_set(&question->file, item->file.uid, item->file.home, item->file.detail);
	question->mailbox = item->mailbox;
	item->mailbox = NULL;
	TAILQ_INIT(&question->waiting);
	TAILQ_INSERT_TAIL(&forwards->questions, question, next);
	question->id = pending_add(forwards->pending, question, FORWARD_DEADLINE_MS);
	if (send_question(forwards, question))
		return question;
	pending_cancel(forwards->pending, question->id);
	TAILQ_REMOVE(&forwards->questions, question, next);
	question_free(question);
	return NULL;
}

static void
ask(struct item *item)
{
	struct forward_set *set = item->set;

	if (clock_monotonic_ms() - set->since_ms > FORWARD_TOTAL_MS) {
		set_answer(item, FORWARD_FAILED, false, OUT_OF_TIME);
		return;
	}
	item->question = find_question(set->forwards, item);
	if (item->question == NULL) {
		set_answer(item, FORWARD_FAILED, false, "there is no queue to ask for it");
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

/* The next of that user's that waits to be sent. When the queue is gone, all are failed anyhow. */
static void
send_next(struct forwards *forwards, const struct file *file)
{
	struct question *question;

	TAILQ_FOREACH(question, &forwards->questions, next)
	{
		if (question->mailbox != NULL &&
		    is_of_user(&question->file, file->uid, file->home)) {
			(void)send_question(forwards, question);
			return;
		}
	}
}

/* Who hears of it may ask again, and is gone afterwards. */
static void
answered(struct forwards *forwards, struct question *question, enum ipc_forward_state state,
    bool is_detailed, const char *text)
{
	TAILQ_HEAD(, item) waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct item *item;

	TAILQ_FOREACH(item, &question->waiting, waits)
	{
		item->set->asked--;
		set_answer(item, state, is_detailed, text);
	}
	TAILQ_CONCAT(&waiting, &question->waiting, waits);
	TAILQ_REMOVE(&forwards->questions, question, next);
	send_next(forwards, &question->file);
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
		answered(forwards, question, answer->state, answer->is_detailed, answer->text);
}

static void
failed(void *owner, uint32_t id, const char *why, void *arg)
{
	(void)id;
	answered(arg, owner, FORWARD_FAILED, false, why);
}

void
forwards_fail_all(struct forwards *forwards, const char *why)
{
	pending_fail_all(forwards->pending, why);
}
