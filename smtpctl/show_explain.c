/*
 * Every line is built by begin(), the parts and end(), which make the same facts an object's members
 * or a sentence. What is in a sentence and came from elsewhere is shown as strangers' text is.
 *
 * The queue counts in portions; what it counts is told when the destination's part is over.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "smtpctl/show_explain.h"
#include "smtpctl/show_hosts.h"
#include "smtpctl/text.h"

#define WIDTH 2048 /* of what is shown of a text */

/* Lines. "%s" of a sentence is strangers' text; numbers are formatted before. */

static void
say(struct buf *buf, const char *text)
{
	text_add_clean(buf, text, WIDTH);
}

static void
member(struct buf *buf, const char *key, const char *value)
{
	buf_printf(buf, ",\"%s\":", key);
	text_add_json(buf, value);
}

static void
member_number(struct buf *buf, const char *key, int64_t number)
{
	buf_printf(buf, ",\"%s\":%" PRId64, key, number);
}

static void
member_bool(struct buf *buf, const char *key, bool is)
{
	buf_printf(buf, ",\"%s\":%s", key, is ? "true" : "false");
}

static void
member_time(struct buf *buf, const char *key, int64_t time)
{
	if (time == 0)
		buf_printf(buf, ",\"%s\":null", key);
	else
		member_number(buf, key, time);
}

static bool
is_json(const struct show_explain *show)
{
	return show->output->format == OUTPUT_JSON;
}

static void
begin_json(struct buf *buf, const char *fact)
{
	buf_printf(buf, "{\"fact\":\"%s\"", fact);
}

/* Words whose "%s"s are the texts, in their order; and as a whole line. */
static void
phrase(struct buf *buf, const char *format, const char *one, const char *two, const char *three)
{
	const char *texts[] = { one, two, three };
	size_t next = 0;

	for (; *format != '\0'; format++) {
		if (format[0] == '%' && format[1] == 's') {
			say(buf, texts[next++]);
			format++;
		} else
			buf_add_u8(buf, (uint8_t)*format);
	}
}

static void
sentence(struct buf *buf, const char *format, const char *one, const char *two, const char *three)
{
	phrase(buf, format, one, two, three);
	buf_add_text(buf, "\n");
}

void
show_explain_begin(struct show_explain *show, const struct ipc_rcpt *rcpt)
{
	show->asked = rcpt;
	show->steps = 0;
	show->is_refused = false;
}

/* The client's address, "" on this machine. */
static void
format_client(char *text, size_t size, const struct ipc_rcpt *rcpt)
{
	int family = rcpt->client_family == CLIENT_INET4 ? AF_INET : AF_INET6;

	*text = '\0';
	if (rcpt->client_family == CLIENT_INET4 || rcpt->client_family == CLIENT_INET6)
		(void)inet_ntop(family, rcpt->client_address, text, (socklen_t)size);
}

static void
show_question_json(struct buf *buf, const struct ipc_rcpt *rcpt, const char *to, const char *from)
{
	char client[INET6_ADDRSTRLEN];

	format_client(client, sizeof(client), rcpt);
	begin_json(buf, "question");
	member(buf, "to", to);
	member(buf, "from", from);
	member(buf, "client",
	    *rcpt->auth_user != '\0' ? "user"
	        : *client != '\0'    ? "remote"
	                             : "local");
	if (*client != '\0')
		member(buf, "ip", client);
	if (*rcpt->client_name != '\0')
		member(buf, "name", rcpt->client_name);
	if (*rcpt->helo != '\0')
		member(buf, "helo", rcpt->helo);
	if (*rcpt->auth_user != '\0')
		member(buf, "user", rcpt->auth_user);
	if (*rcpt->tag != '\0')
		member(buf, "tag", rcpt->tag);
	member_bool(buf, "tls", rcpt->tls);
	buf_add_text(buf, "}\n");
}

