/*
 * The channel between the relay and the directory, which knows the tables that the relay's actions
 * name. The relay is the less trusted side: it learns what it asks for by a key, and only from the
 * tables of an action that relays. The directory also keeps the policies of MTA-STS (RFC 8461) that
 * the relay has fetched, and has it post TLS reports (RFC 8460 5.4).
 *
 *	RELAY_DIRECTORY_LOOKUP             DIRECTORY_RELAY_FOUND
 *	RELAY_DIRECTORY_POLICY_GET         DIRECTORY_RELAY_POLICY
 *	RELAY_DIRECTORY_POLICY_DUE         DIRECTORY_RELAY_POLICY
 *	RELAY_DIRECTORY_POLICY_PUT         (no answer)
 *	RELAY_DIRECTORY_TLS_RESULT         (no answer)
 *	DIRECTORY_RELAY_POST               RELAY_DIRECTORY_POSTED
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
	RELAY_DIRECTORY_POLICY_GET, /* struct ipc_sts_domain: its policy */
	/* struct ipc_sts_domain: the next one behind it ("": the first) that should be fetched again */
	RELAY_DIRECTORY_POLICY_DUE,
	RELAY_DIRECTORY_POLICY_PUT, /* struct ipc_sts_policy: to be kept instead of the last one */
	DIRECTORY_RELAY_POLICY,     /* struct ipc_sts_found */
	RELAY_DIRECTORY_TLS_RESULT, /* struct ipc_tls_result (ipc_tls_result.h) */
	DIRECTORY_RELAY_POST,       /* struct ipc_post; a descriptor: what is posted, compressed */
	RELAY_DIRECTORY_POSTED,     /* struct ipc_posted */
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

#define IPC_STS_ID_MAX      32 /* RFC 8461 3.1 */
#define IPC_STS_MX_MAX      12288
#define IPC_STS_MAX_AGE_MAX 31557600 /* seconds (RFC 8461 3.2) */

struct ipc_sts_domain {
	char domain[HOSTNAME_MAX + 1]; /* in lower case, A-labels */
};
void ipc_sts_domain_encode(struct buf *, const struct ipc_sts_domain *);
bool ipc_sts_domain_decode(struct buf_reader *, struct ipc_sts_domain *);

enum sts_mode {
	STS_MODE_NONE,
	STS_MODE_TESTING,
	STS_MODE_ENFORCE,
	STS_MODE_COUNT,
};

/* A policy of MTA-STS, of a domain whose name isn't "". */
struct ipc_sts_policy {
	char domain[HOSTNAME_MAX + 1];
	char id[IPC_STS_ID_MAX + 1]; /* of the TXT record that it was fetched for */
	enum sts_mode mode;
	uint32_t max_age;            /* seconds from `fetched` that it is good for */
	int64_t fetched;             /* wall clock */
	char mx[IPC_STS_MX_MAX + 1]; /* patterns in lower case, each followed by a blank */
};
void ipc_sts_policy_encode(struct buf *, const struct ipc_sts_policy *);
bool ipc_sts_policy_decode(struct buf_reader *, struct ipc_sts_policy *);

/* RELAY_FOUND_NONE to …_DUE: none up to `after`, where the search may go on; "": none at all.
 * RELAY_FOUND_BROKEN: nothing can be kept now. */
struct ipc_sts_found {
	enum relay_found status;
	char after[HOSTNAME_MAX + 1];
	struct ipc_sts_policy policy; /* of RELAY_FOUND */
};
void ipc_sts_found_encode(struct buf *, const struct ipc_sts_found *);
bool ipc_sts_found_decode(struct buf_reader *, struct ipc_sts_found *);

#define IPC_POST_PATH_MAX  1024
#define IPC_POST_WORDS_MAX 600
#define IPC_POST_SIZE      (2 * 1024 * 1024UL) /* of what is posted, at most */

/* A TLS report, by HTTPS. */
struct ipc_post {
	char host[HOSTNAME_MAX + 1]; /* A-labels in lower case; no address */
	uint16_t port;
	char path[IPC_POST_PATH_MAX + 1]; /* begins with "/"; printable ASCII without blanks */
};
void ipc_post_encode(struct buf *, const struct ipc_post *);
bool ipc_post_decode(struct buf_reader *, struct ipc_post *);

enum post_result {
	POST_TAKEN,     /* the server's answer is 2xx */
	POST_FAILED,    /* that server didn't take it */
	POST_NOT_TRIED, /* it could not be asked from here */
	POST_RESULT_COUNT,
};

struct ipc_posted {
	enum post_result result;
	char words[IPC_POST_WORDS_MAX + 1]; /* for the administrator; "" of POST_TAKEN */
};
void ipc_posted_encode(struct buf *, const struct ipc_posted *);
bool ipc_posted_decode(struct buf_reader *, struct ipc_posted *);

#endif
