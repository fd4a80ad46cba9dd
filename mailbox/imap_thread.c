/*
 * THREAD (RFC 5256 3): ORDEREDSUBJECT and REFERENCES. Threads are trees of nodes in an array; a node
 * without a message stands for one that is only spoken of. A thread may be as deep as it has messages,
 * so nothing recurses.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/imap_find.h"
#include "mailbox/imap_summary.h"

#define NONE           UINT32_MAX
#define TEXTS_MAX      (512 * 1024 * 1024)
#define REFERENCES_MAX 50    /* of a message: the last ones */
#define CLIMB_MAX      10000 /* steps up in search of a loop */

struct node {
	uint32_t parent;
	uint32_t first;
	uint32_t next;
	uint32_t number; /* UID or sequence number; 0: no message */
	int64_t sent;
	uint32_t subject; /* base subject, in the texts */
	bool is_reply;
	uint32_t id;   /* its Message-ID in the texts */
	uint32_t hash; /* the next of the same hash */
};

struct threads {
	struct buf texts;
	struct node *nodes;
	size_t count;
	size_t capacity;
	uint32_t *table; /* of ids, by hash */
	size_t table_size;
	size_t loaded; /* of those found */
	bool no_memory;
};

static const struct threads *comparing;

static void
threads_free(struct threads *threads)
{
	buf_free(&threads->texts);
	free(threads->nodes);
	free(threads->table);
	memset(threads, 0, sizeof(*threads));
}

static const char *
text_of(const struct threads *threads, uint32_t at)
{
	return (const char *)threads->texts.data + at;
}

static uint32_t
keep_text(struct threads *threads, const char *data, size_t length)
{
	uint32_t at = (uint32_t)threads->texts.length;

	buf_add(&threads->texts, length > 0 ? data : "", length);
	buf_add_u8(&threads->texts, 0);
	return at;
}

static uint32_t
add_node(struct threads *threads)
{
	struct node *larger;
	size_t capacity;

	if (threads->count == threads->capacity) {
		capacity = threads->capacity > 0 ? threads->capacity * 2 : 256;
		larger = reallocarray(threads->nodes, capacity, sizeof(*larger));
		if (larger == NULL) {
			threads->no_memory = true;
			return NONE;
		}
		threads->nodes = larger;
		threads->capacity = capacity;
	}
	threads->nodes[threads->count] =
	    (struct node){ .parent = NONE, .first = NONE, .next = NONE, .hash = NONE };
	return (uint32_t)threads->count++;
}

/* --- by id --- */

static uint32_t
hash_of(const char *id, size_t length)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)id[i]) * 16777619u;
	return hash;
}

/* The node of an id, made when there is none. */
static uint32_t
find_id(struct threads *threads, const char *id, size_t length)
{
	uint32_t *slot = &threads->table[hash_of(id, length) % threads->table_size], at;

	for (at = *slot; at != NONE; at = threads->nodes[at].hash) {
		const char *known = text_of(threads, threads->nodes[at].id);

		if (strncmp(known, id, length) == 0 && known[length] == '\0')
			return at;
	}
	at = add_node(threads);
	if (at == NONE)
		return NONE;
	threads->nodes[at].id = keep_text(threads, id, length);
	threads->nodes[at].hash = *slot;
	*slot = at;
	return at;
}

/* Whether `above` is the node itself or above it; in doubt, yes. */
static bool
is_above(const struct threads *threads, uint32_t above, uint32_t node)
{
	for (unsigned steps = 0; node != NONE; node = threads->nodes[node].parent) {
		if (node == above || ++steps > CLIMB_MAX)
			return true;
	}
	return false;
}

static void
set_parent(struct threads *threads, uint32_t node, uint32_t parent)
{
	if (node != NONE && parent != NONE && !is_above(threads, node, parent))
		threads->nodes[node].parent = parent;
}

