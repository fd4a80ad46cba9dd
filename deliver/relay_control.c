/* A listing is answered a portion at a time, at once; an explanation when DNS has answered. */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "common/ipc_control.h"
#include "common/log.h"
#include "deliver/relay_control.h"
#include "deliver/relay_report.h"

struct relay_control {
	struct channel *channel; /* NULL: there is none */
	struct pool *pool;
	struct hoststats *stats;
	struct explainer *explainer;
	uint32_t id; /* of the listing that is being answered */
};

static void
answer(uint32_t id, uint16_t type, const struct buf *payload, void *arg)
{
	const struct relay_control *control = arg;

	if (control->channel != NULL)
		channel_send(control->channel, type, id, 0, -1, payload);
}

struct relay_control *
relay_control_new(struct event_base *base, struct destinations *destinations, struct pool *pool,
    struct hoststats *stats)
{
	struct relay_control *control = calloc(1, sizeof(*control));

	if (control == NULL)
		fatal("relay");
	control->pool = pool;
	control->stats = stats;
	control->explainer = explainer_new(base, destinations, pool, answer, control);
	return control;
}

void
relay_control_free(struct relay_control *control)
{
	if (control == NULL)
		return;
	explainer_free(control->explainer);
	free(control);
}

void
relay_control_set_channel(struct relay_control *control, struct channel *channel)
{
	explainer_forget_all(control->explainer);
	control->channel = channel;
}

static void
send_host(const struct ipc_host *host, void *arg)
{
	struct relay_control *control = arg;
	struct buf payload;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_host_encode(&payload, host);
	answer(control->id, CONTROL_HOST, &payload, control);
	buf_free(&payload);
}

static void
send_stat(const struct ipc_hoststat *stat, void *arg)
{
	struct relay_control *control = arg;
	struct buf payload;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_hoststat_encode(&payload, stat);
	answer(control->id, CONTROL_HOSTSTAT, &payload, control);
	buf_free(&payload);
}

static void
send_done(struct relay_control *control, uint32_t id, uint32_t exit_code, const char *words)
{
	struct ipc_result result = { .exit_code = exit_code };
	struct buf payload;

	(void)snprintf(result.words, sizeof(result.words), "%s", words);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_result_encode(&payload, &result);
	answer(id, CONTROL_DONE, &payload, control);
	buf_free(&payload);
}

static bool
list(struct relay_control *control, const struct imsg *imsg)
{
	struct ipc_relay_list asked;
	struct buf_reader reader;
	struct buf payload;
	uint64_t next;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_relay_list_decode(&reader, &asked) || !buf_reader_done(&reader))
		return false;
	control->id = imsg->id;
	next = imsg->type == CONTROL_HOST_LIST
	    ? pool_report(control->pool, asked.cursor, asked.portion, send_host, control)
	    : hoststats_report(control->stats, asked.cursor, asked.portion, send_stat, control);
	if (next == 0) {
		send_done(control, imsg->id, EX_OK, "");
		return true;
	}
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	buf_add_u64(&payload, next);
	answer(imsg->id, CONTROL_QUEUE_LIST_MORE, &payload, control);
	buf_free(&payload);
	return true;
}

static bool
explain(struct relay_control *control, const struct imsg *imsg)
{
	struct ipc_explain_relay asked;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_explain_relay_decode(&reader, &asked) || !buf_reader_done(&reader))
		return false;
	if (!explainer_begin(control->explainer, imsg->id, &asked, EXPLAIN_MS))
		send_done(control, imsg->id, EX_TEMPFAIL,
		    "too many explanations are asked for at once; try again in a moment");
	return true;
}

bool
relay_control_receive(struct relay_control *control, struct imsg *imsg)
{
	if (imsg->fd != -1)
		return false;
	if (imsg->type == CONTROL_HOST_LIST || imsg->type == CONTROL_HOSTSTAT_LIST)
		return list(control, imsg);
	return imsg->type == CONTROL_EXPLAIN_RELAY && explain(control, imsg);
}
