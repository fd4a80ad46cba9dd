/*
 * The inside of an expansion, for the files that work on it. One recipient goes through them in this
 * order:
 *
 *	expand.c          the loop over the nodes, what is answered, the postmaster
 *	expand_address.c  an address: its rule, then relay, virtual table, accounts or system
 *	expand_user.c     a name: its aliases, then its .forward, then its mailbox
 *	expand_list.c     the targets that an alias, a .forward or a list in a file names
 *	expand_nodes.c    what of them is looked at in turn: addresses, names, lists
 *	expand_command.c  what of them is a command, and who runs it
 *	expand_target.c   where the mail goes: one envelope each
 *	expand_lost.c     users whose .forward leads nowhere
 *	expand_note.c     the trace, and the log of what is dead
 */
#ifndef LOOKUP_EXPAND_STATE_H
#define LOOKUP_EXPAND_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lookup/expand.h"
#include "lookup/table_map.h"

enum node_kind {
	NODE_ADDRESS,
	NODE_USER,    /* address.local is the name, address.domain where it was met */
	NODE_INCLUDE, /* the list in `path`, met at `address` */
};

struct node {
	enum node_kind kind;
	bool final;      /* aliases were asked already */
	bool direct;     /* and the .forward */
	bool in_forward; /* a user's .forward led here */
	bool live;       /* mail goes from here */
	bool lost;       /* none does, for all that its user's .forward says */
	uint32_t parent;
	uint32_t rule;               /* its line; 0: none has decided yet */
	const struct action *action; /* NODE_USER, NODE_INCLUDE */
	struct address address;
	char *path;        /* NODE_INCLUDE; owned by the expansion */
	uint32_t owner_id; /* NODE_INCLUDE: whose words led there, INCLUDE_OF_* */
	unsigned depth;    /* NODE_INCLUDE: lists that led there */
	bool in_accounts;  /* NODE_INCLUDE: as below */
};

/* A warning to be logged when all is decided. */
struct dead_target {
	char alias[ADDRESS_TEXT_MAX + 1];
	char target[PATH_TEXT_MAX + 1];
	char words[REPLY_TEXT_MAX + 1];
};

/* A node that leads to one which was there before. */
struct again {
	uint32_t from;
	uint32_t to;
};

struct expansion {
	struct site *site;
	const struct ipc_rcpt *rcpt;
	bool internal; /* the recipient itself comes from this machine */
	struct node *nodes;
	uint32_t node_count;
	uint32_t node_capacity;
	uint32_t at; /* the node in work */
	struct table_map *seen;
	struct expanded *out;
	struct explain_watch *watch; /* NULL: nobody does */
	bool told_rules;             /* to it: why none is for an address */
	size_t target_capacity;
	struct reply why; /* of the first thing that is dead; code 0: none */
	struct reply error_target;
	unsigned dead;
	struct dead_target *deads;
	bool in_accounts; /* the node in work is of the accounts database */
	/* Whose words the list in work is. */
	bool in_forward;
	struct address forward_user;
	bool keeps_copy; /* the .forward names its user's own address */
	uint32_t owner_id;
	unsigned depth;               /* lists in files that led to it */
	struct forward_set *forwards; /* NULL: nobody's counts */
	bool follows_none;            /* each counts as one that can't be used */
	bool waits;
	unsigned failing; /* mailboxes that stand for a .forward that can't be used */
	bool forward_is_dead;
	struct followed *followed; /* lookup/expand_lost.h */
	size_t followed_count;
	struct again *again;
	size_t again_count;
	size_t included; /* bytes of lists read */
	bool loop;
	bool broken; /* something can't be known now */
	bool too_many;
};

#endif
