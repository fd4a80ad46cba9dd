/*
 * Each payload is a struct's fields in their order. An optional reply has a byte before it that says
 * whether it is there.
 */
#include <string.h>

#include "common/ipc_explain.h"

static void
add_reply(struct buf *buf, const struct reply *reply)
{
	buf_add_u8(buf, reply->code != 0);
	if (reply->code != 0)
		reply_encode(buf, reply);
}

static void
get_reply(struct buf_reader *reader, struct reply *reply)
{
	if (buf_get_bool(reader))
		(void)reply_decode(reader, reply);
}

/* A time of the wall clock. */
static int64_t
get_time(struct buf_reader *reader)
{
	int64_t time = (int64_t)buf_get_u64(reader);

	if (time < 0) {
		reader->failed = true;
		return 0;
	}
	return time;
}

static void
add_addresses(struct buf *buf, const struct ipc_addresses *addresses)
{
	buf_add_u32(buf, addresses->count);
	for (uint32_t i = 0; i < addresses->count; i++)
		buf_add_string(buf, addresses->all[i]);
}

static void
get_addresses(struct buf_reader *reader, struct ipc_addresses *addresses)
{
	uint32_t count = buf_get_u32(reader);

	if (count > IPC_HOST_ADDRESSES_MAX) {
		reader->failed = true;
		return;
	}
	for (addresses->count = 0; addresses->count < count && !reader->failed; addresses->count++)
		buf_get_string(reader, addresses->all[addresses->count], sizeof(addresses->all[0]));
}

void
ipc_explain_step_encode(struct buf *buf, const struct ipc_explain_step *step)
{
	buf_add_u8(buf, step->step);
	buf_add_u32(buf, step->line);
	buf_add_string(buf, step->address);
	buf_add_string(buf, step->action);
	buf_add_string(buf, step->to);
	buf_add_string(buf, step->words);
	buf_add_u64(buf, step->quota_bytes);
	buf_add_u64(buf, step->quota_messages);
	buf_add_u8(buf, step->is_known);
	buf_add_u64(buf, step->used_bytes);
	buf_add_u64(buf, step->used_messages);
}

bool
ipc_explain_step_decode(struct buf_reader *reader, struct ipc_explain_step *step)
{
	memset(step, 0, sizeof(*step));
	step->step = buf_get_enum(reader, EXPLAIN_STEP_COUNT);
	step->line = buf_get_u32(reader);
	buf_get_string(reader, step->address, sizeof(step->address));
	buf_get_string(reader, step->action, sizeof(step->action));
	buf_get_string(reader, step->to, sizeof(step->to));
	buf_get_string(reader, step->words, sizeof(step->words));
	step->quota_bytes = buf_get_u64(reader);
	step->quota_messages = buf_get_u64(reader);
	step->is_known = buf_get_bool(reader);
	step->used_bytes = buf_get_u64(reader);
	step->used_messages = buf_get_u64(reader);
	return !reader->failed;
}

void
ipc_explain_relay_encode(struct buf *buf, const struct ipc_explain_relay *relay)
{
	buf_add_string(buf, relay->action);
	buf_add_string(buf, relay->domain);
	buf_add_u64(buf, relay->cursor);
}

bool
ipc_explain_relay_decode(struct buf_reader *reader, struct ipc_explain_relay *relay)
{
	memset(relay, 0, sizeof(*relay));
	buf_get_string(reader, relay->action, sizeof(relay->action));
	buf_get_string(reader, relay->domain, sizeof(relay->domain));
	relay->cursor = buf_get_u64(reader);
	if (*relay->action == '\0' || *relay->domain == '\0')
		reader->failed = true;
	return !reader->failed;
}

void
ipc_explain_route_encode(struct buf *buf, const struct ipc_explain_route *route)
{
	reply_encode(buf, &route->reply);
	buf_add_u8(buf, route->origin);
	buf_add_u8(buf, route->is_secure);
	buf_add_u32(buf, route->count);
	buf_add_u32(buf, route->seconds);
	buf_add_string(buf, route->canonical);
	buf_add_u8(buf, route->sts);
	buf_add_string(buf, route->sts_mx);
}

