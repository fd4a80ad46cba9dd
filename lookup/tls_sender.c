/*
 * Each day has a delay of its own, made of the author's address and the date: hosts don't all report
 * at once, and a restart changes nothing. From then on the sums of that day, and of older ones, are
 * gone through in order; after the last one there is a pause, and what was put off comes again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/clock.h"
#include "common/crc32c.h"
#include "common/ipc_directory.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "lookup/tls_report.h"
#include "lookup/tls_sender.h"

#define DAY       86400
#define DELAY_MIN 60 /* what came just before midnight has been written */
#define DELAY_MAX 14400
#define ANSWER_MS (2 * 60 * 1000)
#define PAUSE_MS  (15 * 60 * 1000) /* between two rounds */

enum state {
	SENDER_IDLE,   /* until there is something due */
	SENDER_WAITS,  /* for the queue's answer */
	SENDER_PAUSES, /* a round is over */
};

struct tls_sender {
	struct tls_sums *sums;
	struct channel *queue;
	bool wanted;
	struct address from;
	enum state state;
	int64_t until_ms; /* of the last two states */
	char after[TLS_SUMS_KEY_MAX + 1];
	int64_t order_before; /* a round that was ordered: of days before this one; or 0 */
	int64_t order_first;
	int64_t order_at;   /* wall clock */
	struct tls_day day; /* SENDER_WAITS */
	char id[TLS_REPORT_ID_MAX + 1];
	char to[ADDRESS_TEXT_MAX + 1];
	uint32_t request;
};

struct tls_sender *
tls_sender_new(struct tls_sums *sums)
{
	struct tls_sender *sender = calloc(1, sizeof(*sender));

	if (sender == NULL)
		fatalx("out of memory");
	sender->sums = sums;
	sender->request = arc4random();
	return sender;
}

void
tls_sender_free(struct tls_sender *sender)
{
	if (sender == NULL)
		return;
	tls_day_clear(&sender->day);
	free(sender);
}

void
tls_sender_configure(struct tls_sender *sender, const char *from)
{
	char domain[ADDRESS_DOMAIN_MAX + 1];

	sender->wanted = *from != '\0' && address_parse(from, 0, &sender->from) == ADDRESS_OK &&
	    address_domain_key(sender->from.domain, domain, sizeof(domain));
	/* RFC 8460 5.1: A-labels */
	if (sender->wanted)
		strlcpy(sender->from.domain, domain, sizeof(sender->from.domain));
	if (*from != '\0' && !sender->wanted)
		log_error("no TLS reports: \"%s\" can't be their author", from);
}

static void
pause_round(struct tls_sender *sender)
{
	sender->state = SENDER_PAUSES;
	sender->until_ms = clock_monotonic_ms() + PAUSE_MS;
	*sender->after = '\0';
	sender->order_before = 0;
}

bool
tls_sender_is_wanted(const struct tls_sender *sender)
{
	return sender->wanted;
}

/* Where a round begins whose first day this is: behind all keys of the days before. */
static void
begin_at(char after[TLS_SUMS_KEY_MAX + 1], int64_t day)
{
	snprintf(after, TLS_SUMS_KEY_MAX + 1, "%08" PRId64, day < 0 ? 0 : day);
}

bool
tls_sender_order(struct tls_sender *sender, int64_t day, int64_t now)
{
	int64_t before = day == -1 ? now / DAY : day + 1;
	char after[TLS_SUMS_KEY_MAX + 1];
	struct tls_day found;

	begin_at(after, day);
	if (!tls_sums_next(sender->sums, before, after, &found))
		return false;
	tls_day_clear(&found);
	begin_at(sender->after, day);
	sender->order_first = day;
	sender->order_before = before;
	sender->order_at = now;
	if (sender->state == SENDER_PAUSES)
		sender->state = SENDER_IDLE;
	return true;
}

void
tls_sender_set_queue(struct tls_sender *sender, struct channel *queue)
{
	sender->queue = queue;
	/* Whether it was taken can't be known: RFC 8460 5.3 lets the receiver see that it comes
	 * twice. */
	if (sender->state == SENDER_WAITS) {
		tls_day_clear(&sender->day);
		sender->state = SENDER_IDLE;
		begin_at(sender->after, sender->order_before == 0 ? 0 : sender->order_first);
	}
}

static void
log_report(
    const struct tls_sender *sender, enum log_level level, const char *event, const char *reason)
{
	struct log_line line;

	log_begin(&line, level, event);
	log_text(&line, "domain", sender->day.domain);
	log_number(&line, "day", sender->day.day);
	if (*sender->to != '\0')
		log_text(&line, "to", sender->to);
	if (*sender->id != '\0')
		log_text(&line, "report", sender->id);
	if (reason != NULL)
		log_text(&line, "reason", reason);
	log_end(&line);
}

/* Reported, or never to be. */
static void
drop(struct tls_sender *sender)
{
	tls_sums_drop(sender->sums, &sender->day);
	tls_day_clear(&sender->day);
	sender->state = SENDER_IDLE;
}

