/*
 * Channels. What is sent during a turn of the event loop is collected and leaves when the events of
 * that turn have been served: an event activated from a callback runs after those already active,
 * without letting new input go first, so that a flood of input can't hold answers back.
 *
 * Descriptors leave in the same sendmsg() as the first byte of their frame or before it, at most
 * DESCRIPTORS_AT_ONCE of them and with at most ATOMIC_BYTES of frames, which the kernel takes whole
 * or not at all. The receiver keeps them in the order in which they came and gives the oldest to
 * each frame that is flagged. When all that was sent has been read, no frame is half there and one
 * is left, it came with a frame that had no flag, and the channel ends.
 *
 * One event reads once (bounded by the buffer), so a talkative peer takes its turns like others.
 */
#include <sys/socket.h>
#include <sys/uio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/imsg.h"
#include "common/log.h"

#define FRAME_MAX           (IMSG_HEADER_SIZE + IMSG_PAYLOAD_MAX)
#define INPUT_BYTES         (64 * 1024) /* at least a frame, and what one read may take */
#define ATOMIC_BYTES        (32 * 1024)
#define WRITE_BYTES         (256 * 1024)        /* at once, without descriptors */
#define FLUSH_BYTES         (128 * 1024)        /* don't wait for the end of the turn */
#define KEEP_BYTES          (256 * 1024)        /* an output buffer that is larger is given back */
#define OUTPUT_MAX          (256 * 1024 * 1024) /* a peer that reads nothing */
#define DESCRIPTORS_AT_ONCE 64
#define DESCRIPTORS_MESSAGE 253 /* Linux's SCM_MAX_FD: all that a peer can send at once */
#define DESCRIPTORS_WAITING 512
#define RETRY_MS            20
#define ROUNDS_MAX          8 /* reads of one turn */

_Static_assert(ATOMIC_BYTES >= FRAME_MAX, "a frame with a descriptor leaves whole");
_Static_assert(INPUT_BYTES >= FRAME_MAX, "a frame fits the input");

enum channel_state {
	CHANNEL_OPEN,
	CHANNEL_ENDING, /* dead, `closed` not yet called */
	CHANNEL_DEAD,
};

/* A descriptor to send, and where in the stream its frame begins. */
struct outgoing {
	uint64_t position;
	int fd;
};

/* A descriptor received, and where in the stream the bytes began that it came with. */
struct incoming {
	uint64_t position;
	int fd;
};

struct channel {
	struct event_base *base;
	char name[32];
	int fd;
	enum channel_state state;
	char why[128];
	bool paused;
	bool rejected;     /* ended by this side */
	bool write_failed; /* the peer is gone: only what it had sent is still read */
	bool freed;        /* by a callback; done when the callback has returned */
	unsigned callbacks;

	channel_receive_fn receive;
	channel_closed_fn closed;
	void (*drained)(struct channel *, void *);
	void *arg;

	struct event *readable;
	struct event *writable;
	struct event *later; /* end of this turn: flush, or tell of the end */

	uint8_t *input; /* INPUT_BYTES */
	size_t input_start;
	size_t input_length;
	struct incoming waiting[DESCRIPTORS_WAITING]; /* for frames still to come; a ring */
	size_t waiting_first;
	size_t waiting_count;
	uint64_t received; /* bytes of the stream */
	uint64_t lost;     /* descriptors of frames before this position may be gone */

	uint8_t *output;
	size_t output_start;
	size_t output_length; /* behind output_start */
	size_t output_capacity;
	uint64_t position; /* in the stream, of output_start */
	struct outgoing *outgoing;
	size_t outgoing_first;
	size_t outgoing_count;
	size_t outgoing_capacity;
};

static void on_readable(evutil_socket_t, short, void *);
static void on_writable(evutil_socket_t, short, void *);
static void on_later(evutil_socket_t, short, void *);

