/*
 * The mda: delivers for one owner of mailboxes, as that user. It takes messages from the queue,
 * each as a descriptor of its own, and puts them into Maildirs or runs commands with them.
 *
 * DELIVER and USAGE frames are collected while the event loop has input and worked on when it has
 * none left (the low-priority event), so that what came together is synced together. The queue is
 * told the result of each delivery; words for the log are the queue's to write.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/child.h"
#include "common/clock.h"
#include "common/child_supervisor.h"
#include "common/config.h"
#include "common/header.h"
#include "common/imsg.h"
#include "common/ipc_queue_mda.h"
#include "common/log.h"
#include "deliver/batch.h"
#include "deliver/choose.h"
#include "deliver/command.h"
#include "deliver/forward.h"
#include "deliver/mbox_batch.h"
#include "deliver/runner.h"

#define STOP_SECONDS 8    /* for what is in hand */
#define GONE_SECONDS 2    /* the same when nobody is there to hear of it */
#define WAITING_MAX  4096 /* requests; the queue sends far fewer at once */

enum mda_state {
	MDA_STARTING, /* no config yet: the queue's requests stay in its socket */
	MDA_SERVING,
	MDA_STOPPING, /* finishes what is in hand */
};

struct usage_request {
	uint32_t request_id;
	struct ipc_mailbox mailbox;
};

static struct {
	enum mda_state state;
	struct child child;
	struct event_base *base;
	struct child_supervisor supervisor;
	struct channel *queue; /* NULL after it closed */
	struct event *work;
	struct event *stop_timer;
	struct batch_context context;
	struct runner *runner;
	char delimiters[16];
	struct delivery *deliveries[WAITING_MAX];
	size_t delivery_count;
	struct delivery *mboxes[WAITING_MAX]; /* to mbox files */
	size_t mbox_count;
	struct usage_request *usages[WAITING_MAX];
	size_t usage_count;
	size_t batch_size; /* of the batch at work: the first of `deliveries` */
} mda;

static void
trace_request(const struct delivery *delivery)
{
	const struct ipc_deliver *request = &delivery->request;
	char text[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_MDA, "mda-given"))
		return;
	log_hex64(&line, "envelope", request->envelope_id);
	address_format(&request->dest, text, sizeof(text));
	log_text(&line, "to", text);
	if (runner_is_for(request))
		log_text(&line, "command", command_words(request));
	else
		log_text(&line, "mailbox", request->mailbox.path);
	log_number(&line, "size", (int64_t)request->size);
	if (request->maybe_delivered)
		log_text(&line, "note", "an earlier try may have delivered it");
	log_end(&line);
}

static void
trace_answer(const struct delivery *delivery)
{
	const struct ipc_delivered *result = &delivery->result;
	char text[REPLY_TEXT_MAX + 32];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_MDA, "mda-answered"))
		return;
	log_hex64(&line, "envelope", result->envelope_id);
	reply_format(&result->reply, text, sizeof(text));
	log_text(&line, "reply", text);
	if (*result->file != '\0')
		log_text(&line, "file", result->file);
	if (result->was_there)
		log_text(&line, "note", "already there");
	log_number(&line, "time_ms", clock_monotonic_ms() - delivery->given_ms);
	log_end(&line);
}

static void
answer_delivery(struct delivery *delivery)
{
	struct ipc_delivered *result = &delivery->result;
	struct buf payload;

	trace_answer(delivery);
	if (mda.queue != NULL) {
		buf_init(&payload, IMSG_PAYLOAD_MAX);
		ipc_delivered_encode(&payload, result);
		channel_send(mda.queue, MDA_QUEUE_DELIVERED, delivery->request_id, 0, -1, &payload);
		buf_free(&payload);
	}
	delivery_free(delivery);
}

static void
finish_if_stopping(void)
{
	if (mda.state == MDA_STOPPING && mda.delivery_count == 0 && mda.mbox_count == 0 &&
	    mda.usage_count == 0 && runner_count(mda.runner) == 0)
		event_base_loopexit(mda.base, NULL);
}

static void
stop(time_t seconds)
{
	const struct timeval limit = { .tv_sec = seconds };

	mda.state = MDA_STOPPING;
	if (mda.queue != NULL)
		channel_pause(mda.queue, true);
	if (event_add(mda.stop_timer, &limit) == -1)
		fatal("event_add");
	finish_if_stopping();
}

static void
on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	event_base_loopexit(mda.base, NULL);
}

