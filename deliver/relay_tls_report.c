/*
 * A domain is asked about once, when something is first noted of it; what is noted meanwhile waits.
 * Most domains want no reports: theirs is forgotten, and they stay known as such for as long as
 * their answer is good.
 *
 * A row is a result as it goes to the directory, but for its number of sessions; the same result
 * again finds it by its bytes.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/address.h"
#include "common/clock.h"
#include "common/ipc_relay_directory.h"
#include "common/log.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_map.h"
#include "deliver/relay_tls_report.h"

#define FLUSH_SECONDS   5
#define ASKED_MAX       50 /* questions at once */
#define ROWS_PER_DOMAIN 100
#define TTL_LEAST_MS    (5 * 60 * 1000)
#define TTL_MOST_MS     (24 * 60 * 60 * 1000)
#define NONE_MS         (60 * 60 * 1000)
#define FAILED_MS       (5 * 60 * 1000)
#define FAILURES_MAX    3 /* of the look-up, then what is noted goes */

enum wish {
	WISH_UNKNOWN,
	WISH_ASKED,
	WISH_NO,
	WISH_YES,
};

struct row {
	struct row *next;
	uint32_t sessions;
	size_t length;
	uint8_t bytes[]; /* the result, with no sessions */
};

struct domain {
	struct reports *reports;
	char name[HOSTNAME_MAX + 1];
	enum wish wish;
	uint32_t question;
	int64_t good_until_ms;
	unsigned failures;
	char *rua; /* of WISH_YES */
	struct row *rows;
	size_t row_count;
};

struct reports {
	struct relay_dns *dns;
	struct channel *channel;
	struct map *domains;
	struct event *timer;
	bool wanted;
	unsigned asked;
	size_t row_count;
	uint64_t left_out; /* since the log was told */
};

static void
drop_rows(struct domain *domain)
{
	struct row *row;

	while ((row = domain->rows) != NULL) {
		domain->rows = row->next;
		free(row);
	}
	domain->reports->row_count -= domain->row_count;
	domain->row_count = 0;
}

static void
free_domain(struct domain *domain)
{
	struct reports *reports = domain->reports;

	if (domain->wish == WISH_ASKED) {
		relay_dns_forget(reports->dns, domain->question);
		reports->asked--;
	}
	drop_rows(domain);
	map_remove(reports->domains, domain->name);
	free(domain->rua);
	free(domain);
}

/* The record */

static bool
is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

bool
report_parse_record(const char *text, size_t length, char rua[REPORT_RUA_MAX + 1])
{
	static const char version[] = "v=TLSRPTv1", field[] = "rua=";
	const char *end = text + length, *at, *next;
	size_t size;

	*rua = '\0';
	if (length < sizeof(version) - 1 || memcmp(text, version, sizeof(version) - 1) != 0)
		return false;
	for (at = text + sizeof(version) - 1; at < end && is_blank(*at); at++)
		;
	if (at == end || *at != ';')
		return false;
	for (; at < end; at = next) {
		for (at++; at < end && is_blank(*at); at++)
			;
		next = memchr(at, ';', (size_t)(end - at));
		if (next == NULL)
			next = end;
		/* Fields that aren't known are none of ours. */
		if ((size_t)(next - at) < sizeof(field) ||
		    memcmp(at, field, sizeof(field) - 1) != 0)
			continue;
		at += sizeof(field) - 1;
		for (size = (size_t)(next - at); size > 0 && is_blank(at[size - 1]); size--)
			;
		if (*rua != '\0' || size > REPORT_RUA_MAX || memchr(at, '\0', size) != NULL)
			return false;
		memcpy(rua, at, size);
		rua[size] = '\0';
	}
	for (const char *byte = rua; *byte != '\0'; byte++)
		if ((*byte < ' ' && *byte != '\t') || *byte > '~')
			return false;
	return *rua != '\0';
}

/* RFC 8460 3: of the records that are of this version there must be one. */
static bool
take_records(const struct ipc_answer *answer, char rua[REPORT_RUA_MAX + 1])
{
	static const char version[] = "v=TLSRPTv1;";
	const struct answer_record *found = NULL;

	for (uint32_t i = 0; i < answer->count; i++) {
		const struct answer_record *record = &answer->records[i];
		bool is_ours = record->length >= sizeof(version) - 2 &&
		    memcmp(record->data, version, sizeof(version) - 2) == 0;

		if (is_ours && found != NULL)
			return false;
		if (is_ours)
			found = record;
	}
	return found != NULL && !answer->cut &&
	    report_parse_record((const char *)found->data, found->length, rua);
}

