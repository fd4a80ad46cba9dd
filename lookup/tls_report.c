/*
 * The sums of a day come by policy: each policy's rows stand together, and make one entry of
 * "policies", with its successes and failures added up and each kind of failure told.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <zlib.h>

#include "common/base64.h"
#include "common/clock.h"
#include "lookup/tls_report.h"

#define DAY        86400
#define JSON_MAX   (8UL * 1024 * 1024)
#define BASE64_ROW 57 /* bytes of a line of 76 */

/* Strings */

/* How many bytes the character at `text` has; 0: it is no UTF-8 (RFC 3629 4). */
static size_t
utf8_length(const unsigned char *text)
{
	static const struct {
		unsigned char first, last, low, high;
		size_t length;
	} kinds[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	if (*text < 0x80)
		return 1;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (*text < kinds[i].first || *text > kinds[i].last)
			continue;
		if (text[1] < kinds[i].low || text[1] > kinds[i].high)
			return 0;
		for (size_t j = 2; j < kinds[i].length; j++)
			if ((text[j] & 0xc0) != 0x80)
				return 0; /* the end of the text is one of these */
		return kinds[i].length;
	}
	return 0;
}

/* RFC 8259 7, in quotes. What is no UTF-8 becomes U+FFFD, a byte at a time. */
static void
add_string(struct buf *buf, const char *string, size_t length)
{
	const unsigned char *at = (const unsigned char *)string, *end = at + length;
	size_t size;

	buf_add_u8(buf, '"');
	for (; at < end; at += size == 0 ? 1 : size) {
		size = utf8_length(at);
		if (size == 0 || size > (size_t)(end - at)) {
			buf_add_text(buf, "\\ufffd");
			size = 1;
		} else if (*at == '"' || *at == '\\')
			buf_printf(buf, "\\%c", *at);
		else if (*at < ' ' || *at == 0x7f)
			buf_printf(buf, "\\u%04x", *at);
		else
			buf_add(buf, at, size);
	}
	buf_add_u8(buf, '"');
}

static void
add_member(struct buf *buf, const char *name, const char *value, const char *behind)
{
	buf_printf(buf, "\"%s\":", name);
	add_string(buf, value, strlen(value));
	buf_add_text(buf, behind);
}

/* An array of what ends with LF each. */
static void
add_list(struct buf *buf, const char *name, const char *lines)
{
	const char *end;
	bool is_first = true;

	buf_printf(buf, "\"%s\":[", name);
	for (; *lines != '\0'; lines = *end == '\0' ? end : end + 1) {
		end = lines + strcspn(lines, "\n");
		if (!is_first)
			buf_add_u8(buf, ',');
		add_string(buf, lines, (size_t)(end - lines));
		is_first = false;
	}
	buf_add_u8(buf, ']');
}

/* RFC 3339 5.6 */
static void
add_time(struct buf *buf, const char *name, int64_t wall, const char *behind)
{
	char text[32] = "";
	time_t seconds = (time_t)wall;
	struct tm tm;

	if (gmtime_r(&seconds, &tm) != NULL)
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	add_member(buf, name, text, behind);
}

/* The report */

static bool
is_same_policy(const struct ipc_tls_result *one, const struct ipc_tls_result *other)
{
	return one->policy == other->policy &&
	    strcmp(one->policy_domain, other->policy_domain) == 0 &&
	    strcmp(one->strings, other->strings) == 0 &&
	    strcmp(one->patterns, other->patterns) == 0;
}

static void
add_failure(struct buf *buf, const struct tls_sum *sum)
{
	const struct ipc_tls_result *result = &sum->result;

	buf_add_u8(buf, '{');
	add_member(buf, "result-type", report_result_name(result->result), ",");
	if (*result->sending != '\0')
		add_member(buf, "sending-mta-ip", result->sending, ",");
	if (*result->mx != '\0')
		add_member(buf, "receiving-mx-hostname", result->mx, ",");
	if (*result->receiving != '\0')
		add_member(buf, "receiving-ip", result->receiving, ",");
	if (*result->reason != '\0')
		add_member(buf, "failure-reason-code", result->reason, ",");
	buf_printf(buf, "\"failed-session-count\":%" PRIu64 "}", sum->sessions);
}

/* An entry of `count` sums, all of one policy. */
static void
add_policy(struct buf *buf, const struct tls_sum *sums, size_t count)
{
	const struct ipc_tls_result *policy = &sums->result;
	uint64_t good = 0, bad = 0;
	bool is_first = true;

	buf_add_text(buf, "{\"policy\":{");
	add_member(buf, "policy-type", report_policy_name(policy->policy), ",");
	if (policy->policy != REPORT_POLICY_NONE) {
		add_list(buf, "policy-string", policy->strings);
		buf_add_u8(buf, ',');
	}
	add_member(buf, "policy-domain", policy->policy_domain, "");
	if (policy->policy == REPORT_POLICY_STS && *policy->patterns != '\0') {
		buf_add_u8(buf, ',');
		add_list(buf, "mx-host", policy->patterns);
	}
	for (size_t i = 0; i < count; i++) {
		if (sums[i].result.result == REPORT_RESULT_SUCCESS)
			good += sums[i].sessions;
		else
			bad += sums[i].sessions;
	}
	buf_printf(buf,
	    "},\"summary\":{\"total-successful-session-count\":%" PRIu64
	    ",\"total-failure-session-count\":%" PRIu64 "},\"failure-details\":[",
	    good, bad);
	for (size_t i = 0; i < count; i++) {
		if (sums[i].result.result == REPORT_RESULT_SUCCESS)
			continue;
		if (!is_first)
			buf_add_u8(buf, ',');
		add_failure(buf, &sums[i]);
		is_first = false;
	}
	buf_add_text(buf, "]}");
}