static void
show_question(struct show_explain *show)
{
	const struct ipc_rcpt *rcpt = show->asked;
	struct buf *buf = &show->output->buf;
	char to[ADDRESS_TEXT_MAX + 1], from[ADDRESS_TEXT_MAX + 1] = "<>";
	char client[INET6_ADDRSTRLEN];

	show->asked = NULL;
	address_format(&rcpt->rcpt, to, sizeof(to));
	if (!address_is_null(&rcpt->sender))
		address_format(&rcpt->sender, from, sizeof(from));
	if (is_json(show)) {
		show_question_json(buf, rcpt, to, from);
		return;
	}
	format_client(client, sizeof(client), rcpt);
	phrase(buf, "Mail from %s to %s, sent ", from, to, NULL);
	if (*client != '\0')
		phrase(buf, "by the client %s", client, NULL, NULL);
	else
		buf_add_text(buf,
		    *rcpt->auth_user != '\0' && !show->is_user ? "by a user" : "on this machine");
	if (*rcpt->client_name != '\0')
		phrase(buf, " called %s", rcpt->client_name, NULL, NULL);
	if (*rcpt->auth_user != '\0' && show->is_user)
		phrase(buf, " which has logged in as %s", rcpt->auth_user, NULL, NULL);
	else if (*rcpt->auth_user != '\0')
		buf_add_text(buf, " who has logged in");
	if (*rcpt->helo != '\0')
		phrase(buf, ", with HELO %s", rcpt->helo, NULL, NULL);
	if (*rcpt->tag != '\0')
		phrase(buf, ", to a listener tagged %s", rcpt->tag, NULL, NULL);
	buf_add_text(buf, rcpt->tls ? ", by TLS:\n" : ":\n");
}

/* The directory's part */

static const struct {
	const char *fact;
	const char *sentence; /* about address, to, words */
	const char *words;    /* what they are; NULL: a reason */
} steps[EXPLAIN_STEP_COUNT] = {
	[EXPLAIN_RULE] = { "rule", NULL, NULL },
	[EXPLAIN_NO_RULE] = { "no-rule", "rule: no match rule of smtpd.conf takes mail for %s",
	    NULL },
	[EXPLAIN_LEADS_TO] = { "alias", "alias: %s leads to %s", NULL },
	[EXPLAIN_LEADS_AGAIN] = { "alias-again",
	    "alias: %s leads to %s as well, which was looked at already", NULL },
	[EXPLAIN_LEADS_BACK] = { "alias-loop", "alias: %s leads back to %s: the loop is cut here",
	    NULL },
	[EXPLAIN_MAILBOX] = { "mailbox", "mailbox: mail for %s is delivered to %s, which is %s's",
	    "owner" },
	[EXPLAIN_COMMAND] = { "command", "command: mail for %s is given to %s", NULL },
	[EXPLAIN_RELAY] = { "relay", "relay: mail for %s is sent to other hosts for %s", NULL },
	[EXPLAIN_LMTP] = { "lmtp", "lmtp: mail for %s is delivered by LMTP to %s, for %s",
	    "recipient" },
	[EXPLAIN_TRIED] = { "rule-tried", NULL, "condition" },
	[EXPLAIN_UNDECIDED] = { "rule-undecided", NULL, "condition" },
	[EXPLAIN_SENDER] = { "sender", "refused: the user may not send as %s%s: %s", NULL },
	[EXPLAIN_QUOTA] = { "quota", NULL, NULL },
	[EXPLAIN_DEAD] = { "dead", NULL, NULL },
	[EXPLAIN_ERROR] = { "error", NULL, NULL },
	[EXPLAIN_POSTMASTER] = { "postmaster",
	    "postmaster: %s is taken all the same, for the postmaster (RFC 5321 4.5.1)", NULL },
	[EXPLAIN_FORWARD] = { "forward", "forward: %s's .forward in %s is followed", NULL },
	[EXPLAIN_INCLUDE] = { "include", "alias: %s leads to the list %s", NULL },
	[EXPLAIN_CUT] = { "cut", NULL, NULL },
};

/* A rule is named by its line and file. */
static bool
is_about_rule(enum explain_step step)
{
	return step == EXPLAIN_RULE || step == EXPLAIN_TRIED || step == EXPLAIN_UNDECIDED;
}

static void
show_rule(struct buf *buf, const struct ipc_explain_step *step)
{
	buf_printf(buf, "rule: line %" PRIu32 " of ", step->line);
	phrase(buf, "%s ", *step->to == '\0' ? "smtpd.conf" : step->to, NULL, NULL);
	if (step->step == EXPLAIN_TRIED)
		sentence(buf, "is not for it: its \"%s\" doesn't fit", step->words, NULL, NULL);
	else if (step->step == EXPLAIN_UNDECIDED)
		sentence(buf, "can't be decided about: its \"%s\" can't be known now%s",
		    step->words,
		    strcmp(step->words, "from") == 0 ? ", nor what comes behind it (for \"from "
		                                       "rdns\", --name says the client's name)"
		                                     : ", nor what comes behind it",
		    NULL);
	else if (*step->action == '\0')
		sentence(buf, "rejects mail for %s", step->address, NULL, NULL);
	else
		sentence(
		    buf, "takes mail for %s by action \"%s\"", step->address, step->action, NULL);
}

