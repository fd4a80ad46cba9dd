/*
 * The relay: sends mail to other servers. It takes tasks from the queue, each with its message as a
 * descriptor of its own, asks the resolver where they go, and tells the queue what came of each
 * recipient; words for the log about deliveries are the queue's to write.
 *
 * It is what the rest of the suite is protected from: what servers anywhere answer is read here, in
 * an empty directory, by a user that owns nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/config.h"
#include "common/header.h"
#include "common/imsg.h"
#include "common/ipc_queue_relay.h"
#include "common/ipc_relay_directory.h"
#include "common/ipc_supervisor.h"
#include "common/keeper_client.h"
#include "common/keeper_provider.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "common/sandbox.h"
#include "deliver/relay_control.h"
#include "deliver/relay_destination.h"
#include "deliver/relay_directory.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_host.h"
#include "deliver/relay_hoststat.h"
#include "deliver/relay_https.h"
#include "deliver/relay_local.h"
#include "deliver/relay_post.h"
#include "deliver/relay_sts.h"
#include "deliver/relay_tls_report.h"
#include "deliver/relay_task.h"
#include "deliver/relay_times.h"
#include "deliver/relay_tls.h"

#define DNS_MS        60000 /* the resolver has its own limit, and keeps it */
#define DIRECTORY_MS  10000
#define KEEPER_MS     5000 /* for a signature */
#define STOP_TICK_US  100000
#define STOP_TICKS    80 /* for what is in hand */
#define GOODBYE_TICKS 10

enum relay_state {
	RELAY_STARTING, /* no config yet */
	RELAY_SERVING,
	RELAY_STOPPING, /* finishes what is in hand */
};

static struct {
	enum relay_state state;
	struct child child;
	struct event_base *base;
	struct child_supervisor supervisor;
	struct channel *queue;    /* NULL while there is none */
	struct channel *resolver; /* likewise */
	struct channel *directory_channel;
	struct channel *control_channel;
	struct config *config;
	struct relay_dns *dns;
	struct relay_directory *directory;
	struct reports *reports; /* of TLS */
	struct keeper_client *keeper;
	struct tls_client *tls;
	struct https *https;
	struct posts *posts; /* of reports */
	struct sts *sts;
	struct local_sockets *local;
	struct destinations *destinations;
	struct pool *pool;
	struct hoststats *hoststats;
	struct relay_control *control;
	struct event *stop_check;
	unsigned stop_ticks;
	struct task_list tasks;  /* all */
	struct task *collecting; /* its RCPTs come next; NULL: none does */
} relay;

static void
on_result(struct task *task, const struct ipc_relay_result *result, void *arg)
{
	struct buf payload;

	(void)arg;
	hoststats_note(relay.hoststats, task->message.domain, result);
	if (relay.queue == NULL)
		return;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_relay_result_encode(&payload, result);
	channel_send(relay.queue, RELAY_QUEUE_RESULT, task->id, 0, -1, &payload);
	buf_free(&payload);
}

static void
forget_task(struct task *task)
{
	TAILQ_REMOVE(&relay.tasks, task, all);
	if (relay.collecting == task)
		relay.collecting = NULL;
	task_free(task);
}

static void
on_task_done(struct task *task, const struct ipc_relay_done *done, void *arg)
{
	struct buf payload;

	(void)arg;
	if (relay.queue != NULL && !task->is_silent) {
		buf_init(&payload, IMSG_PAYLOAD_MAX);
		ipc_relay_done_encode(&payload, done);
		channel_send(relay.queue, RELAY_QUEUE_DONE, task->id, 0, -1, &payload);
		buf_free(&payload);
	}
	forget_task(task);
}

static const struct task_owner task_owner = { .result = on_result, .done = on_task_done };

static void
trace_task(const struct task *task)
{
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_MTA, "relay-given"))
		return;
	log_hex32(&line, "message", task->message.message_id);
	log_text(&line, "domain", task->message.domain);
	log_text(&line, "action", task->message.action);
	log_number(&line, "recipients", task->message.recipients);
	log_number(&line, "size", (int64_t)task->message.size);
	log_end(&line);
}

