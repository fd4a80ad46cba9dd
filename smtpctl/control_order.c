/*
 * Requests are decoded and encoded again rather than passed on as they came, so that the queue, the
 * directory and the supervisor get only what control has understood, and the uid that the kernel
 * told, not one that the caller wrote.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/ipc_directory.h"
#include "common/log.h"
#include "smtpctl/control_order.h"

/* Envelopes of one portion of a listing: some hundred KiB at most that wait for a caller who does
 * not read. */
#define LIST_PORTION 256

bool
control_order_allows(uid_t caller, uid_t suite_uid, bool privileged)
{
	return caller == 0 || (!privileged && caller == suite_uid);
}

/* Appends to the arguments, as far as there is room. */
static void __attribute__((format(printf, 2, 3)))
add_argument(struct control_order *order, const char *format, ...)
{
	size_t length = strlen(order->arguments);
	va_list values;

	if (length > 0 && length + 1 < sizeof(order->arguments))
		order->arguments[length++] = ' ';
	va_start(values, format);
	(void)vsnprintf(
	    order->arguments + length, sizeof(order->arguments) - length, format, values);
	va_end(values);
}

static void
set_verb(struct control_order *order, enum control_peer peer, bool logged, const char *verb)
{
	order->peer = peer;
	order->logged = logged;
	(void)snprintf(order->verb, sizeof(order->verb), "%s", verb);
}

static void
describe_filter(struct control_order *order, const struct ipc_filter *filter)
{
	static const char *const states[ENVELOPE_STATE_COUNT] = {
		[ENVELOPE_PENDING] = "pending",
		[ENVELOPE_INFLIGHT] = "inflight",
		[ENVELOPE_HELD] = "held",
	};

	if (filter->id == 0)
		add_argument(order, "all");
	else if (filter->id >> 32 == 0)
		add_argument(order, "%08" PRIx64, filter->id);
	else
		add_argument(order, "%016" PRIx64, filter->id);
	if (filter->from[0] != '\0')
		add_argument(order, "from %s", filter->from);
	if (filter->to[0] != '\0')
		add_argument(order, "to %s", filter->to);
	if (filter->older != 0)
		add_argument(order, "older %" PRIu32, filter->older);
	if (filter->has_state)
		add_argument(order, "state %s", states[filter->state]);
}

static bool
decode_list(struct control_order *order, struct buf_reader *reader)
{
	if (!ipc_filter_decode(reader, &order->filter))
		return false;
	set_verb(order, CONTROL_PEER_QUEUE, false, "show queue");
	describe_filter(order, &order->filter);
	order->filter.cursor = 0;
	control_order_encode_list(order);
	return true;
}

static bool
decode_destinations(struct control_order *order, struct buf_reader *reader)
{
	if (!ipc_filter_decode(reader, &order->filter))
		return false;
	set_verb(order, CONTROL_PEER_QUEUE, false, "show relays");
	order->filter.cursor = 0;
	control_order_encode_list(order);
	return true;
}

static void
encode_relay_list(struct control_order *order)
{
	struct ipc_relay_list list = { .cursor = order->cursor, .portion = LIST_PORTION };

	buf_clear(&order->payload);
	ipc_relay_list_encode(&order->payload, &list);
}

static bool
decode_explain(struct control_order *order, struct buf_reader *reader)
{
	struct ipc_rcpt rcpt;

	/* The queue alone has mail of its own. */
	if (!ipc_rcpt_decode(reader, &rcpt) || rcpt.client_family == CLIENT_INTERNAL)
		return false;
	set_verb(order, CONTROL_PEER_DIRECTORY, false, "explain");
	ipc_rcpt_encode(&order->payload, &rcpt);
	return true;
}

static bool
decode_trace(struct control_order *order, struct buf_reader *reader)
{
	struct ipc_trace trace;

	if (!ipc_trace_decode(reader, &trace))
		return false;
	set_verb(order, CONTROL_PEER_DIRECTORY, true, "trace message");
	add_argument(order, "%s", trace.what);
	ipc_trace_encode(&order->payload, &trace);
	return true;
}

static bool
decode_message(struct control_order *order, struct buf_reader *reader)
{
	if (!ipc_filter_decode(reader, &order->filter) || order->filter.id == 0)
		return false;
	set_verb(order, CONTROL_PEER_QUEUE, true, "show message");
	describe_filter(order, &order->filter);
	ipc_filter_encode(&order->payload, &order->filter);
	return true;
}

static bool
decode_act(struct control_order *order, struct buf_reader *reader)
{
	static const char *const verbs[QUEUE_ACTION_COUNT] = {
		[QUEUE_SCHEDULE] = "schedule",
		[QUEUE_REMOVE] = "remove",
		[QUEUE_EXPIRE] = "expire",
		[QUEUE_HOLD] = "pause envelope",
		[QUEUE_UNHOLD] = "resume envelope",
		[QUEUE_DISCOVER] = "discover",
	};
	struct ipc_act act;

	if (!ipc_act_decode(reader, &act))
		return false;
	act.caller_uid = order->caller_uid;
	set_verb(order, CONTROL_PEER_QUEUE, true, verbs[act.action]);
	describe_filter(order, &act.filter);
	ipc_act_encode(&order->payload, &act);
	return true;
}

