/*
 * DNSSEC's trust anchors: DNSKEY or DS records of the root, or of whichever zones are to be trusted,
 * in a zone file's syntax. Files that are kept up to date after RFC 5011 have them too
 * (unbound-anchor's root.key, with a key's state in a comment).
 */
#ifndef LOOKUP_RESOLVER_ANCHOR_H
#define LOOKUP_RESOLVER_ANCHOR_H

#include <stdbool.h>

/* The root's, as they were published: for systems that have no file of them. */
extern const char anchors_of_the_root[];

/*
 * Calls `add` with each record of the text, on one line and without comments; ends when it returns
 * false. False then, and when there is no record.
 */
bool anchors_each(const char *text, bool (*add)(void *arg, const char *record), void *arg);

#endif
