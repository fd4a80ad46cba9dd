/*
 * Tests. Those of tests call each other as deeply as the script nests them, which the compiler has
 * bounded.
 */
#include <string.h>
#include <strings.h>

#include "common/folder_name.h"
#include "common/mime_header.h"
#include "common/sieve_run.h"

static bool
no_memory(struct sieve_run *run, const struct sieve_node *node)
{
	sieve_run_fail(run, node->line, "too much memory needed");
	return false;
}

bool
sieve_index_fields(struct sieve_run *run, const struct sieve_node *node, const char *name,
    size_t *first, size_t *last)
{
	struct sieve_view *view = &run->view;
	size_t found[SIEVE_FIELDS_MAX], count = 0, at = 0;
	uint64_t wanted;

	if (!sieve_spend(run, view->field_count / 4 + 1))
		return false;
	while ((at = sieve_find_field(view, name, at)) < view->field_count)
		found[count++] = at++;
	if (count == 0)
		return false;
	*first = found[0];
	*last = found[count - 1];
	if (node->tags[SLOT_INDEX] == TAG_NONE)
		return true;
	wanted = node->values[SLOT_INDEX]->number;
	if (wanted > count)
		return false;
	wanted = node->tags[SLOT_LAST] == TAG_NONE ? wanted - 1 : count - wanted;
	*first = *last = found[wanted];
	return true;
}

static enum sieve_tag
part_of(const struct sieve_node *node)
{
	return node->tags[SLOT_PART] == TAG_NONE ? TAG_ALL : (enum sieve_tag)node->tags[SLOT_PART];
}

/* One address field: all its mailboxes; groups are left out (RFC 5228 5.1). False: enough. */
static bool
match_addresses(struct sieve_matcher *matcher, struct mime_address *address, const char *field)
{
	struct sieve_run *run = matcher->run;
	struct mime_addresses addresses;
	enum mime_address_kind kind;
	bool more = true;

	/* Also for one that has none. */
	if (!sieve_spend(run, strlen(field) / 8 + 1))
		return false;
	mime_addresses_init(&addresses, field);
	while (more && (kind = mime_addresses_next(&addresses, address)) != MIME_ADDRESS_END) {
		char *text;

		if (kind != MIME_ADDRESS_MAILBOX)
			continue;
		if (!sieve_spend(run, 8))
			return false;
		buf_add_u8(&address->local, 0);
		buf_add_u8(&address->domain, 0);
		if (!buf_ok(&address->local) || !buf_ok(&address->domain))
			return no_memory(run, matcher->node);
		text = sieve_address_part(&run->view, (const char *)address->local.data,
		    (const char *)address->domain.data, part_of(matcher->node));
		if (text == NULL && !buf_ok(&run->view.scratch))
			return no_memory(run, matcher->node);
		/* Without ":detail" in it there is no match (RFC 5233 4). */
		if (text != NULL)
			more = sieve_match_text(matcher, text);
	}
	return more;
}

static bool
test_address(struct sieve_run *run, const struct sieve_node *node)
{
	char **names = sieve_expand_all(run, node->positions[0]);
	struct sieve_matcher matcher;
	struct mime_address address;
	bool more = true;

	if (names == NULL || !sieve_match_begin(&matcher, run, node, node->positions[1]))
		return false;
	mime_address_init(&address);
	for (size_t i = 0; more && names[i] != NULL && !run->has_failed; i++) {
		size_t at, last;

		if (!sieve_index_fields(run, node, names[i], &at, &last))
			continue;
		for (; more && at <= last; at = sieve_find_field(&run->view, names[i], at + 1)) {
			char *text = sieve_field_text(&run->view, at);

			more = text != NULL ? match_addresses(&matcher, &address, text)
			                    : no_memory(run, node);
		}
	}
	mime_address_free(&address);
	return sieve_match_end(&matcher);
}

static bool
test_envelope(struct sieve_run *run, const struct sieve_node *node)
{
	char **parts = sieve_expand_all(run, node->positions[0]);
	struct sieve_matcher matcher;

	if (parts == NULL || !sieve_match_begin(&matcher, run, node, node->positions[1]))
		return false;
	for (size_t i = 0; parts[i] != NULL; i++) {
		const struct address *address = strcasecmp(parts[i], "from") == 0
		    ? run->message->sender
		    : strcasecmp(parts[i], "to") == 0 ? run->message->recipient
		                                      : NULL;
		char *text;

		if (address == NULL)
			continue;
		text =
		    sieve_address_part(&run->view, address->local, address->domain, part_of(node));
		/* The null sender is "" in every part (RFC 5228 5.4). */
		if (text != NULL && !sieve_match_text(&matcher, text))
			break;
	}
	return sieve_match_end(&matcher);
}

