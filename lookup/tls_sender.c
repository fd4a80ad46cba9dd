/*
 * Each day has a delay of its own, made of the author's address and the date: hosts don't all report
 * at once, and a restart changes nothing. From then on the sums of that day, and of older ones, are
 * gone through in order; after the last one there is a pause, and what was put off comes again.
 *
 * A few reports are in hand at once, since a web server may be slow; one of them at most is with the
 * queue.
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
#include "common/ipc_relay_directory.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "lookup/tls_report.h"
#include "lookup/tls_rua.h"
#include "lookup/tls_sender.h"

#define DAY       86400
#define DELAY_MIN 60 /* what came just before midnight has been written */
#define DELAY_MAX 14400
#define MAILED_MS (2 * 60 * 1000)
#define POSTED_MS (2 * 60 * 1000)  /* the relay takes less */
#define PAUSE_MS  (15 * 60 * 1000) /* between two rounds */
#define RETRY_MIN (15 * 60)
#define RETRY_MAX (4 * 60 * 60)
#define SLOTS     8

enum slot_state {
	SLOT_FREE,
	SLOT_DUE, /* there is a place to be tried */
	SLOT_MAILING,
	SLOT_POSTING,
};

/* A report in hand. */
struct slot {
	enum slot_state state;
	struct tls_day day;
	int64_t order_at; /* wall clock, of who ordered it; 0: nobody */
	char id[TLS_REPORT_ID_MAX + 1];
	const char *rua;   /* what is left of the day's */
	struct tls_rua to; /* SLOT_DUE and later */
	uint32_t request;  /* the last two, and until when */
	int64_t until_ms;
	bool was_lost;     /* a relay has ended over it */
	bool is_refused;   /* by a server: the day to try it in has begun */
	bool may_be_taken; /* later, by one that didn't now */
	char why[REPLY_TEXT_MAX + IPC_POST_WORDS_MAX + 32]; /* the last one's */
};

struct tls_sender {
	struct tls_sums *sums;
	struct channel *queue, *relay;
	bool wanted;
	int64_t now; /* wall clock, of the last tick */
	struct address from;
	bool is_pausing; /* a round is over */
	int64_t pause_until_ms;
	char after[TLS_SUMS_KEY_MAX + 1];
	int64_t order_before; /* a round that was ordered: of days before this one; or 0 */
	int64_t order_first;
	int64_t order_at; /* wall clock */
	uint32_t request; /* the last one's */
	struct slot slots[SLOTS];
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
	for (size_t i = 0; i < SLOTS; i++)
		tls_day_clear(&sender->slots[i].day);
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
	sender->is_pausing = true;
	sender->pause_until_ms = clock_monotonic_ms() + PAUSE_MS;
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
	sender->is_pausing = false;
	return true;
}

/* Whether it was taken can't be known: by its id the receiver may see that it comes twice (RFC 8460
 * 5.3). */
void
tls_sender_set_queue(struct tls_sender *sender, struct channel *queue)
{
	sender->queue = queue;
	for (size_t i = 0; i < SLOTS; i++)
		if (sender->slots[i].state == SLOT_MAILING)
			sender->slots[i].state = SLOT_DUE;
}

static void
log_report(
    const struct slot *slot, enum log_level level, const char *event, const char *reason, bool to)
{
	char text[TLS_RUA_TEXT_MAX + 1];
	struct log_line line;

	log_begin(&line, level, event);
	log_text(&line, "domain", slot->day.domain);
	log_number(&line, "day", slot->day.day);
	if (to) {
		tls_rua_format(&slot->to, text);
		log_text(&line, "to", text);
	}
	if (*slot->id != '\0')
		log_text(&line, "report", slot->id);
	if (reason != NULL)
		log_text(&line, "reason", reason);
	log_end(&line);
}

static void
release(struct slot *slot)
{
	tls_day_clear(&slot->day);
	slot->state = SLOT_FREE;
}

