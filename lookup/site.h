/*
 * What the directory knows: one configuration, its tables opened and its names resolved, and what
 * is to be known about this machine.
 */
#ifndef LOOKUP_SITE_H
#define LOOKUP_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/ipc_directory.h"
#include "lookup/accounts.h"
#include "lookup/table_file.h"
#include "lookup/tables.h"

/* Whether an action's mailboxes are those of the accounts database, the default table. */
enum action_accounts {
	ACTION_ACCOUNTS_NEVER, /* it has a virtual or userbase table of another kind, or delivers
	                        * nothing */
	ACTION_ACCOUNTS_ALWAYS,
	ACTION_ACCOUNTS_BY_DOMAIN, /* it names neither: for domains of the database */
};

struct action {
	const struct action_config *config;
	struct table *virtuals; /* NULL: none */
	struct table *aliases;
	struct table *userbase;
	enum action_accounts accounts;
	bool broken; /* it names a table that isn't there */
};

struct rule {
	const struct rule_config *config;
	const struct action *action; /* NULL: reject */
	struct table *from;
	struct table *for_;
	struct table *tag;
	struct table *helo;
	struct table *mail_from;
	struct table *rcpt_to;
	struct table *auth;
	bool broken;
};

struct site {
	struct config *config; /* owned */
	struct accounts *accounts;
	struct tables *tables;
	struct action *actions;
	struct rule *rules;
	struct netaddr *own; /* this machine's addresses */
	size_t own_count;
	bool privileged; /* mailboxes belong to users of their own */
	bool mail_user_found;
	uint32_t mail_uid; /* owner of the accounts' mailboxes */
	uint32_t mail_gid;
	struct file_state passwd; /* of /etc/passwd, as last looked at */
};

/* Takes the config over. `privileged`: the suite was started as root. Never NULL. */
struct site *site_new(struct config *, struct accounts *, bool privileged);
void site_free(struct site *);
/* Looks for changed files; true when something an earlier answer may rest on is new. */
bool site_refresh(struct site *);
const struct action *site_find_action(const struct site *, const char *name);
/* Whether mail for this domain goes to the accounts database by this action. */
enum account_result site_uses_accounts(struct site *, const struct action *, const char *domain);
/* The address without its "+detail"; false, and the same, when it has none. */
bool site_without_detail(const struct site *, const struct address *, struct address *plain);
/* The host itself: "localhost", its host names, and address literals of its addresses. */
bool site_is_own_host(const struct site *, const char *domain);
/* A client on this machine: by socket, by loopback or from one of its addresses. */
bool site_is_own_client(const struct site *, const struct ipc_rcpt *);

#endif
