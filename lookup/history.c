/*
 * Events gather for a tenth of a second, or until they are a block, and are then handed to the thread,
 * which writes each batch in one transaction. Questions go the same way, and their answers come back
 * by an eventfd. What the thread and the event loop share is behind one mutex, which is held only to
 * hand something over; the store is the thread's alone.
 */
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/imsg.h"
#include "common/log.h"
#include "common/stats.h"
#include "lookup/history.h"
#include "lookup/history_store.h"

#define GATHER_MS    100
#define GATHER_BYTES (HISTORY_BATCH_MAX - IMSG_PAYLOAD_MAX)
/* Of what the thread hasn't taken: some minutes of a quiet host, a search's time of a busy one. */
#define WAITING_MAX    2000
#define WAITING_BYTES  (16 * 1024 * 1024)
#define QUESTIONS_MAX  8
#define EXPIRE_SECONDS 60
#define QUIET_MS       60000 /* between two warnings */

struct waiting_batch {
	TAILQ_ENTRY(waiting_batch) next;
	struct history_batch batch;
};

struct question {
	TAILQ_ENTRY(question) next;
	uint32_t id;
	unsigned generation; /* of who asked */
	struct ipc_trace trace;
	uint64_t behind; /* it is to tell of so many batches */
	bool found;      /* false: nothing could be read */
	enum history_rest rest;
	size_t count;
	struct buf events;
};
TAILQ_HEAD(questions, question);

struct history {
	struct history_calls calls;
	struct history_batch gathered;
	struct event *gather;
	int64_t warned_ms;
	bool has_warned;
	bool is_on;
	size_t question_count;
	unsigned generation; /* of control: one that has gone waits for nothing */

	char *directory;
	struct history_store *store; /* the thread's, while it runs */
	pthread_t thread;
	bool has_thread;
	int fd;
	struct event *answered;
	/* Behind the mutex: */
	pthread_mutex_t mutex;
	pthread_cond_t more;
	TAILQ_HEAD(, waiting_batch) batches;
	size_t batch_count;
	size_t batch_bytes;
	uint64_t given; /* batches, ever */
	uint64_t taken; /* of them, by the thread */
	struct questions asked;
	struct questions done;
	int64_t keep_us;
	uint64_t max_size;
	size_t lost; /* events that could not be written, not counted yet */
	bool ending;
};

/* The thread */

static void
answer(struct history *history, struct question *question)
{
	const uint64_t one = 1;

	question->found = history_store_find(history->store, question->trace.what,
	    &question->events, &question->count, &question->rest);
	(void)pthread_mutex_lock(&history->mutex);
	TAILQ_INSERT_TAIL(&history->done, question, next);
	(void)pthread_mutex_unlock(&history->mutex);
	/* Fails only when there is so much to be read already. */
	if (write(history->fd, &one, sizeof(one)) == -1)
		return;
}

static void
keep(struct history *history, struct waiting_batch *waiting)
{
	bool kept = history_store_append(history->store, &waiting->batch);
	const uint64_t one = 1;

	if (!kept) {
		(void)pthread_mutex_lock(&history->mutex);
		history->lost += waiting->batch.event_count;
		(void)pthread_mutex_unlock(&history->mutex);
		if (write(history->fd, &one, sizeof(one)) == -1)
			kept = false; /* so much to be read already */
	}
	history_batch_free(&waiting->batch);
	free(waiting);
}

/* Until there is something to do; false at the end. The mutex is held. */
static bool
wait_for_work(struct history *history, bool has_more)
{
	struct timespec until;

	if (!TAILQ_EMPTY(&history->batches) || !TAILQ_EMPTY(&history->asked) || has_more)
		return true;
	if (history->ending)
		return false;
	if (clock_gettime(CLOCK_MONOTONIC, &until) != 0)
		return true;
	until.tv_sec += EXPIRE_SECONDS;
	(void)pthread_cond_timedwait(&history->more, &history->mutex, &until);
	return true;
}

static void *
work(void *arg)
{
	struct history *history = arg;
	struct waiting_batch *waiting;
	struct question *question;
	bool has_more = false;

	(void)pthread_mutex_lock(&history->mutex);
	while (wait_for_work(history, has_more && !history->ending)) {
		waiting = TAILQ_FIRST(&history->batches);
		question = TAILQ_FIRST(&history->asked);
		if (waiting != NULL) {
			TAILQ_REMOVE(&history->batches, waiting, next);
			history->batch_count--;
			history->batch_bytes -= waiting->batch.events.length;
			history->taken++;
		}
		/* It tells of all that came before it, and waits for nothing that came later. */
		if (question != NULL && question->behind > history->taken)
			question = NULL;
		if (question != NULL)
			TAILQ_REMOVE(&history->asked, question, next);
		history_store_limit(history->store, history->keep_us, history->max_size);
		(void)pthread_mutex_unlock(&history->mutex);
		if (waiting != NULL)
			keep(history, waiting);
		if (question != NULL)
			answer(history, question);
		has_more = history_store_expire(history->store, clock_wall_us());
		(void)pthread_mutex_lock(&history->mutex);
	}
	(void)pthread_mutex_unlock(&history->mutex);
	history_store_free(history->store);
	return NULL;
}

