/*
 * The supervisor's state and the parts that work on it:
 *
 *	supervisor_run.c       from the first child to the last: start, signals, log, stop
 *	supervisor_start.c     the suite's programs: started, connected, configured
 *	supervisor_children.c  the same: watched, restarted, stopped
 *	supervisor_mda.c       mda processes, for the queue
 *	supervisor_socket.c    Unix sockets of others, for the relay
 *	supervisor_mailbox.c   mailbox processes, for sessions of POP3 and IMAP
 *	supervisor_control.c   what `control` asks for, and reload
 *	supervisor_keys.c      keys, certificates and tickets: handed out, watched, replaced
 *	supervisor_dkim.c      DKIM keys: handed out, made, rotated
 *	supervisor_offline.c   mail that was kept while there was no server
 */
#ifndef SMTPD_SUPERVISOR_STATE_H
#define SMTPD_SUPERVISOR_STATE_H

#include <sys/queue.h>
#include <sys/types.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "smtpd/supervisor_accounts.h"
#include "smtpd/supervisor_backoff.h"
#include "smtpd/supervisor_listen.h"
#include "smtpd/supervisor_spawn.h"
#include "smtpd/supervisor_tls.h"

struct dkim_store;
struct offline;
struct event;
struct event_base;

#define LISTENERS_MAX 16
#define CHILDREN_MAX  (LISTENERS_MAX + 7)
#define WHY_MAX       512

enum child_state {
	CHILD_DOWN, /* not running; started again when its timer fires */
	CHILD_STARTING,
	CHILD_READY,
};

/* One program of the suite, running or not. */
struct child_slot {
	struct supervisor *supervisor;
	enum program program;
	unsigned instance;
	char name[24]; /* "listener 0" */
	enum child_state state;
	bool is_told_to_stop;
	bool is_killed;      /* was told and didn't */
	unsigned unanswered; /* CONFIG and START frames: a reload waits for their answers */
	pid_t pid;
	struct channel *channel;
	struct backoff backoff;
	int64_t started_ms;
	int64_t begun_ms;    /* when it was told to begin; 0: it wasn't yet */
	struct event *timer; /* until it starts again, or must have ended */
	int stats_fd;
};

struct mda {
	TAILQ_ENTRY(mda) entry;
	struct supervisor *supervisor;
	pid_t pid;
	struct channel *channel; /* NULL once it has closed */
	uid_t uid;
	gid_t gid;
	bool mail_group;
	struct event *timer; /* until it must have ended */
	bool is_told_to_stop;
};

enum supervisor_state {
	SUPERVISOR_STARTING, /* until every child was ready once */
	SUPERVISOR_RUNNING,
	SUPERVISOR_STOP_LISTENERS, /* sessions end */
	SUPERVISOR_STOP_QUEUE,     /* deliveries in hand end */
	SUPERVISOR_STOP_RELAY,     /* it tells the directory what came of TLS */
	SUPERVISOR_STOP_ALL,
	SUPERVISOR_STOPPED,
};

/* A set of keys and certificates that the keeper is asked about. */
struct key_change {
	struct tls_set *set; /* NULL: none */
	/* Takes the set, or frees it when `why` says what is wrong with it. */
	void (*checked)(struct supervisor *, struct tls_set *, const char *why);
	bool lenient; /* a pair that isn't good stays as it was */
	unsigned unanswered;
	uint32_t first_id; /* of the requests, one for each pair */
	char why[WHY_MAX];
	struct event *timeout;
};

struct reload {
	bool in_progress;
	struct config *config; /* not yet taken */
	bool has_caller;       /* control waits for an answer */
	uint32_t caller_id;
	struct event *timeout;
};

struct supervisor {
	struct event_base *base;
	const char *config_path;
	struct config *config;
	uint32_t generation; /* of the config: the id of CONFIG frames */
	struct accounts accounts;
	char programs[PATH_MAX];
	char empty[PATH_MAX]; /* the directory that most are locked in */
	struct listen_set sockets;
	int control_socket;
	char control_path[PATH_MAX];

	bool verbose;
	uint32_t trace;
	bool smtp_paused;
	enum log_target log_target;
	int log_fd;      /* what children get */
	bool log_wanted; /* a process has lost syslog */
	int64_t log_tried_ms;

