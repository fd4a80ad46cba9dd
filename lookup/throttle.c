/*
 * Two sets of counters, by network and by account, and one of pairs (account and network) that
 * logged in lately; each a hash with its entries in the order of their last use, of which the
 * oldest makes room for a new one. Counts halve every ten minutes.
 *
 * From one network passwords are looked at one after another, `step_ms` apart, however many
 * connections it has. For one account as well, but there the line never grows longer than
 * THROTTLE_WAIT_MAX_MS: those who guess from everywhere mustn't keep the owner out.
 */
#include <sys/queue.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/log.h"
#include "lookup/throttle.h"

#define ENTRIES_MAX    8192 /* of each set */
#define BUCKETS        8192
#define HALF_LIFE_MS   600000
#define KNOWN_MS       (30 * 86400000LL)
#define STEP_FIRST_MS  250
#define STEP_DOUBLINGS 3

enum kind {
	KIND_NETWORK,
	KIND_ACCOUNT,
	KIND_PAIR,
	KIND_COUNT,
};

struct entry {
	TAILQ_ENTRY(entry) by_use;
	LIST_ENTRY(entry) by_key;
	uint64_t key;
	int64_t used_ms; /* last counted; of a pair, last logged in */
	int64_t next_ms; /* when the next password may be looked at */
	double failures;
	unsigned asked; /* of an account: passwords in line or being looked at */
	char text[USER_NAME_MAX + 1];
};

struct set {
	TAILQ_HEAD(entries, entry) entries; /* last used first */
	LIST_HEAD(bucket, entry) buckets[BUCKETS];
	size_t count;
};

struct throttle {
	uint32_t limit;
	uint8_t secret[32]; /* so that nobody can make keys fall together */
	struct set sets[KIND_COUNT];
};

struct throttle *
throttle_new(uint32_t limit)
{
	struct throttle *throttle = calloc(1, sizeof(*throttle));

	if (throttle == NULL)
		fatal("out of memory");
	throttle->limit = limit;
	arc4random_buf(throttle->secret, sizeof(throttle->secret));
	for (size_t i = 0; i < KIND_COUNT; i++)
		TAILQ_INIT(&throttle->sets[i].entries);
	return throttle;
}

static void
remove_entry(struct set *set, struct entry *entry)
{
	TAILQ_REMOVE(&set->entries, entry, by_use);
	LIST_REMOVE(entry, by_key);
	set->count--;
	free(entry);
}

void
throttle_free(struct throttle *throttle)
{
	struct entry *entry;

	if (throttle == NULL)
		return;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		while ((entry = TAILQ_FIRST(&throttle->sets[i].entries)) != NULL)
			remove_entry(&throttle->sets[i], entry);
	}
	free(throttle);
}

void
throttle_set_limit(struct throttle *throttle, uint32_t limit)
{
	throttle->limit = limit;
}

static void
format_network(const struct throttle_client *client, char *text, size_t size)
{
	uint8_t network[16] = { 0 };
	char address[INET6_ADDRSTRLEN] = "";

	switch (client->family) {
	case CLIENT_INET4:
		memcpy(network, client->address, 3);
		inet_ntop(AF_INET, network, address, sizeof(address));
		snprintf(text, size, "%s/24", address);
		break;
	case CLIENT_INET6:
		memcpy(network, client->address, 6);
		inet_ntop(AF_INET6, network, address, sizeof(address));
		snprintf(text, size, "%s/48", address);
		break;
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
	case CLIENT_COUNT:
		strlcpy(text, "local", size);
		break;
	}
}

/* What an entry of this kind is called; unique, except for accounts with very long names. */
static void
format_name(enum kind kind, const struct throttle_client *client, char *text, size_t size)
{
	char network[64];

	if (kind == KIND_ACCOUNT) {
		strlcpy(text, client->account, size);
		return;
	}
	format_network(client, network, sizeof(network));
	if (kind == KIND_NETWORK)
		strlcpy(text, network, size);
	else
		snprintf(text, size, "%s %s", network, client->account);
}

static uint64_t
key_of(const struct throttle *throttle, const char *name)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned length;
	uint64_t key;

	if (HMAC(EVP_sha256(), throttle->secret, sizeof(throttle->secret), (const uint8_t *)name,
	        strlen(name), digest, &length) == NULL)
		fatalx("HMAC-SHA-256 can't be computed");
	memcpy(&key, digest, sizeof(key));
	return key;
}

static void
decay(struct entry *entry, int64_t now_ms)
{
	int64_t passed = now_ms - entry->used_ms;

	for (; passed >= HALF_LIFE_MS && entry->failures > 0; passed -= HALF_LIFE_MS) {
		entry->failures = entry->failures < 0.5 ? 0 : entry->failures / 2;
		entry->used_ms += HALF_LIFE_MS;
	}
}