static void
show_quota(struct show_explain *show, const struct ipc_explain_step *step)
{
	struct buf *buf = &show->output->buf;
	char used[32], of[32];

	if (is_json(show)) {
		begin_json(buf, "quota");
		member(buf, "address", step->address);
		member_number(buf, "quota_bytes", (int64_t)step->quota_bytes);
		member_number(buf, "quota_messages", (int64_t)step->quota_messages);
		if (step->is_known) {
			member_number(buf, "used_bytes", (int64_t)step->used_bytes);
			member_number(buf, "used_messages", (int64_t)step->used_messages);
		}
		buf_add_text(buf, "}\n");
		return;
	}
	phrase(buf, "quota: the mailbox of %s may hold", step->address, NULL, NULL);
	text_format_size(of, sizeof(of), step->quota_bytes);
	if (step->quota_bytes != 0)
		buf_printf(buf, " %s", of);
	if (step->quota_messages != 0)
		buf_printf(buf, "%s %" PRIu64 " messages", step->quota_bytes != 0 ? " and" : "",
		    step->quota_messages);
	text_format_size(used, sizeof(used), step->used_bytes);
	if (step->is_known)
		buf_printf(buf, ", and holds %s in %" PRIu64 " message%s\n", used,
		    step->used_messages, step->used_messages == 1 ? "" : "s");
	else
		buf_add_text(buf, "; what it holds is not known now\n");
}

static void
show_step(struct show_explain *show, const struct ipc_explain_step *step)
{
	struct buf *buf = &show->output->buf;

	/* For where aliases lead it makes no difference who asks. */
	if (show->steps++ == 0)
		show->is_refused = step->step == EXPLAIN_NO_RULE;
	if (step->step == EXPLAIN_QUOTA)
		show_quota(show, step);
	else if (is_json(show)) {
		begin_json(buf, steps[step->step].fact);
		member(buf, "address", step->address);
		if (is_about_rule(step->step) || step->step == EXPLAIN_CUT)
			member_number(
			    buf, step->step == EXPLAIN_CUT ? "steps" : "line", step->line);
		if (*step->action != '\0')
			member(buf, "action", step->action);
		if (*step->to != '\0')
			member(buf, is_about_rule(step->step) ? "file" : "to", step->to);
		if (*step->words != '\0')
			member(buf,
			    steps[step->step].words != NULL ? steps[step->step].words : "reason",
			    step->words);
		buf_add_text(buf, "}\n");
	} else if (is_about_rule(step->step))
		show_rule(buf, step);
	else if (step->step == EXPLAIN_CUT)
		buf_printf(buf, "%" PRIu32 " more steps are not shown\n", step->line);
	else if (step->step == EXPLAIN_DEAD || step->step == EXPLAIN_ERROR)
		sentence(buf,
		    step->step == EXPLAIN_ERROR ? "refused: %s%s: %s"
		        : *step->to == '\0'     ? "dead end: %s%s: %s"
		                                : "dead end: %s leads to %s: %s",
		    step->address, step->to, step->words);
	else
		sentence(buf, steps[step->step].sentence, step->address, step->to, step->words);
}

/* The relay's part */

static void
show_destination(struct show_explain *show, const struct ipc_explain_relay *relay)
{
	struct buf *buf = &show->output->buf;

	if (is_json(show)) {
		begin_json(buf, "destination");
		member(buf, "to", relay->domain);
		member(buf, "action", relay->action);
		buf_add_text(buf, "}\n");
	} else
		sentence(buf, "Mail for other hosts, to %s by action \"%s\":", relay->domain,
		    relay->action, NULL);
}

static const char *const origins[EXPLAIN_ORIGIN_COUNT] = {
	[EXPLAIN_BY_MX] = "mx",
	[EXPLAIN_BY_NAME] = "name",
	[EXPLAIN_BY_SMARTHOSTS] = "smarthosts",
	[EXPLAIN_BY_LITERAL] = "literal",
};
static const char *const sts_words[EXPLAIN_STS_COUNT] = {
	[EXPLAIN_STS_NONE] = "none",
	[EXPLAIN_STS_TESTING] = "testing",
	[EXPLAIN_STS_ENFORCE] = "enforce",
};

