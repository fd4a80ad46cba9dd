/*
 * The recipient itself is the first node. Each other one knows the node that led to it, so that a
 * loop is told from what is only named twice. A node seen before is dropped: that cuts loops and
 * makes targets unique. An alias that names itself ("bob: bob, carol") means the mailbox below it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "lookup/expand_lost.h"
#include "lookup/expand_nodes.h"
#include "lookup/expand_note.h"

#define NODES_PER_TARGET 4
#define NODES_LEAST      256

bool
expand_is_new(struct expansion *x, const char *key)
{
	switch (table_map_add_exactly(x->seen, key, "")) {
	case TABLE_MAP_ADDED:
		return true;
	case TABLE_MAP_DUPLICATE:
		return false;
	case TABLE_MAP_FULL:
		break;
	}
	expand_broken(x);
	return false;
}

/* As expand_is_new(), of the node that is added next; the one that was there else. */
static bool
is_new_node(struct expansion *x, const char *key, uint32_t *other)
{
	char number[16];
	const char *was;

	snprintf(number, sizeof(number), "%u", x->node_count);
	switch (table_map_add_exactly(x->seen, key, number)) {
	case TABLE_MAP_ADDED:
		return true;
	case TABLE_MAP_DUPLICATE:
		was = table_map_get(x->seen, key);
		*other = was == NULL ? 0 : (uint32_t)strtoul(was, NULL, 10);
		return false;
	case TABLE_MAP_FULL:
		break;
	}
	*other = x->at;
	expand_broken(x);
	return false;
}

void
expand_node_key(const struct node *node, char *key, size_t size)
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

bool
expand_append_node(struct expansion *x, struct node *node)
{
	uint32_t limit = x->site->config->limits.targets;
	struct node *nodes;

	limit = limit > UINT32_MAX / NODES_PER_TARGET ? UINT32_MAX : limit * NODES_PER_TARGET;
	if (x->node_count >= (limit < NODES_LEAST ? NODES_LEAST : limit)) {
		x->too_many = true;
		return false;
	}
	if (x->node_count == x->node_capacity) {
		uint32_t capacity = x->node_capacity == 0 ? 4 : x->node_capacity * 2;

		nodes = reallocarray(x->nodes, capacity, sizeof(*nodes));
		if (nodes == NULL) {
			expand_broken(x);
			return false;
		}
		x->nodes = nodes;
		x->node_capacity = capacity;
	}
	node->parent = x->at;
	node->rule = x->node_count == 0 ? 0 : x->nodes[x->at].rule;
	x->nodes[x->node_count++] = *node;
	return true;
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
	expand_trace(x, step, text,
	    node->kind == NODE_ADDRESS ? "an address: the rules are asked"
	        : node->direct         ? "the mailbox itself"
	        : node->final          ? "itself: the mailbox below"
	                               : "a user's name");
}

void
expand_begin(struct expansion *x, const struct address *address)
{
	struct node node = { .kind = NODE_ADDRESS, .address = *address };
	char key[2 * TABLE_KEY_MAX];
	uint32_t other;

	x->seen = table_map_new();
	if (x->seen == NULL) {
		expand_broken(x);
		return;
	}
	expand_node_key(&node, key, sizeof(key));
	if (is_new_node(x, key, &other))
		(void)expand_append_node(x, &node);
}

void
expand_add_node(struct expansion *x, enum node_kind kind, const struct action *action,
    const char *local, const char *domain, bool direct)
{
	struct node node = { .kind = kind, .action = action, .in_forward = x->in_forward };
	const struct node *current = &x->nodes[x->at];
	char key[2 * TABLE_KEY_MAX];
	uint32_t other;

	if (strlcpy(node.address.local, local, sizeof(node.address.local)) >=
	        sizeof(node.address.local) ||
	    strlcpy(node.address.domain, domain, sizeof(node.address.domain)) >=
	        sizeof(node.address.domain)) {
		expand_dead(x, local, 550, "5.1.1", "the name is too long");
		return;
	}
	if (x->in_forward && !direct && is_his_own(x, &node.address)) {
		tell_node(x, EXPLAIN_LEADS_AGAIN, "keeps-a-copy", &node);
		x->keeps_copy = true;
		return;
	}
	node.final = direct || same_node(current, &node);
	node.direct = direct;
	expand_node_key(&node, key, sizeof(key));
	if (is_new_node(x, key, &other)) {
		tell_node(x, EXPLAIN_LEADS_TO, "leads-to", &node);
		(void)expand_append_node(x, &node);
		return;
	}
	expand_note_again(x, other);
	if (is_ancestor(x, &node)) {
		tell_node(x, EXPLAIN_LEADS_BACK, "leads-back-to", &node);
		x->loop = true;
	} else
		tell_node(x, EXPLAIN_LEADS_AGAIN, "leads-again-to", &node);
}
