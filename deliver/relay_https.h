/*
 * Requests to web servers, by HTTPS only: one GET or POST, one answer, the connection's end. The
 * certificate must be good for the server's name; redirects aren't followed, nothing is cached.
 * All of it is bounded: the time from the question to the answer, what the answer may hold, how
 * many are under way at once.
 */
#ifndef DELIVER_RELAY_HTTPS_H
#define DELIVER_RELAY_HTTPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"

struct event_base;
struct https;
struct https_exchange;
struct relay_dns;
struct tls_client;

#define HTTPS_PORT         443
#define HTTPS_AT_ONCE      64 /* more wait in line; their time goes on */
#define HTTPS_PATH_MAX     1024
#define HTTPS_POST_MAX     (2 * 1024 * 1024UL)
#define HTTPS_WORDS_MAX    600
#define HTTPS_ADDRESS_TIME 10000 /* ms for TLS with one address, while there is another */

struct https_request {
	const char *host; /* a name, of A-labels; no address */
	uint16_t port;
	const char *path; /* begins with "/"; printable ASCII without blanks */
	const char *ca;   /* of the configuration; "" the default authorities */
	/* POST this; NULL: GET. Copied. At most HTTPS_POST_MAX. */
	const void *content;
	size_t content_length;
	const char *content_type;
	size_t answer_max; /* bytes of its content */
	unsigned time_ms;  /* for everything */
};

enum https_status {
	HTTPS_ANSWERED, /* by whatever code */
	HTTPS_NO_ADDRESS,
	HTTPS_NO_CONNECTION,
	HTTPS_BAD_CERTIFICATE,
	HTTPS_BROKEN, /* TLS failed, or what came is no HTTP */
	HTTPS_TOO_LARGE,
	HTTPS_TOO_SLOW,
	HTTPS_OURS, /* it could not be asked from here; that says nothing of the server */
};

struct https_answer {
	enum https_status status;
	const char *why; /* in words for the administrator; "" of HTTPS_ANSWERED */
	/* Of HTTPS_ANSWERED, and of an answer whose head came whole, whatever then; else 0 */
	unsigned code;
	/* Of HTTPS_ANSWERED: */
	const char *type; /* "text/plain": in lower case, without parameters; "" none */
	const uint8_t *content;
	size_t content_length;
};

/* `answer` is good until the function returns. */
typedef void (*https_fn)(const struct https_answer *answer, void *arg);

/* Never NULL. */
struct https *https_new(struct event_base *, struct relay_dns *, struct tls_client *);
/* Servers in private networks aren't asked from then on: others say where policies and reports are. */
void https_refuse_private(struct https *, bool);
/* Nobody is called for what is still open. */
void https_free(struct https *);
/* `done` is called once, never from here; the exchange is gone then. Never NULL. */
struct https_exchange *https_ask(struct https *, const struct https_request *, https_fn, void *arg);
/* Ends it; nobody is called. Before `done` has been called, that is. */
void https_forget(struct https_exchange *);

#endif
