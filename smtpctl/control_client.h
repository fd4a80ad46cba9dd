/*
 * The control socket and its connections.
 *
 * Who may not use it is told so as soon as the connection is accepted, without a byte of it being
 * read. Others have a bounded number of connections; when all are taken, the one that has been
 * doing nothing for longest makes room, so that connections left open, half a request long or never
 * read, keep nobody out. A connection has one request in hand at a time.
 */
#ifndef SMTPCTL_CONTROL_CLIENT_H
#define SMTPCTL_CONTROL_CLIENT_H

#include <stdbool.h>

#include "smtpctl/control_relay.h"

#define CONTROL_CONNECTIONS_MAX 64

struct control_clients;

/* `privileged`: the suite was started as root. */
struct control_clients *control_clients_new(struct event_base *, bool privileged);
void control_clients_free(struct control_clients *);
/* What a relay needs of the clients. */
extern const struct relay_caller control_client_caller;
void control_clients_set_relay(struct control_clients *, struct relay *);
/* Accepts on this listening socket, which is taken over, from now on. */
void control_clients_listen(struct control_clients *, int fd);
/* Accepts no more; `finished` is called, perhaps at once, when no request is in hand and every
 * answer has left. */
void control_clients_stop(struct control_clients *, void (*finished)(void *), void *arg);

#endif