static void
receive_message(struct channel *channel, struct imsg *imsg)
{
	static struct ipc_relay_message message;
	struct buf_reader reader;
	struct task *task;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_relay_message_decode(&reader, &message) || relay.collecting != NULL ||
	    (imsg->fd == -1 && !imsg->descriptor_lost)) {
		channel_reject(channel, imsg, "not a message to relay");
		return;
	}
	task = task_new(&task_owner, imsg->id, &message, imsg->fd);
	imsg->fd = -1;
	if (task == NULL)
		fatal("task");
	TAILQ_INSERT_TAIL(&relay.tasks, task, all);
	relay.collecting = task;
}

/* RELAY_LINE_MAX; a DSN, which nobody would be told of, goes as it is. */
static bool
has_good_lines(struct task *task, struct failure *failure)
{
	const struct relay_lines *lines = &task->lines;
	uint64_t longest = 0;

	if (!relay_lines_find(&task->lines, task->fd, task->message.size)) {
		failure_set(failure, RELAY_FAULT_OURS, 451, "4.3.0",
		    "the message can't be read: %s", strerror(errno));
		return false;
	}
	if (*task->sender == '\0' || relay.config->mta_no_line_limit)
		return true;
	longest = lines->longest_field > 0 ? lines->longest_field : lines->longest_line;
	if (longest == 0)
		return true;
	failure_set(failure, RELAY_FAULT_NONE, 554, "5.6.0",
	    "a line of the message's %s has %llu bytes, and SMTP lets it have %d (RFC 5321 "
	    "4.5.3.1.6)",
	    lines->longest_field > 0 ? "header" : "text", (unsigned long long)longest,
	    RELAY_LINE_MAX);
	return false;
}

/* In a header that any server takes. */
static bool
can_be_told(struct address *address, char *text, size_t size)
{
	char domain[ADDRESS_DOMAIN_MAX + 1];

	if (address_domain_key(address->domain, domain, sizeof(domain)))
		strlcpy(address->domain, domain, sizeof(address->domain));
	address_format(address, text, size);
	for (; *text != '\0'; text++) {
		if (*text < ' ' || *text > '~')
			return false;
	}
	return true;
}

/* RFC 5321 6.3: what was forwarded from there before goes round. */
static bool
comes_again(struct task *task, struct failure *failure)
{
	const struct address *from = &task->message.forwarded;
	struct address told = *from;
	char text[ADDRESS_TEXT_MAX + 1];

	if (address_is_null(from))
		return false;
	address_format(from, text, sizeof(text));
	if (header_was_delivered_to(task->fd, task->message.size, from)) {
		failure_set(failure, RELAY_FAULT_NONE, 554, "5.4.6",
		    "this is a mail loop: it was forwarded from %s before", text);
		return true;
	}
	if (can_be_told(&told, text, sizeof(text)) &&
	    asprintf(&task->fields, "Delivered-To: %s\r\n", text) == -1)
		fatal("forward");
	return false;
}

static bool
is_accounts(const char *name)
{
	const struct table_config *table =
	    *name == '\0' ? NULL : config_find_table(relay.config, name);

	return table != NULL && table->backend == TABLE_ACCOUNTS;
}

/* By LMTP the user's name is said, which for the accounts database is an address, or the address. */
static void
choose_name(const struct task *task, struct ipc_relay_rcpt *rcpt)
{
	const struct action_config *action = config_find_action(relay.config, task->message.action);

	if (action != NULL && action->method == ACTION_LMTP && !action->lmtp_rcpt_to &&
	    !is_accounts(action->virtual_table) && !is_accounts(action->userbase_table))
		*rcpt->dest.domain = '\0';
}

/* Mail for our own users isn't SMTP's. */
static bool
is_lmtp(const struct task *task)
{
	const struct action_config *action = config_find_action(relay.config, task->message.action);

	return action != NULL && action->method == ACTION_LMTP;
}

static void
receive_rcpt(struct channel *channel, struct imsg *imsg)
{
	static struct ipc_relay_rcpt rcpt;
	struct task *task = relay.collecting;
	struct buf_reader reader;
	struct failure failure;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (task == NULL || task->id != imsg->id || !ipc_relay_rcpt_decode(&reader, &rcpt)) {
		channel_reject(channel, imsg, "not a recipient of the message before");
		return;
	}
	choose_name(task, &rcpt);
	if (!task_add_rcpt(task, &rcpt))
		fatal("recipient");
	if (!task_is_complete(task))
		return;
	relay.collecting = NULL;
	trace_task(task);
	if (task->fd == -1 || relay.state != RELAY_SERVING) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0",
		    task->fd == -1 ? "the relay has too many open files: try later"
		                   : "the mail server stops");
		task_finish(task, &failure);
		return;
	}
	if (comes_again(task, &failure) || (!is_lmtp(task) && !has_good_lines(task, &failure))) {
		task_finish(task, &failure);
		return;
	}
	destinations_submit(relay.destinations, task);
}