static bool
decode_pause(struct control_order *order, struct buf_reader *reader)
{
	struct ipc_pause pause;

	if (!ipc_pause_decode(reader, &pause))
		return false;
	pause.caller_uid = order->caller_uid;
	set_verb(order, CONTROL_PEER_QUEUE, true, pause.paused ? "pause" : "resume");
	add_argument(order, "%s", pause.mda ? "mda" : "mta");
	if (*pause.domain != '\0')
		add_argument(order, "for %s", pause.domain);
	ipc_pause_encode(&order->payload, &pause);
	return true;
}

static bool
decode_account(struct control_order *order, struct buf_reader *reader)
{
	static const struct {
		const char *verb;
		bool changes;
	} verbs[ACCOUNT_VERB_COUNT] = {
		[ACCOUNT_DOMAIN_ADD] = { "domain add", true },
		[ACCOUNT_DOMAIN_DELETE] = { "domain del", true },
		[ACCOUNT_DOMAIN_LIST] = { "domain list", false },
		[ACCOUNT_USER_ADD] = { "user add", true },
		[ACCOUNT_USER_DELETE] = { "user del", true },
		[ACCOUNT_USER_PASSWORD] = { "user passwd", true },
		[ACCOUNT_USER_LIST] = { "user list", false },
		[ACCOUNT_USER_QUOTA] = { "user quota", true },
		[ACCOUNT_ALIAS_ADD] = { "alias add", true },
		[ACCOUNT_ALIAS_DELETE] = { "alias del", true },
		[ACCOUNT_ALIAS_LIST] = { "alias list", false },
		[ACCOUNT_SLOW_LIST] = { "show banned", false },
		[ACCOUNT_TLS_RESULT_LIST] = { "show tls-results", false },
		[ACCOUNT_TLS_REPORT_SEND] = { "tls-report send", true },
	};
	struct ipc_account account;
	uint32_t shown;

	if (!ipc_account_decode(reader, &account))
		return false;
	account.caller_uid = order->caller_uid;
	set_verb(
	    order, CONTROL_PEER_DIRECTORY, verbs[account.verb].changes, verbs[account.verb].verb);
	shown = account.word_count;
	if (shown > 1 &&
	    (account.verb == ACCOUNT_USER_ADD || account.verb == ACCOUNT_USER_PASSWORD))
		shown = 1;
	for (uint32_t i = 0; i < shown; i++)
		add_argument(order, "%s", account.words[i]);
	ipc_account_encode(&order->payload, &account);
	ipc_account_free(&account);
	return true;
}

static void
add_trace(struct control_order *order, unsigned asked)
{
	const char *name;
	unsigned bits;

	for (size_t i = 0; (name = log_trace_name(i, &bits)) != NULL; i++) {
		if (bits == asked) {
			add_argument(order, "%s", name);
			return;
		}
	}
	add_argument(order, "0x%x", asked); /* smtpctl asks for one */
}

static bool
decode_supervisor(struct control_order *order, struct buf_reader *reader)
{
	static const struct {
		const char *verb;
		const char *argument;
		bool changes;
	} verbs[CONTROL_VERB_COUNT] = {
		[CONTROL_RELOAD] = { "reload", "", true },
		[CONTROL_STOP] = { "stop", "", true },
		[CONTROL_LOG_BRIEF] = { "log", "brief", true },
		[CONTROL_LOG_VERBOSE] = { "log", "verbose", true },
		[CONTROL_TRACE] = { "trace", "", true },
		[CONTROL_UNTRACE] = { "untrace", "", true },
		[CONTROL_PAUSE_SMTP] = { "pause", "smtp", true },
		[CONTROL_RESUME_SMTP] = { "resume", "smtp", true },
		[CONTROL_SMTP_STATUS] = { "show status", "", false },
	};
	struct ipc_control control;

	if (!ipc_control_decode(reader, &control))
		return false;
	control.caller_uid = order->caller_uid;
	order->supervisor = control.verb;
	set_verb(
	    order, CONTROL_PEER_SUPERVISOR, verbs[control.verb].changes, verbs[control.verb].verb);
	if (control.verb == CONTROL_TRACE || control.verb == CONTROL_UNTRACE)
		add_trace(order, control.argument);
	else if (verbs[control.verb].argument[0] != '\0')
		add_argument(order, "%s", verbs[control.verb].argument);
	ipc_control_encode(&order->payload, &control);
	return true;
}

