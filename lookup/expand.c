/*
 * A list of nodes, each an address or a user's name, is worked through from its start; what a node
 * expands to is put at its end. There is no recursion: a chain of a million aliases costs as much
 * as the limit on nodes allows.
 *
 * An address asks the rules (as the client for the recipient itself, as this machine for what an
 * alias leads to), then the action's virtual table or the accounts database. A user's name asks the
 * alias table, then must have a mailbox. A node seen before is dropped: that cuts loops and makes
 * targets unique. An alias that names itself ("bob: bob, carol") means the mailbox below it.
 *
 * A user of the system may have a .forward, which comes between aliases and mailbox; a list in a file
 * (:include:) is a node too. What a user's own words lead to, directly, has that user's rights: of
 * commands that is the user who runs them.
 */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/srs.h"
#include "lookup/expand.h"
#include "lookup/include.h"
#include "lookup/mailbox.h"
#include "lookup/rules.h"

#define VALUE_MAX        (8UL * 1024 * 1024)
#define DEAD_LOGGED_MAX  5
#define NODES_PER_TARGET 4
#define NODES_LEAST      256
#define INCLUDES_SIZE    (8UL * 1024 * 1024) /* of all lists that one recipient leads to */

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
	uint32_t parent;
	uint32_t rule;               /* its line; 0: none has decided yet */
	const struct action *action; /* NODE_USER, NODE_INCLUDE */
	struct address address;
	char *path;        /* NODE_INCLUDE; owned by the expansion */
	uint32_t owner_id; /* NODE_INCLUDE: whose words led there, INCLUDE_OF_* */
	bool in_accounts;  /* NODE_INCLUDE: as below */
};

/* A warning to be logged when all is decided. */
struct dead_target {
	char alias[ADDRESS_TEXT_MAX + 1];
	char target[PATH_TEXT_MAX + 1];
	char words[REPLY_TEXT_MAX + 1];
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
	struct forward_set *forwards;
	bool waits;
	unsigned failing; /* mailboxes that stand for a .forward that can't be used */
	bool forward_is_dead;
	size_t included; /* bytes of lists read */
	bool loop;
	bool broken; /* something can't be known now */
	bool too_many;
};

/* What came of the node in work; `to` may be NULL. */
static void
trace_step(
    const struct expansion *x, const char *step, const char *to, const char *key, const char *value)
{
	const struct node *node = &x->nodes[x->at];
	char text[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_EXPAND, "expand-step"))
		return;
	address_format(&x->rcpt->rcpt, text, sizeof(text));
	log_text(&line, "rcpt", text);
	address_format(&node->address, text, sizeof(text));
	log_text(&line, node->kind == NODE_ADDRESS ? "address" : "name", text);
	log_text(&line, "step", step);
	if (to != NULL)
		log_text(&line, "to", to);
	if (value != NULL && *value != '\0')
		log_text(&line, key, value);
	log_end(&line);
}

static void
trace(const struct expansion *x, const char *step, const char *to, const char *reason)
{
	if (log_is_traced(LOG_TRACE_EXPAND) && x->at < x->node_count)
		trace_step(x, step, to, "reason", reason);
}

static void
note_dead(struct expansion *x, const char *what, const char *words)
{
	struct dead_target *target;

	/* Of the recipient itself the listener logs the reply. */
	if (x->watch != NULL || (x->node_count <= 1 && what == NULL && !x->in_forward))
		return;
	if (x->deads == NULL)
		x->deads = calloc(DEAD_LOGGED_MAX, sizeof(*x->deads));
	if (x->deads != NULL && x->dead < DEAD_LOGGED_MAX) {
		target = &x->deads[x->dead];
		address_format(&x->nodes[x->at].address, target->alias, sizeof(target->alias));
		strlcpy(target->target, what == NULL ? "" : what, sizeof(target->target));
		strlcpy(target->words, words, sizeof(target->words));
	}
	x->dead++;
}

static void
dead(struct expansion *x, const char *what, unsigned code, const char *enhanced, const char *words)
{
	if (x->why.code == 0)
		reply_set(&x->why, code, enhanced, "%s", words);
	trace(x, "dead", what, words);
	explain_tell(x->watch, EXPLAIN_DEAD, &x->nodes[x->at].address, 0, NULL, what, words);
	note_dead(x, what, words);
	if (x->nodes[x->at].in_forward || x->in_forward)
		x->forward_is_dead = true;
}

