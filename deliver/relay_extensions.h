/* What a server's EHLO reply offers (RFC 5321 4.1.1.1), of what the relay knows. */
#ifndef DELIVER_RELAY_EXTENSIONS_H
#define DELIVER_RELAY_EXTENSIONS_H

#include <stdbool.h>
#include <stdint.h>

/* The preferred ones first. */
enum auth_mechanism {
	AUTH_SCRAM_SHA_256_PLUS,
	AUTH_SCRAM_SHA_256,
	AUTH_PLAIN,
	AUTH_LOGIN,
	AUTH_MECHANISM_COUNT
};

struct extensions {
	bool pipelining; /* RFC 2920 */
	bool size;       /* RFC 1870 */
	bool eight_bit;  /* RFC 6152 */
	bool smtputf8;   /* RFC 6531 */
	bool dsn;        /* RFC 3461 */
	bool chunking;   /* RFC 3030 */
	bool starttls;   /* RFC 3207 */
	bool requiretls; /* RFC 8689 */
	bool auth[AUTH_MECHANISM_COUNT];
	uint64_t size_max; /* 0: not said */
	uint32_t mail_max; /* RFC 9422: transactions a session; 0: not said */
	uint32_t rcpt_max; /* RFC 9422: recipients a transaction; 0: not said */
};

/* A line of the reply behind its code, not the first. */
void extensions_add_line(struct extensions *, const char *line);

#endif
