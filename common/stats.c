/*
 * Counters in a page of shared memory: one writer, the process itself; any reader. The page is a
 * memfd sealed against shrinking, so that a process that was taken over can't make the reader
 * fault.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/stats.h"

#define PAGE_BYTES 4096
_Static_assert(STATS_COUNT * sizeof(int64_t) <= PAGE_BYTES, "the counters fit one page");

static int64_t nowhere[STATS_COUNT];
static int64_t *page = nowhere;

void
stats_attach(int fd)
{
	void *memory;
	struct stat info;
	int key;

	if (fstat(fd, &info) != 0 || info.st_size < PAGE_BYTES)
		memory = MAP_FAILED;
	else
		memory = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		return;
	if (page != nowhere)
		munmap(page, PAGE_BYTES);
	page = memory;
	for (key = 0; key < STATS_GAUGE_COUNT; key++)
		stats_set((enum stats_key)key, 0);
}

void
stats_add(enum stats_key key, int64_t count)
{
	__atomic_store_n(&page[key], page[key] + count, __ATOMIC_RELAXED);
}

void
stats_set(enum stats_key key, int64_t value)
{
	__atomic_store_n(&page[key], value, __ATOMIC_RELAXED);
}

int
stats_make_page(void)
{
	int fd;

	fd = memfd_create("stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd == -1)
		return -1;
	if (ftruncate(fd, PAGE_BYTES) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

const int64_t *
stats_map_read(int fd)
{
	struct stat info;
	void *memory;

	if (fstat(fd, &info) != 0 || info.st_size < PAGE_BYTES)
		return NULL;
	memory = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

const char *
stats_name(enum stats_key key)
{
	static const char *const names[STATS_COUNT] = {
		[STATS_SMTP_SESSION] = "smtp.session",
		[STATS_SMTP_SESSION_INET4] = "smtp.session.inet4",
		[STATS_SMTP_SESSION_INET6] = "smtp.session.inet6",
		[STATS_SMTP_SESSION_LOCAL] = "smtp.session.local",
		[STATS_QUEUE_ENVELOPE] = "scheduler.envelope",
		[STATS_QUEUE_MESSAGE] = "queue.message",
		[STATS_QUEUE_SEGMENT] = "queue.segment",
		[STATS_SCHEDULER_INFLIGHT] = "scheduler.envelope.inflight",
		[STATS_MDA_RUNNING] = "mda.running",
		[STATS_MDA_PENDING] = "mda.pending",
		[STATS_MTA_RUNNING] = "mta.task.running",
		[STATS_MTA_PENDING] = "mta.pending",
		[STATS_SMTP_CONNECTED] = "smtp.connected",
		[STATS_SMTP_DISCONNECTED] = "smtp.disconnected",
		[STATS_SMTP_REFUSED] = "smtp.refused",
		[STATS_SMTP_TLS] = "smtp.tls",
		[STATS_SMTP_TLS_FAILED] = "smtp.tls.failed",
		[STATS_SMTP_MESSAGE] = "smtp.message",
		[STATS_SMTP_RCPT_REJECTED] = "smtp.rcpt.rejected",
		[STATS_QUEUE_ENQUEUED] = "scheduler.envelope.incoming",
		[STATS_QUEUE_DEQUEUED] = "scheduler.envelope.removed",
		[STATS_QUEUE_SYNC] = "queue.sync",
		[STATS_QUEUE_BYTES] = "queue.bytes",
		[STATS_DELIVERY_OK] = "scheduler.delivery.ok",
		[STATS_DELIVERY_TEMPFAIL] = "scheduler.delivery.tempfail",
		[STATS_DELIVERY_PERMFAIL] = "scheduler.delivery.permfail",
		[STATS_DELIVERY_LOOP] = "scheduler.delivery.loop",
		[STATS_ENVELOPE_EXPIRED] = "scheduler.envelope.expired",
		[STATS_ENVELOPE_REMOVED] = "control.envelope.removed",
		[STATS_BOUNCE] = "queue.bounce",
	};

	return names[key];
}