static void
log_deads(const struct expansion *x)
{
	struct log_line line;
	char original[ADDRESS_TEXT_MAX + 1];

	if (x->deads == NULL)
		return;
	address_format(&x->rcpt->rcpt, original, sizeof(original));
	for (unsigned i = 0; i < x->dead && i < DEAD_LOGGED_MAX; i++) {
		const struct dead_target *dead = &x->deads[i];

		log_begin(&line, LOG_LEVEL_WARNING, "alias-target-dead");
		log_text(&line, "to", original);
		log_text(&line, "target", *dead->target != '\0' ? dead->target : dead->alias);
		log_text(&line, "reason", dead->words);
		log_end(&line);
	}
	if (x->dead > DEAD_LOGGED_MAX)
		log_warning("%u more targets of that alias are dead", x->dead - DEAD_LOGGED_MAX);
}

static void
broken(struct expansion *x)
{
	x->broken = true;
}

/* True when `key` wasn't seen before in this expansion. */
static bool
is_new(struct expansion *x, const char *key)
{
	switch (table_map_add_exactly(x->seen, key, "")) {
	case TABLE_MAP_ADDED:
		return true;
	case TABLE_MAP_DUPLICATE:
		return false;
	case TABLE_MAP_FULL:
		break;
	}
	broken(x);
	return false;
}

static void
node_key(const struct node *node, char *key, size_t size)
{
	char domain[TABLE_KEY_MAX];
	int length;

	if (!table_domain_normalise(node->address.domain, domain, sizeof(domain)))
		strlcpy(domain, node->address.domain, sizeof(domain));
	length = snprintf(key, size, "%c%c %s ", node->kind == NODE_ADDRESS ? 'a' : 'u',
	    node->direct      ? 'd'
	        : node->final ? 'f'
	                      : 'n',
	    node->action == NULL ? "" : node->action->config->name);
	if (length > 0 && (size_t)length < size)
		snprintf(key + length, size - (size_t)length, "%s@%s", node->address.local, domain);
	text_lower(key);
}

static bool
same_node(const struct node *a, const struct node *b)
{
	return a->kind == b->kind && a->action == b->action &&
	    address_equal(&a->address, &b->address);
}

static bool
is_ancestor(const struct expansion *x, const struct node *node)
{
	for (uint32_t i = x->at;; i = x->nodes[i].parent) {
		if (same_node(&x->nodes[i], node))
			return true;
		if (i == 0)
			return false;
	}
}

/* A user's .forward is in work, and names him or what led to him without another's .forward. */
static bool
is_his_own(const struct expansion *x, const struct address *address)
{
	for (uint32_t i = x->at;; i = x->nodes[i].parent) {
		if (address_equal(&x->nodes[i].address, address))
			return true;
		if (i == 0 || x->nodes[i].in_forward)
			return false;
	}
}

static void
append_node(struct expansion *x, struct node *node)
{
	uint32_t limit = x->site->config->limits.targets;
	struct node *nodes;

	limit = limit > UINT32_MAX / NODES_PER_TARGET ? UINT32_MAX : limit * NODES_PER_TARGET;
	if (x->node_count >= (limit < NODES_LEAST ? NODES_LEAST : limit)) {
		x->too_many = true;
		return;
	}
	if (x->node_count == x->node_capacity) {
		uint32_t capacity = x->node_capacity == 0 ? 4 : x->node_capacity * 2;

		nodes = reallocarray(x->nodes, capacity, sizeof(*nodes));
		if (nodes == NULL) {
			broken(x);
			return;
		}
		x->nodes = nodes;
		x->node_capacity = capacity;
	}
	node->parent = x->at;
	node->rule = x->node_count == 0 ? 0 : x->nodes[x->at].rule;
	x->nodes[x->node_count++] = *node;
}

static void
tell_node(
    const struct expansion *x, enum explain_step told, const char *step, const struct node *node)
{
	char text[ADDRESS_TEXT_MAX + 1];

	if (x->watch == NULL && !log_is_traced(LOG_TRACE_EXPAND))
		return;
	address_format(&node->address, text, sizeof(text));
	explain_tell(x->watch, told, &x->nodes[x->at].address, 0, NULL, text, NULL);
	trace(x, step, text,
	    node->kind == NODE_ADDRESS ? "an address: the rules are asked"
	        : node->direct         ? "the mailbox itself"
	        : node->final          ? "itself: the mailbox below"
	                               : "a user's name");
}

/* Adds what the node in work leads to. */
static void
add_node(struct expansion *x, enum node_kind kind, const struct action *action, const char *local,
    const char *domain, bool direct)
{
	struct node node = { .kind = kind, .action = action, .in_forward = x->in_forward };
	const struct node *current = &x->nodes[x->at];
	char key[2 * TABLE_KEY_MAX];

	if (strlcpy(node.address.local, local, sizeof(node.address.local)) >=
	        sizeof(node.address.local) ||
	    strlcpy(node.address.domain, domain, sizeof(node.address.domain)) >=
	        sizeof(node.address.domain)) {
		dead(x, local, 550, "5.1.1", "the name is too long");
		return;
	}
	if (x->in_forward && !direct && is_his_own(x, &node.address)) {
		tell_node(x, EXPLAIN_LEADS_AGAIN, "keeps-a-copy", &node);
		x->keeps_copy = true;
		return;
	}
	node.final = direct || same_node(current, &node);
	node.direct = direct;
	node_key(&node, key, sizeof(key));
	if (is_new(x, key)) {
		tell_node(x, EXPLAIN_LEADS_TO, "leads-to", &node);
		append_node(x, &node);
	} else if (is_ancestor(x, &node)) {
		tell_node(x, EXPLAIN_LEADS_BACK, "leads-back-to", &node);
		x->loop = true;
	} else
		tell_node(x, EXPLAIN_LEADS_AGAIN, "leads-again-to", &node);
}

