/* A host's addresses, in the order in which they are tried; and this machine's own. */
#ifndef DELIVER_RELAY_ADDRESSES_H
#define DELIVER_RELAY_ADDRESSES_H

#include <sys/socket.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/ipc_relay_resolver.h"

#define ADDRESSES_MAX 16 /* more aren't tried */

struct host_address {
	struct sockaddr_storage address;
	socklen_t length;
	int64_t failed_until_ms; /* monotonic */
};

struct addresses {
	size_t count;
	struct host_address all[ADDRESSES_MAX];
};

/* `bytes` are 4 or 16, in network order. */
void addresses_add(struct addresses *, int family, const void *bytes, uint16_t port);
/* Those that the resolver has found; with `public_only` none of address_is_private(). */
void addresses_add_answer(
    struct addresses *, const struct ipc_answer *, uint16_t port, bool public_only);
/* False when it is no address; the path of a Unix socket is one. */
bool addresses_add_text(struct addresses *, const char *text, uint16_t port);
/* Bytes as above: nothing that the whole Internet reaches, but the machine itself, its network or its
 * organization's. */
bool address_is_private(int family, const void *bytes);
void addresses_order(struct addresses *);
/* Leaves out what isn't of this kind. */
void addresses_keep(struct addresses *, enum relay_family);

struct own_addresses;
/* Those of this machine's interfaces as they are now; NULL without memory. */
struct own_addresses *own_addresses_new(void);
void own_addresses_free(struct own_addresses *);
/* One of the config's listeners is at this address and port. */
bool own_addresses_listen(
    const struct own_addresses *, const struct config *, const struct sockaddr_storage *);

#endif