bool
ipc_explain_route_decode(struct buf_reader *reader, struct ipc_explain_route *route)
{
	memset(route, 0, sizeof(*route));
	if (!reply_decode(reader, &route->reply))
		return false;
	route->origin = buf_get_enum(reader, EXPLAIN_ORIGIN_COUNT);
	route->is_secure = buf_get_bool(reader);
	route->count = buf_get_u32(reader);
	route->seconds = buf_get_u32(reader);
	buf_get_string(reader, route->canonical, sizeof(route->canonical));
	route->sts = buf_get_enum(reader, EXPLAIN_STS_COUNT);
	buf_get_string(reader, route->sts_mx, sizeof(route->sts_mx));
	return !reader->failed;
}

void
ipc_explain_host_encode(struct buf *buf, const struct ipc_explain_host *host)
{
	buf_add_string(buf, host->host);
	buf_add_u16(buf, host->port);
	buf_add_u16(buf, host->preference);
	buf_add_string(buf, host->scheme);
	buf_add_u8(buf, host->is_address);
	buf_add_u8(buf, host->dns);
	buf_add_u8(buf, host->is_secure);
	add_addresses(buf, &host->addresses);
	buf_add_u8(buf, host->is_here);
	buf_add_u8(buf, host->tlsa);
	buf_add_u32(buf, host->tlsa_count);
	buf_add_u8(buf, host->security);
	buf_add_u8(buf, host->implicit_tls);
	buf_add_string(buf, host->words);
}

bool
ipc_explain_host_decode(struct buf_reader *reader, struct ipc_explain_host *host)
{
	memset(host, 0, sizeof(*host));
	buf_get_string(reader, host->host, sizeof(host->host));
	host->port = buf_get_u16(reader);
	host->preference = buf_get_u16(reader);
	buf_get_string(reader, host->scheme, sizeof(host->scheme));
	host->is_address = buf_get_bool(reader);
	host->dns = buf_get_enum(reader, EXPLAIN_DNS_COUNT);
	host->is_secure = buf_get_bool(reader);
	get_addresses(reader, &host->addresses);
	host->is_here = buf_get_bool(reader);
	host->tlsa = buf_get_enum(reader, EXPLAIN_TLSA_COUNT);
	host->tlsa_count = buf_get_u32(reader);
	host->security = buf_get_enum(reader, EXPLAIN_SECURITY_COUNT);
	host->implicit_tls = buf_get_bool(reader);
	buf_get_string(reader, host->words, sizeof(host->words));
	return !reader->failed;
}

void
ipc_explain_queue_encode(struct buf *buf, const struct ipc_explain_queue *queue)
{
	buf_add_u8(buf, queue->stop);
	buf_add_u32(buf, queue->ready);
	buf_add_u32(buf, queue->waiting);
	buf_add_u32(buf, queue->in_flight);
	buf_add_u32(buf, queue->held);
	buf_add_u32(buf, queue->bouncing);
	buf_add_u64(buf, (uint64_t)queue->next_try);
}

bool
ipc_explain_queue_decode(struct buf_reader *reader, struct ipc_explain_queue *queue)
{
	memset(queue, 0, sizeof(*queue));
	queue->stop = buf_get_enum(reader, EXPLAIN_STOP_COUNT);
	queue->ready = buf_get_u32(reader);
	queue->waiting = buf_get_u32(reader);
	queue->in_flight = buf_get_u32(reader);
	queue->held = buf_get_u32(reader);
	queue->bouncing = buf_get_u32(reader);
	queue->next_try = get_time(reader);
	return !reader->failed;
}

