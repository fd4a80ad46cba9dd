/*
 * Metrics for Prometheus, by HTTP: GET /metrics on sockets that the supervisor made. It shows numbers
 * alone, to everybody who can connect, and takes nothing in. Connections, what a request may be, and
 * the time for it are bounded; at METRICS_CONNECTIONS_MAX the next ones wait in the kernel's queue.
 */
#ifndef SMTPCTL_CONTROL_METRICS_H
#define SMTPCTL_CONTROL_METRICS_H

#include "smtpctl/control_stats.h"

struct event_base;
struct metrics;

#define METRICS_CONNECTIONS_MAX 16
#define METRICS_REQUEST_MAX     8192 /* bytes of a request's header; it has no body */
#define METRICS_IDLE_SECONDS    5
#define METRICS_SECONDS         30 /* that a connection lasts, whatever it does */

struct metrics *metrics_new(struct event_base *, const struct control_stats *);
void metrics_free(struct metrics *);
/* A listening socket, which is taken over, for the next metrics_start(). */
void metrics_add_socket(struct metrics *, int fd);
/* Takes connections on the sockets that were added since the last call, and on no others. */
void metrics_start(struct metrics *);
/* Takes no more connections. */
void metrics_stop(struct metrics *);

#endif
