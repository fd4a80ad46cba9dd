/* smtpd.conf given as text: it must be right, or be refused with a report of file, line and word.
 */
#ifndef REGRESS_UNIT_TEST_SMTPD_PARSE_FIXTURE_H
#define REGRESS_UNIT_TEST_SMTPD_PARSE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/parse.h"

#define NAME "t.conf"

struct reports {
	char text[32768];
	size_t errors;
	size_t warnings;
};

static inline void
gather(bool is_error, const char *text, void *arg)
{
	struct reports *reports = arg;
	size_t length = strlen(reports->text);

	snprintf(reports->text + length, sizeof(reports->text) - length, "%s\n", text);
	reports->errors += is_error;
	reports->warnings += !is_error;
	for (; *text != '\0'; text++)
		assert_true(*text >= ' ' && *text < 0x7f);
}

static inline struct config *
parse(const char *text, struct reports *reports)
{
	memset(reports, 0, sizeof(*reports));
	return parse_config_text(NAME, text, strlen(text), gather, reports);
}

/* A config that must be right. */
static inline struct config *
good(const char *text)
{
	struct reports reports;
	struct config *config = parse(text, &reports);

	if (config == NULL)
		fail_msg("refused:\n%s\n%s", text, reports.text);
	assert_int_equal(reports.errors, 0);
	return config;
}

static inline bool
reported(const struct reports *reports, unsigned line, const char *word)
{
	char place[64], text[sizeof(reports->text)], *at, *next;
	bool found = false;

	snprintf(place, sizeof(place), NAME ":%u: ", line);
	memcpy(text, reports->text, sizeof(text));
	for (at = text; at != NULL && *at != '\0'; at = next) {
		next = strchr(at, '\n');
		if (next != NULL)
			*next++ = '\0';
		found |= strncmp(at, place, strlen(place)) == 0 && strstr(at, word) != NULL;
	}
	return found;
}

/* A config that must be refused with a report of this line that holds `word`. */
static inline void
bad(const char *text, unsigned line, const char *word)
{
	struct reports reports;
	struct config *config = parse(text, &reports);

	if (config != NULL) {
		config_free(config);
		fail_msg("accepted: %s", text);
	}
	if (!reported(&reports, line, word))
		fail_msg("%s\nshould report line %u and %s, but says:\n%s", text, line, word,
		    reports.text);
}

#endif
