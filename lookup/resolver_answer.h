/* What a DNS answer says, in wire format as libunbound gives it. */
#ifndef LOOKUP_RESOLVER_ANSWER_H
#define LOOKUP_RESOLVER_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_listener_resolver.h"

#define ANSWER_NAMES_MAX 5

/* The valid host names in an answer's PTR records, in their order, at most ANSWER_NAMES_MAX. */
size_t answer_names(
    const uint8_t *packet, size_t length, char names[ANSWER_NAMES_MAX][HOSTNAME_MAX + 1]);
/* Whether one of the answer's A or AAAA records is the address. */
bool answer_has_address(const uint8_t *packet, size_t length, const struct ipc_resolve *);

#endif
