/*
 * What the parts of show_explain.h have in common. Every line is built by explain_begin(), the members and a "}",
 * or is a sentence of the same facts. What is in a sentence and came from elsewhere is shown as strangers'
 * text is.
 */
#ifndef SMTPCTL_SHOW_EXPLAIN_PARTS_H
#define SMTPCTL_SHOW_EXPLAIN_PARTS_H

#include "smtpctl/show_explain.h"

/* Words: show_explain_words.c. */
bool explain_is_json(const struct show_explain *);
/* An object without its end; each member follows. */
void explain_begin(struct buf *, const char *fact);
void explain_text(struct buf *, const char *key, const char *value);
void explain_number(struct buf *, const char *key, int64_t number);
void explain_bool(struct buf *, const char *key, bool is);
/* Seconds since 1970; 0 is null. */
void explain_time(struct buf *, const char *key, int64_t time);
/* Strangers' text. */
void explain_say(struct buf *, const char *text);
/* Words whose "%s"s are strangers' texts, in their order; and as a whole line. Numbers are formatted before. */
void explain_phrase(
    struct buf *, const char *format, const char *one, const char *two, const char *three);
void explain_sentence(
    struct buf *, const char *format, const char *one, const char *two, const char *three);

/* The directory's: show_explain_steps.c. */
void explain_step(struct show_explain *, const struct ipc_explain_step *);

/* The relay's: show_explain_relay.c. */
void explain_destination(struct show_explain *, const struct ipc_explain_relay *);
void explain_route(struct show_explain *, const struct ipc_explain_route *);
void explain_host(struct show_explain *, const struct ipc_explain_host *);
/* What the relay remembers of that host. */
void explain_known(struct show_explain *, const struct ipc_host *);

/* The queue's: show_explain_queue.c. */
void explain_line(struct show_explain *, const struct ipc_destination *);
/* A portion of the counts; and what was added up, if anything. */
void explain_queue_add(struct show_explain *, const struct ipc_explain_queue *);
void explain_queue(struct show_explain *);

#endif