static void
put_le(uint8_t *to, uint32_t value, size_t width)
{
	size_t i;

	for (i = 0; i < width; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t
get_le(const uint8_t *from, size_t width)
{
	uint32_t value = 0;
	size_t i;

	for (i = 0; i < width; i++)
		value |= (uint32_t)from[i] << (8 * i);
	return value;
}

int
imsg_parse_header(const uint8_t *data, size_t length, struct imsg *imsg, uint16_t *flags)
{
	uint32_t whole;

	if (length < IMSG_HEADER_SIZE)
		return 0;
	imsg->type = (uint16_t)get_le(data, 2);
	*flags = (uint16_t)get_le(data + 2, 2);
	whole = get_le(data + 4, 4);
	imsg->id = get_le(data + 8, 4);
	imsg->peer = get_le(data + 12, 4);
	imsg->fd = -1;
	imsg->descriptor_lost = false;
	imsg->payload = data + IMSG_HEADER_SIZE;
	imsg->length = 0;
	if (whole < IMSG_HEADER_SIZE || whole > FRAME_MAX)
		return -1;
	if ((*flags & ~IMSG_FLAG_DESCRIPTOR) != 0)
		return -1;
	imsg->length = whole - IMSG_HEADER_SIZE;
	if (length < whole)
		return 0;
	return (int)whole;
}

struct channel *
channel_new(struct event_base *base, const char *name, int fd, channel_receive_fn receive,
    channel_closed_fn closed, void *arg)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	int flags = fcntl(fd, F_GETFL);

	if (channel == NULL || flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
		fatal("channel to %s", name);
	strlcpy(channel->name, name, sizeof(channel->name));
	channel->base = base;
	channel->fd = fd;
	channel->receive = receive;
	channel->closed = closed;
	channel->arg = arg;
	channel->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, channel);
	channel->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, channel);
	channel->later = evtimer_new(base, on_later, channel);
	/* Answers leave in the turn that made them; see above. */
	if (channel->readable == NULL || channel->writable == NULL || channel->later == NULL ||
	    event_priority_set(channel->readable, 0) != 0 ||
	    event_priority_set(channel->writable, 0) != 0 ||
	    event_priority_set(channel->later, 0) != 0 || event_add(channel->readable, NULL) != 0)
		fatalx("channel to %s: no events", name);
	return channel;
}

static void
drop_output(struct channel *channel)
{
	size_t i;

	for (i = 0; i < channel->outgoing_count; i++)
		close(channel->outgoing[channel->outgoing_first + i].fd);
	channel->outgoing_first = 0;
	channel->outgoing_count = 0;
	channel->output_start = 0;
	channel->output_length = 0;
	event_del(channel->writable);
}

/* The descriptor for a frame that begins at `position`; -1 when none came with or before it. */
static int
take_waiting(struct channel *channel, uint64_t position)
{
	const struct incoming *incoming = &channel->waiting[channel->waiting_first];

	if (channel->waiting_count == 0 || incoming->position > position)
		return -1;
	channel->waiting_first = (channel->waiting_first + 1) % DESCRIPTORS_WAITING;
	channel->waiting_count--;
	return incoming->fd;
}

static void
destroy(struct channel *channel)
{
	int fd;

	drop_output(channel);
	while ((fd = take_waiting(channel, UINT64_MAX)) != -1)
		close(fd);
	event_free(channel->readable);
	event_free(channel->writable);
	event_free(channel->later);
	close(channel->fd);
	free(channel->input);
	free(channel->output);
	free(channel->outgoing);
	free(channel);
}

/* Around each call of a callback: true when the channel is still there afterwards. */
static bool
leave_callback(struct channel *channel)
{
	channel->callbacks--;
	if (!channel->freed)
		return true;
	if (channel->callbacks == 0)
		destroy(channel);
	return false;
}

/* The channel is over; its owner is told at the end of this turn, never from within its own call.
 */
static void
end(struct channel *channel, bool rejected, const char *why)
{
	if (channel->state != CHANNEL_OPEN)
		return;
	channel->state = CHANNEL_ENDING;
	channel->rejected = rejected;
	strlcpy(channel->why, why, sizeof(channel->why));
	event_del(channel->readable);
	drop_output(channel);
	event_active(channel->later, EV_TIMEOUT, 0);
}