static void
receive_cancel(uint32_t id)
{
	struct failure failure;
	struct task *task;

	TAILQ_FOREACH(task, &relay.tasks, all)
	if (task->id == id)
		break;
	if (task == NULL || task == relay.collecting)
		return; /* answered meanwhile */
	task->is_cancelled = true;
	if (task->state != TASK_ROUTING && task->state != TASK_WAITING)
		return;
	task_wait_no_more(task);
	failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "taken back");
	task_finish(task, &failure);
}

static void
on_queue(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)arg;
	switch ((enum ipc_queue_relay_type)imsg->type) {
	case QUEUE_RELAY_MESSAGE:
		receive_message(channel, imsg);
		return;
	case QUEUE_RELAY_RCPT:
		receive_rcpt(channel, imsg);
		return;
	case QUEUE_RELAY_CANCEL:
		receive_cancel(imsg->id);
		return;
	case RELAY_QUEUE_RESULT:
	case RELAY_QUEUE_DONE:
		break;
	}
	channel_reject(channel, imsg, "unknown type");
}

/* Nobody hears of the tasks any more. Where a server has the whole text, its reply is waited for, so
 * that it doesn't take the end of the connection for a reason to forget it. */
static void
drop_queue(void)
{
	struct task *task, *next;

	if (relay.queue == NULL)
		return;
	channel_free(relay.queue);
	relay.queue = NULL;
	for (task = TAILQ_FIRST(&relay.tasks); task != NULL; task = next) {
		next = TAILQ_NEXT(task, all);
		task->is_silent = task->is_cancelled = true;
		task_wait_no_more(task);
		if (task->state != TASK_SENDING)
			forget_task(task);
	}
	(void)pool_abandon(relay.pool);
	for (task = TAILQ_FIRST(&relay.tasks); task != NULL; task = next) {
		next = TAILQ_NEXT(task, all);
		if (task->state == TASK_DONE)
			forget_task(task);
	}
}

/* A peer that breaks the rules is no use, and more trusted than this process, which is what can be
 * started again: with channels that work. One that died comes back with a channel of its own. */
static void
peer_closed(const struct channel *channel, const char *why)
{
	if (channel_was_rejected(channel))
		fatalx("%s: %s", channel_name(channel), why);
	log_debug("%s: %s", channel_name(channel), why);
}

static void
on_queue_closed(struct channel *channel, const char *why, void *arg)
{
	(void)arg;
	peer_closed(channel, why);
	drop_queue();
}

static void
on_resolver(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)arg;
	if (!relay_dns_receive(relay.dns, imsg))
		channel_reject(channel, imsg, "not an answer");
}

static void
on_resolver_closed(struct channel *channel, const char *why, void *arg)
{
	(void)arg;
	peer_closed(channel, why);
	channel_free(channel);
	relay.resolver = NULL;
	relay_dns_set_channel(relay.dns, NULL);
}

static void
on_directory(struct channel *channel, struct imsg *imsg, void *arg)
{
	bool is_good;

	(void)arg;
	if (imsg->type == DIRECTORY_RELAY_POST)
		is_good = posts_receive(relay.posts, imsg);
	else
		is_good = relay_directory_receive(relay.directory, imsg);
	if (!is_good)
		channel_reject(channel, imsg, "not an answer");
}

static void
on_directory_closed(struct channel *channel, const char *why, void *arg)
{
	(void)arg;
	peer_closed(channel, why);
	channel_free(channel);
	relay.directory_channel = NULL;
	relay_directory_set_channel(relay.directory, NULL);
	reports_set_channel(relay.reports, NULL);
	posts_set_channel(relay.posts, NULL);
}

static void
on_control(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)arg;
	if (!relay_control_receive(relay.control, imsg))
		channel_reject(channel, imsg, "not a request");
}