static void
add_target(struct expansion *x, enum envelope_kind kind, const struct action *action,
    const struct address *dest, const char *command)
{
	struct expanded *out = x->out;
	struct ipc_target *target;

	if (out->count >= x->site->config->limits.targets) {
		x->too_many = true;
		return;
	}
	if (out->count == x->target_capacity) {
		size_t capacity = x->target_capacity == 0 ? 1 : x->target_capacity * 4;

		target = reallocarray(out->targets, capacity, sizeof(*target));
		if (target == NULL) {
			broken(x);
			return;
		}
		out->targets = target;
		x->target_capacity = capacity;
	}
	if (log_is_traced(LOG_TRACE_EXPAND))
		trace_step(x,
		    kind == ENVELOPE_MAILDIR     ? "mailbox"
		        : envelope_is_pipe(kind) ? "command"
		                                 : "relay",
		    envelope_is_pipe(kind) ? command : NULL, "action",
		    action == NULL ? "" : action->config->name);
	target = &out->targets[out->count];
	memset(target, 0, sizeof(*target));
	target->kind = kind;
	target->dest = *dest;
	if (action != NULL)
		strlcpy(target->action, action->config->name, sizeof(target->action));
	strlcpy(target->command, command, sizeof(target->command));
	target->rule = x->nodes[x->at].rule;
	out->count++;
}

/* The number that stands for a mailbox: so many bits that two never meet (FNV-1a). */
static uint64_t
mailbox_number(const struct ipc_mailbox *mailbox)
{
	uint64_t value = UINT64_C(14695981039346656037) ^ mailbox->uid;

	for (const char *at = mailbox->path; *at != '\0'; at++)
		value = (value ^ (unsigned char)*at) * UINT64_C(1099511628211);
	/* Users may share a directory, and a command asks for their names. */
	for (const char *at = mailbox->form == MAILBOX_COMMAND ? mailbox->user : ""; *at != '\0';
	     at++)
		value = (value ^ (unsigned char)*at) * UINT64_C(1099511628211);
	return value == 0 ? 1 : value;
}

/* The address that was met last before the node in work, or is it. */
static const struct address *
last_address(const struct expansion *x)
{
	const struct node *node = &x->nodes[x->at];

	while (node->kind != NODE_ADDRESS)
		node = &x->nodes[node->parent];
	return &node->address;
}

/* A user whose mail another server keeps, one for each name that it knows. */
static void
add_lmtp(struct expansion *x, const struct action *action, const struct address *user)
{
	struct ipc_mailbox place = { .uid = UINT32_MAX };
	const struct address *dest = action->config->lmtp_rcpt_to ? last_address(x) : user;
	char name[ADDRESS_TEXT_MAX + 1], key[sizeof(place.path) + 32];

	address_format(dest, name, sizeof(name));
	if (!action->config->lmtp_rcpt_to && action->accounts != ACTION_ACCOUNTS_ALWAYS)
		strlcpy(name, dest->local, sizeof(name));
	snprintf(place.path, sizeof(place.path), "%s %s", action->config->name, name);
	text_lower(place.path);
	snprintf(key, sizeof(key), "l %s", place.path);
	if (!is_new(x, key))
		return;
	add_target(x, ENVELOPE_RELAY, action, dest, "");
	if (!x->too_many && !x->broken)
		x->out->targets[x->out->count - 1].mailbox = mailbox_number(&place);
	explain_tell(x->watch, EXPLAIN_LMTP, user, 0, action->config->name,
	    action->config->relay_hosts + strlen(LMTP_URL), name);
}

/* The name without its "+detail"; false when it has none. */
static bool
without_detail(const struct site *site, const struct address *address, struct address *plain)
{
	char detail[ADDRESS_LOCAL_MAX + 1];
	size_t length = strlen(address->local);

	*plain = *address;
	address_split_detail(plain, site->config->subaddress_delimiters, detail, sizeof(detail));
	return strlen(plain->local) != length;
}