/* To those that wait to be stored. */
static void
store(struct delivery *delivery)
{
	const struct ipc_deliver *request = &delivery->request;

	if (mda.delivery_count == WAITING_MAX || mda.mbox_count == WAITING_MAX) {
		reply_set(&delivery->result.reply, 451, "4.3.2", "too many wait for this process");
		answer_delivery(delivery);
		return;
	}
	if (request->mailbox.form == MAILBOX_MBOX)
		mda.mboxes[mda.mbox_count++] = delivery;
	else {
		choose_folder(request, delivery->message, mda.delimiters, &delivery->into);
		mda.deliveries[mda.delivery_count++] = delivery;
	}
	event_active(mda.work, 0, 0);
}

static void
on_command_done(struct delivery *delivery, void *arg)
{
	(void)arg;
	if (delivery->request.is_wrapped)
		store(delivery);
	else
		answer_delivery(delivery);
	finish_if_stopping();
}

static void
answer_batch(void *arg)
{
	size_t i;

	(void)arg;
	for (i = 0; i < mda.batch_size; i++)
		answer_delivery(mda.deliveries[i]);
	if (mda.queue != NULL)
		channel_flush(mda.queue);
}

/* What the limit of open files leaves beside the messages that wait. */
static size_t
batch_size_allowed(void)
{
	struct rlimit limit;
	size_t descriptors;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return 1;
	descriptors = limit.rlim_cur > 1 << 20 ? 1 << 20 : (size_t)limit.rlim_cur;
	return batch_limit(descriptors > mda.delivery_count ? descriptors - mda.delivery_count : 0);
}

static void
serve_usages(void)
{
	size_t i;

	for (i = 0; i < mda.usage_count; i++) {
		struct ipc_usage usage;
		struct buf payload;

		batch_usage(&mda.context, &mda.usages[i]->mailbox, &usage);
		if (mda.queue != NULL) {
			buf_init(&payload, IMSG_PAYLOAD_MAX);
			ipc_usage_encode(&payload, &usage);
			channel_send(mda.queue, MDA_QUEUE_USAGE_DONE, mda.usages[i]->request_id, 0,
			    -1, &payload);
			buf_free(&payload);
		}
		free(mda.usages[i]);
	}
	mda.usage_count = 0;
}

/* After the Maildirs: they may have to wait for locks. */
static void
serve_mboxes(void)
{
	mbox_batch_deliver(&mda.context, mda.mboxes, mda.mbox_count);
	for (size_t i = 0; i < mda.mbox_count; i++)
		answer_delivery(mda.mboxes[i]);
	mda.mbox_count = 0;
	if (mda.queue != NULL)
		channel_flush(mda.queue);
}

static void
on_work(evutil_socket_t fd, short what, void *arg)
{
	size_t allowed = batch_size_allowed();

	(void)fd;
	(void)what;
	(void)arg;
	serve_usages();
	if (mda.delivery_count > 0) {
		mda.batch_size = mda.delivery_count < allowed ? mda.delivery_count : allowed;
		batch_deliver(&mda.context, mda.deliveries, mda.batch_size, answer_batch, NULL);
		mda.delivery_count -= mda.batch_size;
		memmove(mda.deliveries, mda.deliveries + mda.batch_size,
		    mda.delivery_count * sizeof(mda.deliveries[0]));
		mda.batch_size = 0;
	}
	if (mda.delivery_count > 0)
		event_active(mda.work, 0, 0);
	else if (mda.mbox_count > 0)
		serve_mboxes();
	finish_if_stopping();
}

/* Why this process can't serve the mailbox; true when it can. */
static bool
is_for_this_owner(const struct ipc_mailbox *mailbox, struct reply *why)
{
	if (!mda.child.privileged_start || mailbox->uid == geteuid())
		return true;
	reply_set(why, 451, "4.3.0", "mailbox of uid %u was given to the mda of uid %u",
	    mailbox->uid, geteuid());
	return false;
}

/* Nothing that a user has written runs with the group of mbox files; and while it can't be known where
 * his mail is to go instead, no command has it. */
static bool
may_deliver(const struct ipc_deliver *request, struct reply *why)
{
	const struct ipc_mailbox *mailbox = &request->mailbox;

	if (!envelope_is_pipe(request->kind) && runner_is_for(request) && mailbox->forwards &&
	    !forward_is_usable(mailbox->home, mailbox->detail, why))
		return false;
	if (!mda.child.for_mbox ||
	    ((request->kind == ENVELOPE_MAILDIR || request->kind == ENVELOPE_FORWARD) &&
	        !runner_is_for(request) && mailbox->form == MAILBOX_MBOX))
		return true;
	reply_set(why, 451, "4.3.0", "this process is for mbox files alone");
	return false;
}

/* RFC 5321 6.3: what was delivered there before goes round. What commands do is their own business. */
static bool
comes_again(const struct ipc_deliver *request, int message, struct reply *why)
{
	char text[ADDRESS_TEXT_MAX + 1];

	if (envelope_is_pipe(request->kind) ||
	    !header_was_delivered_to(message, request->size, &request->dest))
		return false;
	address_format(&request->dest, text, sizeof(text));
	reply_set(why, 554, "5.4.6", "this is a mail loop: it was delivered to %s before", text);
	return true;
}

