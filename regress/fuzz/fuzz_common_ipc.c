/*
 * Every decoder of every channel, chosen by the first byte. What a decoder takes must be encoded
 * again, by the same channel's encoder, into bytes that decode to the same; texts end where they
 * must (the encoder's strlen() would tell the sanitizer).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/ipc_control.h"
#include "common/ipc_directory.h"
#include "common/ipc_explain.h"
#include "common/ipc_history.h"
#include "common/ipc_keeper.h"
#include "common/ipc_listener_queue.h"
#include "common/ipc_listener_resolver.h"
#include "common/ipc_mailbox.h"
#include "common/ipc_queue_mda.h"
#include "common/ipc_queue_relay.h"
#include "common/ipc_relay_directory.h"
#include "common/ipc_relay_resolver.h"
#include "common/ipc_supervisor.h"
#include "common/ipc_tls_result.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Decodes into `value`, whole; encodes it into the buffer; forgets it. False when not taken. */
typedef bool (*again_fn)(struct buf_reader *, void *value, struct buf *);

#define AGAIN(name, type)                                                                 \
	static bool name##_again(struct buf_reader *reader, void *value, struct buf *buf) \
	{                                                                                 \
		type *typed = value;                                                      \
		bool taken = name##_decode(reader, typed) && buf_reader_done(reader);     \
		if (taken)                                                                \
			name##_encode(buf, typed);                                        \
		return taken;                                                             \
	}

AGAIN(ipc_filter, struct ipc_filter)
AGAIN(ipc_act, struct ipc_act)
AGAIN(ipc_pause, struct ipc_pause)
AGAIN(ipc_result, struct ipc_result)
AGAIN(ipc_destination, struct ipc_destination)
AGAIN(ipc_rcpt, struct ipc_rcpt)
AGAIN(ipc_target, struct ipc_target)
AGAIN(ipc_mailbox_request, struct ipc_mailbox_request)
AGAIN(ipc_mailbox, struct ipc_mailbox)
AGAIN(ipc_mailbox_login, struct ipc_mailbox_login)
AGAIN(ipc_mailbox_opened, struct ipc_mailbox_opened)
AGAIN(ipc_mailbox_begin, struct ipc_mailbox_begin)
AGAIN(ipc_usage, struct ipc_usage)
AGAIN(ipc_forward, struct ipc_forward)
AGAIN(ipc_report, struct ipc_report)
AGAIN(ipc_tls_result, struct ipc_tls_result)
AGAIN(ipc_auth, struct ipc_auth)
AGAIN(ipc_auth_data, struct ipc_auth_data)
AGAIN(ipc_auth_done, struct ipc_auth_done)
AGAIN(ipc_ids, struct ipc_ids)
AGAIN(ipc_resolve, struct ipc_resolve)
AGAIN(ipc_resolved, struct ipc_resolved)
AGAIN(ipc_deliver, struct ipc_deliver)
AGAIN(ipc_peer, struct ipc_peer)
AGAIN(ipc_listen, struct ipc_listen)
AGAIN(ipc_start, struct ipc_start)
AGAIN(ipc_log, struct ipc_log)
AGAIN(ipc_mda_start, struct ipc_mda_start)
AGAIN(ipc_connect, struct ipc_connect)
AGAIN(ipc_done, struct ipc_done)
AGAIN(ipc_control, struct ipc_control)
AGAIN(ipc_relay_message, struct ipc_relay_message)
AGAIN(ipc_relay_rcpt, struct ipc_relay_rcpt)
AGAIN(ipc_relay_result, struct ipc_relay_result)
AGAIN(ipc_relay_done, struct ipc_relay_done)
AGAIN(ipc_relay_lookup, struct ipc_relay_lookup)
AGAIN(ipc_relay_found, struct ipc_relay_found)
AGAIN(ipc_scripts, struct ipc_scripts)
AGAIN(ipc_sts_domain, struct ipc_sts_domain)
AGAIN(ipc_sts_policy, struct ipc_sts_policy)
AGAIN(ipc_sts_found, struct ipc_sts_found)
AGAIN(ipc_post, struct ipc_post)
AGAIN(ipc_posted, struct ipc_posted)
AGAIN(ipc_query, struct ipc_query)
AGAIN(ipc_answer, struct ipc_answer)
AGAIN(ipc_sign, struct ipc_sign)
AGAIN(ipc_sign_refused, struct ipc_sign_refused)
AGAIN(ipc_certificate, struct ipc_certificate)
AGAIN(ipc_ticket_keys, struct ipc_ticket_keys)
AGAIN(ipc_key, struct ipc_key)
AGAIN(ipc_key_taken, struct ipc_key_taken)
AGAIN(ipc_generate, struct ipc_generate)
AGAIN(ipc_forget, struct ipc_forget)
AGAIN(ipc_dkim_key, struct ipc_dkim_key)
AGAIN(ipc_dkim, struct ipc_dkim)
AGAIN(ipc_explain_step, struct ipc_explain_step)
AGAIN(ipc_explain_relay, struct ipc_explain_relay)
AGAIN(ipc_explain_route, struct ipc_explain_route)
AGAIN(ipc_explain_host, struct ipc_explain_host)
AGAIN(ipc_explain_queue, struct ipc_explain_queue)
AGAIN(ipc_host, struct ipc_host)
AGAIN(ipc_hoststat, struct ipc_hoststat)
AGAIN(ipc_relay_list, struct ipc_relay_list)
AGAIN(ipc_facts, struct ipc_facts)
AGAIN(ipc_trace, struct ipc_trace)
AGAIN(transaction, struct transaction)
AGAIN(envelope, struct envelope)
AGAIN(reply, struct reply)
AGAIN(address, struct address)

