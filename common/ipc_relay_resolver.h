/*
 * The channel between the relay and the resolver.
 *
 *	RELAY_RESOLVER_QUERY (kind, name)    RESOLVER_RELAY_ANSWER
 *
 * The resolver validates (DNSSEC), follows CNAMEs and answers within its time limit whatever DNS
 * does. It keeps nothing between queries but libunbound's cache.
 *
 * Names in answers are in lower case, without a dot at their end. They may be anything that DNS can
 * hold: what isn't printable ASCII, and a dot within a label, is escaped with a backslash.
 */
#ifndef COMMON_IPC_RELAY_RESOLVER_H
#define COMMON_IPC_RELAY_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"
#include "common/imsg.h"

enum ipc_relay_resolver_type {
	RELAY_RESOLVER_QUERY = 1, /* struct ipc_query */
	RESOLVER_RELAY_ANSWER,    /* struct ipc_answer */
};

#define IPC_QUERY_TIME_MS 20000 /* the resolver's time limit */
#define IPC_QUERIES_MAX   2000  /* at once; more fail at once */

enum query_kind {
	QUERY_MX,
	QUERY_ADDRESSES, /* A and AAAA, and what /etc/hosts says */
	QUERY_TLSA,      /* `name` is the host's; "_port._tcp." is put before it */
	QUERY_TXT,
	QUERY_KIND_COUNT,
};

struct ipc_query {
	enum query_kind kind;
	uint16_t port;               /* QUERY_TLSA */
	char name[HOSTNAME_MAX + 1]; /* A-labels */
};
void ipc_query_encode(struct buf *, const struct ipc_query *);
bool ipc_query_decode(struct buf_reader *, struct ipc_query *);

enum answer_status {
	ANSWER_FOUND,
	ANSWER_NO_DATA, /* the name exists, without such records */
	ANSWER_NO_NAME, /* NXDOMAIN */
	ANSWER_FAILED,  /* SERVFAIL, bogus, no time left: `why` says; it may be there later */
	ANSWER_STATUS_COUNT,
};

struct answer_record {
	uint16_t preference; /* MX */
	uint8_t family;      /* ADDRESSES: CLIENT_INET4 or CLIENT_INET6 */
	uint8_t usage;       /* TLSA (RFC 6698 2.1) */
	uint8_t selector;
	uint8_t matching;
	uint16_t length; /* of `data` */
	/* MX: the host's name, "" the null MX (RFC 7505); ADDRESSES: 4 or 16 bytes; TLSA: the
	 * association data; TXT: its strings put together. Points into the payload. */
	const uint8_t *data;
};

#define IPC_ANSWER_RECORDS_MAX 64
#define IPC_ANSWER_WHY_MAX     200
struct ipc_answer {
	enum answer_status status;
	bool secure; /* all of it is signed and valid, absence included; never of /etc/hosts */
	bool cut;    /* there were more records than a frame takes; of MXs, the best are here */
	uint32_t ttl;
	char canonical[HOSTNAME_MAX + 1]; /* the name after CNAMEs; "" when it is the same */
	/* ADDRESSES: the first CNAME was, even if the rest isn't (RFC 7672 2.2.2). */
	bool canonical_secure;
	char why[IPC_ANSWER_WHY_MAX + 1];
	uint32_t count;
	struct answer_record records[IPC_ANSWER_RECORDS_MAX];
};
void ipc_answer_encode(struct buf *, const struct ipc_answer *);
/* `records` point into what the reader reads. */
bool ipc_answer_decode(struct buf_reader *, struct ipc_answer *);

#endif