/* Signals are for the event loop's thread. */
static void
start_thread(struct history *history)
{
	sigset_t all, before;

	(void)sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
		fatalx("cannot block signals");
	history->store = history_store_new(history->directory);
	history->has_thread = pthread_create(&history->thread, NULL, work, history) == 0;
	if (pthread_sigmask(SIG_SETMASK, &before, NULL) != 0)
		fatalx("cannot unblock signals");
	if (!history->has_thread) {
		log_error("no thread can be started: what becomes of messages isn't kept");
		history_store_free(history->store);
		history->store = NULL;
	}
}

/* The event loop */

static void
complain(struct history *history)
{
	int64_t now_ms = clock_monotonic_ms();

	if (history->has_warned && now_ms - history->warned_ms < QUIET_MS)
		return;
	history->has_warned = true;
	history->warned_ms = now_ms;
	log_warning("the history of messages has gaps: events come faster than they can be "
	            "written (history.dropped in show stats says how many are missing)");
}

static void
hand_over(struct history *history)
{
	struct waiting_batch *waiting = NULL;
	bool is_full;

	(void)event_del(history->gather);
	if (history->gathered.event_count == 0)
		return;
	(void)pthread_mutex_lock(&history->mutex);
	is_full = history->batch_count >= WAITING_MAX || history->batch_bytes >= WAITING_BYTES;
	(void)pthread_mutex_unlock(&history->mutex);
	if (!is_full && history->has_thread)
		waiting = calloc(1, sizeof(*waiting));
	if (waiting == NULL) {
		stats_add(STATS_HISTORY_DROPPED, (int64_t)history->gathered.event_count);
		complain(history);
		history_batch_free(&history->gathered);
		return;
	}
	stats_add(STATS_HISTORY_EVENT, (int64_t)history->gathered.event_count);
	waiting->batch = history->gathered;
	history_batch_init(&history->gathered);
	(void)pthread_mutex_lock(&history->mutex);
	TAILQ_INSERT_TAIL(&history->batches, waiting, next);
	history->batch_count++;
	history->batch_bytes += waiting->batch.events.length;
	history->given++;
	(void)pthread_cond_signal(&history->more);
	(void)pthread_mutex_unlock(&history->mutex);
}

static void
on_gather(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hand_over(arg);
}

static void
free_question(struct history *history, struct question *question)
{
	buf_free(&question->events);
	free(question);
	history->question_count--;
}

static const char *
rest_words(enum history_rest rest)
{
	static const char *const words[HISTORY_REST_COUNT] = {
		[HISTORY_REST_NONE] = "",
		[HISTORY_REST_OLDER] = "there are older ones, too: the newest are shown",
		[HISTORY_REST_LONG] = "there is more of it than an answer has room for",
		[HISTORY_REST_LATE] =
		    "not all of the history could be looked through in time: the newest of it was",
	};

	return words[rest];
}

static void
finish(struct history *history, const struct question *question)
{
	struct ipc_result result;

	memset(&result, 0, sizeof(result));
	result.count = question->count;
	if (!question->found) {
		result.exit_code = EX_TEMPFAIL;
		(void)snprintf(result.words, sizeof(result.words),
		    "the history of messages can't be read now; the log says why");
	} else
		(void)snprintf(
		    result.words, sizeof(result.words), "%s", rest_words(question->rest));
	history->calls.done(question->id, &result);
}

static void
tell(struct history *history, const struct question *question)
{
	size_t at = 0, length;
	struct buf event;

	buf_init(&event, HISTORY_EVENT_MAX);
	while (question->found && at + 2 <= question->events.length) {
		const uint8_t *bytes = question->events.data + at;

		length = 2 + ((size_t)bytes[0] | (size_t)bytes[1] << 8);
		buf_clear(&event);
		buf_add(&event, bytes, length);
		if (!buf_ok(&event))
			fatalx("out of memory");
		history->calls.event(question->id, &event);
		at += length;
	}
	buf_free(&event);
	finish(history, question);
}

static void
on_answered(evutil_socket_t fd, short what, void *arg)
{
	struct history *history = arg;
	struct question *question;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) == -1 && errno != EAGAIN)
		log_warning("the eventfd of the history: %s", strerror(errno));
	(void)pthread_mutex_lock(&history->mutex);
	stats_add(STATS_HISTORY_DROPPED, (int64_t)history->lost);
	history->lost = 0;
	(void)pthread_mutex_unlock(&history->mutex);
	for (;;) {
		(void)pthread_mutex_lock(&history->mutex);
		question = TAILQ_FIRST(&history->done);
		if (question != NULL)
			TAILQ_REMOVE(&history->done, question, next);
		(void)pthread_mutex_unlock(&history->mutex);
		if (question == NULL)
			return;
		if (question->generation == history->generation)
			tell(history, question);
		free_question(history, question);
	}
}

