/*
 * The trace field that each message gets in front (RFC 5321 4.4).
 */
#ifndef SMTPD_RECEIVED_H
#define SMTPD_RECEIVED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"

struct received {
	const char *helo;        /* a valid domain or literal; "" none */
	const char *client;      /* "192.0.2.1", "IPv6:2001:db8::1", "local" */
	const char *client_name; /* confirmed reverse name, or "" */
	int64_t client_uid;      /* of a client on this machine; -1: not known */
	bool mask_source;        /* leave the client out */
	const char *hostname;    /* ours */
	const char *protocol;    /* "ESMTPSA", …: received_protocol() */
	uint32_t message_id;
	const char *tls;            /* "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" in the clear */
	const char *user;           /* as who the client has logged in, to be told; "" not */
	const struct address *rcpt; /* the only recipient, or NULL */
	int64_t wall;
};

/* RFC 3848, RFC 6531 4.3 */
const char *received_protocol(
    bool lmtp, bool extended, bool smtputf8, bool encrypted, bool authenticated);
/* Appends "Received: …" with its CRLF. Whatever the strings hold, it is one field. */
void received_format(struct buf *, const struct received *);

#endif
