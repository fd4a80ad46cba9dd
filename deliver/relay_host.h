/*
 * The hosts that mail is sent to, and the connections to them, which are kept and shared by all
 * tasks for the same host. A task that is given to a host waits until a connection has time for it,
 * or the host has turned out not to be reached.
 */
#ifndef DELIVER_RELAY_HOST_H
#define DELIVER_RELAY_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "deliver/relay_directory.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_outcome.h"
#include "deliver/relay_route.h"
#include "deliver/relay_task.h"
#include "deliver/relay_times.h"

struct event_base;
struct host;
struct local_sockets;
struct pool;
struct tls_client;

struct pool_owner {
	/* All of its recipients are answered. */
	void (*done)(struct task *, void *arg);
	/* The host doesn't take the rest. */
	void (*failed)(struct task *, const struct failure *, void *arg);
	void *arg;
};

/* Never NULL. `times` are copied, for tests; idle_ms and connect_ms come with the config. */
struct pool *pool_new(struct event_base *, struct relay_dns *, struct relay_directory *,
    struct tls_client *, const struct relay_times *, const struct pool_owner *);
void pool_free(struct pool *);
/* Borrowed until the next. Hosts from before get no new tasks. */
void pool_configure(struct pool *, const struct config *);
/* The host of that hop, for that task by that action. NULL without memory. */
struct host *pool_host(
    struct pool *, const struct hop *, const struct action_config *, const struct task *);
/* Who connects Unix sockets; NULL, as at first: nobody. Borrowed. */
void pool_use_local(struct pool *, struct local_sockets *);
/* Who hears what came of TLS and of policies. NULL: nobody. */
void pool_observe(struct pool *, outcome_fn, void *arg);
/* It could not be reached lately. */
bool host_has_failed(const struct host *);
void host_submit(struct host *, struct task *);
/* Ends what is under way, but for transactions whose text has been sent; tasks of those that end
 * are in no list and nobody's. True when none is left. */
bool pool_abandon(struct pool *);
/* Says goodbye where nothing is under way. */
void pool_quit_idle(struct pool *);
size_t pool_session_count(const struct pool *);

#endif
