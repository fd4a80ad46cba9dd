/*
 * The sockets that mail comes in by. A set belongs to a config: socket i to its listener i. The set
 * of a new config takes over the sockets of the old one whose address stays, so that no connection
 * waiting there is lost.
 */
#ifndef SMTPD_SUPERVISOR_LISTEN_H
#define SMTPD_SUPERVISOR_LISTEN_H

#include <sys/types.h>
#include <sys/socket.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/config.h"

struct listen_socket {
	struct sockaddr_storage address;
	socklen_t address_length;
	int fd;
	bool inherited; /* also in the old set */
};

struct listen_set {
	struct listen_socket *sockets;
	size_t count;
};

/*
 * Opens what `config` asks for; `old` may be NULL. An address in use is tried again for
 * `patience_ms`. False with the reason in `why`, and then nothing is changed.
 */
bool listen_set_open(struct listen_set *, const struct config *, const struct listen_set *old,
    unsigned patience_ms, char *why, size_t size) __attribute__((warn_unused_result));
/* Closes the sockets of `old` that `new` (or NULL) hasn't taken over, and frees the set. */
void listen_set_close(struct listen_set *old, const struct listen_set *new);

/* A listening Unix socket with that mode and owner, in place of a dead one's; -1 with a reason. */
int listen_unix(const char *path, uid_t, gid_t, mode_t, char *why, size_t size);

/* "127.0.0.1 port 25", "/run/x.sock" */
void listen_describe(const struct sockaddr_storage *, char *text, size_t size);

#endif