struct history *
history_new(struct event_base *base, const struct history_calls *calls)
{
	struct history *history = calloc(1, sizeof(*history));
	pthread_condattr_t attributes;

	if (history == NULL)
		fatal("out of memory");
	history->calls = *calls;
	history_batch_init(&history->gathered);
	TAILQ_INIT(&history->batches);
	TAILQ_INIT(&history->asked);
	TAILQ_INIT(&history->done);
	history->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (history->fd == -1)
		fatal("eventfd");
	history->answered =
	    event_new(base, history->fd, EV_READ | EV_PERSIST, on_answered, history);
	history->gather = evtimer_new(base, on_gather, history);
	if (history->answered == NULL || history->gather == NULL ||
	    event_add(history->answered, NULL) == -1)
		fatalx("cannot watch an eventfd");
	/* Whatever becomes of the clock on the wall, what is too old is looked for each minute. */
	if (pthread_mutex_init(&history->mutex, NULL) != 0 ||
	    pthread_condattr_init(&attributes) != 0 ||
	    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) != 0 ||
	    pthread_cond_init(&history->more, &attributes) != 0)
		fatalx("cannot make a mutex");
	(void)pthread_condattr_destroy(&attributes);
	return history;
}

void
history_free(struct history *history)
{
	struct questions *const lists[] = { &history->asked, &history->done };
	struct question *question;

	if (history == NULL)
		return;
	hand_over(history);
	(void)pthread_mutex_lock(&history->mutex);
	history->ending = true;
	(void)pthread_cond_signal(&history->more);
	(void)pthread_mutex_unlock(&history->mutex);
	if (history->has_thread)
		(void)pthread_join(history->thread, NULL);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while ((question = TAILQ_FIRST(lists[i])) != NULL) {
			TAILQ_REMOVE(lists[i], question, next);
			free_question(history, question);
		}
	}
	history_batch_free(&history->gathered);
	(void)pthread_mutex_destroy(&history->mutex);
	(void)pthread_cond_destroy(&history->more);
	event_free(history->answered);
	event_free(history->gather);
	(void)close(history->fd); /* nothing is kept in it */
	free(history->directory);
	free(history);
}

void
history_configure(struct history *history, const struct config *config)
{
	(void)pthread_mutex_lock(&history->mutex);
	history->keep_us = (int64_t)config->history_keep * 1000000;
	history->max_size = config->history_max_size;
	(void)pthread_mutex_unlock(&history->mutex);
	history->is_on = !config->history_off;
	if (history->directory == NULL &&
	    asprintf(&history->directory, "%s/history", config->state_directory) == -1)
		fatal("out of memory");
	if (history->is_on && !history->has_thread)
		start_thread(history);
}

bool
history_add(struct history *history, const void *payload, size_t length)
{
	struct timeval later = { .tv_usec = GATHER_MS * 1000 };
	bool is_first = history->gathered.event_count == 0;

	if (!history->is_on)
		return true;
	if (!history_batch_add(&history->gathered, payload, length)) {
		history_batch_free(&history->gathered);
		return false;
	}
	if (history->gathered.events.length >= GATHER_BYTES)
		hand_over(history);
	else if (is_first && evtimer_add(history->gather, &later) != 0)
		fatalx("no timer");
	return true;
}

static void
refuse(struct history *history, uint32_t id, const char *words)
{
	struct ipc_result result = { .exit_code = EX_UNAVAILABLE };

	(void)snprintf(result.words, sizeof(result.words), "%s", words);
	history->calls.done(id, &result);
}

void
history_ask(struct history *history, uint32_t id, const struct ipc_trace *trace)
{
	struct question *question;

	if (!history->has_thread) {
		refuse(history, id,
		    history->is_on ? "no history of messages can be kept: the log says why"
		                   : "no history of messages is kept (\"history off\")");
		return;
	}
	question = history->question_count < QUESTIONS_MAX ? calloc(1, sizeof(*question)) : NULL;
	if (question == NULL) {
		refuse(history, id, "too many ask at once, try again later");
		return;
	}
	history->question_count++;
	question->id = id;
	question->generation = history->generation;
	question->trace = *trace;
	buf_init(&question->events, HISTORY_ANSWER_SIZE);
	hand_over(history); /* what has just happened is told, too */
	(void)pthread_mutex_lock(&history->mutex);
	question->behind = history->given;
	TAILQ_INSERT_TAIL(&history->asked, question, next);
	(void)pthread_cond_signal(&history->more);
	(void)pthread_mutex_unlock(&history->mutex);
}

void
history_forget_asker(struct history *history)
{
	history->generation++;
}
