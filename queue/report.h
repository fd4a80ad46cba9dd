/*
 * Mail of the directory's own, TLS reports (RFC 8460): taken as a whole, signed by DKIM, and queued
 * like what a listener brings. Unsigned it would be worth nothing, so it is refused then. A few at
 * once; who brings more is told to try later.
 */
#ifndef QUEUE_REPORT_H
#define QUEUE_REPORT_H

#include "queue/queue.h"

struct channel;
struct imsg;

/* DIRECTORY_REPORT; answered by REPORT_DONE once it is durable, or with why not. False when it isn't
 * one. */
bool report_receive(struct queue *, struct imsg *) __attribute__((warn_unused_result));
/* The directory has gone: nobody is to be told. */
void report_forget_asker(struct queue *);
void report_close(struct queue *);

#endif
