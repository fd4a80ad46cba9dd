/*
 * The match rules of the configuration: the first that fits decides about a recipient.
 */
#ifndef LOOKUP_RULES_H
#define LOOKUP_RULES_H

#include "lookup/site.h"

enum rules_result {
	RULES_ACTION, /* `*rule` says which */
	RULES_REJECT, /* `*rule` refuses it */
	RULES_NONE,
	RULES_BROKEN, /* a table that a rule needs can't be read now */
};

/*
 * `dest` is the recipient, or where an alias led from it: then, and for the queue's own messages,
 * `internal` is set and the client is this machine. Every condition of a rule must hold.
 */
enum rules_result rules_match(struct site *, const struct ipc_rcpt *, const struct address *dest,
    bool internal, const struct rule **rule);
/* Tells of each rule up to the one that decides, or whose table can't be read, what `condition` of it
 * was looked at last. */
void rules_tell(struct site *, const struct ipc_rcpt *, const struct address *dest, bool internal,
    void (*tell)(const struct rule *, enum table_result, const char *condition, void *arg),
    void *arg);
/* True when some rule that delivers here names this domain as one of ours, whatever else it asks
 * for. */
bool rules_serve_domain(struct site *, const char *domain);

#endif
