/*
 * A user has an allowance that grows by `limit` an hour and never beyond `limit`. Of users whose
 * allowance is whole nothing needs to be known; the one heard of longest ago makes room.
 */
#include <sys/queue.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/envelope.h"
#include "common/log.h"
#include "lookup/hourly.h"

#define USERS_MAX 10000
#define BUCKETS   1024
#define HOUR_MS   3600000

struct user {
	TAILQ_ENTRY(user) by_use;
	LIST_ENTRY(user) by_name;
	char name[USER_NAME_MAX + 1];
	double allowance;
	int64_t counted_ms;
	int64_t over_ms; /* when it was first over the limit; 0 not */
};

struct hourly {
	TAILQ_HEAD(users, user) users; /* last used first */
	LIST_HEAD(bucket, user) buckets[BUCKETS];
	size_t count;
};

struct hourly *
hourly_new(void)
{
	struct hourly *hourly = calloc(1, sizeof(*hourly));

	if (hourly == NULL)
		fatal("out of memory");
	TAILQ_INIT(&hourly->users);
	return hourly;
}

static void
remove_user(struct hourly *hourly, struct user *user)
{
	TAILQ_REMOVE(&hourly->users, user, by_use);
	LIST_REMOVE(user, by_name);
	hourly->count--;
	free(user);
}

void
hourly_free(struct hourly *hourly)
{
	struct user *user;

	if (hourly == NULL)
		return;
	while ((user = TAILQ_FIRST(&hourly->users)) != NULL)
		remove_user(hourly, user);
	free(hourly);
}

/* FNV-1a: the names are those of users who know their passwords. */
static size_t
bucket_of(const char *name)
{
	uint32_t value = 2166136261U;

	for (; *name != '\0'; name++)
		value = (value ^ (unsigned char)*name) * 16777619U;
	return value % BUCKETS;
}

/* What the user's allowance has grown to. */
static double
allowance_at(const struct user *user, uint32_t limit, int64_t now_ms)
{
	double allowance = user->allowance + (double)(now_ms - user->counted_ms) * limit / HOUR_MS;

	return allowance > limit ? limit : allowance;
}

static struct user *
find(struct hourly *hourly, const char *name, uint32_t limit, int64_t now_ms)
{
	struct bucket *bucket = &hourly->buckets[bucket_of(name)];
	struct user *user;

	LIST_FOREACH(user, bucket, by_name)
	{
		if (strcmp(user->name, name) == 0) {
			TAILQ_REMOVE(&hourly->users, user, by_use);
			TAILQ_INSERT_HEAD(&hourly->users, user, by_use);
			return user;
		}
	}
	user = calloc(1, sizeof(*user));
	if (user == NULL)
		fatal("out of memory");
	if (hourly->count == USERS_MAX)
		remove_user(hourly, TAILQ_LAST(&hourly->users, users));
	strlcpy(user->name, name, sizeof(user->name));
	user->allowance = limit;
	user->counted_ms = now_ms;
	LIST_INSERT_HEAD(bucket, user, by_name);
	TAILQ_INSERT_HEAD(&hourly->users, user, by_use);
	hourly->count++;
	return user;
}

bool
hourly_take(struct hourly *hourly, const char *name, uint32_t limit, int64_t now_ms, bool *first)
{
	struct user *user = find(hourly, name, limit, now_ms);

	*first = false;
	user->allowance = allowance_at(user, limit, now_ms);
	user->counted_ms = now_ms;
	if (user->allowance >= 1) {
		user->allowance--;
		return true;
	}
	*first = user->over_ms == 0 || now_ms - user->over_ms >= HOUR_MS;
	if (*first)
		user->over_ms = now_ms;
	return false;
}

uint32_t
hourly_left(const struct hourly *hourly, const char *name, uint32_t limit, int64_t now_ms)
{
	const struct user *user;

	LIST_FOREACH(user, &hourly->buckets[bucket_of(name)], by_name)
	{
		if (strcmp(user->name, name) == 0)
			return (uint32_t)allowance_at(user, limit, now_ms);
	}
	return limit;
}
