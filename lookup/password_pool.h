/*
 * Threads that check passwords: a hash takes up to half a second, in which the directory has other
 * answers to give. Nothing but password_check() runs in them.
 */
#ifndef LOOKUP_PASSWORD_POOL_H
#define LOOKUP_PASSWORD_POOL_H

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct password_pool;
/* Called from the event loop. */
typedef void (*password_checked_fn)(void *owner, bool right, void *arg);

/* Which check comes first. */
enum password_order {
	PASSWORD_KNOWN, /* of those who have logged in from there */
	PASSWORD_FIRST,
	PASSWORD_LAST, /* of those whose guesses have failed, or of many at once */
	PASSWORD_ORDER_COUNT,
};

/* The threads start with the first check. Never NULL. */
struct password_pool *password_pool_new(struct event_base *, password_checked_fn, void *arg);
/* Waits for the checks at work. */
void password_pool_free(struct password_pool *);
/* Copies both. False when too many wait already, or no thread can be had. */
bool password_pool_check(struct password_pool *, enum password_order, const char *stored,
    const char *password, void *owner);
/* `owner` goes away and hears nothing. */
void password_pool_cancel(struct password_pool *, void *owner);
size_t password_pool_waiting(struct password_pool *);

#endif