static void
tell_end(struct channel *channel)
{
	channel->state = CHANNEL_DEAD;
	channel->callbacks++;
	channel->closed(channel, channel->why, channel->arg);
	(void)leave_callback(channel);
}

/*
 * The peer takes nothing any more. What it sent before it went is still to be read, so the channel
 * ends when the reader finds the end of that.
 */
static void
fail_write(struct channel *channel)
{
	channel->write_failed = true;
	drop_output(channel);
	(void)shutdown(channel->fd, SHUT_RDWR);
}

/* How much of the output may leave in one sendmsg(), and how many descriptors go with it. */
static size_t
portion(const struct channel *channel, size_t *descriptors)
{
	const struct outgoing *outgoing;
	size_t length = channel->output_length, offset, i;

	*descriptors = 0;
	if (length > WRITE_BYTES)
		length = WRITE_BYTES;
	if (channel->outgoing_count == 0)
		return length;
	outgoing = channel->outgoing + channel->outgoing_first;
	if (outgoing[0].position - channel->position >= ATOMIC_BYTES) {
		offset = (size_t)(outgoing[0].position - channel->position);
		return offset < length ? offset : length;
	}
	for (i = 0; i < channel->outgoing_count && i < DESCRIPTORS_AT_ONCE; i++)
		if (outgoing[i].position - channel->position >= ATOMIC_BYTES)
			break;
	*descriptors = i;
	if (length > ATOMIC_BYTES)
		length = ATOMIC_BYTES;
	if (i < channel->outgoing_count) {
		offset = (size_t)(outgoing[i].position - channel->position);
		if (offset < length)
			length = offset;
	}
	return length;
}

static void
consume_output(struct channel *channel, size_t length, size_t descriptors)
{
	size_t i;

	for (i = 0; i < descriptors; i++)
		close(channel->outgoing[channel->outgoing_first + i].fd);
	channel->outgoing_first += descriptors;
	channel->outgoing_count -= descriptors;
	if (channel->outgoing_count == 0)
		channel->outgoing_first = 0;
	channel->position += length;
	channel->output_start += length;
	channel->output_length -= length;
	if (channel->output_length > 0)
		return;
	channel->output_start = 0;
	if (channel->output_capacity > KEEP_BYTES) {
		free(channel->output);
		channel->output = NULL;
		channel->output_capacity = 0;
	}
}

/* One sendmsg(); false when the socket takes no more now. */
static bool
write_some(struct channel *channel)
{
	union {
		struct cmsghdr header;
		uint8_t space[CMSG_SPACE(DESCRIPTORS_AT_ONCE * sizeof(int))];
	} control;
	struct msghdr message = { 0 };
	struct iovec data;
	struct cmsghdr *cmsg;
	struct timeval retry = { .tv_usec = RETRY_MS * 1000 };
	size_t descriptors, i;
	ssize_t written;
	int *fds;

	data.iov_base = channel->output + channel->output_start;
	data.iov_len = portion(channel, &descriptors);
	message.msg_iov = &data;
	message.msg_iovlen = 1;
	if (descriptors > 0) {
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&message);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(descriptors * sizeof(int));
		fds = (int *)(void *)CMSG_DATA(cmsg);
		for (i = 0; i < descriptors; i++)
			fds[i] = channel->outgoing[channel->outgoing_first + i].fd;
	}
	do {
		written = sendmsg(channel->fd, &message, MSG_NOSIGNAL);
	} while (written == -1 && errno == EINTR);
	if (written >= 0) {
		consume_output(channel, (size_t)written, descriptors);
		return true;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		(void)event_add(channel->writable, NULL);
	} else if (errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM) {
		/* Too much is under way in the kernel; the socket itself would say "ready". */
		event_del(channel->writable);
		(void)event_add(channel->later, &retry);
	} else {
		fail_write(channel);
	}
	return false;
}

void
channel_flush(struct channel *channel)
{
	if (channel->state != CHANNEL_OPEN || channel->write_failed)
		return;
	while (channel->output_length > 0)
		if (!write_some(channel))
			return;
	if (event_pending(channel->writable, EV_WRITE, NULL))
		event_del(channel->writable);
}