static void
on_answer(const struct ipc_answer *answer, bool ours, void *arg)
{
	char rua[REPORT_RUA_MAX + 1];
	struct domain *domain = arg;
	int64_t good_ms = NONE_MS;

	(void)ours;
	domain->reports->asked--;
	domain->wish = WISH_NO;
	free(domain->rua);
	domain->rua = NULL;
	if (answer->status == ANSWER_FAILED && ++domain->failures < FAILURES_MAX) {
		domain->wish = WISH_UNKNOWN; /* asked again in a while */
		good_ms = FAILED_MS;
	} else if (answer->status == ANSWER_FOUND && take_records(answer, rua) &&
	    (domain->rua = strdup(rua)) != NULL) {
		domain->wish = WISH_YES;
		good_ms = (int64_t)answer->ttl * 1000;
	}
	if (answer->status != ANSWER_FAILED)
		domain->failures = 0;
	good_ms = good_ms < TTL_LEAST_MS ? TTL_LEAST_MS
	    : good_ms > TTL_MOST_MS      ? TTL_MOST_MS
	                                 : good_ms;
	domain->good_until_ms = clock_monotonic_ms() + good_ms;
	if (domain->wish == WISH_NO)
		drop_rows(domain);
}

static void
ask(struct domain *domain)
{
	struct reports *reports = domain->reports;
	char name[HOSTNAME_MAX + 1];

	if (reports->asked >= ASKED_MAX)
		return; /* the next tick tries again */
	if (strlcpy(name, "_smtp._tls.", sizeof(name)) >= sizeof(name) ||
	    strlcat(name, domain->name, sizeof(name)) >= sizeof(name)) {
		domain->wish = WISH_NO;
		domain->good_until_ms = clock_monotonic_ms() + NONE_MS;
		drop_rows(domain);
		return;
	}
	domain->wish = WISH_ASKED;
	reports->asked++;
	domain->question = relay_dns_ask(reports->dns, QUERY_TXT, name, 0, on_answer, domain);
}

/* To the directory */

static void
send_row(struct reports *reports, const struct domain *domain, const struct row *row)
{
	static struct ipc_tls_result result;
	struct buf_reader reader;
	struct buf payload;

	/* It was made here, by encode_row(). */
	buf_reader_init(&reader, row->bytes, row->length);
	if (!ipc_tls_result_decode(&reader, &result))
		return;
	result.sessions = row->sessions;
	strlcpy(result.rua, domain->rua, sizeof(result.rua));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_tls_result_encode(&payload, &result);
	if (buf_ok(&payload))
		channel_send(reports->channel, RELAY_DIRECTORY_TLS_RESULT, 0, 0, -1, &payload);
	buf_free(&payload);
}

static void
flush_domain(struct domain *domain, int64_t now)
{
	struct reports *reports = domain->reports;

	if (domain->wish == WISH_YES && reports->channel != NULL) {
		for (struct row *row = domain->rows; row != NULL; row = row->next)
			send_row(reports, domain, row);
		drop_rows(domain);
	}
	if (domain->wish == WISH_UNKNOWN && domain->rows != NULL && now >= domain->good_until_ms)
		ask(domain);
	/* Who is mailed again is asked again. */
	if (domain->wish != WISH_ASKED && domain->rows == NULL && now >= domain->good_until_ms)
		free_domain(domain);
}

void
reports_flush(struct reports *reports)
{
	void **all = map_values(reports->domains);
	size_t count = map_count(reports->domains);
	int64_t now = clock_monotonic_ms();

	for (size_t i = 0; i < count; i++)
		flush_domain(all[i], now);
	free(all);
	if (reports->left_out > 0)
		log_warning("%llu results of TLS are left out of its reports: there are too many",
		    (unsigned long long)reports->left_out);
	reports->left_out = 0;
}

bool
reports_are_waiting(const struct reports *reports)
{
	return reports->wanted && reports->asked > 0;
}

static void
on_timer(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	reports_flush(arg);
}

/* Noting */

