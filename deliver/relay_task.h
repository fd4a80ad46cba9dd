/*
 * A task: one message, one action, one destination, and the recipients there (ipc_queue_relay.h).
 * It ends when each recipient has been answered, once.
 */
#ifndef DELIVER_RELAY_TASK_H
#define DELIVER_RELAY_TASK_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_queue_relay.h"
#include "deliver/relay_lines.h"

enum rcpt_state {
	RCPT_WAITING, /* for a transaction */
	RCPT_OFFERED, /* of one: no reply yet */
	RCPT_TAKEN,   /* the server will have it, when it gets the text */
	RCPT_DONE,    /* answered */
};

struct task_rcpt {
	uint64_t envelope_id;
	enum rcpt_state state;
	uint8_t dsn_notify;
	char *dest;      /* local@domain, the local part quoted where it must be; U-labels */
	char *dsn_orcpt; /* NULL: none */
};

/* Who said so: a server, or nobody ("" and "") */
struct server_words {
	char host[HOSTNAME_MAX + 1];
	char address[CLIENT_TEXT_MAX + 1];
	char tls[IPC_RELAY_WORDS_MAX + 1];
};

/* Why recipients aren't delivered. */
struct failure {
	struct reply reply;
	enum relay_fault fault;
	bool remote; /* it is the server's reply */
	struct server_words server;
};

enum task_state {
	TASK_COLLECTING, /* not all RCPTs are there */
	TASK_ROUTING,    /* waits for its destination's route */
	TASK_WAITING,    /* for a connection to a host */
	TASK_SENDING,
	TASK_DONE,
};

struct route;
struct task;
TAILQ_HEAD(task_list, task);

struct task_owner {
	void (*result)(struct task *, const struct ipc_relay_result *, void *arg);
	void (*done)(struct task *, const struct ipc_relay_done *, void *arg);
	void *arg;
};

struct task {
	TAILQ_ENTRY(task) entry;
	struct task_list *list; /* of those that wait for the same; NULL: in none */
	size_t *list_count;
	TAILQ_ENTRY(task) all;
	const struct task_owner *owner;
	enum task_state state;
	uint32_t id;
	int fd; /* owned */
	struct relay_lines lines;
	bool is_cancelled;
	bool is_silent; /* nobody is there to hear of it */
	struct ipc_relay_message message;
	char *sender; /* what MAIL FROM says: local@domain, or "" */
	char *fields; /* that go before the message's own, with CRLF; NULL: none */
	struct task_rcpt *rcpts;
	uint32_t rcpt_count; /* collected so far */
	uint32_t left;       /* not answered */

	/* The attempt: hosts of the route that it was tried at, and what came of it. */
	uint64_t tried;
	unsigned hosts;      /* that it was tried at */
	unsigned retries;    /* on a new connection to the same host, when a kept one was dead */
	struct route *route; /* NULL: not known yet; held */
	bool has_failure;
	bool has_temporary; /* one of the hosts may take it later */
	struct failure failure;
	char *dialogue; /* NULL: none has failed */
};

/* Takes `fd` over, whatever happens. NULL without memory. */
struct task *task_new(
    const struct task_owner *, uint32_t id, const struct ipc_relay_message *, int fd);
void task_free(struct task *);
/* False without memory. */
bool task_add_rcpt(struct task *, const struct ipc_relay_rcpt *)
    __attribute__((warn_unused_result));
bool task_is_complete(const struct task *);

/* Into a list of those that wait, which counts them, and out of it. */
void task_wait(struct task *, struct task_list *, size_t *count, bool first);
void task_wait_no_more(struct task *);

/* Answers a recipient. With a success, `dsn_taken` is true when the server reports to the sender
 * itself. */
void task_answer(struct task *, struct task_rcpt *, const struct reply *, enum relay_fault,
    bool remote, bool dsn_taken, const struct server_words *);
/* The same to each recipient in that state. */
void task_fail_rcpts(struct task *, enum rcpt_state, const struct failure *);
/* Those that were offered or taken wait again. */
void task_take_back(struct task *);
/* One of its hosts failed: what is said when no other takes it either. The words of one that may
 * take it later have the preference. */
void task_note_failure(struct task *, const struct failure *);
/* The dialogue that it was in, when that has gone wrong; the last one is kept. */
void task_note_dialogue(struct task *, const char *text);
/* Answers all that aren't: with the noted failure, or that. DONE is sent; the task is in no list
 * then, and the owner frees it. */
void task_finish(struct task *, const struct failure *otherwise);

void failure_set(struct failure *, enum relay_fault, unsigned code, const char *enhanced,
    const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