static void
add_pipe(struct expansion *x, const struct action *action, const char *command)
{
	char key[PATH_TEXT_MAX + 8];

	if (!action->config->allow_pipes) {
		dead(x, command, 550, "5.7.1", "the action doesn't allow commands (\"pipes\")");
		return;
	}
	snprintf(key, sizeof(key), "p %s", command);
	if (!is_new(x, key))
		return;
	add_target(x, ENVELOPE_PIPE, action, &x->nodes[x->at].address, command);
	explain_tell(x->watch, EXPLAIN_COMMAND, &x->nodes[x->at].address, 0, action->config->name,
	    command, NULL);
}

/* A command of that user's own. */
static void
add_user_pipe(struct expansion *x, const struct action *action, const struct address *user,
    const char *command)
{
	char key[PATH_TEXT_MAX + ADDRESS_LOCAL_MAX + 8];
	struct ipc_mailbox mailbox;

	mailbox_find_user_pipe(x->site, action, user, &mailbox);
	if (reply_is_temporary(&mailbox.reply)) {
		broken(x);
		return;
	}
	if (!reply_is_success(&mailbox.reply)) {
		dead(x, command, mailbox.reply.code, mailbox.reply.enhanced, mailbox.reply.text);
		return;
	}
	snprintf(key, sizeof(key), "c %s %s", user->local, command);
	if (!is_new(x, key))
		return;
	add_target(x, ENVELOPE_USER_PIPE, action, user, command);
	explain_tell(x->watch, EXPLAIN_COMMAND, user, 0, action->config->name, command, NULL);
}

/* A command in a list that isn't the administrator's: its owner's own. */
static void
add_owner_pipe(struct expansion *x, const struct action *action, const char *command)
{
	const struct passwd *owner =
	    x->owner_id == INCLUDE_OF_ANYONE ? NULL : getpwuid(x->owner_id);
	struct address user = x->nodes[x->at].address;
	struct ipc_mailbox mailbox;

	if (owner != NULL &&
	    strlcpy(user.local, owner->pw_name, sizeof(user.local)) < sizeof(user.local)) {
		mailbox_find(x->site, action, &user, &mailbox);
		if (reply_is_success(&mailbox.reply) && mailbox.uid == x->owner_id) {
			add_user_pipe(x, action, &user, command);
			return;
		}
	}
	dead(x, command, 550, "5.7.1", "a command in a list of nobody's who may run it");
}

static void
add_include(struct expansion *x, const struct action *action, const char *path)
{
	struct node node = { .kind = NODE_INCLUDE,
		.action = action,
		.address = x->nodes[x->at].address,
		.owner_id = x->owner_id,
		.in_accounts = x->in_accounts };
	char key[PATH_TEXT_MAX + 32];

	if (x->in_forward) {
		dead(x, path, 550, "5.7.1", "lists in files are for alias tables only");
		return;
	}
	snprintf(key, sizeof(key), "i %u %s", x->owner_id, path);
	if (!is_new(x, key)) {
		x->loop = true;
		return;
	}
	node.path = strdup(path);
	if (node.path == NULL) {
		broken(x);
		return;
	}
	append_node(x, &node);
	if (x->too_many || x->broken)
		free(node.path);
}

/* "error:550 words", "error:450 words"; without a code it is 550. */
static void
set_error_target(struct expansion *x, const char *text)
{
	unsigned code = 550;

	if ((*text == '4' || *text == '5') && strspn(text, "0123456789") == 3 &&
	    (text[3] == ' ' || text[3] == '\0')) {
		code = (unsigned)strtoul(text, NULL, 10);
		text += 3;
		text += strspn(text, " ");
	}
	trace(x, "error", NULL, text);
	explain_tell(x->watch, EXPLAIN_ERROR, &x->nodes[x->at].address, 0, NULL, NULL, text);
	if (x->error_target.code == 0)
		reply_set(&x->error_target, code, code < 500 ? "4.7.1" : "5.7.1", "%s",
		    *text == '\0' ? "not accepted" : text);
}

static void
follow_target(struct expansion *x, const struct action *action, const struct target *target)
{
	/* Lent to add_node(), which may move the nodes only after it has copied them. */
	struct address from = x->nodes[x->at].address;

	switch (target->kind) {
	case TARGET_USER:
		add_node(x, x->in_accounts ? NODE_ADDRESS : NODE_USER,
		    x->in_accounts ? NULL : action, target->text, from.domain, target->direct);
		break;
	case TARGET_ADDRESS:
		add_node(
		    x, NODE_ADDRESS, NULL, target->address.local, target->address.domain, false);
		break;
	case TARGET_DOMAIN:
		add_node(x, NODE_ADDRESS, NULL, from.local, target->text, false);
		break;
	case TARGET_PIPE:
		if (x->in_forward)
			add_user_pipe(x, action, &x->forward_user, target->text);
		else if (x->owner_id != INCLUDE_OF_ADMIN)
			add_owner_pipe(x, action, target->text);
		else
			add_pipe(x, action, target->text);
		break;
	case TARGET_ERROR:
		set_error_target(x, target->text);
		break;
	case TARGET_FILE:
		dead(x, target->text, 550, "5.1.1", "delivery to a file is not supported");
		break;
	case TARGET_INCLUDE:
		add_include(x, action, target->text);
		break;
	case TARGET_INVALID:
		dead(x, target->text, 550, "5.1.1", "not a target");
		break;
	}
}