/* One message and those that it refers to (step 1). */
static void
add_message(struct threads *threads, const struct imap_found *found, bool uid, int64_t arrival,
    const struct summary *summary)
{
	const char *references = summary->texts[SUMMARY_REFERENCES].data;
	size_t left = summary->texts[SUMMARY_REFERENCES].length, count = 0, skip = 0;
	uint32_t node = NONE, above = NONE, next;
	size_t id_length = summary->texts[SUMMARY_MESSAGE_ID].length;

	if (id_length > 0)
		node = find_id(threads, summary->texts[SUMMARY_MESSAGE_ID].data, id_length);
	/* Without an id, or with one that another message has. */
	if (node == NONE || threads->nodes[node].number != 0)
		node = add_node(threads);
	if (node == NONE)
		return;
	threads->nodes[node].number = uid ? found->uid : found->sequence;
	threads->nodes[node].sent = summary->has_date ? summary->sent : arrival;
	threads->nodes[node].is_reply = summary->is_reply;
	threads->nodes[node].subject = keep_text(threads, summary->texts[SUMMARY_BASE_SUBJECT].data,
	    summary->texts[SUMMARY_BASE_SUBJECT].length);
	for (size_t i = 0; i < left; i++)
		count += references[i] == '\0';
	if (count + 1 > REFERENCES_MAX)
		skip = count + 1 - REFERENCES_MAX;
	while (left > 0) {
		size_t length = strnlen(references, left);

		if (skip > 0) {
			skip--;
		} else if (length > 0) {
			next = find_id(threads, references, length);
			if (next != NONE && above != NONE && threads->nodes[next].parent == NONE)
				set_parent(threads, next, above);
			above = next;
		}
		references += length;
		left -= length;
		if (left > 0) {
			references++;
			left--;
		}
	}
	/* Its own word on its parent counts more than others' (step 1.C). */
	threads->nodes[node].parent = NONE;
	set_parent(threads, node, above);
}

/* --- trees --- */

/* For each node the nearest one above it that has a message, or the uppermost without (step 3). */
static bool
find_parents(const struct threads *threads, uint32_t *parents)
{
	uint32_t *path = reallocarray(NULL, threads->count + 1, sizeof(*path));
	uint8_t *is_known = calloc(threads->count + 1, 1);

	for (uint32_t i = 0; path != NULL && is_known != NULL && i < threads->count; i++) {
		uint32_t node = i, above;
		size_t depth = 0;

		while (!is_known[node]) {
			path[depth++] = node;
			is_known[node] = 1;
			if (threads->nodes[node].parent == NONE)
				parents[node] = NONE;
			else if (!is_known[threads->nodes[node].parent]) {
				node = threads->nodes[node].parent;
				continue;
			}
			break;
		}
		/* From the top down: each one's parent is known. */
		while (depth > 0) {
			node = path[--depth];
			above = threads->nodes[node].parent;
			if (above == NONE)
				parents[node] = NONE;
			else if (threads->nodes[above].number != 0 || parents[above] == NONE)
				parents[node] = above;
			else
				parents[node] = parents[above];
		}
	}
	free(path);
	free(is_known);
	return path != NULL && is_known != NULL;
}

static void
add_child(struct threads *threads, uint32_t parent, uint32_t child)
{
	threads->nodes[child].parent = parent;
	threads->nodes[child].next = threads->nodes[parent].first;
	threads->nodes[parent].first = child;
}

/* Lists of children, of nodes that count; the roots are the children of `root` (steps 2 and 3). */
static bool
link_nodes(struct threads *threads, uint32_t root)
{
	uint32_t *parents = reallocarray(NULL, threads->count + 1, sizeof(*parents));
	bool good = parents != NULL && find_parents(threads, parents);

	for (uint32_t i = 0; good && i < threads->count; i++) {
		struct node *node = &threads->nodes[i];

		node->first = node->next = NONE;
	}
	for (uint32_t i = 0; good && i < threads->count; i++) {
		if (i != root && threads->nodes[i].number != 0)
			add_child(threads, parents[i] == NONE ? root : parents[i], i);
	}
	/* Uppermost nodes without a message: one child takes their place, more keep them. */
	for (uint32_t i = 0; good && i < threads->count; i++) {
		uint32_t first = threads->nodes[i].first;

		if (i == root || threads->nodes[i].number != 0 || first == NONE)
			continue;
		if (threads->nodes[first].next == NONE) {
			threads->nodes[i].first = NONE;
			add_child(threads, root, first);
		} else {
			add_child(threads, root, i);
		}
	}
	free(parents);
	return good;
}

