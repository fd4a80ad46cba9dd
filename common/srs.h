/*
 * The Sender Rewriting Scheme, as libsrs2, postsrsd and OpenSMTPD have it: the sender of mail that is
 * forwarded becomes an address of the forwarder's, which may send for that, and what comes back to it
 * leads to the sender.
 *
 *	joe@a.example, forwarded by b.example: SRS0=HHHH=TT=a.example=joe@b.example
 *	that, forwarded by c.example:          SRS1=GGGG=b.example==HHHH=TT=a.example=joe@c.example
 *
 * TT is the day, HHHH a keyed hash of the rest, without which anybody could send to anybody by b.example
 * and it would look like mail that came back.
 */
#ifndef COMMON_SRS_H
#define COMMON_SRS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"

struct srs_keys {
	const char *key;    /* "": nothing is made, and nothing is read */
	const char *backup; /* also good for what is read; "" none */
	uint32_t ttl;       /* seconds; whole days are counted */
};

enum srs_result {
	SRS_OK,
	SRS_FORGED, /* or made by another key, or broken */
	SRS_EXPIRED,
};

/* The local part says that it is one, of either kind. */
bool srs_is_address(const struct address *);
/* The sender of mail that `domain` forwards; `now` is the wall clock. False when it has no such form:
 * the null sender, one without a domain, or whose form would be too long for an address. */
bool srs_encode(const struct srs_keys *, const struct address *sender, const char *domain,
    int64_t now, struct address *) __attribute__((warn_unused_result));
/* Whom mail to an address that srs_is_address() goes to. Of an SRS1 address the age isn't told: who
 * made the SRS0 address in it will look. */
enum srs_result srs_decode(const struct srs_keys *, const struct address *, int64_t now,
    struct address *) __attribute__((warn_unused_result));

#endif