static void
show_route_json(struct buf *buf, const struct ipc_explain_route *route)
{
	char error[REPLY_TEXT_MAX + 32] = "";

	begin_json(buf, "route");
	if (!reply_is_success(&route->reply)) {
		reply_format(&route->reply, error, sizeof(error));
		member(buf, "error", error);
		buf_add_text(buf, "}\n");
		return;
	}
	member(buf, "by", origins[route->origin]);
	member_number(buf, "hosts", route->count);
	member_bool(buf, "dnssec", route->is_secure && route->origin <= EXPLAIN_BY_NAME);
	member_number(buf, "seconds", route->seconds);
	member(buf, "canonical", route->canonical);
	member(buf, "sts", sts_words[route->sts]);
	member(buf, "sts_mx", route->sts_mx);
	buf_add_text(buf, "}\n");
}

static void
show_route(struct show_explain *show, const struct ipc_explain_route *route)
{
	struct buf *buf = &show->output->buf;
	char error[REPLY_TEXT_MAX + 32];
	const char *is_signed = route->is_secure ? "signed (DNSSEC)" : "not signed (no DNSSEC)";

	if (is_json(show)) {
		show_route_json(buf, route);
		return;
	}
	if (!reply_is_success(&route->reply)) {
		reply_format(&route->reply, error, sizeof(error));
		sentence(buf, "route: none: %s", error, NULL, NULL);
		return;
	}
	if (*route->canonical != '\0')
		sentence(buf, "route: the domain's name in DNS is another's, %s", route->canonical,
		    NULL, NULL);
	switch (route->origin) {
	case EXPLAIN_BY_MX:
		buf_printf(buf, "route: %" PRIu32 " mail server%s by MX records, which are %s\n",
		    route->count, route->count == 1 ? "" : "s", is_signed);
		break;
	case EXPLAIN_BY_NAME:
		buf_printf(buf,
		    "route: the host of the domain's own name, since it has no MX record, "
		    "which is %s\n",
		    is_signed);
		break;
	case EXPLAIN_BY_SMARTHOSTS:
		buf_printf(buf, "route: %" PRIu32 " smarthost%s, by the action\n", route->count,
		    route->count == 1 ? "" : "s, in this order,");
		break;
	case EXPLAIN_BY_LITERAL:
		buf_add_text(buf, "route: the host of that address\n");
		break;
	case EXPLAIN_ORIGIN_COUNT:
		break;
	}
	if (route->sts != EXPLAIN_STS_NONE)
		sentence(buf, "MTA-STS: the domain's policy is of mode %s, for %s",
		    sts_words[route->sts], route->sts_mx, NULL);
}

static const char *const dns_words[EXPLAIN_DNS_COUNT] = {
	[EXPLAIN_DNS_NOT_ASKED] = "not-asked",
	[EXPLAIN_DNS_FOUND] = "found",
	[EXPLAIN_DNS_NONE] = "none",
	[EXPLAIN_DNS_FAILED] = "failed",
	[EXPLAIN_DNS_SILENT] = "silent",
};
static const char *const tlsa_words[EXPLAIN_TLSA_COUNT] = {
	[EXPLAIN_TLSA_NOT_ASKED] = "not-asked",
	[EXPLAIN_TLSA_NONE] = "none",
	[EXPLAIN_TLSA_UNUSABLE] = "unusable",
	[EXPLAIN_TLSA_USABLE] = "usable",
	[EXPLAIN_TLSA_FAILED] = "failed",
	[EXPLAIN_TLSA_SILENT] = "silent",
};

static void
show_host_json(struct buf *buf, const struct ipc_explain_host *host)
{
	begin_json(buf, "host");
	member(buf, "host", host->host);
	member_number(buf, "port", host->port);
	member_number(buf, "preference", host->preference);
	member(buf, "scheme", host->scheme);
	member(buf, "dns", dns_words[host->dns]);
	member_bool(buf, "dnssec", host->is_secure);
	buf_add_text(buf, ",\"addresses\":[");
	for (uint32_t i = 0; i < host->addresses.count; i++) {
		buf_add_text(buf, i == 0 ? "" : ",");
		text_add_json(buf, host->addresses.all[i]);
	}
	buf_add_text(buf, "]");
	member_bool(buf, "here", host->is_here);
	member(buf, "tlsa", tlsa_words[host->tlsa]);
	member_number(buf, "tlsa_records", host->tlsa_count);
	member(buf, "policy", security_word(host->security));
	member_bool(buf, "implicit_tls", host->implicit_tls);
	member(buf, "error", host->words);
	buf_add_text(buf, "}\n");
}