void
channel_free(struct channel *channel)
{
	if (channel == NULL || channel->freed)
		return;
	channel_flush(channel);
	channel->freed = true;
	channel->state = CHANNEL_DEAD;
	if (channel->callbacks == 0)
		destroy(channel);
}

/* Room for `length` more bytes; false when the peer has let too much pile up. */
static bool
reserve_output(struct channel *channel, size_t length)
{
	size_t needed = channel->output_length + length, capacity;
	uint8_t *output;

	if (needed > OUTPUT_MAX)
		return false;
	if (channel->output_start + needed <= channel->output_capacity)
		return true;
	/* Moved only once what was written is as much as what is left: linear in all. */
	if (needed <= channel->output_capacity && channel->output_start >= channel->output_length) {
		memmove(channel->output, channel->output + channel->output_start,
		    channel->output_length);
		channel->output_start = 0;
		return true;
	}
	capacity = channel->output_capacity == 0 ? 4096 : channel->output_capacity;
	while (capacity < channel->output_start + needed)
		capacity *= 2;
	output = realloc(channel->output, capacity);
	if (output == NULL)
		return false;
	channel->output = output;
	channel->output_capacity = capacity;
	return true;
}

static bool
queue_descriptor(struct channel *channel, int fd)
{
	struct outgoing *outgoing;
	size_t used = channel->outgoing_first + channel->outgoing_count, capacity;

	if (used == channel->outgoing_capacity && channel->outgoing_first > used / 2) {
		memmove(channel->outgoing, channel->outgoing + channel->outgoing_first,
		    channel->outgoing_count * sizeof(*outgoing));
		channel->outgoing_first = 0;
		used = channel->outgoing_count;
	}
	if (used == channel->outgoing_capacity) {
		capacity = used == 0 ? 16 : used * 2;
		outgoing = reallocarray(channel->outgoing, capacity, sizeof(*outgoing));
		if (outgoing == NULL)
			return false;
		channel->outgoing = outgoing;
		channel->outgoing_capacity = capacity;
	}
	outgoing = &channel->outgoing[used];
	outgoing->position = channel->position + channel->output_length;
	outgoing->fd = fd;
	channel->outgoing_count++;
	return true;
}

static void
trace_frame(const char *event, const char *direction, const struct channel *channel, uint16_t type,
    uint32_t id, uint32_t peer, size_t length, bool has_fd)
{
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_IMSG, event))
		return;
	log_text(&line, direction, channel->name);
	log_number(&line, "type", type);
	log_number(&line, "id", id);
	log_number(&line, "peer", peer);
	log_number(&line, "bytes", (int64_t)length);
	log_text(&line, "descriptor", has_fd ? "yes" : "no");
	log_end(&line);
}

void
channel_send(struct channel *channel, uint16_t type, uint32_t id, uint32_t peer, int fd,
    const struct buf *payload)
{
	size_t length = payload == NULL ? 0 : payload->length;
	uint8_t *frame;

	if (payload != NULL && payload->no_memory)
		fatalx("out of memory");
	if (payload != NULL && (!buf_ok(payload) || length > IMSG_PAYLOAD_MAX)) {
		log_error("frame of type %u to %s is too long", type, channel->name);
		abort();
	}
	if (channel->state != CHANNEL_OPEN || channel->write_failed) {
		if (fd != -1)
			close(fd);
		return;
	}
	if (!reserve_output(channel, IMSG_HEADER_SIZE + length) ||
	    (fd != -1 && !queue_descriptor(channel, fd))) {
		if (fd != -1)
			close(fd);
		end(channel, true, "does not read what it is sent");
		return;
	}
	frame = channel->output + channel->output_start + channel->output_length;
	put_le(frame, type, 2);
	put_le(frame + 2, fd == -1 ? 0 : IMSG_FLAG_DESCRIPTOR, 2);
	put_le(frame + 4, (uint32_t)(IMSG_HEADER_SIZE + length), 4);
	put_le(frame + 8, id, 4);
	put_le(frame + 12, peer, 4);
	if (length > 0)
		memcpy(frame + IMSG_HEADER_SIZE, payload->data, length);
	channel->output_length += IMSG_HEADER_SIZE + length;
	if (log_is_traced(LOG_TRACE_IMSG))
		trace_frame("imsg-sent", "to", channel, type, id, peer, length, fd != -1);
	if (channel->output_length >= FLUSH_BYTES &&
	    !event_pending(channel->writable, EV_WRITE, NULL))
		channel_flush(channel);
	event_active(channel->later, EV_TIMEOUT, 0);
}

