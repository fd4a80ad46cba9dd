/*
 * The inside of hosts and their pool:
 *
 *	relay_host.c  a host: its addresses, credentials, sessions and the tasks that wait for it
 *	relay_host_dane.c  what DNS says of its certificate, and what the mail needs
 *	relay_host_outcome.c  what came of all that, for reports and the log
 *	relay_pool.c  all of them: limits over all, time, configuration
 */
#ifndef DELIVER_RELAY_HOST_STATE_H
#define DELIVER_RELAY_HOST_STATE_H

#include <sys/queue.h>

#include "deliver/relay_addresses.h"
#include "deliver/relay_host.h"
#include "deliver/relay_limits.h"
#include "deliver/relay_map.h"
#include "deliver/relay_report.h"
#include "deliver/relay_scram.h"
#include "deliver/relay_session.h"
#include "deliver/relay_source.h"

struct event;

#define HOST_KEY_MAX 1024

enum addresses_state {
	ADDRESSES_UNKNOWN,
	ADDRESSES_ASKED,
	ADDRESSES_KNOWN,
};

struct host {
	struct pool *pool;
	TAILQ_ENTRY(host) listed;
	uint64_t id;
	struct host_record record;
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
	int64_t addresses_pause_ms; /* when that failed while there were connections */
	uint32_t addresses_ttl;
	struct addresses addresses;

	/* How mail is secured there: by the configuration, and with what DNS says (in `settings`). */
	struct policy usual_policy;
	enum tls_need need;   /* of all of its mail */
	enum sts_verdict sts; /* of all of its mail's domains */
	enum policy_fit fit;  /* whether that can be had there */
	bool is_split;        /* into hosts of one domain each */
	char *domain;         /* the only one whose mail it gets; NULL: all may */
	char *domain_canonical;
	char *tlsa_name; /* asked for */
	char *tlsa_next; /* to be asked for when there is nothing; NULL */
	struct dane *dane;

	struct sources *sources; /* of its action; the pool's; NULL: any address */
	bool needs_credentials;
	struct scram_keys scram_keys;  /* of the credentials */
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
	bool is_slow; /* has been connecting for so long that it takes no place in the pool */
	bool is_dead;
	struct map *noted; /* domains that heard of its outcome; NULL: none */
	int64_t began_ms;
};

struct pool {
	struct event_base *base;
	const struct config *config;
	struct relay_dns *dns;
	struct relay_directory *directory;
	struct tls_client *tls;
	struct local_sockets *local; /* NULL: none */
	struct relay_times times;
	struct pool_owner owner;
	struct session_owner session_owner;
	struct map *hosts;
	struct map *stale;         /* by their address as text */
	struct map *sources;       /* by action */
	TAILQ_HEAD(, host) listed; /* all, by their ids */
	uint64_t last_id;
	TAILQ_HEAD(, host) starving;
	struct session_list dead; /* to be freed */
	struct event *reaper;
	struct event *tick;
	struct event *hurry; /* while there are connections that are being made */
	unsigned counted;
	size_t session_count;
	uint32_t *rule_sessions; /* connections that each of the config's mta_limits counts */
	struct own_addresses *own;
	outcome_fn observer; /* NULL: nobody */
	void *observer_arg;
};

/* relay_host.c */

/* Brings the tasks that wait and the connections together, and makes new ones. */
void host_pump(struct host *);
void host_forget_credentials(struct host *);
/* All that is to be known of it is: connections may be made. */
void host_addresses_known(struct host *, uint32_t ttl /* seconds */);
/* It can't be found out where it is, or how: all that wait hear why. */
void host_has_no_addresses(struct host *, const struct failure *);
void host_fail_waiting(struct host *, const struct failure *);
/* Of its sessions (struct session_owner). */
void host_session_ready(struct session *, void *pool);
void host_session_finished(
    struct session *, struct task *, enum transaction_outcome, const struct failure *, void *pool);
void host_session_closed(struct session *, const struct failure *, void *pool);
struct link *session_link(const struct session *);
/* Whether it counts among the connections of the pool and of its rule. */
void link_count(struct link *, bool counted);
/* Of one that counts: whether it does so for the rule only. */
void link_set_slow(struct link *, bool slow);

/* relay_host_dane.c */

/* Of a host that has no connection. False when there is nothing to ask for: the policy is settled.
 * Otherwise host_addresses_known() follows, or host_has_no_addresses(), or the host is split. */
bool host_ask_tlsa(struct host *, const struct ipc_answer *addresses);
void host_settle_policy(struct host *, enum tlsa_kind);
/* It can't have the mail that waits for it, which is then sent back. */
bool host_refuses(struct host *);
void host_dane_free(struct host *);

/* relay_host_outcome.c */

/* The session takes the task up. */
void host_note_session(const struct session *, const struct task *);
/* The domains of all that wait hear that the session has failed, if it was because of TLS; */
void host_note_failed_session(const struct session *);
/* or that there can be none. `type` is what decided. */
void host_note_failure(const struct host *, enum policy_type, enum tls_result, const char *reason);
/* What holds for the host, besides the configuration: "dane", "sts", "sts-testing" or "". */
const char *host_policy_words(const struct host *);
/* The link of a session that is freed. */
void link_free(struct link *);

/* relay_pool.c */

/* NULL: any address. */
struct sources *pool_sources(struct pool *, const struct action_config *);
/* Their names are known: hosts that waited for that go on. */
void pool_sources_known(void *pool);

/* A connection was begun: it is looked whether it takes too long. */
void pool_watch_connecting(struct pool *);

/* The least recently used of all connections that have nothing to do, of other hosts; NULL. */
struct session *pool_find_idle(struct pool *, const struct host *besides);

#endif
