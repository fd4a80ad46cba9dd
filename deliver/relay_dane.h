/* What DNS says of a host's certificate: its TLSA records (RFC 6698), for SMTP (RFC 7672). */
#ifndef DELIVER_RELAY_DANE_H
#define DELIVER_RELAY_DANE_H

#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"
#include "common/ipc_relay_resolver.h"

#define DANE_USAGE_ANCHOR 2 /* the certificate, or key, of an authority of its own */
#define DANE_USAGE_END    3 /* the host's */

#define DANE_NAMES_MAX 4

struct dane_record {
	uint8_t usage;
	uint8_t selector;
	uint8_t matching;
	uint16_t length;
	uint8_t *data;
};

struct dane {
	/* What the certificate may be for, where it is an authority that is named; the first one is
	 * the records' own, and what the host is asked for (RFC 7672 3.2.2 and 8.1). */
	size_t name_count;
	char *names[DANE_NAMES_MAX];
	size_t count;
	struct dane_record records[];
};

/* By which names a host's TLSA records are asked for, one after the other, until there are some (RFC
 * 7672 2.2.2); they point into what is given. 0: nothing vouches for its addresses, and records don't
 * matter. */
size_t dane_names_to_ask(
    const struct ipc_answer *addresses, const char *host, const char *names[2]);
/* Of an answer's records those that mean something for SMTP: none, perhaps (RFC 7672 3.1.3). NULL
 * without memory. */
struct dane *dane_new(const struct ipc_answer *);
/* Without effect when it has it. False without memory. */
bool dane_add_name(struct dane *, const char *name) __attribute__((warn_unused_result));
void dane_free(struct dane *);

#endif
