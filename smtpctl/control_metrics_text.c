/*
 * One table of metrics, each with its samples. A histogram's buckets are counted apart and shown added
 * up, as the format has them.
 */
#include <inttypes.h>

#include "smtpctl/control_metrics_text.h"

#define SAMPLES_MAX 16

enum metric_type {
	METRIC_GAUGE,
	METRIC_COUNTER,
	METRIC_HISTOGRAM, /* of the durations at its one sample's key */
};

struct metric {
	const char *name;
	const char *help;
	enum metric_type type;
	struct {
		const char *labels; /* NULL: behind the last sample */
		enum stats_key key;
	} samples[SAMPLES_MAX];
};

#define REFUSED(subject) ((enum stats_key)(STATS_REJECT_PERMANENT + (subject)))
#define PUT_OFF(subject) ((enum stats_key)(STATS_REJECT_TEMPORARY + (subject)))

static const struct metric metrics[] = {
	{ "sessions", "Sessions open now.", METRIC_GAUGE,
	    { { "protocol=\"smtp\"", STATS_SMTP_SESSION },
	        { "protocol=\"imap\"", STATS_IMAP_SESSION },
	        { "protocol=\"pop3\"", STATS_POP3_SESSION },
	        { "protocol=\"sieve\"", STATS_SIEVE_SESSION } } },
	{ "smtp_sessions", "SMTP and LMTP sessions open now, by where they come from.",
	    METRIC_GAUGE,
	    { { "family=\"inet4\"", STATS_SMTP_SESSION_INET4 },
	        { "family=\"inet6\"", STATS_SMTP_SESSION_INET6 },
	        { "family=\"local\"", STATS_SMTP_SESSION_LOCAL } } },
	{ "connections_total", "Connections taken.", METRIC_COUNTER,
	    { { "protocol=\"smtp\"", STATS_SMTP_CONNECTED },
	        { "protocol=\"imap\"", STATS_IMAP_CONNECTED },
	        { "protocol=\"pop3\"", STATS_POP3_CONNECTED },
	        { "protocol=\"sieve\"", STATS_SIEVE_CONNECTED } } },
	{ "connections_refused_total", "Connections turned away by a limit of sessions.",
	    METRIC_COUNTER,
	    { { "protocol=\"smtp\"", STATS_SMTP_REFUSED },
	        { "protocol=\"imap\"", STATS_IMAP_REFUSED },
	        { "protocol=\"pop3\"", STATS_POP3_REFUSED },
	        { "protocol=\"sieve\"", STATS_SIEVE_REFUSED } } },
	{ "tls_handshakes_total", "TLS handshakes with clients.", METRIC_COUNTER,
	    { { "protocol=\"smtp\",result=\"ok\"", STATS_SMTP_TLS },
	        { "protocol=\"smtp\",result=\"failed\"", STATS_SMTP_TLS_FAILED },
	        { "protocol=\"imap\",result=\"ok\"", STATS_IMAP_TLS },
	        { "protocol=\"imap\",result=\"failed\"", STATS_IMAP_TLS_FAILED },
	        { "protocol=\"pop3\",result=\"ok\"", STATS_POP3_TLS },
	        { "protocol=\"sieve\",result=\"ok\"", STATS_SIEVE_TLS },
	        { "protocol=\"pop3\",result=\"failed\"", STATS_POP3_TLS_FAILED },
	        { "protocol=\"sieve\",result=\"failed\"", STATS_SIEVE_TLS_FAILED } } },
	{ "logins_total", "Logins; deferred are those that could not be checked.", METRIC_COUNTER,
	    { { "protocol=\"smtp\",result=\"ok\"", STATS_AUTH_SMTP_OK },
	        { "protocol=\"smtp\",result=\"failed\"", STATS_AUTH_SMTP_FAILED },
	        { "protocol=\"smtp\",result=\"deferred\"", STATS_AUTH_SMTP_DEFERRED },
	        { "protocol=\"imap\",result=\"ok\"", STATS_AUTH_IMAP_OK },
	        { "protocol=\"imap\",result=\"failed\"", STATS_AUTH_IMAP_FAILED },
	        { "protocol=\"imap\",result=\"deferred\"", STATS_AUTH_IMAP_DEFERRED },
	        { "protocol=\"pop3\",result=\"ok\"", STATS_AUTH_POP3_OK },
	        { "protocol=\"sieve\",result=\"ok\"", STATS_AUTH_SIEVE_OK },
	        { "protocol=\"pop3\",result=\"failed\"", STATS_AUTH_POP3_FAILED },
	        { "protocol=\"sieve\",result=\"failed\"", STATS_AUTH_SIEVE_FAILED },
	        { "protocol=\"pop3\",result=\"deferred\"", STATS_AUTH_POP3_DEFERRED },
	        { "protocol=\"sieve\",result=\"deferred\"", STATS_AUTH_SIEVE_DEFERRED } } },
	{ "access_bytes_total", "Bytes of logged in sessions.", METRIC_COUNTER,
	    { { "protocol=\"imap\",direction=\"received\"", STATS_IMAP_RECEIVED },
	        { "protocol=\"imap\",direction=\"sent\"", STATS_IMAP_SENT },
	        { "protocol=\"pop3\",direction=\"received\"", STATS_POP3_RECEIVED },
	        { "protocol=\"sieve\",direction=\"received\"", STATS_SIEVE_RECEIVED },
	        { "protocol=\"pop3\",direction=\"sent\"", STATS_POP3_SENT },
	        { "protocol=\"sieve\",direction=\"sent\"", STATS_SIEVE_SENT } } },
	{ "messages_accepted_total", "Messages answered with 250.", METRIC_COUNTER,
	    { { "", STATS_SMTP_MESSAGE } } },
	{ "messages_accepted_bytes_total", "Bytes of accepted messages.", METRIC_COUNTER,
	    { { "", STATS_SMTP_BYTES } } },
	{ "messages_refused_total", "Messages refused after their text.", METRIC_COUNTER,
	    { { "", STATS_SMTP_MESSAGE_REFUSED } } },
	{ "recipients_refused_total", "Recipients refused.", METRIC_COUNTER,
	    { { "", STATS_SMTP_RCPT_REJECTED } } },
	{ "refusals_total",
	    "Senders, recipients and messages refused, by the subject of the enhanced code.",
	    METRIC_COUNTER,
	    { { "code=\"5xx\",subject=\"other\"", REFUSED(0) },
	        { "code=\"5xx\",subject=\"address\"", REFUSED(1) },
	        { "code=\"5xx\",subject=\"mailbox\"", REFUSED(2) },
	        { "code=\"5xx\",subject=\"system\"", REFUSED(3) },
	        { "code=\"5xx\",subject=\"network\"", REFUSED(4) },
	        { "code=\"5xx\",subject=\"protocol\"", REFUSED(5) },
	        { "code=\"5xx\",subject=\"content\"", REFUSED(6) },
	        { "code=\"5xx\",subject=\"policy\"", REFUSED(7) },
	        { "code=\"4xx\",subject=\"other\"", PUT_OFF(0) },
	        { "code=\"4xx\",subject=\"address\"", PUT_OFF(1) },
	        { "code=\"4xx\",subject=\"mailbox\"", PUT_OFF(2) },
	        { "code=\"4xx\",subject=\"system\"", PUT_OFF(3) },
	        { "code=\"4xx\",subject=\"network\"", PUT_OFF(4) },
	        { "code=\"4xx\",subject=\"protocol\"", PUT_OFF(5) },
	        { "code=\"4xx\",subject=\"content\"", PUT_OFF(6) },
	        { "code=\"4xx\",subject=\"policy\"", PUT_OFF(7) } } },
	{ "message_accept_seconds", "From MAIL to the 250 after the message.", METRIC_HISTOGRAM,
	    { { "", STATS_ACCEPTING } } },
	{ "queue_messages", "Messages queued.", METRIC_GAUGE, { { "", STATS_QUEUE_MESSAGE } } },
	{ "queue_oldest_seconds", "How long the oldest message has been queued; 0 when none is.",
	    METRIC_GAUGE, { { "", STATS_QUEUE_OLDEST } } },
	{ "queue_envelopes", "Envelopes queued.", METRIC_GAUGE, { { "", STATS_QUEUE_ENVELOPE } } },
	{ "queue_envelopes_by_state",
	    "Envelopes queued that are being delivered, wait to be tried "
	    "again, or are held.",
	    METRIC_GAUGE,
	    { { "state=\"inflight\"", STATS_SCHEDULER_INFLIGHT },
	        { "state=\"deferred\"", STATS_ENVELOPE_DEFERRED },
	        { "state=\"held\"", STATS_ENVELOPE_HELD } } },
	{ "queue_segments", "Segments of the spool.", METRIC_GAUGE,
	    { { "", STATS_QUEUE_SEGMENT } } },
	{ "queue_envelopes_added_total", "Envelopes taken into the queue.", METRIC_COUNTER,
	    { { "", STATS_QUEUE_ENQUEUED } } },
	{ "queue_envelopes_done_total", "Envelopes gone from the queue.", METRIC_COUNTER,
	    { { "", STATS_QUEUE_DEQUEUED } } },
	{ "queue_syncs_total", "Batches made durable.", METRIC_COUNTER,
	    { { "", STATS_QUEUE_SYNC } } },
	{ "queue_written_bytes_total", "Bytes written to the spool.", METRIC_COUNTER,
	    { { "", STATS_QUEUE_BYTES } } },
	{ "envelopes_expired_total", "Envelopes that could not be delivered in time.",
	    METRIC_COUNTER, { { "", STATS_ENVELOPE_EXPIRED } } },
	{ "envelopes_removed_total", "Envelopes removed by an administrator.", METRIC_COUNTER,
	    { { "", STATS_ENVELOPE_REMOVED } } },
	{ "deliveries_total", "Deliveries tried, to mailboxes here and to other hosts.",
	    METRIC_COUNTER,
	    { { "kind=\"local\",result=\"ok\"", STATS_MDA_OK },
	        { "kind=\"local\",result=\"tempfail\"", STATS_MDA_TEMPFAIL },
	        { "kind=\"local\",result=\"permfail\"", STATS_MDA_PERMFAIL },
	        { "kind=\"relay\",result=\"ok\"", STATS_MTA_OK },
	        { "kind=\"relay\",result=\"tempfail\"", STATS_MTA_TEMPFAIL },
	        { "kind=\"relay\",result=\"permfail\"", STATS_MTA_PERMFAIL } } },
	{ "delivered_bytes_total", "Bytes of messages delivered.", METRIC_COUNTER,
	    { { "kind=\"local\"", STATS_MDA_BYTES }, { "kind=\"relay\"", STATS_MTA_BYTES } } },
	{ "relay_encrypted_total", "Deliveries to other hosts by TLS.", METRIC_COUNTER,
	    { { "", STATS_MTA_TLS } } },
	{ "delivery_seconds", "From the 250 after a message to the end of its delivery.",
	    METRIC_HISTOGRAM, { { "", STATS_DELIVERING } } },
	{ "bounces_total", "Delivery status notifications made.", METRIC_COUNTER,
	    { { "kind=\"failed\"", STATS_DSN_FAILED }, { "kind=\"delayed\"", STATS_DSN_DELAYED },
	        { "kind=\"delivered\"", STATS_DSN_DELIVERED },
	        { "kind=\"held\"", STATS_DSN_HELD } } },
	{ "mda_processes", "Processes that deliver to mailboxes here.", METRIC_GAUGE,
	    { { "", STATS_MDA_RUNNING } } },
	{ "mda_waiting", "Envelopes due for mailboxes here.", METRIC_GAUGE,
	    { { "", STATS_MDA_PENDING } } },
	{ "relay_messages", "Messages on their way to other hosts.", METRIC_GAUGE,
	    { { "", STATS_MTA_RUNNING } } },
	{ "relay_waiting", "Envelopes due for other hosts.", METRIC_GAUGE,
	    { { "", STATS_MTA_PENDING } } },
	{ "history_events_total", "Events told to the history of messages.", METRIC_COUNTER,
	    { { "", STATS_HISTORY_EVENT } } },
	{ "history_dropped_total", "Events that the history of messages had no time for.",
	    METRIC_COUNTER, { { "", STATS_HISTORY_DROPPED } } },
};