void
ipc_host_encode(struct buf *buf, const struct ipc_host *host)
{
	buf_add_u64(buf, host->id);
	buf_add_string(buf, host->host);
	buf_add_u16(buf, host->port);
	buf_add_string(buf, host->scheme);
	buf_add_string(buf, host->action);
	buf_add_string(buf, host->source);
	buf_add_string(buf, host->domain);
	buf_add_u8(buf, host->state);
	buf_add_u8(buf, host->is_stale);
	buf_add_u8(buf, host->security);
	buf_add_u8(buf, host->implicit_tls);
	add_addresses(buf, &host->addresses);
	for (uint32_t i = 0; i < host->addresses.count; i++)
		buf_add_u32(buf, host->connections[i]);
	buf_add_u32(buf, host->connecting);
	buf_add_u32(buf, host->connected);
	buf_add_u32(buf, host->window);
	buf_add_u32(buf, host->waiting);
	buf_add_u32(buf, host->failures);
	buf_add_u32(buf, host->penalty);
	buf_add_u64(buf, host->transactions);
	buf_add_u64(buf, host->failed);
	buf_add_u64(buf, (uint64_t)host->last_connection);
	buf_add_u64(buf, (uint64_t)host->last_failure);
	add_reply(buf, &host->reply);
	buf_add_string(buf, host->tls);
}

bool
ipc_host_decode(struct buf_reader *reader, struct ipc_host *host)
{
	memset(host, 0, sizeof(*host));
	host->id = buf_get_u64(reader);
	buf_get_string(reader, host->host, sizeof(host->host));
	host->port = buf_get_u16(reader);
	buf_get_string(reader, host->scheme, sizeof(host->scheme));
	buf_get_string(reader, host->action, sizeof(host->action));
	buf_get_string(reader, host->source, sizeof(host->source));
	buf_get_string(reader, host->domain, sizeof(host->domain));
	host->state = buf_get_enum(reader, HOST_STATE_COUNT);
	host->is_stale = buf_get_bool(reader);
	host->security = buf_get_enum(reader, EXPLAIN_SECURITY_COUNT);
	host->implicit_tls = buf_get_bool(reader);
	get_addresses(reader, &host->addresses);
	for (uint32_t i = 0; i < host->addresses.count; i++)
		host->connections[i] = buf_get_u32(reader);
	host->connecting = buf_get_u32(reader);
	host->connected = buf_get_u32(reader);
	host->window = buf_get_u32(reader);
	host->waiting = buf_get_u32(reader);
	host->failures = buf_get_u32(reader);
	host->penalty = buf_get_u32(reader);
	host->transactions = buf_get_u64(reader);
	host->failed = buf_get_u64(reader);
	host->last_connection = get_time(reader);
	host->last_failure = get_time(reader);
	get_reply(reader, &host->reply);
	buf_get_string(reader, host->tls, sizeof(host->tls));
	if (host->id == 0)
		reader->failed = true;
	return !reader->failed;
}

void
ipc_hoststat_encode(struct buf *buf, const struct ipc_hoststat *stat)
{
	buf_add_u64(buf, stat->id);
	buf_add_string(buf, stat->domain);
	buf_add_u64(buf, (uint64_t)stat->time);
	reply_encode(buf, &stat->reply);
	buf_add_string(buf, stat->host);
}

bool
ipc_hoststat_decode(struct buf_reader *reader, struct ipc_hoststat *stat)
{
	memset(stat, 0, sizeof(*stat));
	stat->id = buf_get_u64(reader);
	buf_get_string(reader, stat->domain, sizeof(stat->domain));
	stat->time = get_time(reader);
	if (!reply_decode(reader, &stat->reply))
		return false;
	buf_get_string(reader, stat->host, sizeof(stat->host));
	if (stat->id == 0)
		reader->failed = true;
	return !reader->failed;
}

void
ipc_relay_list_encode(struct buf *buf, const struct ipc_relay_list *list)
{
	buf_add_u64(buf, list->cursor);
	buf_add_u32(buf, list->portion);
}

bool
ipc_relay_list_decode(struct buf_reader *reader, struct ipc_relay_list *list)
{
	memset(list, 0, sizeof(*list));
	list->cursor = buf_get_u64(reader);
	list->portion = buf_get_u32(reader);
	if (list->portion == 0 || list->portion > IPC_RELAY_PORTION_MAX)
		reader->failed = true;
	return !reader->failed;
}