static bool
decode_dkim(struct control_order *order, struct buf_reader *reader)
{
	static const struct {
		const char *verb;
		bool changes;
	} verbs[DKIM_VERB_COUNT] = {
		[DKIM_ADD] = { "dkim add", true },
		[DKIM_DELETE] = { "dkim del", true },
		[DKIM_ROTATE] = { "dkim rotate", true },
		[DKIM_ACTIVATE] = { "dkim activate", true },
		[DKIM_LIST] = { "dkim list", false },
		[DKIM_SHOW] = { "dkim show", false },
	};
	struct ipc_dkim dkim;

	if (!ipc_dkim_decode(reader, &dkim))
		return false;
	dkim.caller_uid = order->caller_uid;
	set_verb(order, CONTROL_PEER_SUPERVISOR, verbs[dkim.verb].changes, verbs[dkim.verb].verb);
	add_argument(order, "%s", dkim.domain);
	if (*dkim.selector != '\0')
		add_argument(order, "%s", dkim.selector);
	if (dkim.has_algorithm)
		add_argument(order, "%s", dkim_algorithm_name(dkim.algorithm));
	ipc_dkim_encode(&order->payload, &dkim);
	return true;
}

static bool
decode_scripts(struct control_order *order, struct buf_reader *reader)
{
	struct ipc_scripts scripts;

	if (!ipc_scripts_decode(reader, &scripts))
		return false;
	scripts.caller_uid = order->caller_uid;
	set_verb(order, CONTROL_PEER_DIRECTORY, true, "sieve");
	add_argument(order, "%s", scripts.user);
	add_argument(order, "%s", scripts.purpose);
	ipc_scripts_encode(&order->payload, &scripts);
	return true;
}

static bool
decode_payload(struct control_order *order, struct buf_reader *reader)
{
	switch (order->type) {
	case CONTROL_QUEUE_LIST:
		return decode_list(order, reader);
	case CONTROL_QUEUE_ACT:
		return decode_act(order, reader);
	case CONTROL_QUEUE_MESSAGE:
		return decode_message(order, reader);
	case CONTROL_QUEUE_PAUSE:
		return decode_pause(order, reader);
	case CONTROL_ACCOUNT:
		return decode_account(order, reader);
	case CONTROL_SUPERVISOR:
		return decode_supervisor(order, reader);
	case CONTROL_DESTINATION_LIST:
		return decode_destinations(order, reader);
	case CONTROL_DKIM:
		return decode_dkim(order, reader);
	case CONTROL_EXPLAIN:
		return decode_explain(order, reader);
	case CONTROL_SCRIPTS:
		return decode_scripts(order, reader);
	case CONTROL_TRACE_MESSAGE:
		return decode_trace(order, reader);
	case CONTROL_HOST_LIST:
	case CONTROL_HOSTSTAT_LIST:
		set_verb(order, CONTROL_PEER_RELAY, false,
		    order->type == CONTROL_HOST_LIST ? "show hosts" : "show hoststats");
		encode_relay_list(order);
		return true;
	case CONTROL_STATS:
		set_verb(order, CONTROL_PEER_NONE, false, "show stats");
		return true;
	case CONTROL_STATUS:
		set_verb(order, CONTROL_PEER_QUEUE, false, "show status");
		return true;
	case CONTROL_ENVELOPE:
	case CONTROL_DESTINATION:
	case CONTROL_QUEUE_LIST_MORE:
	case CONTROL_QUEUE_STATUS:
	case CONTROL_LINE:
	case CONTROL_DONE:
	case CONTROL_EXPLAIN_STEP:
	case CONTROL_EXPLAIN_RELAY:
	case CONTROL_EXPLAIN_ROUTE:
	case CONTROL_EXPLAIN_HOST:
	case CONTROL_EXPLAIN_QUEUE:
	case CONTROL_HOST:
	case CONTROL_HOSTSTAT:
	case CONTROL_HISTORY:
	case CONTROL_TYPE_END:
		break;
	}
	return false;
}

bool
control_order_decode(
    struct control_order *order, uint16_t type, const void *payload, size_t length, uid_t caller)
{
	struct buf_reader reader;

	memset(order, 0, sizeof(*order));
	if (type >= CONTROL_TYPE_END)
		return false;
	order->type = (enum ipc_control_type)type;
	order->caller_uid = caller;
	buf_init(&order->payload, IMSG_PAYLOAD_MAX);
	buf_reader_init(&reader, payload, length);
	if (decode_payload(order, &reader) && buf_reader_done(&reader) && buf_ok(&order->payload))
		return true;
	control_order_free(order);
	return false;
}

void
control_order_encode_list(struct control_order *order)
{
	order->filter.portion = LIST_PORTION;
	buf_clear(&order->payload);
	ipc_filter_encode(&order->payload, &order->filter);
}

bool
control_order_is_list(const struct control_order *order)
{
	return order->type == CONTROL_QUEUE_LIST || order->type == CONTROL_DESTINATION_LIST ||
	    order->type == CONTROL_HOST_LIST || order->type == CONTROL_HOSTSTAT_LIST;
}

bool
control_order_go_on(struct control_order *order, uint64_t cursor)
{
	if (order->peer != CONTROL_PEER_RELAY) {
		order->filter.cursor = cursor;
		control_order_encode_list(order);
		return true;
	}
	if (cursor <= order->cursor)
		return false;
	order->cursor = cursor;
	encode_relay_list(order);
	return true;
}

void
control_order_free(struct control_order *order)
{
	if (order->payload.data != NULL)
		explicit_bzero(order->payload.data, order->payload.length);
	buf_free(&order->payload);
}