static bool
test_header(struct sieve_run *run, const struct sieve_node *node)
{
	char **names = sieve_expand_all(run, node->positions[0]);
	struct sieve_matcher matcher;
	bool more = true;

	if (names == NULL || !sieve_match_begin(&matcher, run, node, node->positions[1]))
		return false;
	for (size_t i = 0; more && names[i] != NULL && !run->has_failed; i++) {
		size_t at, last;

		if (!sieve_index_fields(run, node, names[i], &at, &last))
			continue;
		for (; more && at <= last; at = sieve_find_field(&run->view, names[i], at + 1)) {
			char *text = sieve_field_words(&run->view, at);

			more =
			    text != NULL ? sieve_match_text(&matcher, text) : no_memory(run, node);
		}
	}
	return sieve_match_end(&matcher);
}

/* What there is to say of where this runs (RFC 5183 4.1); nothing is known of the client by now. */
static bool
test_environment(struct sieve_run *run, const struct sieve_node *node)
{
	static const struct {
		const char *name, *value;
	} items[] = {
		{ "name", "Postern" },
		{ "location", "MDA" },
		{ "phase", "during" },
	};
	const char *name = sieve_expand_first(run, node->positions[0]);
	struct sieve_matcher matcher;

	if (name == NULL || !sieve_match_begin(&matcher, run, node, node->positions[1]))
		return false;
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		if (strcasecmp(items[i].name, name) == 0) {
			(void)sieve_match_text(&matcher, items[i].value);
			return sieve_match_end(&matcher);
		}
	}
	/* RFC 5183 4: what isn't known doesn't match, nor is it counted. */
	return false;
}

/* All of them (RFC 5228 5.5). */
static bool
test_exists(struct sieve_run *run, const struct sieve_node *node)
{
	char **names = sieve_expand_all(run, node->positions[0]);

	if (names == NULL)
		return false;
	for (size_t i = 0; names[i] != NULL; i++) {
		if (!sieve_spend(run, run->view.field_count / 4 + 1) ||
		    sieve_find_field(&run->view, names[i], 0) == run->view.field_count)
			return false;
	}
	return true;
}

static bool
match_part(void *arg, const char *text, size_t length)
{
	return sieve_match_value(arg, text, length);
}

static bool
test_body(struct sieve_run *run, const struct sieve_node *node)
{
	struct sieve_matcher matcher;
	char **types = NULL;
	const char *raw;
	size_t length;

	if (!sieve_match_begin(&matcher, run, node, node->positions[0]) ||
	    !sieve_spend(run, run->message->length / 8))
		return false;
	if (node->tags[SLOT_BODY] == TAG_RAW) {
		raw = sieve_body_raw(&run->view, &length);
		(void)sieve_match_value(&matcher, raw, length);
		return sieve_match_end(&matcher);
	}
	if (node->tags[SLOT_BODY] == TAG_CONTENT) {
		types = sieve_expand_all(run, node->values[SLOT_BODY]);
		if (types == NULL)
			return false;
	}
	if (!sieve_body_parts(&run->view, types, types == NULL ? 0 : node->values[SLOT_BODY]->count,
	        match_part, &matcher))
		return no_memory(run, node);
	return sieve_match_end(&matcher);
}

static bool
test_string(struct sieve_run *run, const struct sieve_node *node)
{
	char **texts = sieve_expand_all(run, node->positions[0]);
	struct sieve_matcher matcher;

	if (texts == NULL || !sieve_match_begin(&matcher, run, node, node->positions[1]))
		return false;
	for (size_t i = 0; texts[i] != NULL; i++) {
		/* RFC 5229 5: with ":count", empty ones don't count. */
		if (matcher.kind == TAG_COUNT_OF && *texts[i] == '\0')
			continue;
		if (!sieve_match_text(&matcher, texts[i]))
			break;
	}
	return sieve_match_end(&matcher);
}

/* All of them (RFC 5490 3.1). */
static bool
test_mailboxexists(struct sieve_run *run, const struct sieve_node *node)
{
	char **names = sieve_expand_all(run, node->positions[0]);
	char clean[FOLDER_NAME_SIZE];

	if (names == NULL)
		return false;
	for (size_t i = 0; names[i] != NULL; i++) {
		if (!sieve_spend(run, 1000) || !folder_name_clean(names[i], clean))
			return false;
		if (!folder_name_is_inbox(clean) &&
		    (run->message->mailbox_exists == NULL ||
		        !run->message->mailbox_exists(run->message->arg, clean)))
			return false;
	}
	return true;
}

