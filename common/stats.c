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

void
stats_count_refusal(const struct reply *reply)
{
	size_t subject = 0;

	/* "5.7.1" */
	if (reply->enhanced[0] != '\0' && reply->enhanced[1] == '.' && reply->enhanced[2] >= '0' &&
	    reply->enhanced[2] < '0' + STATS_SUBJECT_COUNT && reply->enhanced[3] == '.')
		subject = (size_t)(reply->enhanced[2] - '0');
	stats_add((enum stats_key)((size_t)(reply_is_permanent(reply) ? STATS_REJECT_PERMANENT
	                                                              : STATS_REJECT_TEMPORARY) +
	              subject),
	    1);
}

int64_t
stats_bucket_limit_ms(enum stats_key first, size_t bucket)
{
	static const int64_t accepting[STATS_BUCKET_COUNT] = { 5, 10, 25, 50, 100, 500, 2500, 10000,
		INT64_MAX },
	                     delivering[STATS_BUCKET_COUNT] = { 10, 100, 1000, 10000, 60000, 600000,
		                     3600000, 86400000, INT64_MAX };

	return first == STATS_ACCEPTING ? accepting[bucket] : delivering[bucket];
}

void
stats_add_duration(enum stats_key first, int64_t ms)
{
	size_t bucket = 0;

	if (ms < 0) /* a clock was set back */
		ms = 0;
	while (ms > stats_bucket_limit_ms(first, bucket))
		bucket++;
	stats_add((enum stats_key)((size_t)first + bucket), 1);
	stats_add((enum stats_key)((size_t)first + STATS_BUCKET_COUNT), ms);
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
		[STATS_QUEUE_OLDEST] = "queue.oldest",
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
		[STATS_ENVELOPE_DEFERRED] = "scheduler.envelope.deferred",
		[STATS_ENVELOPE_HELD] = "scheduler.envelope.held",
		[STATS_IMAP_SESSION] = "imap.session",
		[STATS_POP3_SESSION] = "pop3.session",
		[STATS_SIEVE_SESSION] = "sieve.session",
		[STATS_SMTP_BYTES] = "smtp.message.bytes",
		[STATS_SMTP_MESSAGE_REFUSED] = "smtp.message.refused",
		[STATS_DSN_FAILED] = "queue.bounce.failed",
		[STATS_DSN_DELAYED] = "queue.bounce.delayed",
		[STATS_DSN_DELIVERED] = "queue.bounce.delivered",
		[STATS_DSN_HELD] = "queue.bounce.held",
		[STATS_MDA_OK] = "mda.delivery.ok",
		[STATS_MDA_TEMPFAIL] = "mda.delivery.tempfail",
		[STATS_MDA_PERMFAIL] = "mda.delivery.permfail",
		[STATS_MDA_BYTES] = "mda.delivery.bytes",
		[STATS_MTA_OK] = "mta.delivery.ok",
		[STATS_MTA_TEMPFAIL] = "mta.delivery.tempfail",
		[STATS_MTA_PERMFAIL] = "mta.delivery.permfail",
		[STATS_MTA_BYTES] = "mta.delivery.bytes",
		[STATS_MTA_TLS] = "mta.delivery.tls",
		[STATS_IMAP_CONNECTED] = "imap.connected",
		[STATS_IMAP_REFUSED] = "imap.refused",
		[STATS_IMAP_TLS] = "imap.tls",
		[STATS_IMAP_TLS_FAILED] = "imap.tls.failed",
		[STATS_IMAP_RECEIVED] = "imap.bytes.received",
		[STATS_IMAP_SENT] = "imap.bytes.sent",
		[STATS_POP3_CONNECTED] = "pop3.connected",
		[STATS_SIEVE_CONNECTED] = "sieve.connected",
		[STATS_POP3_REFUSED] = "pop3.refused",
		[STATS_SIEVE_REFUSED] = "sieve.refused",
		[STATS_POP3_TLS] = "pop3.tls",
		[STATS_SIEVE_TLS] = "sieve.tls",
		[STATS_POP3_TLS_FAILED] = "pop3.tls.failed",
		[STATS_SIEVE_TLS_FAILED] = "sieve.tls.failed",
		[STATS_POP3_RECEIVED] = "pop3.bytes.received",
		[STATS_SIEVE_RECEIVED] = "sieve.bytes.received",
		[STATS_POP3_SENT] = "pop3.bytes.sent",
		[STATS_SIEVE_SENT] = "sieve.bytes.sent",
		[STATS_AUTH_SMTP_OK] = "auth.smtp.ok",
		[STATS_AUTH_SMTP_FAILED] = "auth.smtp.failed",
		[STATS_AUTH_SMTP_DEFERRED] = "auth.smtp.deferred",
		[STATS_AUTH_IMAP_OK] = "auth.imap.ok",
		[STATS_AUTH_IMAP_FAILED] = "auth.imap.failed",
		[STATS_AUTH_IMAP_DEFERRED] = "auth.imap.deferred",
		[STATS_AUTH_POP3_OK] = "auth.pop3.ok",
		[STATS_AUTH_SIEVE_OK] = "auth.sieve.ok",
		[STATS_AUTH_POP3_FAILED] = "auth.pop3.failed",
		[STATS_AUTH_SIEVE_FAILED] = "auth.sieve.failed",
		[STATS_AUTH_POP3_DEFERRED] = "auth.pop3.deferred",
		[STATS_AUTH_SIEVE_DEFERRED] = "auth.sieve.deferred",
		[STATS_HISTORY_EVENT] = "history.event",
		[STATS_HISTORY_DROPPED] = "history.dropped",
		[STATS_REJECT_PERMANENT] = "smtp.rejected.permanent.other",
		[STATS_REJECT_PERMANENT + 1] = "smtp.rejected.permanent.address",
		[STATS_REJECT_PERMANENT + 2] = "smtp.rejected.permanent.mailbox",
		[STATS_REJECT_PERMANENT + 3] = "smtp.rejected.permanent.system",
		[STATS_REJECT_PERMANENT + 4] = "smtp.rejected.permanent.network",
		[STATS_REJECT_PERMANENT + 5] = "smtp.rejected.permanent.protocol",
		[STATS_REJECT_PERMANENT + 6] = "smtp.rejected.permanent.content",
		[STATS_REJECT_PERMANENT + 7] = "smtp.rejected.permanent.policy",
		[STATS_REJECT_TEMPORARY] = "smtp.rejected.temporary.other",
		[STATS_REJECT_TEMPORARY + 1] = "smtp.rejected.temporary.address",
		[STATS_REJECT_TEMPORARY + 2] = "smtp.rejected.temporary.mailbox",
		[STATS_REJECT_TEMPORARY + 3] = "smtp.rejected.temporary.system",
		[STATS_REJECT_TEMPORARY + 4] = "smtp.rejected.temporary.network",
		[STATS_REJECT_TEMPORARY + 5] = "smtp.rejected.temporary.protocol",
		[STATS_REJECT_TEMPORARY + 6] = "smtp.rejected.temporary.content",
		[STATS_REJECT_TEMPORARY + 7] = "smtp.rejected.temporary.policy",
		[STATS_ACCEPTING] = "smtp.message.time.5ms",
		[STATS_ACCEPTING + 1] = "smtp.message.time.10ms",
		[STATS_ACCEPTING + 2] = "smtp.message.time.25ms",
		[STATS_ACCEPTING + 3] = "smtp.message.time.50ms",
		[STATS_ACCEPTING + 4] = "smtp.message.time.100ms",
		[STATS_ACCEPTING + 5] = "smtp.message.time.500ms",
		[STATS_ACCEPTING + 6] = "smtp.message.time.2500ms",
		[STATS_ACCEPTING + 7] = "smtp.message.time.10s",
		[STATS_ACCEPTING + 8] = "smtp.message.time.more",
		[STATS_ACCEPTING_MS] = "smtp.message.time.ms",
		[STATS_DELIVERING] = "scheduler.delivery.time.10ms",
		[STATS_DELIVERING + 1] = "scheduler.delivery.time.100ms",
		[STATS_DELIVERING + 2] = "scheduler.delivery.time.1s",
		[STATS_DELIVERING + 3] = "scheduler.delivery.time.10s",
		[STATS_DELIVERING + 4] = "scheduler.delivery.time.1m",
		[STATS_DELIVERING + 5] = "scheduler.delivery.time.10m",
		[STATS_DELIVERING + 6] = "scheduler.delivery.time.1h",
		[STATS_DELIVERING + 7] = "scheduler.delivery.time.1d",
		[STATS_DELIVERING + 8] = "scheduler.delivery.time.more",
		[STATS_DELIVERING_MS] = "scheduler.delivery.time.ms",
	};

	return names[key];
}
