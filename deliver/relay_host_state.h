/*
 * The inside of hosts and their pool:
 *
 *	relay_host.c  a host: its addresses, credentials, sessions and the tasks that wait for it
 *	relay_pool.c  all of them: limits over all, time, configuration
 */
#ifndef DELIVER_RELAY_HOST_STATE_H
#define DELIVER_RELAY_HOST_STATE_H

#include <sys/queue.h>

#include "deliver/relay_addresses.h"
#include "deliver/relay_host.h"
#include "deliver/relay_limits.h"
#include "deliver/relay_map.h"
#include "deliver/relay_session.h"

struct event;

#define HOST_KEY_MAX 1024

enum addresses_state {
	ADDRESSES_UNKNOWN,
	ADDRESSES_ASKED,
	ADDRESSES_KNOWN,
};

struct host {
	struct pool *pool;
	char key[HOST_KEY_MAX];
	struct hop hop;
	struct session_settings settings;
	struct limits limits;
	bool is_stale;    /* of an older configuration */
	bool is_pumping;  /* tasks and connections are being brought together */
	bool is_starving; /* waits for a connection of the pool's */
	TAILQ_ENTRY(host) starving;

	enum addresses_state addresses_state;
	uint32_t question;
	int64_t addresses_expire_ms;
	struct addresses addresses;

	bool needs_credentials;
	uint32_t credentials_question; /* 0: none is open */
	int64_t credentials_expire_ms;
	char action[ACTION_NAME_MAX + 1];

	struct task_list waiting;
	size_t waiting_count;
	struct session_list sessions;
	unsigned connecting;
	unsigned established;
	int64_t allowance; /* messages of this second, in sixtieths */

	unsigned failures;
	int64_t failed_until_ms;
	int64_t hold_until_ms; /* another connection than those it has was refused */
	int64_t used_ms;
};

/* A session's place in its host, its note. */
struct link {
	struct host *host;
	uint32_t tried; /* addresses, a bit each */
	size_t address; /* connected to */
	bool is_established;
	bool is_counted;
	bool is_dead;
	int64_t began_ms;
};

struct pool {
	struct event_base *base;
	const struct config *config;
	struct relay_dns *dns;
	struct relay_directory *directory;
	struct tls_client *tls;
	struct relay_times times;
	struct pool_owner owner;
	struct session_owner session_owner;
	struct map *hosts;
	struct map *stale; /* by their address as text */
	TAILQ_HEAD(, host) starving;
	struct session_list dead; /* to be freed */
	struct event *reaper;
	struct event *tick;
	unsigned counted;
	size_t session_count;
	uint32_t *rule_sessions; /* connections that each of the config's mta_limits counts */
	struct own_addresses *own;
};

/* relay_host.c */

/* Brings the tasks that wait and the connections together, and makes new ones. */
void host_pump(struct host *);
void host_forget_credentials(struct host *);
/* Of its sessions (struct session_owner). */
void host_session_ready(struct session *, void *pool);
void host_session_finished(
    struct session *, struct task *, enum transaction_outcome, const struct failure *, void *pool);
void host_session_closed(struct session *, const struct failure *, void *pool);
struct link *session_link(const struct session *);
/* Whether it counts among the pool's connections. */
void link_count(struct link *, bool counted);

/* relay_pool.c */

/* The least recently used of all connections that have nothing to do, of other hosts; NULL. */
struct session *pool_find_idle(struct pool *, const struct host *besides);

#endif
