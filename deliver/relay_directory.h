/* Questions to the directory about the tables of a relaying action, and about policies of MTA-STS that it
 * keeps; each answered once. */
#ifndef DELIVER_RELAY_DIRECTORY_H
#define DELIVER_RELAY_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/imsg.h"
#include "common/ipc_relay_directory.h"

struct event_base;
struct relay_directory;

/* `found` is good until the function returns; RELAY_FOUND_BROKEN when the directory is away. */
typedef void (*relay_directory_fn)(const struct ipc_relay_found *found, void *arg);

/* RELAY_FOUND_BROKEN when the directory is away, or can't keep policies; `is_away` tells. */
typedef void (*relay_policy_fn)(const struct ipc_sts_found *found, bool is_away, void *arg);

struct relay_directory *relay_directory_new(struct event_base *, unsigned deadline_ms);
/* Nobody is called for what is still open. */
void relay_directory_free(struct relay_directory *);
/* The directory's channel, or NULL while there is none; not owned. */
void relay_directory_set_channel(struct relay_directory *, struct channel *);
/* Returns the question's id. Never calls back from here. */
uint32_t relay_directory_ask(struct relay_directory *, enum relay_lookup, const char *action,
    const char *key, relay_directory_fn, void *arg);
/* The policy that is kept of a domain, or (`due`) the next one behind it that is to be fetched again;
 * as above. */
uint32_t relay_directory_ask_policy(
    struct relay_directory *, const char *domain, bool due, relay_policy_fn, void *arg);
/* Has it kept. False when the directory is away. */
bool relay_directory_keep_policy(struct relay_directory *, const struct ipc_sts_policy *);
void relay_directory_forget(struct relay_directory *, uint32_t id);
/* A frame of the directory's; false when it breaks the channel's rules. */
bool relay_directory_receive(struct relay_directory *, struct imsg *)
    __attribute__((warn_unused_result));

#endif