static void
follow_list(struct expansion *x, const struct action *action, const char *list)
{
	struct target target;

	while (!x->too_many && !x->broken && target_next(&list, &target))
		follow_target(x, action, &target);
}

/* The lines of a .forward or a list, which are changed; how many targets there are. */
static size_t
follow_lines(struct expansion *x, const struct action *action, char *text)
{
	struct target_lines lines;
	struct target target;
	size_t count = 0;

	target_lines_begin(&lines, text);
	while (!x->too_many && !x->broken && target_lines_next(&lines, &target)) {
		follow_target(x, action, &target);
		count++;
	}
	return count;
}

static void
log_failing(const struct expansion *x, const struct ipc_mailbox *mailbox, const char *why)
{
	struct log_line line;

	trace(x, "forward-unusable", NULL, why);
	explain_tell(x->watch, EXPLAIN_DEAD, &x->nodes[x->at].address, 0, NULL, FORWARD_NAME, why);
	if (x->watch != NULL)
		return;
	log_begin(&line, LOG_LEVEL_WARNING, "forward-unusable");
	log_text(&line, "user", mailbox->user);
	log_number(&line, "uid", mailbox->uid);
	log_text(&line, "reason", why);
	log_end(&line);
}

/* Where the mailbox's owner wants his mail to go; false when it is his mailbox. */
static bool
follow_forward(struct expansion *x, const struct action *action, const struct address *dest,
    const struct ipc_mailbox *mailbox, bool *failing)
{
	struct forward forward;
	size_t count;
	char *text;

	if (!forward_set_find(x->forwards, mailbox, &forward)) {
		x->waits = true;
		return true;
	}
	switch (forward.state) {
	case FORWARD_NONE:
		return false;
	case FORWARD_FOUND:
		break;
	case FORWARD_FAILED:
	case FORWARD_STATE_COUNT:
		*failing = true;
		if (!x->waits)
			log_failing(x, mailbox, forward.text);
		return false;
	}
	text = strdup(forward.text);
	if (text == NULL) {
		broken(x);
		return true;
	}
	trace(x, "forward", mailbox->home, NULL);
	explain_tell(
	    x->watch, EXPLAIN_FORWARD, &x->nodes[x->at].address, 0, NULL, mailbox->home, NULL);
	x->in_forward = true;
	x->forward_user = *dest;
	x->keeps_copy = false;
	count = follow_lines(x, action, text);
	x->in_forward = false;
	free(text);
	return count > 0 && !x->keeps_copy;
}

static void
expand_include(struct expansion *x, const struct node *node)
{
	enum include_result result;
	size_t limit = INCLUDES_SIZE - x->included;
	uint32_t owner;
	const char *why;
	struct buf text;

	x->in_accounts = node->in_accounts;
	explain_tell(x->watch, EXPLAIN_INCLUDE, &node->address, 0, NULL, node->path, NULL);
	buf_init(&text, INCLUDE_SIZE_MAX + 1);
	result = include_read(node->path, x->site->privileged,
	    limit < INCLUDE_SIZE_MAX ? limit : INCLUDE_SIZE_MAX, &text, &owner, &why);
	switch (result) {
	case INCLUDE_READ:
		x->included += text.length - 1;
		/* Who is led on by another's list has no more rights than he. */
		x->owner_id = node->owner_id == INCLUDE_OF_ADMIN || node->owner_id == owner
		    ? owner
		    : node->owner_id;
		if (node->owner_id != INCLUDE_OF_ADMIN && owner != INCLUDE_OF_ADMIN &&
		    node->owner_id != owner)
			x->owner_id = INCLUDE_OF_ANYONE;
		if (buf_ok(&text))
			(void)follow_lines(x, node->action, (char *)text.data);
		else
			broken(x);
		x->owner_id = INCLUDE_OF_ADMIN;
		break;
	case INCLUDE_REFUSED:
		dead(x, node->path, 550, "5.1.1", why);
		break;
	case INCLUDE_BROKEN:
		if (x->watch == NULL)
			log_error("the list %s can't be read: %s", node->path, why);
		explain_tell(x->watch, EXPLAIN_DEAD, &node->address, 0, NULL, node->path, why);
		broken(x);
		break;
	}
	buf_free(&text);
}

/* The mailbox of `dest`, or where its owner's .forward leads; false when there is none, with the
 * reason, and nothing is said about it. */
