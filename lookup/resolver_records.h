/*
 * The records of one name and type in a DNS answer, as a relay gets them. The answer is in wire
 * format, from anywhere; what comes out is bounded, and names are text.
 */
#ifndef LOOKUP_RESOLVER_RECORDS_H
#define LOOKUP_RESOLVER_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_relay_resolver.h"
#include "lookup/resolver_question.h"

/* Leaves room in a frame for all else of a struct ipc_answer. */
#define RECORDS_BYTES_MAX 14000

struct records {
	char canonical[HOSTNAME_MAX + 1]; /* the name after CNAMEs; "" when it is the same */
	uint32_t ttl;                     /* the least; of an absence its SOA's, 0 without */
	bool cut;                         /* not all records are here */
	uint32_t count;
	struct answer_record records[IPC_ANSWER_RECORDS_MAX]; /* their data is in `bytes` */
	size_t used;
	uint8_t bytes[RECORDS_BYTES_MAX];
};

/*
 * Reads them: DNS_A, DNS_AAAA, DNS_MX, DNS_TLSA, DNS_TXT, or DNS_CNAME (which then isn't followed,
 * and whose target is `canonical`). `name` with or without a dot at its end. Of MX records the most
 * preferred are kept. A name in them that is no host's holds a byte that none may have.
 * False when the answer can't be understood.
 */
bool records_read(struct records *, const uint8_t *packet, size_t length, const char *name,
    enum dns_type) __attribute__((warn_unused_result));

#endif
