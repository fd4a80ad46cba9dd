/*
 * Pages are made by the supervisor when the suite starts and outlive the processes that write them;
 * so the oldest page's birth is the start of the suite, whenever control itself was started.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "smtpctl/control_stats.h"

/* More processes than any machine has cores; a supervisor gone mad ends here. */
#define PAGES_MAX 4096

struct page {
	struct ipc_peer peer;
	const int64_t *values;
};

struct control_stats {
	struct page *pages;
	size_t count;
	int64_t started_ms; /* monotonic */
};

struct control_stats *
control_stats_new(void)
{
	struct control_stats *stats = calloc(1, sizeof(*stats));

	if (stats == NULL)
		fatal("counters");
	stats->started_ms = clock_monotonic_ms();
	return stats;
}

static void
unmap(const int64_t *values)
{
	long size = sysconf(_SC_PAGESIZE);

	if (size > 0)
		(void)munmap((void *)(uintptr_t)values, (size_t)size);
}

void
control_stats_free(struct control_stats *stats)
{
	if (stats == NULL)
		return;
	for (size_t i = 0; i < stats->count; i++)
		unmap(stats->pages[i].values);
	free(stats->pages);
	free(stats);
}

static void
note_birth(struct control_stats *stats, int fd)
{
	struct statx info;
	int64_t age, started;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &info) != 0 ||
	    (info.stx_mask & STATX_BTIME) == 0)
		return;
	age = clock_wall() - info.stx_btime.tv_sec;
	started = clock_monotonic_ms() - age * 1000;
	if (age > 0 && started < stats->started_ms)
		stats->started_ms = started;
}

void
control_stats_set_page(struct control_stats *stats, const struct ipc_peer *peer, int fd)
{
	const int64_t *values;
	struct page *pages;

	note_birth(stats, fd);
	values = stats_map_read(fd);
	if (values == NULL) {
		log_warning("the counters of %s can't be read", program_name(peer->program));
		return;
	}
	for (size_t i = 0; i < stats->count; i++)
		if (stats->pages[i].peer.program == peer->program &&
		    stats->pages[i].peer.instance == peer->instance) {
			unmap(stats->pages[i].values);
			stats->pages[i].values = values;
			return;
		}
	pages = stats->count < PAGES_MAX
	    ? reallocarray(stats->pages, stats->count + 1, sizeof(*pages))
	    : NULL;
	if (pages == NULL) {
		log_warning("too many processes to count");
		unmap(values);
		return;
	}
	stats->pages = pages;
	stats->pages[stats->count++] = (struct page){ *peer, values };
}

void
control_stats_sum(const struct control_stats *stats, int64_t values[STATS_COUNT], uint64_t *uptime)
{
	for (size_t key = 0; key < STATS_COUNT; key++) {
		uint64_t sum = 0;

		for (size_t i = 0; i < stats->count; i++)
			sum += (uint64_t)__atomic_load_n(
			    &stats->pages[i].values[key], __ATOMIC_RELAXED);
		values[key] = (int64_t)sum;
	}
	*uptime = (uint64_t)(clock_monotonic_ms() - stats->started_ms) / 1000;
}

void
control_stats_encode(const struct control_stats *stats, struct buf *buf)
{
	int64_t values[STATS_COUNT];
	uint64_t uptime;

	control_stats_sum(stats, values, &uptime);
	for (size_t key = 0; key < STATS_COUNT; key++)
		buf_add_u64(buf, (uint64_t)values[key]);
	buf_add_u64(buf, uptime);
}
