/*
 * Standard output, in large writes. A reader that goes away ends smtpctl as SIGPIPE would, whether
 * or not the signal was left to us.
 */
#include <sys/ioctl.h>
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/write.h"
#include "smtpctl/output.h"

#define FLUSH_AT  (32 * 1024)
#define BUF_LIMIT (1024 * 1024)
#define WIDTH_MIN 80
#define WIDTH_MAX 200

void
output_init(struct output *output, bool json)
{
	struct winsize window;

	buf_init(&output->buf, BUF_LIMIT);
	output->width = WIDTH_MIN;
	output->format = OUTPUT_LINES;
	if (json)
		output->format = OUTPUT_JSON;
	else if (isatty(STDOUT_FILENO) == 1) {
		output->format = OUTPUT_TABLE;
		if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > WIDTH_MIN)
			output->width = window.ws_col < WIDTH_MAX ? window.ws_col : WIDTH_MAX;
	}
}

void
output_free(struct output *output)
{
	buf_free(&output->buf);
}

void
output_flush(struct output *output)
{
	if (!buf_ok(&output->buf))
		errx(EX_OSERR, "not enough memory");
	if (!write_all(STDOUT_FILENO, output->buf.data, output->buf.length)) {
		if (errno == EPIPE)
			exit(EX_IOERR);
		err(EX_IOERR, "standard output");
	}
	buf_clear(&output->buf);
}

void
output_flush_some(struct output *output)
{
	if (output->buf.length >= FLUSH_AT)
		output_flush(output);
}
