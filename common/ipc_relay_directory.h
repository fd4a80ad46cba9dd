/*
 * The channel between the relay and the directory, which knows the tables that the relay's actions
 * name. The relay is the less trusted side: it learns what it asks for by a key, and only from the
 * tables of an action that relays.
 *
 *	RELAY_DIRECTORY_LOOKUP             DIRECTORY_RELAY_FOUND
 *
 * Answers carry their request's id.
 */
#ifndef COMMON_IPC_RELAY_DIRECTORY_H
#define COMMON_IPC_RELAY_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"
#include "common/envelope.h"
#include "common/imsg.h"

enum ipc_relay_directory_type {
	RELAY_DIRECTORY_LOOKUP = 1, /* struct ipc_relay_lookup */
	DIRECTORY_RELAY_FOUND,      /* struct ipc_relay_found */
};

enum relay_lookup {
	RELAY_LOOKUP_CREDENTIALS, /* action's `auth`: label -> "user:password" */
	RELAY_LOOKUP_HOSTS,       /* action's `domain`: domain -> smarthosts */
	RELAY_LOOKUP_HELO,        /* action's `helo-src`: own address -> name */
	RELAY_LOOKUP_COUNT,
};

struct ipc_relay_lookup {
	enum relay_lookup what;
	char action[ACTION_NAME_MAX + 1];
	char key[ADDRESS_DOMAIN_MAX + 1];
};
void ipc_relay_lookup_encode(struct buf *, const struct ipc_relay_lookup *);
bool ipc_relay_lookup_decode(struct buf_reader *, struct ipc_relay_lookup *);

enum relay_found {
	RELAY_FOUND,
	RELAY_FOUND_NONE,   /* the key isn't there, or the action has no such table */
	RELAY_FOUND_BROKEN, /* the table can't be read now */
	RELAY_FOUND_COUNT,
};

#define IPC_RELAY_VALUE_MAX 2048
struct ipc_relay_found {
	enum relay_found status;
	char value[IPC_RELAY_VALUE_MAX + 1]; /* of RELAY_FOUND */
};
void ipc_relay_found_encode(struct buf *, const struct ipc_relay_found *);
bool ipc_relay_found_decode(struct buf_reader *, struct ipc_relay_found *);

#endif