static struct entry *
find(struct throttle *throttle, enum kind kind, const struct throttle_client *client, bool make,
    int64_t now_ms)
{
	struct set *set = &throttle->sets[kind];
	char name[512];
	struct entry *entry;
	uint64_t key;

	format_name(kind, client, name, sizeof(name));
	key = key_of(throttle, name);
	LIST_FOREACH(entry, &set->buckets[key % BUCKETS], by_key)
	{
		if (entry->key == key)
			break;
	}
	if (entry == NULL && make && (entry = calloc(1, sizeof(*entry))) != NULL) {
		if (set->count == ENTRIES_MAX)
			remove_entry(set, TAILQ_LAST(&set->entries, entries));
		entry->key = key;
		entry->used_ms = now_ms;
		strlcpy(entry->text, name, sizeof(entry->text));
		LIST_INSERT_HEAD(&set->buckets[key % BUCKETS], entry, by_key);
		TAILQ_INSERT_HEAD(&set->entries, entry, by_use);
		set->count++;
	} else if (entry != NULL && make) {
		TAILQ_REMOVE(&set->entries, entry, by_use);
		TAILQ_INSERT_HEAD(&set->entries, entry, by_use);
	}
	if (entry != NULL && kind != KIND_PAIR)
		decay(entry, now_ms);
	return entry;
}

/* How far apart its passwords are looked at; 0: it isn't slow. */
static unsigned
step_of(const struct throttle *throttle, const struct entry *entry)
{
	unsigned over;

	if (entry == NULL || entry->failures < throttle->limit)
		return 0;
	over = (unsigned)(entry->failures - throttle->limit);
	return STEP_FIRST_MS << (over < STEP_DOUBLINGS ? over : STEP_DOUBLINGS);
}

static int64_t
place_in_line(const struct entry *entry, unsigned step_ms, int64_t now_ms)
{
	return (entry->next_ms > now_ms ? entry->next_ms : now_ms) + step_ms;
}

enum throttle_answer
throttle_ask(struct throttle *throttle, const struct throttle_client *client, int64_t now_ms,
    unsigned *wait_ms)
{
	struct entry *network = find(throttle, KIND_NETWORK, client, false, now_ms);
	struct entry *account = find(throttle, KIND_ACCOUNT, client, true, now_ms);
	struct entry *pair = find(throttle, KIND_PAIR, client, false, now_ms);
	unsigned network_step = step_of(throttle, network);
	unsigned account_step = step_of(throttle, account);
	int64_t at = now_ms, last = now_ms + THROTTLE_WAIT_MAX_MS;
	bool many = false;

	*wait_ms = 0;
	if (account != NULL) {
		account->asked++;
		many = account->failures + account->asked > throttle->limit;
	}
	if (pair != NULL && now_ms - pair->used_ms < KNOWN_MS)
		return THROTTLE_KNOWN;
	if (network_step > 0) {
		at = place_in_line(network, network_step, now_ms);
		if (at > last)
			return THROTTLE_CROWDED;
		network->next_ms = at;
	}
	if (account_step > 0) {
		int64_t place = place_in_line(account, account_step, now_ms);

		account->next_ms = place < last ? place : last;
		at = account->next_ms > at ? account->next_ms : at;
	}
	*wait_ms = (unsigned)(at - now_ms);
	return at > now_ms || many ? THROTTLE_WAIT : THROTTLE_FREE;
}

void
throttle_leave(struct throttle *throttle, const struct throttle_client *client, int64_t now_ms)
{
	struct entry *account = find(throttle, KIND_ACCOUNT, client, false, now_ms);

	/* It may have been forgotten meanwhile. */
	if (account != NULL && account->asked > 0)
		account->asked--;
}

void
throttle_note(
    struct throttle *throttle, const struct throttle_client *client, bool right, int64_t now_ms)
{
	struct entry *entry;

	if (right) {
		entry = find(throttle, KIND_PAIR, client, true, now_ms);
		if (entry != NULL)
			entry->used_ms = now_ms;
		return;
	}
	for (enum kind kind = KIND_NETWORK; kind <= KIND_ACCOUNT; kind++) {
		entry = find(throttle, kind, client, true, now_ms);
		if (entry == NULL)
			continue;
		entry->failures++;
		entry->used_ms = now_ms;
	}
}

void
throttle_each(struct throttle *throttle, int64_t now_ms, throttle_each_fn each, void *arg)
{
	for (enum kind kind = KIND_NETWORK; kind <= KIND_ACCOUNT; kind++) {
		struct entry *entry;

		TAILQ_FOREACH(entry, &throttle->sets[kind].entries, by_use)
		{
			struct throttle_slow slow = { .is_network = kind == KIND_NETWORK };

			decay(entry, now_ms);
			slow.step_ms = step_of(throttle, entry);
			if (slow.step_ms == 0)
				continue;
			strlcpy(slow.text, entry->text, sizeof(slow.text));
			slow.failures = (uint32_t)entry->failures;
			slow.failed_ago_ms = now_ms - entry->used_ms;
			if (!each(&slow, arg))
				return;
		}
	}
}
