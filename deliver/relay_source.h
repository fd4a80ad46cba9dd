/*
 * The addresses that an action's connections come from (`src`), in turns, and how this server calls
 * itself on each (`helo-src`).
 */
#ifndef DELIVER_RELAY_SOURCE_H
#define DELIVER_RELAY_SOURCE_H

#include <sys/socket.h>
#include <stdbool.h>

#include "common/config.h"
#include "deliver/relay_directory.h"

struct sources;

/* Those of the action, held once; NULL when it names none. */
struct sources *sources_new(
    const struct config *, const struct action_config *, struct relay_directory *);
struct sources *sources_hold(struct sources *);
void sources_drop(struct sources *); /* NULL is allowed */
/* Their names are known, or won't be. Otherwise they are asked for, and `known` is called when they
 * are. */
bool sources_are_known(struct sources *, void (*known)(void *arg), void *arg);
bool sources_have(const struct sources *, int family);
/* The next one of that family, and its name ("" the usual); NULL when there is none. */
const struct sockaddr *sources_next(
    struct sources *, int family, socklen_t *length, const char **helo);

#endif
