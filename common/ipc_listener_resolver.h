/*
 * The channel between a listener and the resolver.
 *
 *	LISTENER_RESOLVER_NAME (address)   RESOLVER_LISTENER_NAME (status, name)
 *
 * The name is the client's reverse name, given only when it is forward-confirmed: one of its A or
 * AAAA records is the address. It is a valid host name of letters, digits, hyphens and dots (what
 * DNS says otherwise, RESOLVE_NONE). The resolver answers within its time limit whatever DNS does.
 */
#ifndef COMMON_IPC_LISTENER_RESOLVER_H
#define COMMON_IPC_LISTENER_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"
#include "common/imsg.h"

enum ipc_listener_resolver_type {
	LISTENER_RESOLVER_NAME = 1,
	RESOLVER_LISTENER_NAME,
};

struct ipc_resolve {
	uint8_t family; /* CLIENT_INET4 or CLIENT_INET6 */
	uint8_t address[16];
};
void ipc_resolve_encode(struct buf *, const struct ipc_resolve *);
bool ipc_resolve_decode(struct buf_reader *, struct ipc_resolve *);

enum resolve_status {
	RESOLVE_CONFIRMED,
	RESOLVE_NONE,   /* no name, or not confirmed */
	RESOLVE_FAILED, /* DNS failed or was too slow */
	RESOLVE_STATUS_COUNT,
};
struct ipc_resolved {
	enum resolve_status status;
	char name[HOSTNAME_MAX + 1];
};
void ipc_resolved_encode(struct buf *, const struct ipc_resolved *);
bool ipc_resolved_decode(struct buf_reader *, struct ipc_resolved *);

#endif