static void
add_head(struct buf *buf, const char *name, const char *help, enum metric_type type)
{
	static const char *const types[] = {
		[METRIC_GAUGE] = "gauge",
		[METRIC_COUNTER] = "counter",
		[METRIC_HISTOGRAM] = "histogram",
	};

	buf_printf(
	    buf, "# HELP postern_%s %s\n# TYPE postern_%s %s\n", name, help, name, types[type]);
}

static void
add_seconds(struct buf *buf, int64_t ms)
{
	buf_printf(buf, "%" PRId64 ".%03" PRId64, ms / 1000, ms % 1000);
}

static void
add_histogram(struct buf *buf, const char *name, enum stats_key first, const int64_t *values)
{
	int64_t count = 0;

	for (size_t i = 0; i < STATS_BUCKET_COUNT; i++) {
		count += values[(size_t)first + i];
		buf_printf(buf, "postern_%s_bucket{le=\"", name);
		if (i == STATS_BUCKET_COUNT - 1)
			buf_add_text(buf, "+Inf");
		else
			add_seconds(buf, stats_bucket_limit_ms(first, i));
		buf_printf(buf, "\"} %" PRId64 "\n", count);
	}
	buf_printf(buf, "postern_%s_sum ", name);
	add_seconds(buf, values[(size_t)first + STATS_BUCKET_COUNT]);
	buf_printf(buf, "\npostern_%s_count %" PRId64 "\n", name, count);
}

void
control_metrics_format(struct buf *buf, const int64_t values[STATS_COUNT], uint64_t uptime)
{
	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		const struct metric *metric = &metrics[i];

		add_head(buf, metric->name, metric->help, metric->type);
		if (metric->type == METRIC_HISTOGRAM) {
			add_histogram(buf, metric->name, metric->samples[0].key, values);
			continue;
		}
		for (size_t k = 0; k < SAMPLES_MAX && metric->samples[k].labels != NULL; k++) {
			bool has_labels = *metric->samples[k].labels != '\0';

			buf_printf(buf, "postern_%s%s%s%s %" PRId64 "\n", metric->name,
			    has_labels ? "{" : "", metric->samples[k].labels, has_labels ? "}" : "",
			    values[metric->samples[k].key]);
		}
	}
	add_head(buf, "uptime_seconds", "Since the suite was started.", METRIC_GAUGE);
	buf_printf(buf, "postern_uptime_seconds %" PRIu64 "\n", uptime);
}