static void
show_addresses(struct buf *buf, const struct ipc_explain_host *host)
{
	switch (host->dns) {
	case EXPLAIN_DNS_FOUND:
		phrase(buf,
		    host->is_secure ? "addresses: of %s, which are signed (DNSSEC):"
		                    : "addresses: of %s, which are not signed (no DNSSEC):",
		    host->host, NULL, NULL);
		for (uint32_t i = 0; i < host->addresses.count; i++) {
			buf_add_text(buf, " ");
			say(buf, host->addresses.all[i]);
		}
		buf_add_text(buf, "\n");
		break;
	case EXPLAIN_DNS_NONE:
		sentence(buf, "addresses: %s has none in DNS", host->host, NULL, NULL);
		break;
	case EXPLAIN_DNS_FAILED:
		sentence(
		    buf, "addresses: of %s can't be looked up: %s", host->host, host->words, NULL);
		break;
	case EXPLAIN_DNS_SILENT:
		sentence(buf, "addresses: of %s: DNS has not answered yet", host->host, NULL, NULL);
		break;
	case EXPLAIN_DNS_NOT_ASKED:
	case EXPLAIN_DNS_COUNT:
		break;
	}
	if (host->is_here)
		sentence(buf,
		    "addresses: %s is this server itself, which listens there: nothing is sent to "
		    "it",
		    host->host, NULL, NULL);
}

static void
show_policy(struct buf *buf, const struct ipc_explain_host *host)
{
	static const char *const words[EXPLAIN_SECURITY_COUNT] = {
		[EXPLAIN_PLAIN] = "TLS: none with %s",
		[EXPLAIN_OPPORTUNISTIC] = "TLS: with %s when it offers it, by any certificate",
		[EXPLAIN_ENCRYPTED] = "TLS: with %s always, by any certificate",
		[EXPLAIN_VERIFIED] =
		    "TLS: with %s always, and its certificate must be good for its name",
		[EXPLAIN_DANE] = "TLS: with %s always, and its certificate must be one that its "
		                 "TLSA records name "
		                 "(DANE)",
		[EXPLAIN_NOT_NAMED] =
		    "TLS: nothing is sent to %s, which the domain's policy (MTA-STS) doesn't name",
		[EXPLAIN_UNKNOWN] =
		    "TLS: with %s is not decided yet: nothing is sent before DNS has answered",
	};

	if (host->tlsa == EXPLAIN_TLSA_USABLE || host->tlsa == EXPLAIN_TLSA_UNUSABLE) {
		buf_printf(buf, "DANE: %" PRIu32 " usable TLSA record%s of ", host->tlsa_count,
		    host->tlsa_count == 1 ? "" : "s");
		sentence(buf, "%s", host->host, NULL, NULL);
	} else if (host->tlsa == EXPLAIN_TLSA_NONE)
		sentence(buf, "DANE: %s has no TLSA records", host->host, NULL, NULL);
	else if (host->tlsa == EXPLAIN_TLSA_FAILED)
		sentence(buf, "DANE: the TLSA records of %s can't be looked up: %s", host->host,
		    host->words, NULL);
	else if (host->tlsa == EXPLAIN_TLSA_SILENT)
		sentence(buf, "DANE: the TLSA records of %s: DNS has not answered yet", host->host,
		    NULL, NULL);
	sentence(buf, words[host->security], host->host, NULL, NULL);
}

static void
show_host(struct show_explain *show, const struct ipc_explain_host *host)
{
	struct buf *buf = &show->output->buf;

	if (is_json(show)) {
		show_host_json(buf, host);
		return;
	}
	buf_printf(buf, "host: preference %u, port %u by ", host->preference, host->port);
	sentence(buf, "%s: %s", host->scheme, host->host, NULL);
	show_addresses(buf, host);
	show_policy(buf, host);
}

