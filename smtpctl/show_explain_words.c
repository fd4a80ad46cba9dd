/*
 * The parts of an explanation's lines: members of an object, or words of a sentence.
 */
#include <inttypes.h>

#include "smtpctl/show_explain_parts.h"
#include "smtpctl/text.h"

#define WIDTH 2048 /* of what is shown of a text */

void
explain_say(struct buf *buf, const char *text)
{
	text_add_clean(buf, text, WIDTH);
}

void
explain_text(struct buf *buf, const char *key, const char *value)
{
	buf_printf(buf, ",\"%s\":", key);
	text_add_json(buf, value);
}

void
explain_number(struct buf *buf, const char *key, int64_t number)
{
	buf_printf(buf, ",\"%s\":%" PRId64, key, number);
}

void
explain_bool(struct buf *buf, const char *key, bool is)
{
	buf_printf(buf, ",\"%s\":%s", key, is ? "true" : "false");
}

void
explain_time(struct buf *buf, const char *key, int64_t time)
{
	if (time == 0)
		buf_printf(buf, ",\"%s\":null", key);
	else
		explain_number(buf, key, time);
}

bool
explain_is_json(const struct show_explain *show)
{
	return show->output->format == OUTPUT_JSON;
}

void
explain_begin(struct buf *buf, const char *fact)
{
	buf_printf(buf, "{\"fact\":\"%s\"", fact);
}

void
explain_phrase(
    struct buf *buf, const char *format, const char *one, const char *two, const char *three)
{
	const char *texts[] = { one, two, three };
	size_t next = 0;

	for (; *format != '\0'; format++) {
		if (format[0] == '%' && format[1] == 's') {
			explain_say(buf, texts[next++]);
			format++;
		} else
			buf_add_u8(buf, (uint8_t)*format);
	}
}

void
explain_sentence(
    struct buf *buf, const char *format, const char *one, const char *two, const char *three)
{
	explain_phrase(buf, format, one, two, three);
	buf_add_text(buf, "\n");
}