static bool
add_mailbox(
    struct expansion *x, const struct action *action, const struct address *dest, struct reply *why)
{
	struct ipc_mailbox mailbox;
	char key[PATH_TEXT_MAX + USER_NAME_MAX + ACTION_NAME_MAX + 64];
	bool failing = false;

	mailbox_find(x->site, action, dest, &mailbox);
	if (reply_is_temporary(&mailbox.reply)) {
		broken(x);
		return true;
	}
	if (!reply_is_success(&mailbox.reply)) {
		*why = mailbox.reply;
		return false;
	}
	x->keeps_copy = false;
	if (x->forwards != NULL && mailbox.forwards && !x->nodes[x->at].direct &&
	    follow_forward(x, action, dest, &mailbox, &failing))
		return true;
	if (action->config->method == ACTION_LMTP) {
		add_lmtp(x, action, dest);
		return true;
	}
	if (!action_is_local(action->config)) {
		if (failing)
			broken(x);
		reply_set(why, 550, "5.1.1", "no such user here");
		return failing || x->keeps_copy;
	}
	if (mailbox.form == MAILBOX_COMMAND)
		snprintf(key, sizeof(key), "c %u %s %s %s", mailbox.uid, action->config->name,
		    mailbox.user, mailbox.path);
	else
		snprintf(key, sizeof(key), "m %u %s", mailbox.uid, mailbox.path);
	if (is_new(x, key)) {
		add_target(x, ENVELOPE_MAILDIR, action, dest, "");
		x->failing += failing;
		if (!x->too_many && !x->broken) {
			x->out->targets[x->out->count - 1].mailbox = mailbox_number(&mailbox);
			x->out->targets[x->out->count - 1].failing = failing;
		}
		explain_tell(x->watch,
		    mailbox.form == MAILBOX_COMMAND ? EXPLAIN_COMMAND : EXPLAIN_MAILBOX, dest, 0,
		    action->config->name,
		    mailbox.form == MAILBOX_COMMAND ? mailbox.command : mailbox.path, mailbox.user);
		x->out->mailbox = mailbox;
	}
	return true;
}

/* Looks `key` up and follows its value. */
static enum table_result
follow_key(struct expansion *x, const struct action *action, struct table *table, const char *key)
{
	enum table_result result;
	struct buf value;

	buf_init(&value, VALUE_MAX);
	result = table_get(table, key, &value);
	if (result == TABLE_FOUND)
		follow_list(x, action, (const char *)value.data);
	else if (result == TABLE_BROKEN)
		broken(x);
	buf_free(&value);
	return result;
}

static void
expand_virtual(struct expansion *x, const struct action *action, const struct address *address)
{
	char keys[6][TABLE_KEY_MAX];
	struct address plain;
	size_t count = 0;
	/* A quoted local part that looks like an address is not looked up as one. */
	bool bare = strchr(address->local, '@') == NULL;

	snprintf(keys[count++], TABLE_KEY_MAX, "%s@%s", address->local, address->domain);
	if (without_detail(x->site, address, &plain))
		snprintf(keys[count++], TABLE_KEY_MAX, "%s@%s", plain.local, plain.domain);
	if (bare)
		strlcpy(keys[count++], address->local, TABLE_KEY_MAX);
	if (bare && strcmp(plain.local, address->local) != 0)
		strlcpy(keys[count++], plain.local, TABLE_KEY_MAX);
	snprintf(keys[count++], TABLE_KEY_MAX, "@%s", address->domain);
	strlcpy(keys[count++], "@", TABLE_KEY_MAX);
	for (size_t i = 0; i < count; i++) {
		if (follow_key(x, action, action->virtuals, keys[i]) != TABLE_NONE)
			return;
	}
	dead(x, NULL, 550, "5.1.1", "no such user here");
}

/* An alias of the accounts database. */
static enum account_result
follow_account_alias(
    struct expansion *x, const struct action *action, const char *domain, const char *local)
{
	enum account_result result;
	struct target target;
	char text[PATH_TEXT_MAX + 1];
	struct buf targets;

	buf_init(&targets, VALUE_MAX);
	result = accounts_find_alias(x->site->accounts, domain, local, &targets);
	for (size_t at = 0; result == ACCOUNT_FOUND && at < targets.length && !x->too_many;) {
		const char *stored = (const char *)targets.data + at;

		at += strlen(stored) + 1;
		strlcpy(text, stored, sizeof(text));
		target_parse(text, &target);
		follow_target(x, action, &target);
	}
	if (result == ACCOUNT_BROKEN)
		broken(x);
	buf_free(&targets);
	return result;
}

/* An alias, of the action's table or of the database, or a user of exactly this name; false when
 * there is none. */
static bool
try_account(
    struct expansion *x, const struct action *action, const struct address *address, bool aliases)
{
	struct reply why;