static bool
account_again(struct buf_reader *reader, void *value, struct buf *buf)
{
	struct ipc_account *account = value;
	bool taken = ipc_account_decode(reader, account);
	bool whole = taken && buf_reader_done(reader);

	if (whole)
		ipc_account_encode(buf, account);
	if (taken)
		ipc_account_free(account);
	return whole;
}

static bool
history_event_again(struct buf_reader *reader, void *value, struct buf *buf)
{
	static struct history_scratch scratch;
	struct history_event *event = value;

	if (!history_event_decode(reader, event, &scratch) || !buf_reader_done(reader))
		return false;
	history_event_encode(buf, event);
	return true;
}

static bool
ids_request_again(struct buf_reader *reader, void *value, struct buf *buf)
{
	uint32_t *count = value;

	if (!ipc_ids_request_decode(reader, count) || !buf_reader_done(reader))
		return false;
	ipc_ids_request_encode(buf, *count);
	return true;
}

static bool
ipc_delivered_again(struct buf_reader *reader, void *value, struct buf *buf)
{
	struct ipc_delivered *delivered = value;

	if (!ipc_delivered_decode(reader, delivered))
		return false;
	ipc_delivered_encode(buf, delivered);
	ipc_delivered_free(delivered);
	return true;
}

static const again_fn decoders[] = {
	ipc_filter_again,
	ipc_act_again,
	ipc_pause_again,
	ipc_result_again,
	account_again,
	ipc_rcpt_again,
	ipc_target_again,
	ipc_mailbox_request_again,
	ipc_mailbox_again,
	ipc_usage_again,
	ids_request_again,
	ipc_ids_again,
	ipc_resolve_again,
	ipc_resolved_again,
	ipc_deliver_again,
	ipc_delivered_again,
	ipc_peer_again,
	ipc_listen_again,
	ipc_start_again,
	ipc_log_again,
	ipc_mda_start_again,
	ipc_connect_again,
	ipc_done_again,
	ipc_control_again,
	transaction_again,
	envelope_again,
	reply_again,
	address_again,
	ipc_relay_message_again,
	ipc_relay_rcpt_again,
	ipc_relay_result_again,
	ipc_relay_done_again,
	ipc_query_again,
	ipc_answer_again,
	ipc_auth_again,
	ipc_auth_data_again,
	ipc_auth_done_again,
	ipc_sign_again,
	ipc_sign_refused_again,
	ipc_certificate_again,
	ipc_ticket_keys_again,
	ipc_key_again,
	ipc_key_taken_again,
	ipc_destination_again,
	ipc_relay_lookup_again,
	ipc_relay_found_again,
	ipc_generate_again,
	ipc_forget_again,
	ipc_dkim_key_again,
	ipc_dkim_again,
	ipc_sts_domain_again,
	ipc_sts_policy_again,
	ipc_sts_found_again,
	ipc_explain_step_again,
	ipc_explain_relay_again,
	ipc_explain_route_again,
	ipc_explain_host_again,
	ipc_explain_queue_again,
	ipc_host_again,
	ipc_hoststat_again,
	ipc_relay_list_again,
	ipc_report_again,
	ipc_tls_result_again,
	ipc_mailbox_login_again,
	ipc_mailbox_opened_again,
	ipc_mailbox_begin_again,
	ipc_post_again,
	ipc_posted_again,
	ipc_scripts_again,
	ipc_forward_again,
	history_event_again,
	ipc_facts_again,
	ipc_trace_again,
};
#define DECODER_COUNT (sizeof(decoders) / sizeof(decoders[0]))

static union {
	struct ipc_tls_result tls_result;
	struct ipc_account account;
	struct ipc_act act;
	struct ipc_ids ids;
	struct ipc_deliver deliver;
	struct ipc_delivered delivered;
	struct ipc_rcpt rcpt;
	struct ipc_mailbox mailbox;
	struct ipc_mailbox_login login;
	struct transaction transaction;
	struct ipc_relay_done done;
	struct ipc_answer answer;
	struct ipc_auth auth;
	struct envelope envelope;
	struct ipc_host host;
	struct ipc_facts facts;
	uint8_t room[32768];
} value;

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first, second;
	struct buf_reader reader;
	again_fn again;

	if (size == 0 || size > IMSG_PAYLOAD_MAX)
		return 0;
	again = decoders[data[0] % DECODER_COUNT];
	buf_init(&first, 65536);
	buf_init(&second, 65536);
	memset(&value, 0xa5, sizeof(value));
	buf_reader_init(&reader, data + 1, size - 1);
	if (again(&reader, &value, &first)) {
		if (!buf_ok(&first))
			abort();
		memset(&value, 0x5a, sizeof(value));
		buf_reader_init(&reader, first.data, first.length);
		if (!again(&reader, &value, &second) || second.length != first.length ||
		    memcmp(first.data, second.data, first.length) != 0)
			abort();
	}
	buf_free(&first);
	buf_free(&second);
	return 0;
}