static int
compare_sent(const void *left, const void *right)
{
	const struct node *a = &comparing->nodes[*(const uint32_t *)left];
	const struct node *b = &comparing->nodes[*(const uint32_t *)right];

	if (a->sent != b->sent)
		return a->sent < b->sent ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

/* The children of a node in order of their dates; `list` has room for all nodes. */
static void
sort_children(struct threads *threads, uint32_t parent, uint32_t *list)
{
	size_t count = 0;

	for (uint32_t child = threads->nodes[parent].first; child != NONE;
	     child = threads->nodes[child].next)
		list[count++] = child;
	if (count < 2)
		return;
	comparing = threads;
	qsort(list, count, sizeof(*list), compare_sent);
	threads->nodes[parent].first = list[0];
	for (size_t i = 0; i < count; i++)
		threads->nodes[list[i]].next = i + 1 < count ? list[i + 1] : NONE;
}

/* Those without a message have the date and subject of their first child (RFC 5256 3, steps 4 and 5). */
static void
complete_empty(struct threads *threads, uint32_t root, uint32_t *list)
{
	for (uint32_t i = 0; i < threads->count; i++) {
		struct node *node = &threads->nodes[i];

		if (i == root || node->first == NONE)
			continue;
		sort_children(threads, i, list);
		if (node->number == 0) {
			node->sent = threads->nodes[node->first].sent;
			node->subject = threads->nodes[node->first].subject;
			node->is_reply = threads->nodes[node->first].is_reply;
		}
	}
}

/* --- threads of the same subject (step 5) --- */

static uint32_t *
subject_slot(struct threads *threads, uint32_t node)
{
	const char *subject = text_of(threads, threads->nodes[node].subject);
	size_t at = hash_of(subject, strlen(subject)) % threads->table_size;

	/* The table is larger than there are roots: an empty slot ends the search. */
	while (threads->table[at] != NONE &&
	    strcmp(text_of(threads, threads->nodes[threads->table[at]].subject), subject) != 0)
		at = (at + 1) % threads->table_size;
	return &threads->table[at];
}

/* Puts a thread into another of its subject; what stands for both afterwards is returned. */
static uint32_t
join(struct threads *threads, uint32_t known, uint32_t other, uint32_t root)
{
	struct node *one = &threads->nodes[known], *two = &threads->nodes[other];
	uint32_t child, next, both;

	if (one->number == 0 && two->number == 0) {
		for (child = two->first; child != NONE; child = next) {
			next = threads->nodes[child].next;
			add_child(threads, known, child);
		}
		two->first = NONE;
		return known;
	}
	if (one->number == 0 || (two->is_reply && !one->is_reply)) {
		add_child(threads, known, other);
		return known;
	}
	both = add_node(threads);
	if (both == NONE)
		return known;
	one = &threads->nodes[known];
	threads->nodes[both].subject = one->subject;
	threads->nodes[both].sent = one->sent;
	threads->nodes[both].is_reply = one->is_reply;
	threads->nodes[both].parent = root;
	add_child(threads, both, known);
	add_child(threads, both, other);
	return both;
}

static bool
join_subjects(struct threads *threads, uint32_t root, uint32_t *list)
{
	size_t count = 0, kept = 0;

	for (uint32_t child = threads->nodes[root].first; child != NONE;
	     child = threads->nodes[child].next)
		list[count++] = child;
	memset(threads->table, 0xff, threads->table_size * sizeof(*threads->table));
	for (size_t i = 0; i < count; i++) {
		struct node *node = &threads->nodes[list[i]], *known;
		uint32_t *slot;

		if (*text_of(threads, node->subject) == '\0')
			continue;
		slot = subject_slot(threads, list[i]);
		known = *slot != NONE ? &threads->nodes[*slot] : NULL;
		if (known == NULL || (node->number == 0 && known->number != 0) ||
		    (known->is_reply && !node->is_reply && known->number != 0))
			*slot = list[i];
	}
	threads->nodes[root].first = NONE;
	for (size_t i = 0; i < count; i++) {
		struct node *node = &threads->nodes[list[i]];
		uint32_t *slot;

		if (*text_of(threads, node->subject) == '\0') {
			list[kept++] = list[i];
			continue;
		}
		slot = subject_slot(threads, list[i]);
		if (*slot != list[i])
			*slot = join(threads, *slot, list[i], root);
	}
	/* Each subject's thread, and those without a subject. */
	for (size_t i = 0; i < kept; i++)
		add_child(threads, root, list[i]);
	for (size_t i = 0; i < threads->table_size; i++) {
		if (threads->table[i] != NONE)
			add_child(threads, root, threads->table[i]);
	}
	return !threads->no_memory;
}

/* --- ORDEREDSUBJECT --- */

static int
compare_subjects(const void *left, const void *right)
{
	const struct node *a = &comparing->nodes[*(const uint32_t *)left];
	const struct node *b = &comparing->nodes[*(const uint32_t *)right];
	int order = strcmp(text_of(comparing, a->subject), text_of(comparing, b->subject));

	return order != 0 ? order : compare_sent(left, right);
}

/* Messages of a subject: the first is the root, all others its children. */
static bool
order_subjects(struct threads *threads, uint32_t root)
{
	uint32_t *list = reallocarray(NULL, threads->count + 1, sizeof(*list));
	size_t count = 0, first = 0;

	if (list == NULL)
		return false;
	for (uint32_t i = 0; i < threads->count; i++) {
		threads->nodes[i].first = threads->nodes[i].next = NONE;
		if (threads->nodes[i].number != 0)
			list[count++] = i;
	}
	comparing = threads;
	qsort(list, count, sizeof(*list), compare_subjects);
	for (size_t i = 0; i < count; i++) {
		bool is_same = i > 0 &&
		    strcmp(text_of(threads, threads->nodes[list[first]].subject),
		        text_of(threads, threads->nodes[list[i]].subject)) == 0;

		if (!is_same)
			first = i;
		add_child(threads, is_same ? list[first] : root, list[i]);
	}
	free(list);
	return true;
}

/* --- the answer --- */

/* "(1)(2 3 (4)(5 6))": a chain of single children is one list. */
static void
write_threads(struct buf *text, const struct threads *threads, uint32_t root)
{
	const struct node *nodes = threads->nodes;
	uint32_t at = nodes[root].first;
	bool opens = true;

	while (at != NONE) {
		if (opens)
			buf_add_u8(text, '(');
		if (nodes[at].number != 0) {
			if (!opens)
				buf_add_u8(text, ' ');
			buf_add_decimal(text, nodes[at].number);
		}
		if (nodes[at].first != NONE) {
			opens = nodes[at].number == 0 || nodes[nodes[at].first].next != NONE;
			if (opens && nodes[at].number != 0)
				buf_add_u8(text, ' ');
			at = nodes[at].first;
			continue;
		}
		/* Up to where a sibling follows; a list ends where one began. */
		for (;;) {
			uint32_t parent = nodes[at].parent;
			bool began = parent == root || nodes[parent].number == 0 ||
			    nodes[nodes[parent].first].next != NONE;

			if (began)
				buf_add_u8(text, ')');
			if (nodes[at].next != NONE) {
				at = nodes[at].next;
				opens = true;
				break;
			}
			at = parent;
			if (at == root) {
				at = NONE;
				break;
			}
		}
	}
}

static bool
make_threads(struct imap_session *session, struct threads *threads)
{
	uint32_t root = add_node(threads), *list;
	bool good;

	if (root == NONE || !buf_ok(&threads->texts))
		return false;
	if (session->command.search.algorithm == IMAP_THREAD_ORDEREDSUBJECT) {
		good = order_subjects(threads, root);
	} else {
		good = link_nodes(threads, root);
	}
	/* Joining subjects makes a node for each pair at most. */
	list = reallocarray(NULL, 2 * threads->count + 1, sizeof(*list));
	good = good && list != NULL;
	if (good && session->command.search.algorithm == IMAP_THREAD_REFERENCES) {
		complete_empty(threads, root, list);
		good = join_subjects(threads, root, list);
	}
	if (good) {
		complete_empty(threads, root, list);
		sort_children(threads, root, list);
		buf_add_text(&session->text, "* THREAD");
		if (threads->nodes[root].first != NONE)
			buf_add_u8(&session->text, ' ');
		write_threads(&session->text, threads, root);
		buf_add_text(&session->text, "\r\n");
	}
	free(list);
	return good && !threads->no_memory;
}

static bool
begin(struct threads *threads, size_t count)
{
	buf_init(&threads->texts, TEXTS_MAX);
	(void)keep_text(threads, "", 0);
	threads->table_size = count * 4 + 64;
	threads->table = reallocarray(NULL, threads->table_size, sizeof(*threads->table));
	if (threads->table == NULL)
		return false;
	memset(threads->table, 0xff, threads->table_size * sizeof(*threads->table));
	return true;
}

static enum imap_progress
gather(struct imap_session *session, struct imap_find *find)
{
	struct threads *threads = find->extra;
	bool good = true;

	if (threads == NULL) {
		threads = find->extra = calloc(1, sizeof(*threads));
		good = threads != NULL && begin(threads, find->count);
	}
	while (good && threads->loaded < find->count) {
		const struct imap_found *found = &find->found[threads->loaded++];
		struct folder *folder = session->selected.folder;
		struct message *message = folder_find(folder, found->uid);
		int64_t arrival = 0, saved;
		struct summary summary;

		if (message != NULL &&
		    folder_message_dates(folder, message, &arrival, &saved) == MAIL_OK &&
		    summary_load(folder, found->uid, &summary) == MAIL_OK)
			add_message(threads, found, session->command.uid, arrival, &summary);
		if (imap_is_turn_over(session)) {
			if (session->state == IMAP_ENDING)
				threads_free(threads);
			return IMAP_MORE;
		}
	}
	good = good && make_threads(session, threads);
	if (threads != NULL)
		threads_free(threads);
	if (good)
		imap_answer(session, IMAP_OK, "", "Threads made");
	else
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
	return IMAP_DONE;
}

void
imap_thread(struct imap_session *session)
{
	imap_find(session, gather);
}