/* What the relay remembers of that host. */
static void
show_known(struct show_explain *show, const struct ipc_host *host)
{
	struct buf *buf = &show->output->buf;
	char error[REPLY_TEXT_MAX + 32], time[32];

	if (is_json(show)) {
		begin_json(buf, "connections");
		buf_add_text(buf, ",\"known\":");
		show_host_object(buf, host);
		buf_add_text(buf, "}\n");
		return;
	}
	buf_printf(buf,
	    "connections: %" PRIu32 " of at most %" PRIu32 ", %" PRIu32 " messages wait for them: ",
	    host->connected, host->window, host->waiting);
	sentence(buf, "%s", host->host, NULL, NULL);
	if (host->penalty > 0) {
		text_format_duration(time, sizeof(time), host->penalty);
		buf_printf(buf,
		    "connections: it failed %" PRIu32
		    " times in a row and is tried after all others for %s\n",
		    host->failures, time);
	}
	if (host->reply.code != 0) {
		reply_format(&host->reply, error, sizeof(error));
		sentence(buf, "connections: what went wrong there last: %s", error, NULL, NULL);
	}
}

/* The queue's part */

static void
show_line(struct show_explain *show, const struct ipc_destination *line)
{
	struct buf *buf = &show->output->buf;
	char error[REPLY_TEXT_MAX + 32] = "", time[32];

	if (line->reply.code != 0)
		reply_format(&line->reply, error, sizeof(error));
	if (is_json(show)) {
		begin_json(buf, "line");
		member(buf, "to", line->to);
		member_number(buf, "envelopes", line->queued);
		member_number(buf, "in_flight", line->in_flight);
		member_number(buf, "window", line->window);
		member_number(buf, "failures", line->failures);
		member_time(buf, "next_try", line->next_try);
		member(buf, "error", error);
		member(buf, "host", line->host);
		buf_add_text(buf, "}\n");
		return;
	}
	buf_printf(buf,
	    "queue: %" PRIu32 " envelopes in line, %" PRIu32
	    " messages are being sent of at most %" PRIu32 ": ",
	    line->queued, line->in_flight, line->window);
	sentence(buf, "%s", line->to, NULL, NULL);
	if (line->next_try != 0) {
		clock_format_rfc5322(line->next_try, time, sizeof(time));
		buf_printf(buf,
		    "queue: not reached %" PRIu32 " times in a row: tried again at %s\n",
		    line->failures, time);
	}
	if (*error != '\0')
		sentence(buf, "queue: what went wrong last: %s", error, NULL, NULL);
}

static const struct {
	const char *word;
	const char *sentence;
} stops[EXPLAIN_STOP_COUNT] = {
	[EXPLAIN_STOP_NOT] = { "nothing", "nothing: it is sent as soon as it comes" },
	[EXPLAIN_STOP_NO_RELAY] = { "no-relay", "the program relay, which is being started anew" },
	[EXPLAIN_STOP_PAUSED] = { "paused", "smtpctl resume mta" },
	[EXPLAIN_STOP_DOMAIN_PAUSED] = { "domain-paused", "smtpctl resume mta for this domain" },
	[EXPLAIN_STOP_PUT_OFF] = { "put-off",
	    "the next try, since the destination could not be reached" },
	[EXPLAIN_STOP_WINDOW] = { "window",
	    "others to be done: as many messages are being sent there as may be at once" },
};

static void
show_counts(struct buf *buf, const struct ipc_explain_queue *queue)
{
	char time[64];

	buf_printf(buf,
	    "queue: %" PRIu32 " envelopes go as soon as they may, %" PRIu32 " are being sent\n",
	    queue->ready, queue->in_flight);
	if (queue->waiting > 0) {
		clock_format_rfc5322(queue->next_try, time, sizeof(time));
		buf_printf(buf,
		    "queue: %" PRIu32 " envelopes wait for their next try, the first at %s\n",
		    queue->waiting, time);
	}
	if (queue->held > 0)
		buf_printf(buf,
		    "queue: %" PRIu32 " envelopes are held until they are released by smtpctl\n",
		    queue->held);
	if (queue->bouncing > 0)
		buf_printf(buf,
		    "queue: %" PRIu32 " envelopes are being returned to their senders\n",
		    queue->bouncing);
}

