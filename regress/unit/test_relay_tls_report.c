/*
 * Who wants TLS reports: records at _smtp._tls (RFC 8460 3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "deliver/relay_tls_report.h"

static void
records_name_where_reports_go(void **state)
{
	static const struct {
		const char *record, *rua; /* NULL: it is no record */
	} cases[] = {
		{ "v=TLSRPTv1;rua=mailto:reports@example.com", "mailto:reports@example.com" },
		{ "v=TLSRPTv1; rua=https://example.com/v1/tlsrpt",
		    "https://example.com/v1/tlsrpt" },
		{ "v=TLSRPTv1 \t;\t rua=mailto:a@b.test , mailto:c@d.test ;",
		    "mailto:a@b.test , mailto:c@d.test" },
		/* A superset is taken, and what isn't known left alone. */
		{ "v=TLSRPTv1;x-y=z;rua=mailto:a@b.test;w", "mailto:a@b.test" },
		{ "v=TLSRPTv1;ruax=1;;;rua=mailto:a@b.test", "mailto:a@b.test" },
		{ "v=TLSRPTv1", NULL },
		{ "v=TLSRPTv1;", NULL },
		{ "v=TLSRPTv1;rua=", NULL },
		{ "v=TLSRPTv1;rua= ;", NULL },
		{ "v=TLSRPTv11;rua=mailto:a@b.test", NULL },
		{ "v=TLSRPTv2;rua=mailto:a@b.test", NULL },
		{ "V=TLSRPTv1;rua=mailto:a@b.test", NULL }, /* %s: as it is written */
		{ " v=TLSRPTv1;rua=mailto:a@b.test", NULL },
		{ "rua=mailto:a@b.test", NULL },
		{ "v=TLSRPTv1;rua=mailto:a@b.test;rua=mailto:c@d.test", NULL },
		{ "v=TLSRPTv1;rua=mailto:a@b.test\r\nX: y", NULL },
		{ "v=TLSRPTv1;rua=mailto:\xc3\xbc@b.test", NULL },
		{ "", NULL },
	};
	char rua[REPORT_RUA_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool taken = report_parse_record(cases[i].record, strlen(cases[i].record), rua);

		assert_int_equal(taken, cases[i].rua != NULL);
		if (taken)
			assert_string_equal(rua, cases[i].rua);
	}
}

static void
a_record_that_is_too_long_is_none(void **state)
{
	static const char head[] = "v=TLSRPTv1;rua=";
	char record[sizeof(head) + REPORT_RUA_MAX + 1], rua[REPORT_RUA_MAX + 1];

	(void)state;
	memset(record, 'x', sizeof(record));
	memcpy(record, head, sizeof(head) - 1);
	assert_true(report_parse_record(record, sizeof(head) - 1 + REPORT_RUA_MAX, rua));
	assert_int_equal(strlen(rua), REPORT_RUA_MAX);
	assert_false(report_parse_record(record, sizeof(head) + REPORT_RUA_MAX, rua));
	/* A NUL within is no end. */
	record[100] = '\0';
	assert_false(report_parse_record(record, 200, rua));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_name_where_reports_go),
		cmocka_unit_test(a_record_that_is_too_long_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
