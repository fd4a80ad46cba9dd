/*
 * A list of nodes, each an address, a user's name or a list in a file, is worked through from its
 * start; what a node leads to is put at its end. There is no recursion: a chain of a million aliases
 * costs as much as the limit on nodes allows.
 *
 * An address asks the rules, and then the action's virtual table or the accounts database; a user's
 * name asks the alias table, then must have a mailbox. expand_state.h says which file knows what.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/log.h"
#include "lookup/expand.h"
#include "lookup/expand_address.h"
#include "lookup/expand_list.h"
#include "lookup/expand_nodes.h"
#include "lookup/expand_note.h"
#include "lookup/expand_state.h"
#include "lookup/expand_target.h"
#include "lookup/expand_user.h"
#include "lookup/include.h"
#include "lookup/mailbox.h"
#include "lookup/rules.h"

static void
set_reply(struct expansion *x)
{
	struct reply *reply = &x->out->reply;

	if (x->too_many)
		reply_set(reply, 550, "5.5.3", "the alias leads to more than %u mailboxes",
		    x->site->config->limits.targets);
	else if (x->broken)
		reply_set(
		    reply, 451, "4.3.0", "the recipient can't be looked up now, try again later");
	else if (x->waits)
		reply_set(reply, 451, "4.3.0", "not known yet");
	else if (x->out->count > x->failing)
		reply_set(reply, 250, "2.1.5", "recipient ok");
	else if (x->out->count > 0)
		reply_set(reply, 451, "4.2.0",
		    "the recipient's .forward can't be used now, try again later");
	else if (x->forward_is_dead)
		reply_set(reply, 451, "4.2.0",
		    "the recipient's .forward leads nowhere now, try again later");
	else if (x->error_target.code != 0)
		*reply = x->error_target;
	else if (x->loop)
		reply_set(reply, 550, "5.4.6", "the alias leads back to itself");
	else if (x->node_count == 1 && x->dead == 0)
		*reply = x->why;
	else
		reply_set(reply, 550, "5.1.1", "no mailbox behind this alias");
	if (!x->waits)
		expand_log_dead(x);
	x->out->waits = x->waits && !x->too_many && !x->broken;
}

void
expanded_free(struct expanded *out)
{
	free(out->targets);
	memset(out, 0, sizeof(*out));
}

static void
work_through(struct expansion *x)
{
	for (; x->at < x->node_count && !x->too_many && !x->broken; x->at++) {
		/* What is added may move the list. */
		const struct node node = x->nodes[x->at];

		x->in_accounts = false;
		switch (node.kind) {
		case NODE_ADDRESS:
			if (x->at == 0 && *x->rcpt->user_action != '\0')
				expand_user_of_action(x, &node);
			else
				expand_address(x, &node);
			break;
		case NODE_USER:
			expand_user(x, node.action, &node);
			break;
		case NODE_INCLUDE:
			expand_include(x, &node);
			break;
		}
	}
	if (!x->waits && !x->broken && !x->too_many)
		expand_keep_lost(x);
}

/* False, with nothing decided, when users' .forward files led to too many. */
static bool
expand_once(struct site *site, const struct ipc_rcpt *rcpt, const struct address *address,
    bool internal, struct forward_set *forwards, bool follow, struct explain_watch *watch,
    struct expanded *out)
{
	struct expansion x = { .site = site,
		.rcpt = rcpt,
		.internal = internal,
		.forwards = forwards,
		.follows_none = !follow,
		.owner_id = INCLUDE_OF_ADMIN,
		.watch = watch,
		.out = out };
	bool decided;

	memset(out, 0, sizeof(*out));
	expand_begin(&x, address);
	work_through(&x);
	decided = !x.too_many || x.followed_count == 0;
	if (decided)
		set_reply(&x);
	else
		expanded_free(out);
	if (out->count != 1 || out->targets[0].kind != ENVELOPE_MAILDIR ||
	    out->mailbox.form != MAILBOX_MAILDIR)
		memset(&out->mailbox, 0, sizeof(out->mailbox));
	table_map_free(x.seen);
	for (uint32_t i = 0; i < x.node_count; i++)
		free(x.nodes[i].path);
	free(x.nodes);
	free(x.followed);
	free(x.again);
	free(x.deads);
	return decided;
}

/* One user's .forward can't make an alias lead to more than it may: then none of them is followed. */
static void
expand_bounded(struct site *site, const struct ipc_rcpt *rcpt, const struct address *address,
    bool internal, struct forward_set *forwards, struct explain_watch *watch, struct expanded *out)
{
	struct explain_watch nobody = { NULL, NULL, 0 };
	bool follow;

	/* Who watches is told what is decided, and not on the way to that. */
	follow = expand_once(
	    site, rcpt, address, internal, forwards, true, watch == NULL ? NULL : &nobody, out);
	if (follow && (watch == NULL || watch->step == NULL))
		return;
	expanded_free(out);
	(void)expand_once(site, rcpt, address, internal, forwards, follow, watch, out);
}