/* What was added up. */
static void
show_queue(struct show_explain *show)
{
	const struct ipc_explain_queue *queue = &show->queue;
	struct buf *buf = &show->output->buf;

	if (!show->has_queue)
		return;
	if (is_json(show)) {
		begin_json(buf, "queue");
		member(buf, "waits_for", stops[queue->stop].word);
		member_number(buf, "ready", queue->ready);
		member_number(buf, "waiting", queue->waiting);
		member_number(buf, "in_flight", queue->in_flight);
		member_number(buf, "held", queue->held);
		member_number(buf, "bouncing", queue->bouncing);
		member_time(buf, "next_try", queue->next_try);
		buf_add_text(buf, "}\n");
	} else {
		if (show->has_line)
			show_counts(buf, queue);
		else
			buf_add_text(buf, "queue: nothing is queued for it\n");
		buf_printf(buf, "mail to it waits for: %s\n", stops[queue->stop].sentence);
	}
	show->has_queue = show->has_line = false;
	memset(&show->queue, 0, sizeof(show->queue));
}

static void
add_up(struct show_explain *show, const struct ipc_explain_queue *portion)
{
	struct ipc_explain_queue *queue = &show->queue;

	show->has_queue = true;
	queue->stop = portion->stop;
	queue->ready += portion->ready;
	queue->waiting += portion->waiting;
	queue->in_flight += portion->in_flight;
	queue->held += portion->held;
	queue->bouncing += portion->bouncing;
	if (portion->next_try != 0 && (queue->next_try == 0 || portion->next_try < queue->next_try))
		queue->next_try = portion->next_try;
}

static bool
show_note(struct show_explain *show, struct buf_reader *reader)
{
	char *line = buf_get_string_alloc(reader, IMSG_PAYLOAD_MAX);
	struct buf *buf = &show->output->buf;
	bool good = line != NULL && !reader->failed;

	if (good && is_json(show)) {
		begin_json(buf, "note");
		member(buf, "text", line);
		buf_add_text(buf, "}\n");
	} else if (good)
		sentence(buf, "note: %s", line, NULL, NULL);
	free(line);
	return good;
}

static bool
take(struct show_explain *show, const struct imsg *imsg, struct buf_reader *reader)
{
	union {
		struct ipc_explain_step step;
		struct ipc_explain_relay relay;
		struct ipc_explain_route route;
		struct ipc_explain_host host;
		struct ipc_host known;
		struct ipc_destination line;
		struct ipc_explain_queue queue;
	} fact;

	switch (imsg->type) {
	case CONTROL_EXPLAIN_STEP:
		if (!ipc_explain_step_decode(reader, &fact.step))
			return false;
		show_step(show, &fact.step);
		return true;
	case CONTROL_EXPLAIN_RELAY:
		if (!ipc_explain_relay_decode(reader, &fact.relay))
			return false;
		show_queue(show);
		show_destination(show, &fact.relay);
		return true;
	case CONTROL_EXPLAIN_ROUTE:
		if (!ipc_explain_route_decode(reader, &fact.route))
			return false;
		show_route(show, &fact.route);
		return true;
	case CONTROL_EXPLAIN_HOST:
		if (!ipc_explain_host_decode(reader, &fact.host))
			return false;
		show_host(show, &fact.host);
		return true;
	case CONTROL_HOST:
		if (!ipc_host_decode(reader, &fact.known))
			return false;
		show_known(show, &fact.known);
		return true;
	case CONTROL_DESTINATION:
		if (!ipc_destination_decode(reader, &fact.line))
			return false;
		show->has_line = true;
		show_line(show, &fact.line);
		return true;
	case CONTROL_EXPLAIN_QUEUE:
		if (!ipc_explain_queue_decode(reader, &fact.queue))
			return false;
		add_up(show, &fact.queue);
		return true;
	case CONTROL_LINE:
		show_queue(show);
		return show_note(show, reader);
	default:
		return false;
	}
}

bool
show_explain_frame(struct show_explain *show, const struct imsg *imsg)
{
	struct buf_reader reader;

	if (show->asked != NULL)
		show_question(show);
	buf_reader_init(&reader, imsg->payload, imsg->length);
	return take(show, imsg, &reader) && buf_reader_done(&reader);
}

void
show_explain_end(struct show_explain *show, const char *reply)
{
	struct buf *buf = &show->output->buf;

	if (show->asked != NULL)
		show_question(show);
	show_queue(show);
	if (is_json(show)) {
		begin_json(buf, "answer");
		member(buf, "reply", reply);
		buf_add_text(buf, "}\n");
	} else
		sentence(buf, "answer to RCPT: %s", reply, NULL, NULL);
}