	if (aliases && action->aliases != NULL &&
	    follow_key(x, action, action->aliases, address->local) != TABLE_NONE)
		return true;
	if (aliases &&
	    follow_account_alias(x, action, address->domain, address->local) != ACCOUNT_NONE)
		return true;
	return add_mailbox(x, action, address, &why);
}

static void
expand_account(struct expansion *x, const struct action *action, const struct node *node)
{
	struct address address = node->address, plain;
	bool aliases = !node->final;

	x->in_accounts = true;
	if (address_domain_key(node->address.domain, address.domain, sizeof(address.domain))) {
		text_lower(address.local);
		if (try_account(x, action, &address, aliases))
			return;
		if (without_detail(x->site, &address, &plain) &&
		    try_account(x, action, &plain, aliases))
			return;
		if (aliases && follow_account_alias(x, action, address.domain, "") != ACCOUNT_NONE)
			return;
	}
	dead(x, NULL, 550, "5.1.1", "no such user here");
}

static void
expand_user(struct expansion *x, const struct action *action, const struct node *node)
{
	struct address address = node->address, plain;
	enum table_result result = TABLE_NONE;
	struct reply why;
	bool detailed;

	text_lower(address.local);
	detailed = without_detail(x->site, &address, &plain);
	if (!node->final && action->aliases != NULL) {
		result = follow_key(x, action, action->aliases, address.local);
		if (result == TABLE_NONE && detailed)
			result = follow_key(x, action, action->aliases, plain.local);
	}
	if (result != TABLE_NONE)
		return;
	if (action->config->method == ACTION_EXPAND_ONLY) {
		dead(x, NULL, 550, "5.1.1", "no such user here");
		return;
	}
	if (!add_mailbox(x, action, &address, &why) &&
	    !(detailed && add_mailbox(x, action, &plain, &why)))
		dead(x, NULL, why.code, why.enhanced, why.text);
}

static void
expand_relay(struct expansion *x, const struct action *action, const struct node *node)
{
	struct node copy = *node;
	char key[2 * TABLE_KEY_MAX];

	copy.final = true;
	copy.action = action;
	node_key(&copy, key, sizeof(key));
	key[0] = 'r';
	if (!is_new(x, key))
		return;
	add_target(x, ENVELOPE_RELAY, action, &node->address, "");
	explain_tell(x->watch, EXPLAIN_RELAY, &node->address, 0, action->config->name,
	    node->address.domain, NULL);
}

/* An address of ours that stands for the sender of mail that was forwarded. */
static void
expand_srs(struct expansion *x, const struct node *node)
{
	const struct config *config = x->site->config;
	const struct srs_keys keys = { config->srs_key, config->srs_key_backup, config->srs_ttl };
	struct address sender;

	switch (srs_decode(&keys, &node->address, clock_wall(), &sender)) {
	case SRS_OK:
		add_node(x, NODE_ADDRESS, NULL, sender.local, sender.domain, false);
		break;
	case SRS_FORGED:
		dead(x, NULL, 550, "5.7.1", "this SRS address was not made here");
		break;
	case SRS_EXPIRED:
		dead(x, NULL, 550, "5.7.1", "this SRS address has expired");
		break;
	}
}

static void
tell_tried(const struct rule *rule, enum table_result result, const char *condition, void *arg)
{
	const struct expansion *x = arg;

	if (result != TABLE_FOUND)
		explain_tell(x->watch, result == TABLE_NONE ? EXPLAIN_TRIED : EXPLAIN_UNDECIDED,
		    &x->nodes[x->at].address, rule->config->line, NULL, rule->config->file,
		    condition);
}

/* Why no rule is for it; of what an alias leads to it would be too much. */
static void
tell_no_rule(struct expansion *x, const struct node *node, bool internal)
{
	if (x->watch != NULL && x->at == 0)
		rules_tell(x->site, x->rcpt, &node->address, internal, tell_tried, x);
}