static void
on_control_closed(struct channel *channel, const char *why, void *arg)
{
	(void)arg;
	peer_closed(channel, why);
	relay_control_set_channel(relay.control, NULL);
	channel_free(channel);
	relay.control_channel = NULL;
}

static bool
add_peer(const struct ipc_peer *peer, int fd)
{
	if (relay.state == RELAY_STARTING)
		return false;
	if (peer->program == PROGRAM_QUEUE) {
		drop_queue();
		relay.queue = channel_new(relay.base, "queue", fd, on_queue, on_queue_closed, NULL);
		return true;
	}
	if (peer->program == PROGRAM_RESOLVER) {
		channel_free(relay.resolver);
		relay.resolver =
		    channel_new(relay.base, "resolver", fd, on_resolver, on_resolver_closed, NULL);
		relay_dns_set_channel(relay.dns, relay.resolver);
		return true;
	}
	if (peer->program == PROGRAM_KEEPER) {
		keeper_client_set_channel(relay.keeper, fd);
		return true;
	}
	if (peer->program == PROGRAM_DIRECTORY) {
		channel_free(relay.directory_channel);
		relay.directory_channel = channel_new(
		    relay.base, "directory", fd, on_directory, on_directory_closed, NULL);
		relay_directory_set_channel(relay.directory, relay.directory_channel);
		reports_set_channel(relay.reports, relay.directory_channel);
		posts_set_channel(relay.posts, relay.directory_channel);
		return true;
	}
	if (peer->program == PROGRAM_CONTROL) {
		channel_free(relay.control_channel);
		relay.control_channel =
		    channel_new(relay.base, "control", fd, on_control, on_control_closed, NULL);
		relay_control_set_channel(relay.control, relay.control_channel);
		return true;
	}
	return false;
}

static void
configure(struct config *config)
{
	struct config *old = relay.config;

	relay.config = config;
	tls_client_keep_certificates(relay.tls, config);
	sts_enable(relay.sts, !config->mta_no_sts);
	https_refuse_private(relay.https, config->mta_no_private_networks);
	pool_configure(relay.pool, config);
	reports_want(relay.reports, *config->tls_reports_from != '\0');
	destinations_configure(relay.destinations, relay.pool, config);
	config_free(old);
	if (relay.state == RELAY_STARTING)
		relay.state = RELAY_SERVING;
}

/* The authorities of a `ca`, or the default ones. */
static void
take_authorities(struct imsg *imsg)
{
	struct ipc_certificate which;
	struct buf_reader reader;
	const char *name = "";

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_certificate_decode(&reader, &which) || imsg->fd == -1 || relay.config == NULL)
		return;
	if (which.index != IPC_DEFAULT_CA && which.index >= relay.config->ca_count)
		return;
	if (which.index != IPC_DEFAULT_CA)
		name = relay.config->cas[which.index].name;
	if (!tls_client_set_authorities(relay.tls, name, imsg->fd))
		log_error("the certificates of authorities of ca %s can't be used: too many", name);
	imsg->fd = -1;
}

/* The certificate of a `pki`. */
static void
take_certificate(const struct imsg *imsg)
{
	struct ipc_certificate which;
	struct buf_reader reader;
	const char *name;
	uint8_t *pem;
	size_t length;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_certificate_decode(&reader, &which) || imsg->fd == -1 || relay.config == NULL ||
	    which.index >= relay.config->pki_count)
		return;
	name = relay.config->pkis[which.index].name;
	pem = memory_file_read(imsg->fd, PKI_FILE_MAX, &length);
	if (pem == NULL || !tls_client_set_certificate(relay.tls, name, pem, length))
		log_error("the certificate of pki %s can't be used", name);
	free(pem);
}

static bool
take_other(struct channel *channel, struct imsg *imsg)
{
	(void)channel;
	if (imsg->type == SUPERVISOR_CHILD_AUTHORITIES)
		take_authorities(imsg);
	else if (imsg->type == SUPERVISOR_CHILD_CERTIFICATE)
		take_certificate(imsg);
	else if (imsg->type == SUPERVISOR_RELAY_CONNECTED)
		return local_sockets_receive(relay.local, imsg);
	else
		return false;
	return true;
}