	enum supervisor_state state;
	bool has_opened; /* listeners and control were told to begin */
	int exit_status;
	char why[WHY_MAX]; /* of a start that failed */
	void (*started)(void *arg);
	void *started_arg;

	struct child_slot children[CHILDREN_MAX];
	size_t child_count;
	unsigned listener_count;
	int clients_fd;      /* memory in which listeners count their clients together */
	struct tls_set *tls; /* of the config */
	struct key_change key_change;
	uint32_t key_requests; /* the id of the last */
	uint32_t first_key;    /* id of the first of `tls`, as sent to the keeper that runs */
	struct ipc_ticket_keys tickets;
	struct dkim_store *dkim;
	struct offline *offline; /* NULL until mail is taken */
	struct event *watch_files;
	struct event *replace_tickets;
	TAILQ_HEAD(mda_list, mda) mdas;
	size_t mda_count;
	TAILQ_HEAD(mailbox_list, mailbox_process) mailboxes;
	size_t mailbox_count;
	struct reload reload;

	struct event *on_hangup;
	struct event *on_terminate;
	struct event *on_interrupt;
	struct event *on_child;
	struct event *phase; /* stopping goes on, ready or not */
	struct event *check_log;
	struct event *check_start; /* while all are starting */
	int64_t stop_began_ms;
};

/* supervisor_start.c */

/* Starts all that are wanted; they get to know each other, then those that nobody connects to begin. */
void children_start(struct supervisor *);
/* True when all are ready. When all but the listeners and control are, lets those begin. */
bool children_have_started(struct supervisor *);
/* Starts the slot's program alone, or has it tried again later. */
void slot_start(struct child_slot *);
void children_send_log(struct supervisor *, bool with_fd);
void children_send_listeners(struct supervisor *, uint16_t type);
/* The current config to all children, and to listeners its sockets; starts those that it is the
 * first to want. */
void children_configure(struct supervisor *);
/* A config frame on a channel; false when there is none to be had. */
bool send_config(struct supervisor *, struct channel *, enum program);
/* The log's mode, with a new socket when `with_fd`. */
void send_log(struct supervisor *, struct channel *, bool with_fd);

/* supervisor_children.c */

/* Fills in the table of children; nothing is started. */
void children_init(struct supervisor *);
void children_free(struct supervisor *);
/* A child's process has ended. False when `pid` is none of them. */
bool children_reaped(struct supervisor *, pid_t, int status);
/* STOP to the running children of that program. */
void children_stop(struct supervisor *, enum program);
bool children_are_gone(const struct supervisor *, enum program);
void children_kill(struct supervisor *);
/* NULL while it doesn't run. */
struct channel *children_channel(const struct supervisor *, enum program);
/* True while one of them still has to take the new config. */
bool children_are_configuring(const struct supervisor *);
/* Their names, as many as have room. */
void children_name_configuring(const struct supervisor *, char *names, size_t);
/* Logs who isn't ready yet; fails the start when one has taken too long. */
void children_check_start(struct supervisor *);
bool slot_is_running(const struct child_slot *);
/* Whether the configuration has work for it: mailaccess only with listeners for POP3 or IMAP. One
 * that runs is left to its clients. */
bool slot_is_wanted(const struct child_slot *);
/* Its program has died, or could not be started: starts it when its backoff allows. */
void slot_restart_later(struct child_slot *);
/* A line about it, with its pid. */
void slot_log(struct child_slot *, enum log_level, const char *event);
/* Of its channel. */
void slot_received(struct channel *, struct imsg *, void *slot);
void slot_closed(struct channel *, const char *why, void *slot);
/* What a process ended by, as fields of a line. */
void log_exit_status(struct log_line *, int status);

/* supervisor_mda.c */

/* QUEUE_SUPERVISOR_MDA_START: starts one and answers. False when the frame isn't allowed. */
bool mda_start(struct supervisor *, struct channel *queue, const struct imsg *)
    __attribute__((warn_unused_result));
bool mda_reaped(struct supervisor *, pid_t, int status);
void mda_configure_all(struct supervisor *);
void mda_send_log(struct supervisor *, bool with_fd);
void mda_stop_all(struct supervisor *);
void mda_kill_all(struct supervisor *);

/* supervisor_socket.c */

