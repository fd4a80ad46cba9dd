/*
 * Acts under way, a circle of them: each turn of the timer one goes on with a portion. The timer
 * has the high priority, so that steady input doesn't hold an administrator up, and leaves a
 * millisecond between two portions, in which what has come in is committed and delivered.
 */
#include <stdlib.h>
#include <sysexits.h>

#include <event2/event.h>

#include "common/log.h"
#include "queue/commit.h"
#include "queue/control.h"

#define ACTS_MAX 64
#define PAUSE_US 1000

struct running {
	struct running *next;
	struct control_request request;
	struct act act;
};

struct acts {
	struct running *first;
	struct running *last;
	unsigned count;
	struct event *timer;
};

static void
append(struct acts *acts, struct running *running)
{
	running->next = NULL;
	if (acts->last != NULL)
		acts->last->next = running;
	else
		acts->first = running;
	acts->last = running;
}

static struct running *
take_first(struct acts *acts)
{
	struct running *running = acts->first;

	acts->first = running->next;
	if (acts->first == NULL)
		acts->last = NULL;
	return running;
}

/* All that it changed is made durable, and told. */
static void
finish(struct queue *queue, struct running *running, bool stopped)
{
	const struct control_request *request = &running->request;
	uint64_t changed = running->act.changed;

	queue_run_soon(queue);
	if (!commit_now(queue))
		control_send_done(queue, request, -1, EX_IOERR, changed,
		    "done, but not on disk: the spool can't be written");
	else if (stopped)
		control_send_done(queue, request, -1, EX_TEMPFAIL, changed,
		    "the queue was stopped before all were reached: ask again");
	else
		control_send_done(queue, request, -1, EX_OK, changed, "");
	queue->acts->count--;
	free(running);
}

static void
go_on(struct queue *queue)
{
	static const struct timeval pause = { 0, PAUSE_US };
	struct acts *acts = queue->acts;
	struct running *running = take_first(acts);

	if (act_continue(queue, &running->act))
		append(acts, running);
	else
		finish(queue, running, false);
	if (acts->first != NULL && evtimer_add(acts->timer, &pause) == -1)
		fatalx("can't set a timer");
}

static void
timer_event(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	go_on(arg);
}

void
control_acts_open(struct queue *queue)
{
	queue->acts = calloc(1, sizeof(*queue->acts));
	if (queue->acts == NULL)
		fatalx("out of memory");
	queue->acts->timer = evtimer_new(queue->base, timer_event, queue);
	if (queue->acts->timer == NULL || event_priority_set(queue->acts->timer, 0) == -1)
		fatalx("out of memory");
}

void
control_acts_begin(
    struct queue *queue, const struct control_request *request, const struct ipc_act *wanted)
{
	struct acts *acts = queue->acts;
	struct running *running;

	if (acts->count == ACTS_MAX || queue->phase == QUEUE_STOPPING) {
		control_send_done(queue, request, -1, EX_TEMPFAIL, 0,
		    queue->phase == QUEUE_STOPPING ? "the queue is being stopped"
		                                   : "too many at once, try again later");
		return;
	}
	running = calloc(1, sizeof(*running));
	if (running == NULL)
		fatalx("out of memory");
	running->request = *request;
	act_begin(queue, &running->act, wanted);
	append(acts, running);
	/* Most are about one message, and over at once. */
	if (acts->count++ == 0)
		go_on(queue);
}

void
control_acts_forget(struct queue *queue, const struct channel *channel)
{
	for (struct running *at = queue->acts->first; at != NULL; at = at->next) {
		if (at->request.channel == channel)
			at->request.channel = NULL;
	}
}

void
control_acts_stop(struct queue *queue)
{
	while (queue->acts->first != NULL)
		finish(queue, take_first(queue->acts), true);
	evtimer_del(queue->acts->timer);
}

void
control_acts_close(struct queue *queue)
{
	while (queue->acts->first != NULL)
		free(take_first(queue->acts));
	event_free(queue->acts->timer);
	free(queue->acts);
	queue->acts = NULL;
}
