/*
 * The PROXY protocol, version 2 (binary): the header by which a trusted proxy tells whom it speaks
 * for, before the first byte of SMTP.
 */
#ifndef SMTPD_PROXY_H
#define SMTPD_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/envelope.h"

enum proxy_result {
	PROXY_OK,
	PROXY_MORE, /* the header isn't complete yet */
	PROXY_BAD,  /* no such header: close the connection */
};

#define PROXY_HEADER_MAX 2048 /* with its extensions, which are skipped */

struct proxy_source {
	bool given;                /* false: the connection's own addresses stand */
	enum client_family family; /* CLIENT_INET4 or CLIENT_INET6 */
	uint8_t address[16];
};

/* Parses the header at the start of `data`; on PROXY_OK `*used` is its length. */
enum proxy_result proxy_parse(
    const uint8_t *data, size_t length, struct proxy_source *, size_t *used);

/* How many bytes of the header are missing behind these, as far as they tell; never 0. Who reads no
 * more than that reads nothing of what follows it. */
size_t proxy_missing(const uint8_t *data, size_t length);

/* True when `address` (an enum client_family and its bytes) may send a PROXY header by the table
 * named `table`: addresses and networks ("192.0.2.0/24"). With an empty name only loopback
 * addresses may. Who comes over a Unix socket always may: its permissions say who that is. */
bool proxy_is_trusted(
    const struct config *, const char *table, enum client_family, const uint8_t address[16]);

#endif
