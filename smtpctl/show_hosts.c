/*
 * Names and addresses come from DNS and words from other hosts: all is shown as strangers' text is.
 */
#include <inttypes.h>
#include <stdio.h>

#include "smtpctl/show_hosts.h"
#include "smtpctl/text.h"

/* HOST STATE CONN WAIT SENT FAILED TLS: 10+1+4+1+5+1+7+1+6+1+13 columns behind HOST and a blank. */
#define TABLE_FIXED  50
#define TABLE_INDENT 4
#define DOMAIN_WIDTH 30

const char *
host_state_word(enum host_state state)
{
	switch (state) {
	case HOST_NEW:
		return "new";
	case HOST_LOOKED_UP:
		return "looked-up";
	case HOST_CONNECTING:
		return "connecting";
	case HOST_CONNECTED:
		return "connected";
	case HOST_IDLE:
		return "idle";
	case HOST_FAILED:
		return "failed";
	case HOST_STATE_COUNT:
		break;
	}
	return "?";
}

const char *
security_word(enum explain_security security)
{
	switch (security) {
	case EXPLAIN_PLAIN:
		return "none";
	case EXPLAIN_OPPORTUNISTIC:
		return "opportunistic";
	case EXPLAIN_ENCRYPTED:
		return "encrypted";
	case EXPLAIN_VERIFIED:
		return "verified";
	case EXPLAIN_DANE:
		return "dane";
	case EXPLAIN_NOT_NAMED:
		return "not-named";
	case EXPLAIN_UNKNOWN:
		return "unknown";
	case EXPLAIN_SECURITY_COUNT:
		break;
	}
	return "?";
}

/* How long ago, or "-" for never. */
static void
format_ago(char *text, size_t size, int64_t then, int64_t now)
{
	if (then == 0)
		(void)snprintf(text, size, "-");
	else
		text_format_duration(text, size, now > then ? (uint64_t)(now - then) : 0);
}

static void
format_error(const struct reply *reply, char *text, size_t size)
{
	text[0] = '\0';
	if (reply->code != 0)
		reply_format(reply, text, size);
}

static void
add_key(struct buf *buf, const char *key, const char *value)
{
	buf_printf(buf, " %s=", key);
	text_add_field(buf, value);
}

static void
add_host_line(
    struct buf *buf, const struct ipc_host *host, const char *address, uint32_t nconn, int64_t now)
{
	char last[32], error[REPLY_TEXT_MAX + 32];

	format_ago(last, sizeof(last), host->last_connection, now);
	format_error(&host->reply, error, sizeof(error));
	text_add_field(buf, address);
	buf_add_text(buf, " ");
	text_add_field(buf, host->host);
	buf_printf(buf,
	    " refcount=%" PRIu32 " nconn=%" PRIu32
	    " lastconn=%s port=%u state=%s connecting=%" PRIu32 " sent=%" PRIu64 " failed=%" PRIu64
	    " tls=%s",
	    host->waiting + host->connected + host->connecting, nconn, last, host->port,
	    host_state_word(host->state), host->connecting, host->transactions - host->failed,
	    host->failed, security_word(host->security));
	add_key(buf, "action", host->action);
	if (*host->domain != '\0')
		add_key(buf, "domain", host->domain);
	if (*error != '\0')
		add_key(buf, "error", error);
	buf_add_text(buf, "\n");
}

void
show_hosts_head(struct output *output)
{
	if (output->format != OUTPUT_TABLE)
		return;
	text_add_cell(&output->buf, "HOST", output->width - TABLE_FIXED - 1);
	buf_printf(&output->buf, " %-10s %4s %5s %7s %6s %-13s\n", "STATE", "CONN", "WAIT", "SENT",
	    "FAILED", "TLS");
}

static void
add_host_row(struct buf *buf, size_t width, const struct ipc_host *host)
{
	char error[REPLY_TEXT_MAX + 32];

	text_add_cell(buf, host->host, width - TABLE_FIXED - 1);
	buf_printf(buf, " %-10s %4" PRIu32 " %5" PRIu32 " %7" PRIu64 " %6" PRIu64 " %-13s\n",
	    host_state_word(host->state), host->connected, host->waiting,
	    host->transactions - host->failed, host->failed, security_word(host->security));
	format_error(&host->reply, error, sizeof(error));
	if (error[0] == '\0')
		return;
	buf_printf(buf, "%*s", TABLE_INDENT, "");
	text_add_clean(buf, error, width - TABLE_INDENT);
	buf_add_text(buf, "\n");
}

static void
add_text(struct buf *buf, const char *key, const char *value)
{
	buf_printf(buf, ",\"%s\":", key);
	text_add_json(buf, value);
}

static void
add_time(struct buf *buf, const char *key, int64_t time)
{
	if (time == 0)
		buf_printf(buf, ",\"%s\":null", key);
	else
		buf_printf(buf, ",\"%s\":%" PRId64, key, time);
}

