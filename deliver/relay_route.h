/*
 * Where mail for a domain goes: hosts in the order in which they are tried (RFC 5321 5.1). They
 * come from the domain's MX records, from the configuration's smarthosts, or from an address literal.
 * Their addresses are looked up when a host is tried.
 */
#ifndef DELIVER_RELAY_ROUTE_H
#define DELIVER_RELAY_ROUTE_H

#include <sys/socket.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/envelope.h"
#include "common/ipc_relay_resolver.h"
#include "deliver/relay_policy.h"
#include "deliver/relay_sts.h"
#include "deliver/relay_task.h"

#define ROUTE_HOPS_MAX 32 /* more MXs than that aren't tried in one attempt */

struct hop {
	char host[HOSTNAME_MAX + 1]; /* a name, an address without brackets, or a socket's path */
	uint16_t port;
	uint16_t preference;
	enum relay_scheme scheme;
	char label[ACTION_NAME_MAX + 1]; /* of its credentials; "" none */
	bool is_address;
	bool is_mx;       /* found by the domain's name in DNS, */
	bool is_secure;   /* and that was signed; or else it is as configured */
	bool is_foreign;  /* others chose it: it is of an MX record or the mail's address */
	bool is_implicit; /* the domain itself, which has no MX (RFC 5321 5.1) */
};

struct route {
	unsigned holders;
	int64_t expires_ms;
	char *canonical;        /* the domain's name after CNAMEs; NULL: the same */
	struct sts_policy *sts; /* of the domain, held; NULL: none */
	size_t count;
	struct hop hops[]; /* room for ROUTE_HOPS_MAX, until it is trimmed */
};

/* Held once; NULL without memory. */
struct route *route_new(void);
/* It is complete: gives back the memory that it doesn't need. It may have moved. */
struct route *route_trim(struct route *);
struct route *route_hold(struct route *);
void route_drop(struct route *); /* NULL is allowed */

/* A smarthost: HOST, or SCHEME://[LABEL@]HOST[:PORT], or lmtp:///PATH. */
bool hop_parse(struct hop *, const char *url) __attribute__((warn_unused_result));
/* Mail may not go to an address of it that is in a private network, by the configuration. */
bool hop_is_public_only(const struct hop *, const struct config *);
/* "smtp", "smtps", … */
const char *hop_scheme(const struct hop *);
/* All of a list that spaces separate. False when one of them can't be understood. */
bool route_add_smarthosts(struct route *, const char *urls) __attribute__((warn_unused_result));
/* An address literal with its brackets, [192.0.2.1] or [IPv6:…]. */
bool route_add_literal(struct route *, const char *literal) __attribute__((warn_unused_result));
#define ROUTE_PRIVATE "where no mail goes for others' domains (mta no private-networks)"
/*
 * By the answer to the question for MX records. We are `own` in it (two names, either may be ""):
 * only hosts that are preferred to us are added then. False when there is nowhere to go, or not yet;
 * `failure` says why.
 */
bool route_add_mx(struct route *, const char *domain, const struct ipc_answer *,
    const char *const own[2], struct failure *) __attribute__((warn_unused_result));

/* What the domain's policy says of that host; nothing when the domain didn't choose it. */
enum sts_verdict route_verdict(const struct route *, const struct hop *);

#endif