static void
on_stop_check(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	pool_quit_idle(relay.pool);
	relay.stop_ticks++;
	/* Without tasks, connections are worth the time to say goodbye, and sessions just seen that
	 * to learn who wants to hear of them. */
	if ((TAILQ_EMPTY(&relay.tasks) &&
	        ((pool_session_count(relay.pool) == 0 && !reports_are_waiting(relay.reports)) ||
	            relay.stop_ticks > GOODBYE_TICKS)) ||
	    relay.stop_ticks > STOP_TICKS)
		event_base_loopexit(relay.base, NULL);
}

static void
stop(void)
{
	const struct timeval interval = { .tv_usec = STOP_TICK_US };

	relay.state = RELAY_STOPPING;
	pool_quit_idle(relay.pool);
	if (event_add(relay.stop_check, &interval) == -1)
		fatal("event_add");
}

/* What is in hand will be tried again by another. */
static void
supervisor_gone(void)
{
	event_base_loopbreak(relay.base);
}

static const struct child_orders orders = {
	.config = configure,
	.peer = add_peer,
	.stop = stop,
	.other = take_other,
	.gone = supervisor_gone,
	.unusable = child_supervisor_fatal,
};

int
main(int argc, char **argv)
{
	const struct relay_times times = RELAY_TIMES_DEFAULT;
	const struct sts_times sts_times = STS_TIMES_DEFAULT;
	struct pool_owner owner;
	struct task *task;

	child_start(&relay.child, "relay", argc, argv);
	(void)landlock_confine(LANDLOCK_TCP, -1);
	sandbox_enter(SANDBOX_SOCKETS);
	TAILQ_INIT(&relay.tasks);
	relay.base = child_event_base();
	relay.dns = relay_dns_new(relay.base, DNS_MS);
	relay.keeper = keeper_client_new(relay.base, KEEPER_MS);
	keeper_provider_start(relay.keeper);
	relay.tls = tls_client_new();
	relay.directory = relay_directory_new(relay.base, DIRECTORY_MS);
	relay.https = https_new(relay.base, relay.dns, relay.tls);
	relay.posts = posts_new(relay.https);
	relay.sts = sts_new(relay.base, relay.dns, relay.directory, relay.https, &sts_times);
	relay.destinations = destinations_new(relay.base, relay.dns, relay.directory);
	destinations_set_sts(relay.destinations, relay.sts);
	owner = destinations_pool_owner(relay.destinations);
	relay.pool = pool_new(relay.base, relay.dns, relay.directory, relay.tls, &times, &owner);
	relay.hoststats = hoststats_new();
	relay.control =
	    relay_control_new(relay.base, relay.destinations, relay.pool, relay.hoststats);
	relay.reports = reports_new(relay.base, relay.dns);
	pool_observe(relay.pool, reports_note, relay.reports);
	sts_observe(relay.sts, reports_note, relay.reports);
	relay.stop_check = event_new(relay.base, -1, EV_PERSIST, on_stop_check, NULL);
	if (relay.stop_check == NULL)
		fatalx("no memory for events");
	child_supervisor_open(&relay.supervisor, relay.base, &relay.child, &orders);
	relay.local = local_sockets_new(relay.supervisor.channel);
	if (relay.local == NULL)
		fatalx("no memory");
	pool_use_local(relay.pool, relay.local);
	if (event_base_dispatch(relay.base) == -1)
		fatalx("the event loop failed");

	reports_flush(relay.reports);
	if (relay.directory_channel != NULL)
		channel_flush(relay.directory_channel);
	channel_free(relay.queue);
	channel_free(relay.resolver);
	channel_free(relay.directory_channel);
	channel_free(relay.control_channel);
	relay_control_free(relay.control);
	pool_free(relay.pool);
	local_sockets_free(relay.local);
	destinations_free(relay.destinations);
	sts_free(relay.sts);
	posts_free(relay.posts);
	https_free(relay.https);
	reports_free(relay.reports);
	relay_dns_free(relay.dns);
	relay_directory_free(relay.directory);
	while ((task = TAILQ_FIRST(&relay.tasks)) != NULL)
		forget_task(task);
	hoststats_free(relay.hoststats);
	tls_client_free(relay.tls);
	keeper_client_free(relay.keeper);
	keeper_provider_stop();
	child_supervisor_close(&relay.supervisor);
	event_free(relay.stop_check);
	config_free(relay.config);
	event_base_free(relay.base);
	return 0;
}
