/* Questions to DNS, by libunbound in the event loop. */
#ifndef LOOKUP_RESOLVER_DNS_H
#define LOOKUP_RESOLVER_DNS_H

#include <stdbool.h>

#include "lookup/resolver_lookup.h"

struct event_base;
struct dns;

/*
 * `nameservers`: "ADDRESS[@PORT] ...", asked for everything; "" asks the root's and so on down.
 * NULL (after logging why) when libunbound can't start. No file is read.
 */
struct dns *dns_new(struct event_base *, const char *nameservers);
/* What is asked is not answered. Not to be called from lookup_answer(). */
void dns_free(struct dns *);
/* ask() and forget() of this one. */
struct lookup_dns dns_interface(struct dns *);

#endif