/* What a .forward says was looked at when it named the file: it doesn't hold for what it leads to. */
static void
be_file(struct ipc_deliver *request)
{
	snprintf(request->mailbox.path, sizeof(request->mailbox.path), "%s", request->command);
	request->mailbox.forwards = false;
	*request->mailbox.detail = '\0';
}

/* The .forward that couldn't be read when the mail came. True with the answer; false when there is none,
 * and it is a mailbox like others. */
static bool
follow_forward(struct delivery *delivery)
{
	static struct ipc_forward forward;
	struct ipc_delivered *result = &delivery->result;
	struct ipc_mailbox *mailbox = &delivery->request.mailbox;

	delivery->request.kind = ENVELOPE_MAILDIR;
	forward.state = FORWARD_NONE;
	if (mailbox->forwards)
		forward_read(mailbox->home, mailbox->detail, &forward);
	switch (forward.state) {
	case FORWARD_NONE:
		if (mailbox->path[0] == '/')
			return false;
		reply_set(&result->reply, 550, "5.1.1",
		    "the user's .forward is gone, and there is no mailbox");
		return true;
	case FORWARD_FOUND:
		result->effects = calloc(1, sizeof(*result->effects));
		if (result->effects == NULL)
			fatal("effects");
		result->effects->by_forward = true;
		reply_set(&result->reply, 250, "2.1.5", "its owner's .forward is followed");
		return true;
	case FORWARD_FAILED:
	case FORWARD_STATE_COUNT:
		break;
	}
	reply_set(&result->reply, 451, "4.2.0", "%.300s", forward.text);
	return true;
}

static void
receive_deliver(struct channel *channel, struct imsg *imsg)
{
	static struct ipc_deliver request;
	struct buf_reader reader;
	struct delivery *delivery;
	struct stat st;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_deliver_decode(&reader, &request)) {
		channel_reject(channel, imsg, "not a delivery");
		return;
	}
	if (request.kind == ENVELOPE_USER_FILE)
		be_file(&request);
	if (!imsg->descriptor_lost &&
	    (imsg->fd == -1 || fstat(imsg->fd, &st) == -1 || !S_ISREG(st.st_mode))) {
		channel_reject(channel, imsg, "no message");
		return;
	}
	if (mda.delivery_count == WAITING_MAX || mda.mbox_count == WAITING_MAX) {
		channel_reject(channel, imsg, "too many at once");
		return;
	}
	delivery = delivery_new(&request, imsg->id, imsg->fd);
	imsg->fd = -1;
	if (delivery == NULL)
		fatal("delivery");
	delivery->given_ms = clock_monotonic_ms();
	trace_request(delivery);
	if (delivery->message == -1) {
		reply_set(&delivery->result.reply, 451, "4.3.0",
		    "this process has too many open files: try later");
		answer_delivery(delivery);
	} else if (!is_for_this_owner(&request.mailbox, &delivery->result.reply) ||
	    !may_deliver(&request, &delivery->result.reply))
		answer_delivery(delivery);
	else if (comes_again(&request, delivery->message, &delivery->result.reply))
		answer_delivery(delivery);
	else if (request.kind == ENVELOPE_FORWARD && follow_forward(delivery))
		answer_delivery(delivery);
	else if (request.kind == ENVELOPE_USER_FILE &&
	    strcmp(request.mailbox.path, "/dev/null") == 0) {
		reply_set(
		    &delivery->result.reply, 250, "2.1.5", "thrown away, as its user wants it");
		answer_delivery(delivery);
	} else if (runner_is_for(&request))
		runner_start(mda.runner, delivery);
	else
		store(delivery);
}

static void
receive_usage(struct channel *channel, struct imsg *imsg)
{
	struct usage_request *usage;
	struct buf_reader reader;

	if (mda.usage_count == WAITING_MAX) {
		channel_reject(channel, imsg, "too many at once");
		return;
	}
	usage = calloc(1, sizeof(*usage));
	if (usage == NULL)
		fatal("usage");
	buf_reader_init(&reader, imsg->payload, imsg->length);
	usage->request_id = imsg->id;
	if (!ipc_mailbox_decode(&reader, &usage->mailbox) || !buf_reader_done(&reader) ||
	    usage->mailbox.path[0] != '/') {
		free(usage);
		channel_reject(channel, imsg, "not a mailbox");
		return;
	}
	mda.usages[mda.usage_count++] = usage;
	event_active(mda.work, 0, 0);
}

