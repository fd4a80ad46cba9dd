/*
 * Frames from a hostile peer: any bytes, in pieces of any size, with descriptors anywhere. The
 * first byte of each piece says how long it is and whether a descriptor goes with it. Whatever
 * comes is received as frames of allowed length or ends the channel once; what is received is given
 * to the decoders of the supervisor's channel, the most privileged receiver.
 */
#include <sys/socket.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/imsg.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static struct {
	struct event_base *base;
	int null;
	unsigned closed;
} state = { .null = -1 };

static void
decode(const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_peer peer;
	struct ipc_listen listen;
	struct ipc_start start;
	struct ipc_log log;
	struct ipc_mda_start mda;
	struct ipc_done done;
	struct ipc_control control;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	switch (imsg->type % 7) {
	case 0:
		if (ipc_peer_decode(&reader, &peer) && peer.program >= PROGRAM_COUNT)
			abort();
		break;
	case 1:
		(void)ipc_listen_decode(&reader, &listen);
		break;
	case 2:
		(void)ipc_start_decode(&reader, &start);
		break;
	case 3:
		(void)ipc_log_decode(&reader, &log);
		break;
	case 4:
		(void)ipc_mda_start_decode(&reader, &mda);
		break;
	case 5:
		if (ipc_done_decode(&reader, &done) && strlen(done.words) > IPC_WORDS_MAX)
			abort();
		break;
	case 6:
		if (ipc_control_decode(&reader, &control) && control.verb >= CONTROL_VERB_COUNT)
			abort();
		break;
	}
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	if (imsg->length > IMSG_PAYLOAD_MAX || state.closed > 0)
		abort();
	if (imsg->fd != -1 && fcntl(imsg->fd, F_GETFD) == -1)
		abort();
	decode(imsg);
	/* An answer, so that the other direction moves too. */
	channel_send(channel, imsg->type, imsg->id, imsg->peer, -1, NULL);
	if (imsg->type == 0xffff)
		channel_reject(channel, imsg, "by its type");
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
	if (state.closed++ > 0)
		abort();
}

static void
start_once(void)
{
	if (state.base != NULL)
		return;
	state.base = event_base_new();
	state.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (state.base == NULL || state.null == -1)
		abort();
	log_open("fuzz", LOG_TARGET_STDERR, dup(state.null));
}

static void
send_piece(int fd, const uint8_t *data, size_t length, bool with_descriptor)
{
	union {
		struct cmsghdr header;
		uint8_t space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (with_descriptor) {
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&message);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &state.null, sizeof(int));
	}
	/* The other side may have closed. */
	(void)sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct channel *channel;
	size_t length;
	int pair[2];

	start_once();
	state.closed = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		abort();
	channel = channel_new(state.base, "peer", pair[0], on_receive, on_closed, NULL);
	while (size > 1) {
		length = (size_t)(data[0] & 0x7f) + 1;
		if (length > size - 1)
			length = size - 1;
		send_piece(pair[1], data + 1, length, (data[0] & 0x80) != 0);
		data += 1 + length;
		size -= 1 + length;
		(void)event_base_loop(state.base, EVLOOP_NONBLOCK);
	}
	close(pair[1]);
	(void)event_base_loop(state.base, EVLOOP_NONBLOCK);
	if (state.closed != 1)
		abort();
	channel_free(channel);
	return 0;
}