/* RELAY_SUPERVISOR_CONNECT: connects, and answers. False when the frame isn't allowed. */
bool socket_connect(struct supervisor *, struct channel *relay, const struct imsg *)
    __attribute__((warn_unused_result));

/* supervisor_mailbox.c */

/* DIRECTORY_SUPERVISOR_LOGIN and _SCRIPTS: connects the session to its Maildir's process. False when the frame
 * isn't allowed. */
bool mailbox_login(struct supervisor *, const struct imsg *) __attribute__((warn_unused_result));
bool mailbox_reaped(struct supervisor *, pid_t, int status);
void mailbox_configure_all(struct supervisor *);
void mailbox_send_log(struct supervisor *, bool with_fd);
void mailbox_stop_all(struct supervisor *);
void mailbox_kill_all(struct supervisor *);

/* supervisor_control.c */

/* CONTROL_SUPERVISOR_REQUEST. False when the frame isn't allowed. */
bool control_request(struct supervisor *, struct channel *control, const struct imsg *)
    __attribute__((warn_unused_result));
void control_reload(struct supervisor *);
/* A child has taken the new config, or has died. */
void control_child_configured(struct supervisor *);

/* supervisor_keys.c */

/* Timers and the first tickets' keys. */
void keys_begin(struct supervisor *);
void keys_end(struct supervisor *);
/* All keys, to the keeper. False without descriptors. */
bool keys_send_all(struct child_slot *keeper) __attribute__((warn_unused_result));
/* Certificates, authorities and tickets' keys, to a listener or mailaccess. */
bool certificates_send_all(struct child_slot *listener) __attribute__((warn_unused_result));
/* Authorities, and the certificates that actions name, to the relay. */
bool relay_certificates_send_all(struct child_slot *relay) __attribute__((warn_unused_result));
/* Asks the keeper whether a set is good, and tells `checked`, perhaps at once. */
void keys_check(struct supervisor *, struct tls_set *, bool lenient,
    void (*checked)(struct supervisor *, struct tls_set *, const char *why));
/* KEEPER_SUPERVISOR_KEY_TAKEN. False when the frame isn't allowed. */
bool keys_taken(struct supervisor *, const struct imsg *) __attribute__((warn_unused_result));
/* What the keeper was asked about, if anything, is answered by these words. */
void keys_give_up_check(struct supervisor *, const char *why);

/* supervisor_dkim.c */

/* Reads the keys' files. */
void dkim_begin(struct supervisor *);
void dkim_end(struct supervisor *);
/* All keys, to the keeper. False without descriptors. */
bool dkim_send_keys(struct child_slot *keeper) __attribute__((warn_unused_result));
/* Those that sign, to a listener. */
bool dkim_send_list(struct child_slot *) __attribute__((warn_unused_result));
/* Reads the files again and hands out what is there. */
void dkim_read_again(struct supervisor *);
/* The keeper's answer about a key. False when it isn't one about these. */
bool dkim_key_taken(struct supervisor *, uint32_t id, const struct ipc_key_taken *);
/* KEEPER_SUPERVISOR_GENERATED and CONTROL_SUPERVISOR_DKIM. False when the frame isn't allowed. */
bool dkim_generated(struct supervisor *, const struct imsg *) __attribute__((warn_unused_result));
bool dkim_requested(struct supervisor *, struct channel *control, const struct imsg *)
    __attribute__((warn_unused_result));
/* A child of that program has ended. */
void dkim_child_ended(struct supervisor *, enum program);

/* supervisor_run.c */

/*
 * Runs until stopped and returns the exit status. `started` is called once when mail is taken; when
 * that never came to be, `why` says why. What is set before: config_path,
 * config, tls, accounts, programs, empty, sockets, control_socket, control_path, verbose, log_target,
 * log_fd, started. The caller closes the sockets.
 */
int supervisor_run(struct supervisor *);
/* A connection to syslog; -1 with errno set when there is none. */
int supervisor_connect_syslog(void);
/* A child has become ready. */
void supervisor_check_started(struct supervisor *);
/* A child couldn't start while the whole is starting: the start has failed. */
void supervisor_start_failed(struct supervisor *, const char *why);
void supervisor_stop(struct supervisor *, const char *reason);
/* Something has ended: goes on with stopping. */
void supervisor_check_stopped(struct supervisor *);
/* A process found syslog dead. */
void supervisor_log_lost(struct supervisor *);

#endif
