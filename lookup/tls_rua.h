/*
 * Where a domain wants its TLS reports: the URIs of its record's "rua" (RFC 8460 3), which are a
 * stranger's words. What comes of them can stand in a header, in SMTP, and in a request's head.
 */
#ifndef LOOKUP_TLS_RUA_H
#define LOOKUP_TLS_RUA_H

#include <stdbool.h>

#include "common/address.h"
#include "common/ipc_relay_directory.h"

enum tls_rua_kind {
	TLS_RUA_MAILTO,
	TLS_RUA_HTTPS,
};

struct tls_rua {
	enum tls_rua_kind kind;
	struct address address; /* of a mailto */
	struct ipc_post post;   /* of an https */
};

/* The next one that can be used, behind which `rua` then stands. False when there is none. */
bool tls_rua_next(const char **rua, struct tls_rua *);
/* For the log: a mailbox, or a URI. */
#define TLS_RUA_TEXT_MAX (HOSTNAME_MAX + IPC_POST_PATH_MAX + 32)
void tls_rua_format(const struct tls_rua *, char text[TLS_RUA_TEXT_MAX + 1]);

#endif