/* It stays, and the next one's turn comes. */
static void
put_off(struct tls_sender *sender, const char *why)
{
	log_report(sender, LOG_LEVEL_INFO, "tls-report-put-off", why);
	tls_day_clear(&sender->day);
	sender->state = SENDER_IDLE;
}

/* RFC 8460 4.1 */
static int64_t
due_at(const struct tls_sender *sender, int64_t day)
{
	char text[ADDRESS_TEXT_MAX + 32], address[ADDRESS_TEXT_MAX + 1];
	int length;

	address_format(&sender->from, address, sizeof(address));
	length = snprintf(text, sizeof(text), "%s %" PRId64, address, day);
	return (day + 1) * DAY + DELAY_MIN +
	    crc32c(0, text, (size_t)length) % (DELAY_MAX - DELAY_MIN);
}

/* The same report again has the same id, should the queue have had it after all. */
static void
make_id(struct tls_sender *sender)
{
	char address[ADDRESS_TEXT_MAX + 1];
	uint32_t crc;

	address_format(&sender->from, address, sizeof(address));
	crc = crc32c(0, address, strlen(address));
	crc = crc32c(crc, sender->day.domain, strlen(sender->day.domain));
	for (size_t i = 0; i < sender->day.count; i++) {
		crc = crc32c(crc, &sender->day.sums[i].sessions, sizeof(uint64_t));
		crc = crc32c(
		    crc, sender->day.sums[i].result.mx, strlen(sender->day.sums[i].result.mx));
	}
	/* Of a day that goes on there may be another one. */
	if (sender->order_before != 0 && sender->day.day >= sender->order_at / DAY)
		crc = crc32c(crc, &sender->order_at, sizeof(sender->order_at));
	snprintf(sender->id, sizeof(sender->id), "tls.%" PRId64 ".%08" PRIx32 ".%.60s",
	    sender->day.day, crc, sender->day.domain);
}

static void
send_report(struct tls_sender *sender, const struct address *to, int64_t now)
{
	struct tls_report report = {
		.day = &sender->day, .from = &sender->from, .to = to, .now = now
	};
	struct ipc_report frame = { .from = sender->from, .to = *to };
	struct buf mail, payload;
	int fd = -1;

	strlcpy(report.id, sender->id, sizeof(report.id));
	buf_init(&mail, IPC_REPORT_SIZE);
	if (tls_report_mail(&mail, &report))
		fd = memory_file_make("report", mail.data, mail.length);
	buf_free(&mail);
	if (fd == -1) {
		put_off(sender, "no memory, or it is too large");
		return;
	}
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_report_encode(&payload, &frame);
	channel_send(sender->queue, DIRECTORY_REPORT, ++sender->request, 0, fd, &payload);
	buf_free(&payload);
	sender->state = SENDER_WAITS;
	sender->until_ms = clock_monotonic_ms() + ANSWER_MS;
}

static void
report_next(struct tls_sender *sender, int64_t now)
{
	int64_t today = now / DAY, before = today;
	struct address to;
	bool has_https;

	if (sender->order_before != 0)
		before = sender->order_before;
	else if (now < due_at(sender, today - 1))
		before = today - 1; /* yesterday's turn hasn't come */
	if (!tls_sums_next(sender->sums, before, sender->after, &sender->day)) {
		pause_round(sender);
		return;
	}
	*sender->id = *sender->to = '\0';
	if (sender->day.count == 0) {
		drop(sender);
	} else if (sender->day.day < today - TLS_SUMS_DAYS_MAX) {
		log_report(sender, LOG_LEVEL_WARNING, "tls-report-dropped", "it is too old");
		drop(sender);
	} else if (!tls_report_recipient(sender->day.rua, &to, &has_https)) {
		log_report(sender, LOG_LEVEL_INFO, "tls-report-dropped",
		    has_https ? "it is wanted by https, which isn't served"
		              : "its record names no mailbox that can be used");
		drop(sender);
	} else {
		make_id(sender);
		address_format(&to, sender->to, sizeof(sender->to));
		send_report(sender, &to, now);
	}
}

void
tls_sender_tick(struct tls_sender *sender, int64_t now)
{
	switch (sender->state) {
	case SENDER_WAITS:
		if (clock_monotonic_ms() >= sender->until_ms)
			put_off(sender, "the queue doesn't answer");
		return;
	case SENDER_PAUSES:
		if (clock_monotonic_ms() < sender->until_ms)
			return;
		sender->state = SENDER_IDLE;
		return;
	case SENDER_IDLE:
		if (sender->wanted && sender->queue != NULL)
			report_next(sender, now);
		return;
	}
}

void
tls_sender_answered(struct tls_sender *sender, uint32_t id, const struct reply *reply)
{
	char text[REPLY_TEXT_MAX + 32];

	if (sender->state != SENDER_WAITS || id != sender->request)
		return; /* too late */
	if (reply_is_success(reply)) {
		log_report(sender, LOG_LEVEL_INFO, "tls-report-sent", NULL);
		drop(sender);
		return;
	}
	reply_format(reply, text, sizeof(text));
	if (reply_is_temporary(reply)) {
		put_off(sender, text);
		return;
	}
	log_report(sender, LOG_LEVEL_WARNING, "tls-report-dropped", text);
	drop(sender);
}
