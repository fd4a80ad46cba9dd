/*
 * How many sessions there are, in all and from one address or network, over all processes that
 * take them: so that a flood from one place never keeps others out.
 */
#ifndef COMMON_CROWD_H
#define COMMON_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/envelope.h"

/* What all processes need together: whole pages, checked against its parts in crowd.c. */
#define CROWD_BYTES 4198400

struct crowd;

enum crowd_answer {
	CROWD_ENTERED,
	CROWD_FULL, /* sessions in all */
	CROWD_ADDRESS_FULL,
	CROWD_NETWORK_FULL,
	CROWD_USER_FULL, /* of this machine */
};

/*
 * `fd` is memory that all processes share (a memfd of CROWD_BYTES, or an empty one; closed here),
 * or -1: then this process counts alone. What an earlier process of this instance (below 64)
 * counted is forgotten. `processes` is how many instances there are. NULL when there is no memory.
 */
struct crowd *crowd_new(int fd, unsigned instance, unsigned processes);
void crowd_free(struct crowd *);
void crowd_set_processes(struct crowd *, unsigned processes);

/* Counts a session in, unless a limit is met. The address of CLIENT_LOCAL is the user's id in its
 * first four bytes: each user has as many sessions as an address may have. */
enum crowd_answer crowd_enter(
    struct crowd *, const struct limits_config *, enum client_family, const uint8_t address[16]);
/* And out again. */
void crowd_leave(struct crowd *, enum client_family, const uint8_t address[16]);
/* What a client is told, "" for one that entered. */
const char *crowd_words(enum crowd_answer);

/* The log of those who could not enter: at most a line a second, so that a flood doesn't fill it. */
struct crowd_log {
	const char *event;
	bool has_logged;
	int64_t logged_ms;
	uint32_t unlogged;
};
/* `client` is the address as text. A line says how many others there were since the last. */
void crowd_log_refusal(struct crowd_log *, const char *client, const char *words);

#endif