size_t
channel_queued(const struct channel *channel)
{
	return channel->output_length;
}

void
channel_on_drained(struct channel *channel, void (*drained)(struct channel *, void *))
{
	channel->drained = drained;
}

void
channel_pause(struct channel *channel, bool paused)
{
	if (channel->paused == paused)
		return;
	channel->paused = paused;
	if (channel->state != CHANNEL_OPEN)
		return;
	if (paused) {
		event_del(channel->readable);
	} else {
		(void)event_add(channel->readable, NULL);
		/* Whole frames may be waiting in the buffer. */
		event_active(channel->readable, EV_READ, 0);
	}
}

void
channel_reject(struct channel *channel, const struct imsg *imsg, const char *why)
{
	struct log_line line;
	char text[128];

	log_begin(&line, LOG_LEVEL_WARNING, "frame-rejected");
	log_text(&line, "peer", channel->name);
	log_number(&line, "type", imsg->type);
	log_text(&line, "reason", why);
	log_end(&line);
	snprintf(text, sizeof(text), "frame of type %u rejected: %s", imsg->type, why);
	end(channel, true, text);
}

bool
channel_was_rejected(const struct channel *channel)
{
	return channel->rejected;
}

const char *
channel_name(const struct channel *channel)
{
	return channel->name;
}

/* Keeps the descriptors of one recvmsg(); NULL, or why the channel ends. */
static const char *
collect_descriptors(struct channel *channel, struct msghdr *message)
{
	const char *why = NULL;
	struct cmsghdr *cmsg;
	size_t count, i, last;
	const int *fds;

	for (cmsg = CMSG_FIRSTHDR(message); cmsg != NULL; cmsg = CMSG_NXTHDR(message, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		fds = (const int *)(const void *)CMSG_DATA(cmsg);
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < count; i++) {
			if (channel->waiting_count == DESCRIPTORS_WAITING) {
				close(fds[i]);
				why = "descriptors without frames";
				continue;
			}
			last =
			    (channel->waiting_first + channel->waiting_count) % DESCRIPTORS_WAITING;
			channel->waiting[last] = (struct incoming){ channel->received, fds[i] };
			channel->waiting_count++;
		}
	}
	return why;
}

enum read_result {
	READ_SOME,
	READ_NOTHING, /* for now */
	READ_ENDED
};

