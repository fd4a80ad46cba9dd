/*
 * Those who wait are found by their request's id. One that has given up isn't found: its socket is
 * closed when it comes.
 */
#include <stdlib.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/ipc_supervisor.h"
#include "deliver/relay_local.h"

struct local_sockets {
	struct channel *supervisor;
	uint32_t last_id;
	TAILQ_HEAD(, local_wait) waiting;
};

struct local_sockets *
local_sockets_new(struct channel *supervisor)
{
	struct local_sockets *sockets = calloc(1, sizeof(*sockets));

	if (sockets == NULL)
		return NULL;
	sockets->supervisor = supervisor;
	TAILQ_INIT(&sockets->waiting);
	return sockets;
}

void
local_sockets_free(struct local_sockets *sockets)
{
	free(sockets);
}

void
local_wait_end(struct local_wait *wait)
{
	if (wait->sockets == NULL)
		return;
	TAILQ_REMOVE(&wait->sockets->waiting, wait, entry);
	wait->sockets = NULL;
}

void
local_sockets_ask(struct local_sockets *sockets, const char *path, struct local_wait *wait)
{
	struct ipc_connect request;
	struct buf payload;

	local_wait_end(wait);
	if (++sockets->last_id == 0)
		sockets->last_id++;
	wait->id = sockets->last_id;
	wait->sockets = sockets;
	TAILQ_INSERT_TAIL(&sockets->waiting, wait, entry);
	strlcpy(request.path, path, sizeof(request.path));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_connect_encode(&payload, &request);
	channel_send(sockets->supervisor, RELAY_SUPERVISOR_CONNECT, wait->id, 0, -1, &payload);
	buf_free(&payload);
}

bool
local_sockets_receive(struct local_sockets *sockets, struct imsg *imsg)
{
	struct ipc_done done;
	struct buf_reader reader;
	struct local_wait *wait;
	int fd = imsg->fd;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_done_decode(&reader, &done))
		return false;
	TAILQ_FOREACH(wait, &sockets->waiting, entry)
	if (wait->id == imsg->id)
		break;
	if (wait == NULL)
		return true; /* it has given up; the frame's owner closes the descriptor */
	local_wait_end(wait);
	imsg->fd = -1;
	if (fd == -1 && done.success)
		wait->connected(-1, "the relay has too many open files", wait->arg);
	else
		wait->connected(fd, done.words, wait->arg);
	return true;
}