void
show_host_object(struct buf *buf, const struct ipc_host *host)
{
	char error[REPLY_TEXT_MAX + 32];

	buf_printf(buf, "{\"id\":%" PRIu64 ",\"host\":", host->id);
	text_add_json(buf, host->host);
	buf_printf(buf, ",\"port\":%u", host->port);
	add_text(buf, "scheme", host->scheme);
	add_text(buf, "action", host->action);
	add_text(buf, "source", host->source);
	add_text(buf, "domain", host->domain);
	add_text(buf, "state", host_state_word(host->state));
	buf_printf(buf, ",\"stale\":%s,\"addresses\":[", host->is_stale ? "true" : "false");
	for (uint32_t i = 0; i < host->addresses.count; i++) {
		buf_add_text(buf, i == 0 ? "{\"address\":" : ",{\"address\":");
		text_add_json(buf, host->addresses.all[i]);
		buf_printf(buf, ",\"connections\":%" PRIu32 "}", host->connections[i]);
	}
	buf_printf(buf,
	    "],\"connected\":%" PRIu32 ",\"connecting\":%" PRIu32 ",\"window\":%" PRIu32
	    ",\"waiting\":%" PRIu32 ",\"failures\":%" PRIu32 ",\"penalty\":%" PRIu32
	    ",\"sent\":%" PRIu64 ",\"failed\":%" PRIu64,
	    host->connected, host->connecting, host->window, host->waiting, host->failures,
	    host->penalty, host->transactions - host->failed, host->failed);
	add_time(buf, "last_connection", host->last_connection);
	add_time(buf, "last_failure", host->last_failure);
	format_error(&host->reply, error, sizeof(error));
	add_text(buf, "error", error);
	add_text(buf, "policy", security_word(host->security));
	buf_printf(buf, ",\"implicit_tls\":%s", host->implicit_tls ? "true" : "false");
	add_text(buf, "tls", host->tls);
	buf_add_text(buf, "}");
}

void
show_hosts_row(struct output *output, const struct ipc_host *host, int64_t now)
{
	switch (output->format) {
	case OUTPUT_TABLE:
		add_host_row(&output->buf, output->width, host);
		break;
	case OUTPUT_LINES:
		if (host->addresses.count == 0)
			add_host_line(&output->buf, host, "-", host->connected, now);
		for (uint32_t i = 0; i < host->addresses.count; i++)
			add_host_line(
			    &output->buf, host, host->addresses.all[i], host->connections[i], now);
		break;
	case OUTPUT_JSON:
		show_host_object(&output->buf, host);
		buf_add_text(&output->buf, "\n");
		break;
	}
}

void
show_routes_row(struct output *output, const struct ipc_host *host)
{
	struct buf *buf = &output->buf;
	char ends[32] = "-";

	if (output->format == OUTPUT_JSON) {
		show_host_object(buf, host);
		buf_add_text(buf, "\n");
		return;
	}
	if (host->penalty > 0)
		text_format_duration(ends, sizeof(ends), host->penalty);
	buf_printf(buf, "%" PRIu64 ". ", host->id);
	text_add_field(buf, *host->source == '\0' ? "[]" : host->source);
	buf_add_text(buf, " <-> ");
	text_add_field(buf, host->host);
	if (host->port != 0) /* a Unix socket has none */
		buf_printf(buf, ":%u", host->port);
	buf_printf(buf,
	    " %c%c%c%c nconn=%" PRIu32 " nerror=%" PRIu32 " penalty=%" PRIu32
	    " timeout=%s window=%" PRIu32 " waiting=%" PRIu32,
	    host->state == HOST_NEW ? 'N' : '-', host->is_stale ? 'D' : '-',
	    host->penalty > 0 ? 'Q' : '-', host->connected > 0 && host->waiting == 0 ? 'K' : '-',
	    host->connected, host->failures, host->penalty, ends, host->window, host->waiting);
	add_key(buf, "action", host->action);
	if (*host->domain != '\0')
		add_key(buf, "domain", host->domain);
	buf_add_text(buf, "\n");
}

void
show_hoststats_row(struct output *output, const struct ipc_hoststat *stat, int64_t now)
{
	struct buf *buf = &output->buf;
	char status[REPLY_TEXT_MAX + 32], age[8];

	format_error(&stat->reply, status, sizeof(status));
	switch (output->format) {
	case OUTPUT_TABLE:
		text_format_age(age, sizeof(age), now - stat->time);
		text_add_cell(buf, stat->domain, DOMAIN_WIDTH);
		buf_printf(buf, " %4s ", age);
		text_add_clean(buf, status, output->width - DOMAIN_WIDTH - 6);
		break;
	case OUTPUT_LINES:
		text_add_field(buf, stat->domain);
		buf_printf(buf, "|%" PRId64 "|", stat->time);
		text_add_field(buf, status);
		break;
	case OUTPUT_JSON:
		buf_add_text(buf, "{\"domain\":");
		text_add_json(buf, stat->domain);
		add_time(buf, "time", stat->time);
		add_text(buf, "status", status);
		add_text(buf, "host", stat->host);
		buf_add_text(buf, "}");
		break;
	}
	buf_add_text(buf, "\n");
}
