/*
 * Commands running beside the deliveries to Maildirs: each in a process of its own that does
 * nothing but command_run() and hands back its result, so that no command can hold up an mda.
 */
#ifndef DELIVER_RUNNER_H
#define DELIVER_RUNNER_H

#include <stdbool.h>
#include <stddef.h>

#include "deliver/batch.h"

struct event_base;
struct runner;

/*
 * The delivery's result is complete; the callback owns the delivery again. Or a wrapper's command has
 * handed in the message: then the delivery has that one, `request.is_wrapped` says so, no result is set
 * yet, and the message is to be stored.
 */
typedef void (*runner_done_fn)(struct delivery *, void *arg);

/* Dies when memory is out. Commands are ended after `seconds`. */
struct runner *runner_new(struct event_base *, unsigned seconds, runner_done_fn, void *arg);
/* Kills what runs; their deliveries are freed and never reported. */
void runner_free(struct runner *);
void runner_set_delimiters(struct runner *, const char *delimiters);
/* The path of what "%{mda}" stands for in a wrapper. */
void runner_set_program(struct runner *, const char *path);
/* Whether it is to be given to a command next. */
bool runner_is_for(const struct ipc_deliver *);
/* Takes over the delivery and starts its command, or lets it wait until fewer run. */
void runner_start(struct runner *, struct delivery *);
/* Running and waiting. */
size_t runner_count(const struct runner *);

#endif
