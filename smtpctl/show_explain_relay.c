/*
 * The relay's part of an explanation: where mail for another domain goes, and by what policy.
 */
#include <inttypes.h>
#include <stdio.h>

#include "smtpctl/show_explain_parts.h"
#include "smtpctl/show_hosts.h"
#include "smtpctl/text.h"

void
explain_destination(struct show_explain *show, const struct ipc_explain_relay *relay)
{
	struct buf *buf = &show->output->buf;

	if (explain_is_json(show)) {
		explain_begin(buf, "destination");
		explain_text(buf, "to", relay->domain);
		explain_text(buf, "action", relay->action);
		buf_add_text(buf, "}\n");
	} else
		explain_sentence(buf,
		    "Mail for other hosts, to %s by action \"%s\":", relay->domain, relay->action,
		    NULL);
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

	explain_begin(buf, "route");
	if (!reply_is_success(&route->reply)) {
		reply_format(&route->reply, error, sizeof(error));
		explain_text(buf, "error", error);
		buf_add_text(buf, "}\n");
		return;
	}
	explain_text(buf, "by", origins[route->origin]);
	explain_number(buf, "hosts", route->count);
	explain_bool(buf, "dnssec", route->is_secure && route->origin <= EXPLAIN_BY_NAME);
	explain_number(buf, "seconds", route->seconds);
	explain_text(buf, "canonical", route->canonical);
	explain_text(buf, "sts", sts_words[route->sts]);
	explain_text(buf, "sts_mx", route->sts_mx);
	buf_add_text(buf, "}\n");
}

void
explain_route(struct show_explain *show, const struct ipc_explain_route *route)
{
	struct buf *buf = &show->output->buf;
	char error[REPLY_TEXT_MAX + 32];
	const char *is_signed = route->is_secure ? "signed (DNSSEC)" : "not signed (no DNSSEC)";

	show->no_route = reply_is_success(&route->reply) ? 0 : route->reply.code;
	if (explain_is_json(show)) {
		show_route_json(buf, route);
		return;
	}
	if (!reply_is_success(&route->reply)) {
		reply_format(&route->reply, error, sizeof(error));
		explain_sentence(buf, "route: none: %s", error, NULL, NULL);
		return;
	}
	if (*route->canonical != '\0')
		explain_sentence(buf, "route: the domain's name in DNS is another's, %s",
		    route->canonical, NULL, NULL);
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
		explain_sentence(buf, "MTA-STS: the domain's policy is of mode %s, for %s",
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
	explain_begin(buf, "host");
	explain_text(buf, "host", host->host);
	explain_number(buf, "port", host->port);
	explain_number(buf, "preference", host->preference);
	explain_text(buf, "scheme", host->scheme);
	explain_text(buf, "dns", dns_words[host->dns]);
	explain_bool(buf, "dnssec", host->is_secure);
	buf_add_text(buf, ",\"addresses\":[");
	for (uint32_t i = 0; i < host->addresses.count; i++) {
		buf_add_text(buf, i == 0 ? "" : ",");
		text_add_json(buf, host->addresses.all[i]);
	}
	buf_add_text(buf, "]");
	explain_bool(buf, "here", host->is_here);
	explain_text(buf, "tlsa", tlsa_words[host->tlsa]);
	explain_number(buf, "tlsa_records", host->tlsa_count);
	explain_text(buf, "policy", security_word(host->security));
	explain_bool(buf, "implicit_tls", host->implicit_tls);
	explain_text(buf, "error", host->words);
	buf_add_text(buf, "}\n");
}

static void
show_addresses(struct buf *buf, const struct ipc_explain_host *host)
{
	switch (host->dns) {
	case EXPLAIN_DNS_FOUND:
		explain_phrase(buf,
		    host->is_secure ? "addresses: of %s, which are signed (DNSSEC):"
		                    : "addresses: of %s, which are not signed (no DNSSEC):",
		    host->host, NULL, NULL);
		for (uint32_t i = 0; i < host->addresses.count; i++) {
			buf_add_text(buf, " ");
			explain_say(buf, host->addresses.all[i]);
		}
		buf_add_text(buf, "\n");
		break;
	case EXPLAIN_DNS_NONE:
		explain_sentence(buf, "addresses: %s has none in DNS", host->host, NULL, NULL);
		break;
	case EXPLAIN_DNS_FAILED:
		explain_sentence(
		    buf, "addresses: of %s can't be looked up: %s", host->host, host->words, NULL);
		break;
	case EXPLAIN_DNS_SILENT:
		explain_sentence(
		    buf, "addresses: of %s: DNS has not answered yet", host->host, NULL, NULL);
		break;
	case EXPLAIN_DNS_NOT_ASKED:
	case EXPLAIN_DNS_COUNT:
		break;
	}
	if (host->is_here)
		explain_sentence(buf,
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
		explain_sentence(buf, "%s", host->host, NULL, NULL);
	} else if (host->tlsa == EXPLAIN_TLSA_NONE)
		explain_sentence(buf, "DANE: %s has no TLSA records", host->host, NULL, NULL);
	else if (host->tlsa == EXPLAIN_TLSA_FAILED)
		explain_sentence(buf, "DANE: the TLSA records of %s can't be looked up: %s",
		    host->host, host->words, NULL);
	else if (host->tlsa == EXPLAIN_TLSA_SILENT)
		explain_sentence(buf, "DANE: the TLSA records of %s: DNS has not answered yet",
		    host->host, NULL, NULL);
	explain_sentence(buf, words[host->security], host->host, NULL, NULL);
}

void
explain_host(struct show_explain *show, const struct ipc_explain_host *host)
{
	struct buf *buf = &show->output->buf;

	if (explain_is_json(show)) {
		show_host_json(buf, host);
		return;
	}
	buf_printf(buf, "host: preference %u, port %u by ", host->preference, host->port);
	explain_sentence(buf, "%s: %s", host->scheme, host->host, NULL);
	show_addresses(buf, host);
	show_policy(buf, host);
}

void
explain_known(struct show_explain *show, const struct ipc_host *host)
{
	struct buf *buf = &show->output->buf;
	char error[REPLY_TEXT_MAX + 32], time[32];

	if (explain_is_json(show)) {
		explain_begin(buf, "connections");
		buf_add_text(buf, ",\"known\":");
		show_host_object(buf, host);
		buf_add_text(buf, "}\n");
		return;
	}
	buf_printf(buf,
	    "connections: %" PRIu32 " of at most %" PRIu32 ", %" PRIu32 " messages wait for them: ",
	    host->connected, host->window, host->waiting);
	explain_sentence(buf, "%s", host->host, NULL, NULL);
	if (host->penalty > 0) {
		text_format_duration(time, sizeof(time), host->penalty);
		buf_printf(buf,
		    "connections: it failed %" PRIu32
		    " times in a row and is tried after all others for %s\n",
		    host->failures, time);
	}
	if (host->reply.code != 0) {
		reply_format(&host->reply, error, sizeof(error));
		explain_sentence(
		    buf, "connections: what went wrong there last: %s", error, NULL, NULL);
	}
}
