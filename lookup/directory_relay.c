/*
 * The relay's channel: tables of its actions, the policies of MTA-STS that it has fetched, what became
 * of TLS, and what became of the reports that it posts.
 */
#include <string.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/ipc_relay_directory.h"
#include "common/ipc_tls_result.h"
#include "lookup/directory_state.h"
#include "lookup/outbound.h"
#include "lookup/policies.h"
#include "lookup/site.h"
#include "lookup/tls_sender.h"
#include "lookup/tls_sums.h"

static void
receive_lookup(struct peer *peer, struct imsg *imsg)
{
	struct ipc_relay_lookup lookup;
	struct ipc_relay_found found;
	struct buf_reader reader;
	struct buf *frame;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_relay_lookup_decode(&reader, &lookup)) {
		channel_reject(peer->channel, imsg, "not a question about a relay's table");
		return;
	}
	outbound_lookup(directory.site->config, directory.site->tables, &lookup, &found);
	frame = directory_payload();
	ipc_relay_found_encode(frame, &found);
	channel_send(peer->channel, DIRECTORY_RELAY_FOUND, imsg->id, 0, -1, frame);
	explicit_bzero(&found, sizeof(found));
	explicit_bzero(frame->data, frame->length);
}

static void
receive_policy_question(struct peer *peer, const struct imsg *imsg)
{
	static struct ipc_sts_found found;
	struct ipc_sts_domain domain;
	struct buf_reader reader;
	struct buf *frame;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_sts_domain_decode(&reader, &domain)) {
		channel_reject(peer->channel, imsg, "not a question about a policy");
		return;
	}
	if (imsg->type == RELAY_DIRECTORY_POLICY_GET)
		policies_get(directory.policies, domain.domain, clock_wall(), &found);
	else
		policies_due(directory.policies, domain.domain, clock_wall(), &found);
	frame = directory_payload();
	ipc_sts_found_encode(frame, &found);
	channel_send(peer->channel, DIRECTORY_RELAY_POLICY, imsg->id, 0, -1, frame);
}

static void
receive_policy(struct peer *peer, const struct imsg *imsg)
{
	static struct ipc_sts_policy policy;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (ipc_sts_policy_decode(&reader, &policy))
		policies_put(directory.policies, &policy, clock_wall());
	else
		channel_reject(peer->channel, imsg, "not a policy");
}

static void
receive_tls_result(struct peer *peer, const struct imsg *imsg)
{
	static struct ipc_tls_result result;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_tls_result_decode(&reader, &result))
		channel_reject(peer->channel, imsg, "not a result of TLS");
	else if (*directory.site->config->tls_reports_from != '\0')
		tls_sums_add(directory.tls_sums, &result, clock_wall());
}

static void
receive_posted(struct peer *peer, const struct imsg *imsg)
{
	struct ipc_posted posted;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (ipc_posted_decode(&reader, &posted))
		tls_sender_posted(directory.tls_sender, imsg->id, &posted);
	else
		channel_reject(peer->channel, imsg, "not an answer about a report");
}

void
directory_receive_relay(struct peer *peer, struct imsg *imsg)
{
	switch ((enum ipc_relay_directory_type)imsg->type) {
	case RELAY_DIRECTORY_LOOKUP:
		receive_lookup(peer, imsg);
		return;
	case RELAY_DIRECTORY_POLICY_GET:
	case RELAY_DIRECTORY_POLICY_DUE:
		receive_policy_question(peer, imsg);
		return;
	case RELAY_DIRECTORY_POLICY_PUT:
		receive_policy(peer, imsg);
		return;
	case RELAY_DIRECTORY_TLS_RESULT:
		receive_tls_result(peer, imsg);
		return;
	case RELAY_DIRECTORY_POSTED:
		receive_posted(peer, imsg);
		return;
	case DIRECTORY_RELAY_POST:
	case DIRECTORY_RELAY_FOUND:
	case DIRECTORY_RELAY_POLICY:
		break;
	}
	channel_reject(peer->channel, imsg, "not a message of this channel");
}
