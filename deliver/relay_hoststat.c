/*
 * A domain that is heard of again goes to the end of the list with a new id, so that the list is in
 * the order of both ids and times.
 */
#include <sys/queue.h>
#include <stdlib.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_hoststat.h"
#include "deliver/relay_map.h"

struct stat {
	TAILQ_ENTRY(stat) entry;
	int64_t noted_ms;
	struct ipc_hoststat told;
};

struct hoststats {
	struct map *map; /* by domain */
	TAILQ_HEAD(, stat) list;
	uint64_t last_id;
};

struct hoststats *
hoststats_new(void)
{
	struct hoststats *stats = calloc(1, sizeof(*stats));

	if (stats == NULL)
		fatal("relay");
	stats->map = map_new();
	TAILQ_INIT(&stats->list);
	return stats;
}

static void
remove_stat(struct hoststats *stats, struct stat *stat)
{
	map_remove(stats->map, stat->told.domain);
	TAILQ_REMOVE(&stats->list, stat, entry);
	free(stat);
}

void
hoststats_free(struct hoststats *stats)
{
	struct stat *stat;

	if (stats == NULL)
		return;
	while ((stat = TAILQ_FIRST(&stats->list)) != NULL)
		remove_stat(stats, stat);
	map_free(stats->map);
	free(stats);
}

static void
remove_old(struct hoststats *stats, int64_t now_ms)
{
	struct stat *stat;

	while ((stat = TAILQ_FIRST(&stats->list)) != NULL &&
	    now_ms - stat->noted_ms > (int64_t)HOSTSTAT_SECONDS * 1000)
		remove_stat(stats, stat);
}

void
hoststats_note(struct hoststats *stats, const char *domain, const struct ipc_relay_result *result)
{
	struct stat *stat = map_get(stats->map, domain);

	if (stat == NULL) {
		if (map_count(stats->map) >= HOSTSTAT_MAX)
			remove_stat(stats, TAILQ_FIRST(&stats->list));
		stat = calloc(1, sizeof(*stat));
		if (stat == NULL)
			return; /* it is noted the next time */
		strlcpy(stat->told.domain, domain, sizeof(stat->told.domain));
		map_add(stats->map, domain, stat);
	} else {
		TAILQ_REMOVE(&stats->list, stat, entry);
	}
	TAILQ_INSERT_TAIL(&stats->list, stat, entry);
	stat->noted_ms = clock_monotonic_ms();
	stat->told.id = ++stats->last_id;
	stat->told.time = clock_wall();
	stat->told.reply = result->reply;
	strlcpy(stat->told.host, result->host, sizeof(stat->told.host));
}

uint64_t
hoststats_report(struct hoststats *stats, uint64_t cursor, uint32_t most,
    void (*each)(const struct ipc_hoststat *, void *arg), void *arg)
{
	const struct stat *stat;
	uint64_t last = 0;

	remove_old(stats, clock_monotonic_ms());
	TAILQ_FOREACH(stat, &stats->list, entry)
	{
		if (stat->told.id <= cursor)
			continue;
		if (most-- == 0)
			return last;
		each(&stat->told, arg);
		last = stat->told.id;
	}
	return 0;
}
