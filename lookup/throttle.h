/*
 * Guessing passwords is made slow: who has failed often, a network or an account, waits before the
 * next password is looked at. No right password is ever taken for a wrong one, and a client whose
 * network has logged in as this user lately waits for nothing. Many guesses at one account at once,
 * of which it isn't known yet what they are, stand behind those of others.
 *
 * Times are given in, monotonic. Memory is bounded: the networks and accounts heard of last are
 * known.
 */
#ifndef LOOKUP_THROTTLE_H
#define LOOKUP_THROTTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"

#define THROTTLE_WAIT_MAX_MS 20000

struct throttle;

/* Who wants to log in. */
struct throttle_client {
	enum client_family family;
	uint8_t address[16];
	const char *account;
};

/* `limit`: failures before anything is slow. Never NULL. */
struct throttle *throttle_new(uint32_t limit);
void throttle_free(struct throttle *);
void throttle_set_limit(struct throttle *, uint32_t limit);

enum throttle_answer {
	THROTTLE_KNOWN,   /* at once and before all others */
	THROTTLE_FREE,    /* at once */
	THROTTLE_WAIT,    /* after `*wait_ms`, which may be 0, and behind all others */
	THROTTLE_CROWDED, /* so many logins of this network wait already that it must come again */
};
/* Of a password that is about to be looked at: takes a place in the line. */
enum throttle_answer throttle_ask(
    struct throttle *, const struct throttle_client *, int64_t now_ms, unsigned *wait_ms);
/* It has been looked at, or won't be: once for each throttle_ask(). */
void throttle_leave(struct throttle *, const struct throttle_client *, int64_t now_ms);
/* What became of it. */
void throttle_note(struct throttle *, const struct throttle_client *, bool right, int64_t now_ms);

/* Those that are slowed down now, the last to have failed first. */
struct throttle_slow {
	bool is_network;
	char text[USER_NAME_MAX + 1]; /* "192.0.2.0/24", "2001:db8::/48", or the account */
	uint32_t failures;
	unsigned step_ms; /* between two of its passwords */
	int64_t failed_ago_ms;
};
typedef bool (*throttle_each_fn)(const struct throttle_slow *, void *arg);
void throttle_each(struct throttle *, int64_t now_ms, throttle_each_fn, void *arg);

#endif
