/*
 * The tables of the configuration, whatever they are kept in: the config itself, a text file, a db
 * file, or the accounts database.
 *
 * A table's content is there at once and its lookups never wait. One that can't be read (a file
 * that is missing or malformed, a broken database) answers TABLE_BROKEN until it can; one that was
 * read before keeps what it had. The reason is logged when it arises, with file and line.
 */
#ifndef LOOKUP_TABLES_H
#define LOOKUP_TABLES_H

#include <stdbool.h>

#include "common/address.h"
#include "common/buf.h"
#include "common/config.h"
#include "lookup/table_text.h"

struct accounts;
struct table;
struct tables;

enum table_result {
	TABLE_FOUND,
	TABLE_NONE,
	TABLE_BROKEN, /* can't be known now: a temporary error */
};

/* Opens all tables of the config (which must outlive them). Dies when memory is out. */
struct tables *tables_new(const struct config *, struct accounts *);
void tables_free(struct tables *);
/* Looks whether files have changed, and reads those that have. True when a content is new. To be
 * called about once a second: a file is read when it looked the same in two calls. */
bool tables_refresh(struct tables *);
/* NULL when there is none of that name. */
struct table *tables_find(struct tables *, const char *name);

const char *table_name(const struct table *);
bool table_is_accounts(const struct table *);

/* The value of `key` (in any case), as a terminated string in `value`. */
enum table_result table_get(struct table *, const char *key, struct buf *value);
/* A value of the table, whichever; false when there is none, or none is at hand. What is stored for
 * somebody: never to be shown. */
bool table_get_sample(struct table *, struct buf *value);
/* A list of domains: "example.org", "*.example.org" (what is below it), other wildcards. */
enum table_result table_match_domain(struct table *, const char *domain);
/* A list of mailboxes: "user@domain", "@domain", "user", "@", also with wildcards in the domain;
 * "<>" is the null sender. Also tried without the "+detail". */
enum table_result table_match_mailbox(
    struct table *, const struct address *, const char *delimiters);
/* A list of regular expressions (common/regular.h), which the configuration uses as such: whether one
 * of them is found in the text. */
enum table_result table_match_regex(struct table *, const char *text);
/* A list of addresses and networks. */
enum table_result table_match_network(struct table *, const struct netaddr *);

#endif