void
tls_report_json(struct buf *buf, const struct tls_report *report)
{
	const struct tls_day *day = report->day;
	char contact[ADDRESS_TEXT_MAX + 1];
	size_t i, count;

	address_format(report->from, contact, sizeof(contact));
	buf_add_u8(buf, '{');
	add_member(buf, "organization-name", report->from->domain, ",");
	buf_add_text(buf, "\"date-range\":{");
	add_time(buf, "start-datetime", day->day * DAY, ",");
	add_time(buf, "end-datetime", day->day * DAY + DAY - 1, "},");
	add_member(buf, "contact-info", contact, ",");
	add_member(buf, "report-id", report->id, ",");
	buf_add_text(buf, "\"policies\":[");
	for (i = 0; i < day->count; i += count) {
		for (count = 1; i + count < day->count &&
		     is_same_policy(&day->sums[i].result, &day->sums[i + count].result);
		     count++)
			;
		if (i > 0)
			buf_add_u8(buf, ',');
		add_policy(buf, &day->sums[i], count);
	}
	buf_add_text(buf, "]}\n");
}

/* The mail */

/* RFC 1952, with nothing in its header. */
static bool
compress_into(struct buf *out, const struct buf *in)
{
	z_stream stream = { .next_in = in->data, .avail_in = (uInt)in->length };
	int status = Z_STREAM_ERROR;
	uLong size;

	if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) !=
	    Z_OK)
		return false;
	size = deflateBound(&stream, in->length);
	if (buf_reserve(out, size)) {
		stream.next_out = out->data + out->length;
		stream.avail_out = (uInt)size;
		status = deflate(&stream, Z_FINISH);
		if (status == Z_STREAM_END)
			out->length += size - stream.avail_out;
	}
	(void)deflateEnd(&stream);
	return status == Z_STREAM_END;
}

bool
tls_report_packed(struct buf *buf, const struct tls_report *report)
{
	struct buf json;
	bool good;

	buf_init(&json, JSON_MAX);
	tls_report_json(&json, report);
	good = buf_ok(&json) && compress_into(buf, &json) && buf_ok(buf);
	buf_free(&json);
	return good;
}

static void
add_base64(struct buf *buf, const struct buf *data)
{
	char line[BASE64_LENGTH(BASE64_ROW) + 1];
	size_t length;

	for (size_t at = 0; at < data->length; at += length) {
		length = data->length - at < BASE64_ROW ? data->length - at : BASE64_ROW;
		base64_encode(data->data + at, length, line);
		buf_printf(buf, "%s\r\n", line);
	}
}

static void
add_header(struct buf *buf, const struct tls_report *report, const char *boundary)
{
	const char *submitter = report->from->domain, *domain = report->day->domain;
	char from[ADDRESS_TEXT_MAX + 1], to[ADDRESS_TEXT_MAX + 1], date[64];

	address_format(report->from, from, sizeof(from));
	address_format(report->to, to, sizeof(to));
	clock_format_rfc5322(report->now, date, sizeof(date));
	buf_printf(buf, "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\n", from, to, date);
	buf_printf(buf, "Message-ID: <%s@%s>\r\n", report->id, submitter);
	/* RFC 8460 5.3 */
	buf_printf(buf, "Subject: Report Domain: %s\r\n Submitter: %s\r\n Report-ID: <%s@%s>\r\n",
	    domain, submitter, report->id, submitter);
	buf_printf(buf, "TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\n", domain, submitter);
	/* RFC 8460 3: whatever is wrong with their TLS. RFC 3834 5: nobody answers. */
	buf_add_text(buf, "TLS-Required: No\r\nAuto-Submitted: auto-generated\r\n");
	buf_printf(buf,
	    "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=\"tlsrpt\";\r\n"
	    "\tboundary=\"%s\"\r\n\r\n",
	    boundary);
}

bool
tls_report_mail(struct buf *buf, const struct tls_report *report)
{
	const struct tls_day *day = report->day;
	struct buf packed;
	char boundary[48];
	bool good;

	buf_init(&packed, JSON_MAX);
	good = tls_report_packed(&packed, report);
	snprintf(boundary, sizeof(boundary), "=_%08" PRIx32 "%08" PRIx32 "%08" PRIx32, arc4random(),
	    arc4random(), arc4random());
	add_header(buf, report, boundary);
	buf_printf(buf,
	    "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
	    "What became of TLS with the mail servers of %s on a day, as a mail server of\r\n"
	    "%s saw it (RFC 8460). The attached file is for programs.\r\n\r\n",
	    boundary, day->domain, report->from->domain);
	/* RFC 8460 5.1 */
	buf_printf(buf,
	    "--%s\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: "
	    "base64\r\n"
	    "Content-Disposition: attachment;\r\n"
	    "\tfilename=\"%s!%s!%" PRId64 "!%" PRId64 ".json.gz\"\r\n\r\n",
	    boundary, report->from->domain, day->domain, day->day * DAY, day->day * DAY + DAY - 1);
	if (good)
		add_base64(buf, &packed);
	buf_printf(buf, "\r\n--%s--\r\n", boundary);
	buf_free(&packed);
	return good && buf_ok(buf);
}