static void
expand_address(struct expansion *x, const struct node *node)
{
	const struct rule *rule;
	const struct action *action;
	bool internal = x->internal || x->at > 0;

	switch (rules_match(x->site, x->rcpt, &node->address, internal, &rule)) {
	case RULES_ACTION:
		x->nodes[x->at].rule = rule->config->line;
		explain_tell(x->watch, EXPLAIN_RULE, &node->address, rule->config->line,
		    rule->config->action, rule->config->file, NULL);
		break;
	case RULES_REJECT:
		explain_tell(x->watch, EXPLAIN_RULE, &node->address, rule->config->line, NULL,
		    rule->config->file, NULL);
		dead(x, NULL, 550, "5.7.1", "this recipient is not accepted from you");
		return;
	case RULES_NONE:
		explain_tell(x->watch, EXPLAIN_NO_RULE, &node->address, 0, NULL, NULL, NULL);
		tell_no_rule(x, node, internal);
		dead(x, NULL, 550, "5.7.1", "foreign domain: relaying denied");
		return;
	case RULES_BROKEN:
		tell_no_rule(x, node, internal);
		broken(x);
		return;
	}
	action = rule->action;
	if (action->config->method != ACTION_RELAY && *x->site->config->srs_key != '\0' &&
	    srs_is_address(&node->address)) {
		expand_srs(x, node);
		return;
	}
	if (action->config->method == ACTION_RELAY) {
		expand_relay(x, action, node);
		return;
	}
	switch (site_uses_accounts(x->site, action, node->address.domain)) {
	case ACCOUNT_FOUND:
		expand_account(x, action, node);
		return;
	case ACCOUNT_BROKEN:
		broken(x);
		return;
	case ACCOUNT_NONE:
		break;
	}
	if (action->virtuals != NULL && !node->final)
		expand_virtual(x, action, &node->address);
	else if (action->virtuals != NULL) {
		x->loop = true; /* a virtual entry that names its own key */
		dead(x, NULL, 550, "5.4.6", "the alias leads back to itself");
	} else
		expand_user(x, action, node);
}

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
		log_deads(x);
	x->out->waits = x->waits && !x->too_many && !x->broken;
}

static void
expand(struct site *site, const struct ipc_rcpt *rcpt, const struct address *address, bool internal,
    struct forward_set *forwards, struct explain_watch *watch, struct expanded *out)
{
	struct expansion x = { .site = site,
		.rcpt = rcpt,
		.internal = internal,
		.forwards = forwards,
		.owner_id = INCLUDE_OF_ADMIN,
		.watch = watch,
		.out = out };
	struct node node = { .kind = NODE_ADDRESS, .address = *address };
	char key[2 * TABLE_KEY_MAX];

	memset(out, 0, sizeof(*out));
	x.seen = table_map_new();
	if (x.seen == NULL)
		broken(&x);
	else {
		node_key(&node, key, sizeof(key));
		if (is_new(&x, key))
			append_node(&x, &node);
	}
	for (; x.at < x.node_count && !x.too_many && !x.broken; x.at++) {
		node = x.nodes[x.at];
		x.in_accounts = false;
		switch (node.kind) {
		case NODE_ADDRESS:
			expand_address(&x, &node);
			break;
		case NODE_USER:
			expand_user(&x, node.action, &node);
			break;
		case NODE_INCLUDE:
			expand_include(&x, &node);
			break;
		}
	}
	set_reply(&x);
	if (out->count != 1 || out->targets[0].kind != ENVELOPE_MAILDIR ||
	    out->mailbox.form != MAILBOX_MAILDIR)
		memset(&out->mailbox, 0, sizeof(out->mailbox));
	table_map_free(x.seen);
	for (uint32_t i = 0; i < x.node_count; i++)
		free(x.nodes[i].path);
	free(x.nodes);
	free(x.deads);
}

void
expanded_free(struct expanded *out)
{
	free(out->targets);
	memset(out, 0, sizeof(*out));
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
	expand(site, rcpt, &address, true, forwards, watch, out);
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
	out->targets->mailbox = mailbox_number(&mailbox);
	strlcpy(out->targets->dest.local, MAILBOX_POSTMASTER, sizeof(out->targets->dest.local));
	strlcpy(
	    out->targets->dest.domain, site->config->hostname, sizeof(out->targets->dest.domain));
	explain_tell(
	    watch, EXPLAIN_MAILBOX, &out->targets->dest, 0, NULL, mailbox.path, mailbox.user);
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

/* What the rules refuse a client is taken for the postmaster all the same. */
static void
expand_postmaster(struct site *site, const struct ipc_rcpt *rcpt, const struct address *address,
    struct forward_set *forwards, struct explain_watch *watch, struct expanded *out)
{
	explain_tell(watch, EXPLAIN_POSTMASTER, address, 0, NULL, NULL, NULL);
	if (rcpt->client_family != CLIENT_INTERNAL) {
		expanded_free(out);
		expand(site, rcpt, address, true, forwards, watch, out);
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
expand_recipient(struct site *site, const struct ipc_rcpt *rcpt, struct forward_set *forwards,
    struct expanded *out)
{
	expand_watched(site, rcpt, forwards, NULL, out);
}

void
expand_watched(struct site *site, const struct ipc_rcpt *rcpt, struct forward_set *forwards,
    struct explain_watch *watch, struct expanded *out)
{
	struct address address = rcpt->rcpt;

	if (*address.domain == '\0')
		strlcpy(address.domain, site->config->hostname, sizeof(address.domain));
	expand(site, rcpt, &address, rcpt->client_family == CLIENT_INTERNAL, forwards, watch, out);
	if (reply_is_permanent(&out->reply) && is_postmaster(site, rcpt, &address))
		expand_postmaster(site, rcpt, &address, forwards, watch, out);
	if (log_is_traced(LOG_TRACE_EXPAND))
		trace_result(&address, out);
}
