/*
 * Connections to the Unix sockets that actions by LMTP name. The relay, which talks through them, has
 * an empty directory for its root: it asks for each by its path, and can have no other than those of
 * the configuration. Connecting to a Unix socket never waits.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "smtpd/supervisor_state.h"

static bool
is_configured(const struct config *config, const char *path)
{
	for (size_t i = 0; i < config->action_count; i++) {
		const struct action_config *action = &config->actions[i];

		if (action->method == ACTION_LMTP &&
		    strcmp(action->relay_hosts + strlen(LMTP_URL), path) == 0)
			return true;
	}
	return false;
}

/* -1, and why. */
static int
connect_to(const char *path, char *why, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd == -1) {
		snprintf(why, size, "socket: %m");
		return -1;
	}
	strlcpy(address.sun_path, path, sizeof(address.sun_path));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (errno == EAGAIN)
		snprintf(why, size, "too many connections wait to be accepted there");
	else
		snprintf(why, size, "%m");
	close(fd);
	return -1;
}

bool
socket_connect(struct supervisor *supervisor, struct channel *relay, const struct imsg *imsg)
{
	struct ipc_connect request;
	struct ipc_done done = { .success = false };
	struct buf_reader reader;
	struct buf payload;
	int fd = -1;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_connect_decode(&reader, &request) || imsg->fd != -1)
		return false;
	if (is_configured(supervisor->config, request.path))
		fd = connect_to(request.path, done.words, sizeof(done.words));
	else
		snprintf(done.words, sizeof(done.words), "it is not in the configuration");
	done.success = fd != -1;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_done_encode(&payload, &done);
	channel_send(relay, SUPERVISOR_RELAY_CONNECTED, imsg->id, imsg->peer, fd, &payload);
	buf_free(&payload);
	return true;
}
