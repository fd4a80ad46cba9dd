/*
 * Destinations: a domain, by an action. Each has a route, which is found when a task comes and kept
 * for as long as DNS allows. A task is given to the hosts of the route one after the other, until
 * each of its recipients has its answer, or there is no host left.
 */
#ifndef DELIVER_RELAY_DESTINATION_H
#define DELIVER_RELAY_DESTINATION_H

#include "common/config.h"
#include "deliver/relay_directory.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_host.h"
#include "deliver/relay_sts.h"
#include "deliver/relay_task.h"

struct destinations;

/* Never NULL. The pool is made after it, with destinations_pool_owner(). */
struct destinations *destinations_new(
    struct event_base *, struct relay_dns *, struct relay_directory *);
/* Where policies of MTA-STS come from; NULL, as at first: there are none. */
void destinations_set_sts(struct destinations *, struct sts *);
void destinations_free(struct destinations *);
struct pool_owner destinations_pool_owner(struct destinations *);
/* Borrowed until the next. Before the first, no task can be submitted. */
void destinations_configure(struct destinations *, struct pool *, const struct config *);
/* Somebody who wants to know a destination's route, and has no mail for it. */
struct route_watch {
	TAILQ_ENTRY(route_watch) entry;
	struct destination *destination; /* NULL: it waits for nothing */
	/* `route` is borrowed for the call; NULL: `failure` says why there is none. */
	void (*known)(const struct route *, const struct failure *, void *arg);
	void *arg;
};
/* `known` is called once, perhaps at once. The route is found as for mail. */
void destinations_watch(
    struct destinations *, const char *action, const char *domain, struct route_watch *);
void destinations_unwatch(struct route_watch *);
/* The task is finished by task_finish(), at once or later. */
void destinations_submit(struct destinations *, struct task *);

#endif