static enum read_result
read_some(struct channel *channel)
{
	union {
		struct cmsghdr header;
		uint8_t space[CMSG_SPACE(DESCRIPTORS_MESSAGE * sizeof(int))];
	} control;
	struct msghdr message = { 0 };
	struct iovec data;
	const char *why;
	ssize_t length;

	if (channel->input == NULL && (channel->input = malloc(INPUT_BYTES)) == NULL) {
		end(channel, true, "out of memory");
		return READ_ENDED;
	}
	if (channel->input_start > 0) {
		memmove(
		    channel->input, channel->input + channel->input_start, channel->input_length);
		channel->input_start = 0;
	}
	data.iov_base = channel->input + channel->input_length;
	data.iov_len = INPUT_BYTES - channel->input_length;
	message.msg_iov = &data;
	message.msg_iovlen = 1;
	message.msg_control = &control;
	message.msg_controllen = sizeof(control);
	do {
		length = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (length == -1 && errno == EINTR);
	if (length == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return READ_NOTHING;
	if (length == -1) {
		/* A reset is a close by a peer that had not read all it was sent. */
		end(channel, false, errno == ECONNRESET ? "closed" : strerror(errno));
		return READ_ENDED;
	}
	if (length == 0) {
		end(channel, false, channel->input_length > 0 ? "closed within a frame" : "closed");
		return READ_ENDED;
	}
	channel->input_length += (size_t)length;
	why = collect_descriptors(channel, &message);
	channel->received += (uint64_t)length;
	if ((message.msg_flags & MSG_CTRUNC) != 0) {
		if (channel->lost == 0)
			log_error("descriptors from %s are lost: this process has too many open",
			    channel->name);
		channel->lost = channel->received + ATOMIC_BYTES;
	}
	if (why != NULL) {
		end(channel, true, why);
		return READ_ENDED;
	}
	return READ_SOME;
}

/* Hands one frame over; false when the channel is gone or over. */
static bool
deliver(struct channel *channel, struct imsg *imsg, uint16_t flags, uint64_t position)
{
	if ((flags & IMSG_FLAG_DESCRIPTOR) != 0) {
		imsg->fd = take_waiting(channel, position);
		imsg->descriptor_lost = imsg->fd == -1 && position < channel->lost;
		if (imsg->fd == -1 && !imsg->descriptor_lost) {
			channel_reject(channel, imsg, "descriptor missing");
			return false;
		}
	}
	if (log_is_traced(LOG_TRACE_IMSG))
		trace_frame("imsg-received", "from", channel, imsg->type, imsg->id, imsg->peer,
		    imsg->length, imsg->fd != -1);
	channel->callbacks++;
	channel->receive(channel, imsg, channel->arg);
	if (imsg->fd != -1)
		close(imsg->fd);
	return leave_callback(channel) && channel->state == CHANNEL_OPEN;
}

/* Hands over all whole frames; false when the channel is gone or over. */
static bool
deliver_frames(struct channel *channel)
{
	struct imsg imsg;
	uint64_t position;
	uint16_t flags;
	int length;

	while (!channel->paused) {
		position = channel->received - channel->input_length;
		length = imsg_parse_header(
		    channel->input + channel->input_start, channel->input_length, &imsg, &flags);
		if (length == 0)
			break;
		if (length < 0) {
			/* Without waiting for its payload. */
			channel_reject(channel, &imsg, "header not allowed");
			return false;
		}
		channel->input_start += (size_t)length;
		channel->input_length -= (size_t)length;
		if (!deliver(channel, &imsg, flags, position))
			return false;
	}
	return true;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct channel *channel = arg;

	(void)fd;
	(void)what;
	if (channel->state != CHANNEL_OPEN)
		return;
	/* What was in the buffer when a pause ended comes first. */
	if (channel->input_length > 0 && !deliver_frames(channel))
		return;
	/* Once, and while descriptors wait for their frames a few times more: those are there. */
	for (unsigned round = 0; round < ROUNDS_MAX && !channel->paused; round++) {
		switch (read_some(channel)) {
		case READ_SOME:
			if (!deliver_frames(channel))
				return;
			break;
		case READ_NOTHING:
			if (channel->waiting_count > 0 && channel->input_length == 0)
				end(channel, true, "descriptor left over");
			return;
		case READ_ENDED:
			return;
		}
		if (channel->waiting_count == 0 || channel->input_length > 0)
			return;
	}
}

static void
flush_and_tell(struct channel *channel)
{
	channel_flush(channel);
	if (channel->state != CHANNEL_OPEN || channel->output_length > 0 ||
	    channel->drained == NULL || channel->write_failed)
		return;
	channel->callbacks++;
	channel->drained(channel, channel->arg);
	(void)leave_callback(channel);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush_and_tell(arg);
}

static void
on_later(evutil_socket_t fd, short what, void *arg)
{
	struct channel *channel = arg;

	(void)fd;
	(void)what;
	switch (channel->state) {
	case CHANNEL_OPEN:
		/* While the socket takes no more, on_writable() goes on. */
		if (!event_pending(channel->writable, EV_WRITE, NULL))
			flush_and_tell(channel);
		break;
	case CHANNEL_ENDING:
		tell_end(channel);
		break;
	case CHANNEL_DEAD:
		break;
	}
}
