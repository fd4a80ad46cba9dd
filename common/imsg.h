/*
 * Frames between processes over a SOCK_STREAM Unix socket pair, after OpenBSD's imsg.
 *
 * A frame is a 16-byte header and at most 16 KiB of payload, little endian:
 *
 *	type u16 | flags u16 | length u32 (header included) | id u32 | peer u32
 *
 * `id` names a request; its answers carry the same id. `peer` is free for the channel's use.
 * At most one descriptor travels with a frame (flag IMSG_FLAG_DESCRIPTOR); several frames and their
 * descriptors share one sendmsg() and one recvmsg(). Frames sent during one turn of the event loop
 * leave together at its end.
 *
 * When this process is out of descriptors, those that came are gone: their frames are handed over
 * without, marked `descriptor_lost`, and the receiver answers that it failed for now.
 *
 * A frame with a wrong length, unknown flags, or a descriptor missing or left over closes the
 * channel: `closed` is called once with the reason and nothing more is received. The reader of a
 * channel treats what it gets as hostile; each type's payload is decoded by the channel's header
 * (ipc_*.h). A receiver that gets what its channel doesn't allow calls channel_reject().
 */
#ifndef COMMON_IMSG_H
#define COMMON_IMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

struct event_base;

#define IMSG_HEADER_SIZE     16
#define IMSG_PAYLOAD_MAX     16384
#define IMSG_FLAG_DESCRIPTOR 0x0001

struct imsg {
	uint16_t type;
	uint32_t id;
	uint32_t peer;
	int fd; /* -1, or a descriptor; the receiver owns it: takes it by setting -1 here,
	         * or it is closed when the callback returns */
	bool descriptor_lost;   /* one came, but there was no room for it: fd is -1 */
	const uint8_t *payload; /* valid until the callback returns */
	size_t length;
};

struct channel;
typedef void (*channel_receive_fn)(struct channel *, struct imsg *, void *arg);
/* The channel is dead; the callback calls channel_free() now or later. `why` is for the log. */
typedef void (*channel_closed_fn)(struct channel *, const char *why, void *arg);

/*
 * Takes over `fd` (made non-blocking) and starts to receive. `name` ("queue") is for log lines and
 * copied. Never NULL: dies (fatal) when memory is out. Callbacks may call channel_free().
 */
struct channel *channel_new(struct event_base *, const char *name, int fd, channel_receive_fn,
    channel_closed_fn, void *arg);
/* Closes, after trying to write what is queued. NULL is allowed. */
void channel_free(struct channel *);
/*
 * Queues a frame. `payload` may be NULL; `fd` may be -1, otherwise it is owned by the channel from
 * here on whatever happens. A payload that failed or is too long is a bug: the process aborts.
 * On a dead channel the frame is dropped (`closed` was or will be called).
 */
void channel_send(
    struct channel *, uint16_t type, uint32_t id, uint32_t peer, int fd, const struct buf *payload);
/* Writes what is queued now, as far as the socket takes it. */
void channel_flush(struct channel *);
/* Bytes queued and not yet written: for senders of long listings, which wait while it is large. */
size_t channel_queued(const struct channel *);
/* Called when the queued bytes have all been written; for those same senders. NULL: none. */
void channel_on_drained(struct channel *, void (*drained)(struct channel *, void *arg));
/* Stops and starts receiving (back pressure). */
void channel_pause(struct channel *, bool paused);
/* The peer broke the channel's rules: logs type and reason, then as if it had closed. */
void channel_reject(struct channel *, const struct imsg *, const char *why);
/* For `closed`: this side ended it, for what the peer sent or didn't read, and not the peer by
 * closing or dying. The peer may live on, without this channel. */
bool channel_was_rejected(const struct channel *);
const char *channel_name(const struct channel *);

/* Parses one header; returns the frame's whole length, 0 when more bytes are needed, or -1 for a
 * frame that is not allowed. For the tests and the fuzzer, channel.c uses it too. */
int imsg_parse_header(const uint8_t *, size_t length, struct imsg *, uint16_t *flags);

#endif
