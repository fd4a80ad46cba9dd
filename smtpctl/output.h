/*
 * Where smtpctl writes, and in which of its three forms: "|"-separated or key=value lines into a
 * pipe (OpenSMTPD's), a table on a terminal, JSON lines with -j.
 */
#ifndef SMTPCTL_OUTPUT_H
#define SMTPCTL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

enum output_format {
	OUTPUT_LINES,
	OUTPUT_TABLE,
	OUTPUT_JSON,
};

struct output {
	enum output_format format;
	size_t width; /* of the terminal; 80 where it doesn't say */
	struct buf buf;
};

/* Looks at standard output: a terminal gets tables. */
void output_init(struct output *, bool json);
void output_free(struct output *);
/* Writes what was put into output->buf and empties it. Ends the process, silently, when nobody
 * reads any more, and with a message when the disk is full. */
void output_flush(struct output *);
/* The same once there is enough of it. */
void output_flush_some(struct output *);

#endif