/* RFC 5321 4.5.1: the postmaster of each domain that we serve, and of the host itself; and whoever
 * is to get what else would be lost. */
static bool
is_postmaster(struct site *site, const struct ipc_rcpt *rcpt, const struct address *address)
{
	struct address named;

	if (strcasecmp(address->local, "postmaster") == 0)
		return site_is_own_host(site, address->domain) ||
		    rules_serve_domain(site, address->domain);
	return rcpt->client_family == CLIENT_INTERNAL &&
	    address_parse(site->config->postmaster, ADDRESS_ALLOW_UTF8, &named) == ADDRESS_OK &&
	    address_equal(&named, address);
}

/* Whom the administrator named for the postmaster's mail, if that leads anywhere. */
static void
try_configured_postmaster(struct site *site, const struct ipc_rcpt *rcpt,
    struct forward_set *forwards, struct explain_watch *watch, struct expanded *out)
{
	struct address address;

	if (*site->config->postmaster == '\0' ||
	    address_parse(site->config->postmaster, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL,
	        &address) != ADDRESS_OK)
		return;
	if (*address.domain == '\0')
		strlcpy(address.domain, site->config->hostname, sizeof(address.domain));
	expanded_free(out);
	expand_bounded(site, rcpt, &address, true, forwards, watch, out);
}

static void
keep_for_postmaster(struct site *site, struct explain_watch *watch, struct expanded *out)
{
	struct ipc_mailbox mailbox;

	expanded_free(out);
	mailbox_find_postmaster(site, &mailbox);
	out->reply = mailbox.reply;
	if (!reply_is_success(&mailbox.reply))
		return;
	out->targets = calloc(1, sizeof(*out->targets));
	if (out->targets == NULL) {
		reply_set(&out->reply, 451, "4.3.0", "out of memory, try again later");
		return;
	}
	out->count = 1;
	out->targets->kind = ENVELOPE_MAILDIR;
	out->targets->mailbox = expand_mailbox_number(&mailbox);
	strlcpy(out->targets->dest.local, MAILBOX_POSTMASTER, sizeof(out->targets->dest.local));
	strlcpy(
	    out->targets->dest.domain, site->config->hostname, sizeof(out->targets->dest.domain));
	explain_tell(
	    watch, EXPLAIN_MAILBOX, &out->targets->dest, 0, NULL, mailbox.path, mailbox.user);
}

/* What the rules refuse a client is taken for the postmaster all the same. */
static void
expand_postmaster(struct site *site, const struct ipc_rcpt *rcpt, const struct address *address,
    struct forward_set *forwards, struct explain_watch *watch, struct expanded *out)
{
	explain_tell(watch, EXPLAIN_POSTMASTER, address, 0, NULL, NULL, NULL);
	if (rcpt->client_family != CLIENT_INTERNAL) {
		expanded_free(out);
		expand_bounded(site, rcpt, address, true, forwards, watch, out);
	}
	if (reply_is_permanent(&out->reply))
		try_configured_postmaster(site, rcpt, forwards, watch, out);
	if (reply_is_permanent(&out->reply))
		keep_for_postmaster(site, watch, out);
}

static void
trace_result(const struct address *address, const struct expanded *out)
{
	char text[ADDRESS_TEXT_MAX + 1], to[ADDRESS_TEXT_MAX + 1], reply[REPLY_TEXT_MAX + 32];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_EXPAND, "expanded"))
		return;
	address_format(address, text, sizeof(text));
	log_text(&line, "rcpt", text);
	log_number(&line, "targets", (int64_t)out->count);
	reply_format(&out->reply, reply, sizeof(reply));
	log_text(&line, "reply", reply);
	log_end(&line);
	for (size_t i = 0; i < out->count; i++) {
		if (!log_trace_begin(&line, LOG_TRACE_EXPAND, "expanded-to"))
			return;
		log_text(&line, "rcpt", text);
		address_format(&out->targets[i].dest, to, sizeof(to));
		log_text(&line, "to", to);
		log_text(&line, "action", out->targets[i].action);
		log_end(&line);
	}
}

void
expand_watched(struct site *site, const struct ipc_rcpt *rcpt, struct forward_set *forwards,
    struct explain_watch *watch, struct expanded *out)
{
	struct address address = rcpt->rcpt;

	if (*address.domain == '\0')
		strlcpy(address.domain, site->config->hostname, sizeof(address.domain));
	expand_bounded(
	    site, rcpt, &address, rcpt->client_family == CLIENT_INTERNAL, forwards, watch, out);
	if (reply_is_permanent(&out->reply) && *rcpt->user_action == '\0' &&
	    is_postmaster(site, rcpt, &address))
		expand_postmaster(site, rcpt, &address, forwards, watch, out);
	if (log_is_traced(LOG_TRACE_EXPAND))
		trace_result(&address, out);
}

void
expand_recipient(struct site *site, const struct ipc_rcpt *rcpt, struct forward_set *forwards,
    struct expanded *out)
{
	expand_watched(site, rcpt, forwards, NULL, out);
}
