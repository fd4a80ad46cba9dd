/*
 * What was said on a connection, kept for the case that it goes wrong: lines "host: >>> MAIL …" and
 * "host: <<< 250 …". Commands that hold credentials are written without them, text is never
 * written. The beginning is kept, and the end; what lies between is dropped when it gets long.
 */
#ifndef DELIVER_RELAY_DIALOGUE_H
#define DELIVER_RELAY_DIALOGUE_H

#include <stddef.h>

#include "common/ipc_queue_relay.h"

#define DIALOGUE_HEAD_MAX 1536
#define DIALOGUE_TAIL_MAX (IPC_RELAY_DIALOGUE_MAX - DIALOGUE_HEAD_MAX - 64)
#define DIALOGUE_LINE_MAX 512

enum dialogue_side {
	DIALOGUE_SENT,     /* >>> */
	DIALOGUE_RECEIVED, /* <<< */
	DIALOGUE_NOTE,     /* --- our own words */
};

struct dialogue {
	char host[64]; /* cut where it is longer */
	size_t head_length;
	size_t tail_length;
	bool cut;       /* something is missing between them */
	bool has_begun; /* greeting and EHLO are over: lines go to the tail */
	char head[DIALOGUE_HEAD_MAX];
	char tail[DIALOGUE_TAIL_MAX];
};

/* Forgets all; what comes is the beginning. */
void dialogue_start(struct dialogue *, const char *host);
/* The beginning is over, or another transaction begins: what came of the last one is forgotten. */
void dialogue_transaction(struct dialogue *);
/* A line, or several that are separated by CRLF. Bytes that aren't printable ASCII become "?". */
void dialogue_add(struct dialogue *, enum dialogue_side, const char *text, size_t length);
/* All of it, each line ended by LF. */
void dialogue_format(const struct dialogue *, char text[IPC_RELAY_DIALOGUE_MAX + 1]);

#endif
