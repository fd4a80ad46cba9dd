/*
 * The payloads of the channel between the relay and the directory, each a whole payload.
 */
#include <string.h>

#include "common/ipc_relay_directory.h"

void
ipc_relay_lookup_encode(struct buf *buf, const struct ipc_relay_lookup *lookup)
{
	buf_add_u8(buf, lookup->what);
	buf_add_string(buf, lookup->action);
	buf_add_string(buf, lookup->key);
}

bool
ipc_relay_lookup_decode(struct buf_reader *reader, struct ipc_relay_lookup *lookup)
{
	memset(lookup, 0, sizeof(*lookup));
	lookup->what = buf_get_enum(reader, RELAY_LOOKUP_COUNT);
	buf_get_string(reader, lookup->action, sizeof(lookup->action));
	buf_get_string(reader, lookup->key, sizeof(lookup->key));
	if (*lookup->action == '\0' || *lookup->key == '\0')
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_relay_found_encode(struct buf *buf, const struct ipc_relay_found *found)
{
	buf_add_u8(buf, found->status);
	buf_add_string(buf, found->value);
}

bool
ipc_relay_found_decode(struct buf_reader *reader, struct ipc_relay_found *found)
{
	memset(found, 0, sizeof(*found));
	found->status = buf_get_enum(reader, RELAY_FOUND_COUNT);
	buf_get_string(reader, found->value, sizeof(found->value));
	if ((found->status == RELAY_FOUND) != (*found->value != '\0'))
		reader->failed = true;
	return buf_reader_done(reader);
}

/* Names from DNS and a policy's words: nothing that could break a line of the log, or a key. */
static bool
is_word(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

void
ipc_sts_domain_encode(struct buf *buf, const struct ipc_sts_domain *domain)
{
	buf_add_string(buf, domain->domain);
}

bool
ipc_sts_domain_decode(struct buf_reader *reader, struct ipc_sts_domain *domain)
{
	memset(domain, 0, sizeof(*domain));
	buf_get_string(reader, domain->domain, sizeof(domain->domain));
	if (!is_word(domain->domain))
		reader->failed = true;
	return buf_reader_done(reader);
}

static void
add_policy(struct buf *buf, const struct ipc_sts_policy *policy)
{
	buf_add_string(buf, policy->domain);
	buf_add_string(buf, policy->id);
	buf_add_u8(buf, policy->mode);
	buf_add_u32(buf, policy->max_age);
	buf_add_u64(buf, (uint64_t)policy->fetched);
	buf_add_string(buf, policy->mx);
}

static void
get_policy(struct buf_reader *reader, struct ipc_sts_policy *policy)
{
	size_t length;

	buf_get_string(reader, policy->domain, sizeof(policy->domain));
	buf_get_string(reader, policy->id, sizeof(policy->id));
	policy->mode = buf_get_enum(reader, STS_MODE_COUNT);
	policy->max_age = buf_get_u32(reader);
	policy->fetched = (int64_t)buf_get_u64(reader);
	buf_get_string(reader, policy->mx, sizeof(policy->mx));
	length = strlen(policy->mx);
	if (*policy->domain == '\0' || !is_word(policy->domain) || *policy->id == '\0' ||
	    !is_word(policy->id) || policy->max_age > IPC_STS_MAX_AGE_MAX || policy->fetched < 0 ||
	    policy->fetched > INT64_MAX / 2 ||
	    (policy->mode != STS_MODE_NONE && *policy->mx == '\0') ||
	    (length > 0 && policy->mx[length - 1] != ' '))
		reader->failed = true;
	for (size_t i = 0; i < length; i++)
		if (policy->mx[i] < ' ' || policy->mx[i] > '~')
			reader->failed = true;
}

void
ipc_sts_policy_encode(struct buf *buf, const struct ipc_sts_policy *policy)
{
	add_policy(buf, policy);
}

bool
ipc_sts_policy_decode(struct buf_reader *reader, struct ipc_sts_policy *policy)
{
	memset(policy, 0, sizeof(*policy));
	get_policy(reader, policy);
	return buf_reader_done(reader);
}

void
ipc_sts_found_encode(struct buf *buf, const struct ipc_sts_found *found)
{
	buf_add_u8(buf, found->status);
	buf_add_string(buf, found->after);
	if (found->status == RELAY_FOUND)
		add_policy(buf, &found->policy);
}

bool
ipc_sts_found_decode(struct buf_reader *reader, struct ipc_sts_found *found)
{
	memset(found, 0, sizeof(*found));
	found->status = buf_get_enum(reader, RELAY_FOUND_COUNT);
	buf_get_string(reader, found->after, sizeof(found->after));
	if (!is_word(found->after))
		reader->failed = true;
	if (found->status == RELAY_FOUND)
		get_policy(reader, &found->policy);
	return buf_reader_done(reader);
}

void
ipc_post_encode(struct buf *buf, const struct ipc_post *post)
{
	buf_add_string(buf, post->host);
	buf_add_u16(buf, post->port);
	buf_add_string(buf, post->path);
}

bool
ipc_post_decode(struct buf_reader *reader, struct ipc_post *post)
{
	memset(post, 0, sizeof(*post));
	buf_get_string(reader, post->host, sizeof(post->host));
	post->port = buf_get_u16(reader);
	buf_get_string(reader, post->path, sizeof(post->path));
	/* A request's head is made of them. */
	if (*post->host == '\0' || *post->host == '[' || !is_word(post->host) ||
	    strpbrk(post->host, ":/@") != NULL || post->port == 0 || *post->path != '/' ||
	    !is_word(post->path))
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_posted_encode(struct buf *buf, const struct ipc_posted *posted)
{
	buf_add_u8(buf, posted->result);
	buf_add_string(buf, posted->words);
}

bool
ipc_posted_decode(struct buf_reader *reader, struct ipc_posted *posted)
{
	memset(posted, 0, sizeof(*posted));
	posted->result = buf_get_enum(reader, POST_RESULT_COUNT);
	buf_get_string(reader, posted->words, sizeof(posted->words));
	if ((posted->result == POST_TAKEN) != (*posted->words == '\0'))
		reader->failed = true;
	return buf_reader_done(reader);
}
