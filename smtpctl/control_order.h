/*
 * What a caller of the control socket asks for: decoded from its frame, checked, and made ready to
 * be passed on and logged. No I/O.
 */
#ifndef SMTPCTL_CONTROL_ORDER_H
#define SMTPCTL_CONTROL_ORDER_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/ipc_control.h"

enum control_peer {
	CONTROL_PEER_QUEUE,
	CONTROL_PEER_DIRECTORY,
	CONTROL_PEER_RELAY,
	CONTROL_PEER_SUPERVISOR,
	CONTROL_PEER_COUNT,
	CONTROL_PEER_NONE = CONTROL_PEER_COUNT, /* control knows the answer itself */
};

struct control_order {
	enum ipc_control_type type;
	uint32_t caller_uid;
	enum control_peer peer;
	bool logged;                  /* it changes something, or shows what is in a mail */
	char verb[24];                /* "remove", "user add": as smtpctl has them */
	char arguments[512];          /* as smtpctl takes them; never a password's hash */
	struct ipc_filter filter;     /* CONTROL_QUEUE_LIST, CONTROL_DESTINATION_LIST */
	uint64_t cursor;              /* CONTROL_HOST_LIST, CONTROL_HOSTSTAT_LIST */
	enum control_verb supervisor; /* CONTROL_SUPERVISOR */
	struct buf payload;           /* for the peer, with the caller's real uid; owned */
};

/* Whether this caller may use the control socket at all. `suite_uid` is what the suite runs as,
 * `privileged` whether it was started as root: then only root may. */
bool control_order_allows(uid_t caller, uid_t suite_uid, bool privileged);
/* False when the frame isn't a request or its payload isn't one; nothing is then to be freed. */
bool control_order_decode(
    struct control_order *, uint16_t type, const void *payload, size_t length, uid_t caller);
void control_order_free(struct control_order *);
/* One that is answered in portions. */
bool control_order_is_list(const struct control_order *);
/* Encodes the question of a listing anew, to go on from this cursor. False when it doesn't lead on:
 * the relay's may not stand still. */
bool control_order_go_on(struct control_order *, uint64_t cursor)
    __attribute__((warn_unused_result));
/* Encodes the filter of a listing anew, to go on from its cursor. */
void control_order_encode_list(struct control_order *);

#endif