static struct domain *
find_domain(struct reports *reports, const char *name)
{
	struct domain *domain = map_get(reports->domains, name);

	if (domain != NULL || map_count(reports->domains) >= REPORT_DOMAINS_MAX)
		return domain;
	domain = calloc(1, sizeof(*domain));
	if (domain == NULL)
		return NULL;
	domain->reports = reports;
	strlcpy(domain->name, name, sizeof(domain->name));
	map_add(reports->domains, domain->name, domain);
	return domain;
}

/* With a rua and a session, since none without is valid. */
static void
encode_row(struct buf *buf, const struct ipc_tls_result *result, const char *domain)
{
	static struct ipc_tls_result row;

	row = *result;
	strlcpy(row.domain, domain, sizeof(row.domain));
	if (row.policy == REPORT_POLICY_NONE || *row.policy_domain == '\0')
		strlcpy(row.policy_domain, domain, sizeof(row.policy_domain));
	if (row.result == REPORT_RESULT_SUCCESS)
		*row.mx = *row.sending = *row.receiving = *row.reason = '\0';
	strlcpy(row.rua, "-", sizeof(row.rua));
	row.sessions = 1;
	buf_init(buf, IMSG_PAYLOAD_MAX);
	ipc_tls_result_encode(buf, &row);
}

static bool
add_row(struct domain *domain, const struct buf *bytes)
{
	struct row *row;

	for (row = domain->rows; row != NULL; row = row->next) {
		if (row->length != bytes->length ||
		    memcmp(row->bytes, bytes->data, bytes->length) != 0)
			continue;
		row->sessions += row->sessions < UINT32_MAX;
		return true;
	}
	if (domain->row_count >= ROWS_PER_DOMAIN || domain->reports->row_count >= REPORT_ROWS_MAX)
		return false;
	row = malloc(sizeof(*row) + bytes->length);
	if (row == NULL)
		return false;
	row->sessions = 1;
	row->length = bytes->length;
	memcpy(row->bytes, bytes->data, bytes->length);
	row->next = domain->rows;
	domain->rows = row;
	domain->row_count++;
	domain->reports->row_count++;
	return true;
}

void
reports_add(struct reports *reports, const struct ipc_tls_result *result)
{
	char name[HOSTNAME_MAX + 1];
	struct domain *domain;
	struct buf bytes;

	/* An address literal has no record. */
	if (!reports->wanted || *result->domain == '[' ||
	    !address_domain_key(result->domain, name, sizeof(name)))
		return;
	domain = find_domain(reports, name);
	if (domain == NULL) {
		reports->left_out++;
		return;
	}
	if ((domain->wish == WISH_NO || domain->wish == WISH_YES) &&
	    clock_monotonic_ms() >= domain->good_until_ms)
		domain->wish = WISH_UNKNOWN;
	if (domain->wish == WISH_NO)
		return;
	encode_row(&bytes, result, name);
	if (!buf_ok(&bytes) || !add_row(domain, &bytes))
		reports->left_out++;
	buf_free(&bytes);
	if (domain->wish == WISH_UNKNOWN && clock_monotonic_ms() >= domain->good_until_ms)
		ask(domain);
}

/* All of it */

struct reports *
reports_new(struct event_base *base, struct relay_dns *dns)
{
	struct reports *reports = calloc(1, sizeof(*reports));
	struct timeval every = { .tv_sec = FLUSH_SECONDS };

	if (reports == NULL)
		fatal("reports");
	reports->dns = dns;
	reports->domains = map_new();
	reports->timer = event_new(base, -1, EV_PERSIST, on_timer, reports);
	if (reports->timer == NULL || evtimer_add(reports->timer, &every) == -1)
		fatal("reports");
	return reports;
}

static void
forget_all(struct reports *reports)
{
	void **all = map_values(reports->domains);
	size_t count = map_count(reports->domains);

	for (size_t i = 0; i < count; i++)
		free_domain(all[i]);
	free(all);
}

void
reports_free(struct reports *reports)
{
	if (reports == NULL)
		return;
	forget_all(reports);
	map_free(reports->domains);
	event_free(reports->timer);
	free(reports);
}

void
reports_want(struct reports *reports, bool wanted)
{
	reports->wanted = wanted;
	if (!wanted)
		forget_all(reports);
}

void
reports_set_channel(struct reports *reports, struct channel *channel)
{
	reports->channel = channel;
}
