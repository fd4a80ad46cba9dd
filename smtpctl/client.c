/*
 * Blocking frames over the control socket.
 *
 * Bytes are read as they come and cut into frames by imsg_parse_header(), the same judge that the
 * channels use. The kernel never merges the bytes of two descriptors into one read, and control
 * sends a descriptor only with the last frame of an answer, so one at a time is enough to remember.
 */
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <err.h>
#include <errno.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "smtpctl/client.h"

/* Longer than any deadline that control gives the others; then it is control that hangs. */
#define ANSWER_SECONDS 90

void
client_init(struct client *client, int fd)
{
	memset(client, 0, sizeof(*client));
	client->fd = fd;
	client->received_fd = -1;
}

void
client_close(struct client *client)
{
	if (client->received_fd != -1)
		close(client->received_fd);
	if (client->fd != -1)
		close(client->fd);
	client->fd = client->received_fd = -1;
}

int
client_connect(const char *path, int *fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };
	size_t length = strlen(path);

	if (length >= sizeof(address.sun_path)) {
		warnx("%s: too long for a socket's path", path);
		return EX_USAGE;
	}
	memcpy(address.sun_path, path, length + 1);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd == -1) {
		warn("socket");
		return EX_OSERR;
	}
	if (setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
	    setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0)
		warn("setsockopt");
	if (connect(*fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return 0;
	if (errno == EACCES || errno == EPERM) {
		warn("%s", path);
		close(*fd);
		return EX_NOPERM;
	}
	if (errno == ENOENT || errno == ECONNREFUSED)
		warnx("smtpd doesn't seem to be running");
	else
		warn("smtpd doesn't seem to be running: %s", path);
	close(*fd);
	return EX_UNAVAILABLE;
}

static bool
send_all(int fd, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

		if (sent == -1 && errno == EINTR)
			continue;
		if (sent == -1)
			return false;
		bytes += sent;
		length -= (size_t)sent;
	}
	return true;
}

bool
client_send(struct client *client, enum ipc_control_type type, const struct buf *payload)
{
	size_t length = payload == NULL ? 0 : payload->length;
	struct buf frame;
	bool sent;

	buf_init(&frame, IMSG_HEADER_SIZE + IMSG_PAYLOAD_MAX);
	buf_add_u16(&frame, (uint16_t)type);
	buf_add_u16(&frame, 0);
	buf_add_u32(&frame, (uint32_t)(IMSG_HEADER_SIZE + length));
	buf_add_u32(&frame, ++client->id);
	buf_add_u32(&frame, 0);
	if (length > 0)
		buf_add(&frame, payload->data, length);
	if (!buf_ok(&frame) || (payload != NULL && !buf_ok(payload))) {
		errno = EMSGSIZE;
		sent = false;
	} else
		sent = send_all(client->fd, frame.data, frame.length);
	if (frame.data != NULL)
		explicit_bzero(frame.data, frame.length); /* it may have held a password's hash */
	buf_free(&frame);
	return sent;
}

/* Keeps the first descriptor, closes any other. */
static void
take_descriptors(struct client *client, struct msghdr *message)
{
	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL;
	     control = CMSG_NXTHDR(message, control)) {
		size_t count;

		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
			if (client->received_fd == -1)
				client->received_fd = fd;
			else
				close(fd);
		}
	}
}

static bool
receive_more(struct client *client, const char **why)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec part;
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space) };
	ssize_t count;

	memmove(client->bytes, client->bytes + client->start, client->length);
	client->start = 0;
	part.iov_base = client->bytes + client->length;
	part.iov_len = sizeof(client->bytes) - client->length;
	do
		count = recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC);
	while (count == -1 && errno == EINTR);
	if (count == -1) {
		*why = errno == EAGAIN ? "no answer from smtpd" : strerror(errno);
		return false;
	}
	if (count == 0) {
		*why = "smtpd closed the connection";
		return false;
	}
	take_descriptors(client, &message);
	client->length += (size_t)count;
	return true;
}

bool
client_receive(struct client *client, struct imsg *imsg, const char **why)
{
	for (;;) {
		uint16_t flags;
		int frame =
		    imsg_parse_header(client->bytes + client->start, client->length, imsg, &flags);

		if (frame < 0) {
			*why = "smtpd answered what smtpctl doesn't understand";
			return false;
		}
		if (frame > 0 && (size_t)frame <= client->length) {
			imsg->payload = client->bytes + client->start + IMSG_HEADER_SIZE;
			imsg->length = (size_t)frame - IMSG_HEADER_SIZE;
			imsg->fd = -1;
			client->start += (size_t)frame;
			client->length -= (size_t)frame;
			if ((flags & IMSG_FLAG_DESCRIPTOR) != 0) {
				imsg->fd = client->received_fd;
				client->received_fd = -1;
			}
			return true;
		}
		if (!receive_more(client, why))
			return false;
	}
}
