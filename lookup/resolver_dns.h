/* Questions to DNS, by libunbound in the event loop. */
#ifndef LOOKUP_RESOLVER_DNS_H
#define LOOKUP_RESOLVER_DNS_H

#include "lookup/resolver_question.h"

struct event_base;
struct dns;

/*
 * `nameservers`: "ADDRESS[@PORT] ...", asked for everything; "" asks the root's and so on down.
 * `anchors`: the text of a file of trust anchors (resolver_anchor.h), by which answers are
 * validated; NULL: they aren't, and none is secure. NULL (after logging why) when libunbound can't
 * start, or not with these anchors. No file is read.
 */
struct dns *dns_new(struct event_base *, const char *nameservers, const char *anchors);
/* What is asked is not answered. Not to be called while an answer is given. NULL is allowed. */
void dns_free(struct dns *);
/* ask() and forget() of this one. */
struct dns_source dns_source_of(struct dns *);

#endif