/* Reported, or never to be. */
static void
drop(struct tls_sender *sender, struct slot *slot)
{
	tls_sums_drop(sender->sums, &slot->day);
	release(slot);
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

/* The same report again has the same id, should it have been taken after all. */
static void
make_id(const struct tls_sender *sender, struct slot *slot)
{
	char address[ADDRESS_TEXT_MAX + 1];
	const struct tls_day *day = &slot->day;
	uint32_t crc;

	address_format(&sender->from, address, sizeof(address));
	crc = crc32c(0, address, strlen(address));
	crc = crc32c(crc, day->domain, strlen(day->domain));
	for (size_t i = 0; i < day->count; i++) {
		crc = crc32c(crc, &day->sums[i].sessions, sizeof(uint64_t));
		crc = crc32c(crc, day->sums[i].result.mx, strlen(day->sums[i].result.mx));
	}
	/* Of a day that goes on there may be another one. */
	if (slot->order_at != 0 && day->day >= slot->order_at / DAY)
		crc = crc32c(crc, &slot->order_at, sizeof(slot->order_at));
	snprintf(slot->id, sizeof(slot->id), "tls.%" PRId64 ".%08" PRIx32 ".%.60s", day->day, crc,
	    day->domain);
}

/* No place has taken it. */
static void
put_off(struct tls_sender *sender, struct slot *slot)
{
	const int64_t now = sender->now;
	int64_t first = slot->day.first_tried, pause;

	/* The time for a day that goes on comes when it is over. */
	if (slot->is_refused && slot->day.day < now / DAY) {
		if (first <= 0 || first > now)
			first = now;
		if (now - first >= DAY) {
			log_report(slot, LOG_LEVEL_WARNING, "tls-report-dropped", slot->why, true);
			drop(sender, slot);
			return;
		}
		/* Twice as long after the first try each time. */
		pause = now - first;
		pause = pause < RETRY_MIN ? RETRY_MIN : pause > RETRY_MAX ? RETRY_MAX : pause;
		tls_sums_note_try(sender->sums, &slot->day, first, now + pause);
	}
	log_report(slot, LOG_LEVEL_INFO, "tls-report-put-off", slot->why, true);
	release(slot);
}

/* This place hasn't taken it; perhaps the next one does. */
static void
failed(struct tls_sender *sender, struct slot *slot, const char *why)
{
	struct tls_rua next;

	strlcpy(slot->why, why, sizeof(slot->why));
	slot->was_lost = false;
	if (tls_rua_next(&slot->rua, &next)) {
		slot->to = next;
		slot->state = SLOT_DUE;
	} else if (slot->may_be_taken) {
		put_off(sender, slot);
	} else {
		log_report(slot, LOG_LEVEL_WARNING, "tls-report-dropped", slot->why, true);
		drop(sender, slot);
	}
}

static void
sent(struct tls_sender *sender, struct slot *slot)
{
	log_report(slot, LOG_LEVEL_INFO, "tls-report-sent", NULL, true);
	drop(sender, slot);
}

void
tls_sender_set_relay(struct tls_sender *sender, struct channel *relay)
{
	sender->relay = relay;
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &sender->slots[i];

		if (slot->state != SLOT_POSTING)
			continue;
		/* Another relay gets it once more, and no third one. */
		slot->state = SLOT_DUE;
		if (slot->was_lost) {
			slot->is_refused = slot->may_be_taken = true;
			failed(sender, slot, "the relay has ended over it");
		} else {
			slot->was_lost = true;
		}
	}
}

static void
mail_report(struct tls_sender *sender, struct slot *slot)
{
	struct tls_report report = { .day = &slot->day,
		.from = &sender->from,
		.to = &slot->to.address,
		.now = sender->now };
	struct ipc_report frame = { .from = sender->from, .to = slot->to.address };
	struct buf mail, payload;
	int fd = -1;

	strlcpy(report.id, slot->id, sizeof(report.id));
	buf_init(&mail, IPC_REPORT_SIZE);
	if (tls_report_mail(&mail, &report))
		fd = memory_file_make("report", mail.data, mail.length);
	buf_free(&mail);
	if (fd == -1) {
		slot->may_be_taken = true;
		failed(sender, slot, "no memory, or it is too large");
		return;
	}
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_report_encode(&payload, &frame);
	slot->request = ++sender->request;
	channel_send(sender->queue, DIRECTORY_REPORT, slot->request, 0, fd, &payload);
	buf_free(&payload);
	slot->state = SLOT_MAILING;
	slot->until_ms = clock_monotonic_ms() + MAILED_MS;
}

static void
post_report(struct tls_sender *sender, struct slot *slot)
{
	struct tls_report report = { .day = &slot->day, .from = &sender->from, .now = sender->now };
	struct buf packed, payload;
	int fd = -1;

	strlcpy(report.id, slot->id, sizeof(report.id));
	buf_init(&packed, IPC_POST_SIZE);
	if (tls_report_packed(&packed, &report))
		fd = memory_file_make("report", packed.data, packed.length);
	buf_free(&packed);
	if (fd == -1) {
		slot->may_be_taken = true;
		failed(sender, slot, "no memory, or it is too large");
		return;
	}
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_post_encode(&payload, &slot->to.post);
	slot->request = ++sender->request;
	channel_send(sender->relay, DIRECTORY_RELAY_POST, slot->request, 0, fd, &payload);
	buf_free(&payload);
	slot->state = SLOT_POSTING;
	slot->until_ms = clock_monotonic_ms() + POSTED_MS;
}

static bool
is_mailing(const struct tls_sender *sender)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (sender->slots[i].state == SLOT_MAILING)
			return true;
	return false;
}

