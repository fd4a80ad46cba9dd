/*
 * The directory may name a destination many times, and many of them: each is asked about once, up to
 * a bound. A destination begins with the relay, which may take half a minute when DNS is slow, so that
 * the bound on all of them together is one of time.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "smtpctl/control_explain.h"

enum stage {
	STAGE_DIRECTORY,
	STAGE_RELAY,
	STAGE_QUEUE,
};

struct explanation {
	enum stage stage;
	int64_t began_ms;
	struct ipc_result result;
	struct ipc_explain_relay routes[EXPLAIN_ROUTES_MAX];
	size_t count;
	size_t next; /* route to begin with */
	bool has_more;
};

struct explanation *
explanation_new(int64_t now_ms)
{
	struct explanation *explanation = calloc(1, sizeof(*explanation));

	if (explanation == NULL)
		fatal("request");
	explanation->began_ms = now_ms;
	return explanation;
}

void
explanation_free(struct explanation *explanation)
{
	free(explanation);
}

static void
add_route(struct explanation *explanation, const struct ipc_explain_step *step)
{
	struct ipc_explain_relay *route = explanation->routes;

	for (size_t i = 0; i < explanation->count; i++, route++)
		if (strcmp(route->action, step->action) == 0 &&
		    strcmp(route->domain, step->to) == 0)
			return;
	if (explanation->count == EXPLAIN_ROUTES_MAX) {
		explanation->has_more = true;
		return;
	}
	if (strlen(step->to) >= sizeof(route->domain))
		return;
	strlcpy(route->action, step->action, sizeof(route->action));
	strlcpy(route->domain, step->to, sizeof(route->domain));
	explanation->count++;
}

bool
explanation_note_step(struct explanation *explanation, const struct imsg *imsg)
{
	struct ipc_explain_step step;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_explain_step_decode(&reader, &step) || !buf_reader_done(&reader))
		return false;
	if (step.step == EXPLAIN_RELAY && *step.to != '\0' && *step.action != '\0')
		add_route(explanation, &step);
	return true;
}

void
explanation_set_result(struct explanation *explanation, const struct ipc_result *result)
{
	explanation->result = *result;
}

const struct ipc_result *
explanation_result(const struct explanation *explanation)
{
	return &explanation->result;
}

enum control_peer
explanation_next(
    struct explanation *explanation, int64_t now_ms, struct buf *payload, bool *begins, bool *more)
{
	*begins = false;
	*more = false;
	buf_clear(payload);
	if (explanation->stage == STAGE_RELAY) {
		explanation->stage = STAGE_QUEUE;
		explanation_go_on(explanation, 0, payload);
		return CONTROL_PEER_QUEUE;
	}
	if (explanation->next == explanation->count ||
	    now_ms - explanation->began_ms > EXPLANATION_MS) {
		*more = explanation->has_more || explanation->next < explanation->count;
		return CONTROL_PEER_NONE;
	}
	explanation->stage = STAGE_RELAY;
	explanation->next++;
	*begins = true;
	explanation_go_on(explanation, 0, payload);
	return CONTROL_PEER_RELAY;
}

void
explanation_go_on(const struct explanation *explanation, uint64_t cursor, struct buf *payload)
{
	struct ipc_explain_relay route = explanation->routes[explanation->next - 1];

	route.cursor = cursor;
	buf_clear(payload);
	ipc_explain_relay_encode(payload, &route);
}

static bool
is_host(struct buf_reader *reader)
{
	struct ipc_host host;

	return ipc_host_decode(reader, &host);
}

static bool
is_stat(struct buf_reader *reader)
{
	struct ipc_hoststat stat;

	return ipc_hoststat_decode(reader, &stat);
}

static bool
is_route(struct buf_reader *reader)
{
	struct ipc_explain_route route;

	return ipc_explain_route_decode(reader, &route);
}

static bool
is_explained_host(struct buf_reader *reader)
{
	struct ipc_explain_host host;

	return ipc_explain_host_decode(reader, &host);
}

bool
control_relay_frame_is_good(enum ipc_control_type order, const struct imsg *imsg, unsigned count)
{
	bool explains = order == CONTROL_EXPLAIN, good = false;
	struct buf_reader reader;

	if (imsg->fd != -1 || count >= RELAY_FRAMES_MAX)
		return false;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	/* The first frame of an explanation is its route, and no other is one. */
	if (explains && (count == 0) != (imsg->type == CONTROL_EXPLAIN_ROUTE))
		return false;
	if (imsg->type == CONTROL_EXPLAIN_ROUTE)
		good = explains && is_route(&reader);
	else if (imsg->type == CONTROL_EXPLAIN_HOST)
		good = explains && is_explained_host(&reader);
	else if (imsg->type == CONTROL_HOST)
		good = (explains || order == CONTROL_HOST_LIST) && is_host(&reader);
	else if (imsg->type == CONTROL_HOSTSTAT)
		good = order == CONTROL_HOSTSTAT_LIST && is_stat(&reader);
	return good && buf_reader_done(&reader);
}