/* At once: it is a small file, and a client waits for it. */
static void
receive_forward(struct channel *channel, struct imsg *imsg)
{
	static struct ipc_forward forward;
	struct ipc_mailbox mailbox;
	struct buf_reader reader;
	struct buf payload;
	struct reply why;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_mailbox_decode(&reader, &mailbox) || !buf_reader_done(&reader) ||
	    mailbox.home[0] != '/') {
		channel_reject(channel, imsg, "not a mailbox");
		return;
	}
	if (is_for_this_owner(&mailbox, &why))
		forward_read(mailbox.home, mailbox.detail, &forward);
	else {
		memset(&forward, 0, sizeof(forward));
		forward.state = FORWARD_FAILED;
		snprintf(forward.text, sizeof(forward.text), "%s", why.text);
	}
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_forward_encode(&payload, &forward);
	channel_send(channel, MDA_QUEUE_FORWARD_DONE, imsg->id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_queue(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)arg;
	switch ((enum ipc_queue_mda_type)imsg->type) {
	case QUEUE_MDA_DELIVER:
		receive_deliver(channel, imsg);
		return;
	case QUEUE_MDA_USAGE:
		receive_usage(channel, imsg);
		return;
	case QUEUE_MDA_FORWARD:
		receive_forward(channel, imsg);
		return;
	case MDA_QUEUE_DELIVERED:
	case MDA_QUEUE_USAGE_DONE:
	case MDA_QUEUE_FORWARD_DONE:
		break;
	}
	channel_reject(channel, imsg, "unknown type");
}

static void
on_queue_closed(struct channel *channel, const char *why, void *arg)
{
	(void)arg;
	log_debug("queue: %s", why);
	channel_free(channel);
	mda.queue = NULL;
	stop(GONE_SECONDS);
}

/* The first config starts the work; later ones change the names of files made from then on. */
static void
configure(struct config *config)
{
	if (mda.state == MDA_STARTING)
		batch_context_init(&mda.context, config->hostname, config->mail_directory);
	else
		batch_context_set(&mda.context, config->hostname, config->mail_directory);
	mda.context.queue_fd = mda.child.queue_fd;
	runner_set_delimiters(mda.runner, config->subaddress_delimiters);
	snprintf(mda.delimiters, sizeof(mda.delimiters), "%s", config->subaddress_delimiters);
	batch_context_set_delimiters(&mda.context, config->subaddress_delimiters);
	config_free(config);
	if (mda.state == MDA_STARTING) {
		mda.state = MDA_SERVING;
		channel_pause(mda.queue, false);
	}
}

static void
told_to_stop(void)
{
	stop(mda.queue != NULL ? STOP_SECONDS : GONE_SECONDS);
}

/* What is in hand will be tried again by another. */
static void
supervisor_gone(void)
{
	event_base_loopbreak(mda.base);
}

static const struct child_orders orders = {
	.config = configure,
	.stop = told_to_stop,
	.gone = supervisor_gone,
};

/* Beside this one. */
static void
find_program(void)
{
	char path[PATH_TEXT_MAX + 1];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof("deliver"));
	char *slash;

	if (length == -1)
		fatal("/proc/self/exe");
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (slash == NULL)
		fatalx("/proc/self/exe is no path");
	strcpy(slash + 1, "deliver");
	runner_set_program(mda.runner, path);
}

int
main(int argc, char **argv)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	child_start(&mda.child, "mda", argc, argv);
	if (mda.child.queue_fd == -1)
		fatalx("no channel to the queue");
	umask(077);
	/* A file size limit is an error like a full disk, not the end. */
	if (sigaction(SIGXFSZ, &ignore, NULL) == -1)
		fatal("sigaction");
	mda.base = child_event_base();
	mda.runner = runner_new(mda.base, COMMAND_SECONDS, on_command_done, NULL);
	find_program();
	mda.work = event_new(mda.base, -1, 0, on_work, NULL);
	mda.stop_timer = event_new(mda.base, -1, 0, on_stop_timer, NULL);
	if (mda.work == NULL || mda.stop_timer == NULL || event_priority_set(mda.work, 1) == -1)
		fatalx("no memory for events");
	mda.queue =
	    channel_new(mda.base, "queue", mda.child.queue_fd, on_queue, on_queue_closed, NULL);
	channel_pause(mda.queue, true);
	child_supervisor_open(&mda.supervisor, mda.base, &mda.child, &orders);
	if (event_base_dispatch(mda.base) == -1)
		fatalx("the event loop failed");
	runner_free(mda.runner);
	channel_free(mda.queue);
	child_supervisor_close(&mda.supervisor);
	batch_context_free(&mda.context);
	event_free(mda.work);
	event_free(mda.stop_timer);
	event_base_free(mda.base);
	return 0;
}