/* It stays due while who is to take it is away or at another. */
static void
send_report(struct tls_sender *sender, struct slot *slot)
{
	switch (slot->to.kind) {
	case TLS_RUA_MAILTO:
		if (sender->queue != NULL && !is_mailing(sender))
			mail_report(sender, slot);
		return;
	case TLS_RUA_HTTPS:
		if (sender->relay != NULL)
			post_report(sender, slot);
		return;
	}
}

static bool
is_in_hand(const struct tls_sender *sender, const struct tls_day *day)
{
	for (size_t i = 0; i < SLOTS; i++) {
		const struct slot *slot = &sender->slots[i];

		if (slot->state != SLOT_FREE && slot->day.day == day->day &&
		    strcmp(slot->day.domain, day->domain) == 0)
			return true;
	}
	return false;
}

/* A clock that was set back doesn't put it off for long. */
static bool
is_put_off(const struct tls_sender *sender, const struct tls_day *day)
{
	return sender->order_before == 0 && sender->now < day->next_try &&
	    day->next_try <= sender->now + RETRY_MAX;
}

/* Takes the next one in hand, if it is one to be sent now. */
static void
take_next(struct tls_sender *sender, struct slot *slot)
{
	const int64_t now = sender->now;
	int64_t today = now / DAY, before = today;

	if (sender->order_before != 0)
		before = sender->order_before;
	else if (now < due_at(sender, today - 1))
		before = today - 1; /* yesterday's turn hasn't come */
	memset(slot, 0, sizeof(*slot));
	if (!tls_sums_next(sender->sums, before, sender->after, &slot->day)) {
		pause_round(sender);
		return;
	}
	slot->rua = slot->day.rua;
	slot->order_at = sender->order_before != 0 ? sender->order_at : 0;
	if (is_in_hand(sender, &slot->day)) {
		release(slot);
	} else if (slot->day.count == 0) {
		drop(sender, slot);
	} else if (slot->day.day < today - TLS_SUMS_DAYS_MAX) {
		log_report(slot, LOG_LEVEL_WARNING, "tls-report-dropped", "it is too old", false);
		drop(sender, slot);
	} else if (is_put_off(sender, &slot->day)) {
		release(slot);
	} else if (!tls_rua_next(&slot->rua, &slot->to)) {
		log_report(slot, LOG_LEVEL_INFO, "tls-report-dropped",
		    "its record names no place that can be used", false);
		drop(sender, slot);
	} else {
		make_id(sender, slot);
		slot->state = SLOT_DUE;
	}
}

static void
tick_slot(struct tls_sender *sender, struct slot *slot)
{
	switch (slot->state) {
	case SLOT_MAILING:
	case SLOT_POSTING:
		if (clock_monotonic_ms() < slot->until_ms)
			return;
		slot->may_be_taken = true;
		failed(sender, slot,
		    slot->state == SLOT_MAILING ? "the queue doesn't answer"
		                                : "the relay doesn't answer");
		return;
	case SLOT_FREE:
		if (sender->wanted && !sender->is_pausing)
			take_next(sender, slot);
		break;
	case SLOT_DUE:
		break;
	}
	if (slot->state == SLOT_DUE && sender->wanted)
		send_report(sender, slot);
}

void
tls_sender_tick(struct tls_sender *sender, int64_t now)
{
	sender->now = now;
	if (sender->is_pausing && clock_monotonic_ms() >= sender->pause_until_ms)
		sender->is_pausing = false;
	for (size_t i = 0; i < SLOTS; i++)
		tick_slot(sender, &sender->slots[i]);
}

/* NULL: it comes too late. */
static struct slot *
find_slot(struct tls_sender *sender, enum slot_state state, uint32_t id)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (sender->slots[i].state == state && sender->slots[i].request == id)
			return &sender->slots[i];
	return NULL;
}

void
tls_sender_answered(struct tls_sender *sender, uint32_t id, const struct reply *reply)
{
	struct slot *slot = find_slot(sender, SLOT_MAILING, id);
	char text[REPLY_TEXT_MAX + 32];

	if (slot == NULL)
		return;
	if (reply_is_success(reply)) {
		sent(sender, slot);
		return;
	}
	reply_format(reply, text, sizeof(text));
	slot->may_be_taken |= reply_is_temporary(reply);
	failed(sender, slot, text);
}

void
tls_sender_posted(struct tls_sender *sender, uint32_t id, const struct ipc_posted *posted)
{
	struct slot *slot = find_slot(sender, SLOT_POSTING, id);

	if (slot == NULL)
		return;
	switch (posted->result) {
	case POST_TAKEN:
		sent(sender, slot);
		return;
	case POST_FAILED:
		slot->is_refused = true;
		break;
	case POST_NOT_TRIED:
	case POST_RESULT_COUNT:
		break;
	}
	slot->may_be_taken = true;
	failed(sender, slot, posted->words);
}