/* RFC 7352 3.1: by Message-ID, another field, or an id of the script's own. */
static bool
test_duplicate(struct sieve_run *run, const struct sieve_node *node)
{
	const char *id = NULL, *handle = "", *name = "Message-ID";
	uint64_t seconds = 7 * 24 * 3600;

	if (node->tags[SLOT_HANDLE] != TAG_NONE)
		handle = sieve_expand_first(run, node->values[SLOT_HANDLE]);
	if (node->tags[SLOT_UNIQUE] == TAG_UNIQUEID)
		id = sieve_expand_first(run, node->values[SLOT_UNIQUE]);
	else if (node->tags[SLOT_UNIQUE] == TAG_HEADER)
		name = sieve_expand_first(run, node->values[SLOT_UNIQUE]);
	if (run->has_failed || handle == NULL || name == NULL)
		return false;
	if (id == NULL)
		id = sieve_first_text(&run->view, name);
	/* What has no id is no duplicate. */
	if (id == NULL || *id == '\0' || run->message->is_duplicate == NULL ||
	    !sieve_spend(run, 1000))
		return false;
	if (node->tags[SLOT_SECONDS] != TAG_NONE)
		seconds = node->values[SLOT_SECONDS]->number;
	return run->message->is_duplicate(run->message->arg, handle, id,
	    seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds,
	    node->tags[SLOT_LAST] != TAG_NONE);
}

/* `all`: whether one that fails decides, or one that holds. */
static bool
test_several(struct sieve_run *run, const struct sieve_node *node, bool all)
{
	for (const struct sieve_node *test = node->tests; test != NULL; test = test->next) {
		bool result = sieve_test(run, test);

		if (run->has_failed)
			return false;
		if (result != all)
			return result;
	}
	return all;
}

bool
sieve_test(struct sieve_run *run, const struct sieve_node *node)
{
	bool result = false;

	if (!sieve_spend(run, 1))
		return false;
	switch (node->verb) {
	case VERB_ADDRESS:
		result = test_address(run, node);
		break;
	case VERB_ALLOF:
		result = test_several(run, node, true);
		break;
	case VERB_ANYOF:
		result = test_several(run, node, false);
		break;
	case VERB_BODY:
		result = test_body(run, node);
		break;
	case VERB_CURRENTDATE:
	case VERB_DATE:
		result = sieve_test_date(run, node);
		break;
	case VERB_DUPLICATE:
		result = test_duplicate(run, node);
		break;
	case VERB_ENVELOPE:
		result = test_envelope(run, node);
		break;
	case VERB_ENVIRONMENT:
		result = test_environment(run, node);
		break;
	case VERB_EXISTS:
		result = test_exists(run, node);
		break;
	case VERB_FALSE:
		break;
	case VERB_HASFLAG:
		result = sieve_test_hasflag(run, node);
		break;
	case VERB_HEADER:
		result = test_header(run, node);
		break;
	case VERB_IHAVE:
		result = node->known == KNOWN_TRUE;
		break;
	case VERB_MAILBOXEXISTS:
		result = test_mailboxexists(run, node);
		break;
	case VERB_NOT:
		result = !sieve_test(run, node->tests);
		break;
	case VERB_SIZE: /* neither more nor less is neither (RFC 5228 5.9) */
		result = node->tags[SLOT_OVER] == TAG_OVER
		    ? run->message->size > node->positions[0]->number
		    : run->message->size < node->positions[0]->number;
		break;
	case VERB_STRING:
		result = test_string(run, node);
		break;
	case VERB_TRUE:
		result = true;
		break;
	case VERB_REQUIRE:
	case VERB_IF:
	case VERB_ELSIF:
	case VERB_ELSE:
	case VERB_STOP:
	case VERB_KEEP:
	case VERB_DISCARD:
	case VERB_REDIRECT:
	case VERB_FILEINTO:
	case VERB_REJECT:
	case VERB_EREJECT:
	case VERB_SET:
	case VERB_VACATION:
	case VERB_SETFLAG:
	case VERB_ADDFLAG:
	case VERB_REMOVEFLAG:
	case VERB_ERROR:
	case VERB_COUNT:
		break;
	}
	return result && !run->has_failed;
}
