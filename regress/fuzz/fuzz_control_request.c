/*
 * Requests at the control socket: the first two bytes are the frame's type, the rest its payload.
 * What is taken for a request is passed on in a payload that its peer's decoder takes, with the
 * caller's uid in place, and described in one line's worth of text without a password's hash.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/ipc_explain.h"
#include "common/ipc_directory.h"
#include "smtpctl/control_order.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

#define CALLER 4711

static void
check(bool holds)
{
	if (!holds)
		abort();
}

static void
check_payload(const struct control_order *order)
{
	struct buf_reader reader;
	struct ipc_filter filter;
	struct ipc_act act;
	struct ipc_pause pause;
	struct ipc_account account;
	struct ipc_control control;
	struct ipc_dkim dkim;
	struct ipc_rcpt rcpt;
	struct ipc_relay_list list;
	struct ipc_scripts scripts;
	struct ipc_trace trace;

	buf_reader_init(&reader, order->payload.data, order->payload.length);
	switch (order->type) {
	case CONTROL_QUEUE_LIST:
	case CONTROL_DESTINATION_LIST:
		check(ipc_filter_decode(&reader, &filter) && filter.cursor == 0);
		break;
	case CONTROL_QUEUE_MESSAGE:
		check(ipc_filter_decode(&reader, &filter) && filter.id != 0);
		break;
	case CONTROL_QUEUE_ACT:
		check(ipc_act_decode(&reader, &act) && act.caller_uid == CALLER);
		break;
	case CONTROL_QUEUE_PAUSE:
		check(ipc_pause_decode(&reader, &pause) && pause.caller_uid == CALLER);
		break;
	case CONTROL_ACCOUNT:
		check(ipc_account_decode(&reader, &account) && account.caller_uid == CALLER);
		if (account.verb == ACCOUNT_USER_PASSWORD && account.word_count == 2 &&
		    strlen(account.words[1]) > strlen(account.words[0]))
			check(strstr(order->arguments, account.words[1]) == NULL);
		ipc_account_free(&account);
		break;
	case CONTROL_SUPERVISOR:
		check(ipc_control_decode(&reader, &control) && control.caller_uid == CALLER);
		break;
	case CONTROL_DKIM:
		check(ipc_dkim_decode(&reader, &dkim) && dkim.caller_uid == CALLER);
		break;
	case CONTROL_EXPLAIN:
		check(ipc_rcpt_decode(&reader, &rcpt) && rcpt.client_family != CLIENT_INTERNAL);
		break;
	case CONTROL_SCRIPTS:
		check(ipc_scripts_decode(&reader, &scripts) && scripts.caller_uid == CALLER);
		break;
	case CONTROL_TRACE_MESSAGE:
		check(ipc_trace_decode(&reader, &trace));
		break;
	case CONTROL_HOST_LIST:
	case CONTROL_HOSTSTAT_LIST:
		check(ipc_relay_list_decode(&reader, &list));
		break;
	case CONTROL_STATS:
	case CONTROL_STATUS:
		break;
	case CONTROL_EXPLAIN_STEP:
	case CONTROL_EXPLAIN_RELAY:
	case CONTROL_EXPLAIN_ROUTE:
	case CONTROL_EXPLAIN_HOST:
	case CONTROL_EXPLAIN_QUEUE:
	case CONTROL_HOST:
	case CONTROL_HOSTSTAT:
	case CONTROL_HISTORY:
	case CONTROL_ENVELOPE:
	case CONTROL_DESTINATION:
	case CONTROL_QUEUE_LIST_MORE:
	case CONTROL_QUEUE_STATUS:
	case CONTROL_LINE:
	case CONTROL_DONE:
	case CONTROL_TYPE_END:
		abort(); /* an answer is no request */
	}
	check(buf_reader_done(&reader));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_order order;

	if (size < 2 || size - 2 > IMSG_PAYLOAD_MAX ||
	    !control_order_decode(
	        &order, (uint16_t)(data[0] | data[1] << 8), data + 2, size - 2, CALLER))
		return 0;
	check(order.verb[0] != '\0' && strlen(order.verb) < sizeof(order.verb));
	check(strlen(order.arguments) < sizeof(order.arguments));
	check_payload(&order);
	control_order_free(&order);
	return 0;
}
