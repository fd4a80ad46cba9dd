/*
 * One request over the control socket, and its answer.
 */
#ifndef SMTPCTL_EXCHANGE_H
#define SMTPCTL_EXCHANGE_H

#include "common/ipc_control.h"
#include "smtpctl/client.h"
#include "smtpctl/output.h"

/* Takes one frame of an answer before its DONE; false when it isn't what was asked for. */
typedef bool (*frame_fn)(const struct imsg *, void *arg);

/*
 * Sends the request and takes its answer: `each` for every frame before DONE, whose content goes to
 * `*result` and whose descriptor to `*fd` (NULL: none is expected). An EX_* status, 0 only when the
 * result's is; what went wrong was said on stderr.
 */
int exchange(struct client *, struct output *, enum ipc_control_type, const struct buf *payload,
    frame_fn each, void *arg, struct ipc_result *, int *fd);
/* The same with a payload that was just encoded, which is freed. */
int exchange_encoded(struct client *, struct output *, enum ipc_control_type, struct buf *payload,
    frame_fn each, void *arg, struct ipc_result *, int *fd);
/* Says that a command was carried out, which has nothing else to show; 0. */
int succeed(struct output *);
/* Words of a server on standard error, cleaned like all else; its lines stay lines. */
void warn_words(const char *before, const char *words);
/* Says why it wasn't; the result's exit code. */
int fail_result(const struct ipc_result *);
/* The answer isn't one: says so; EX_PROTOCOL. */
int fail_protocol(struct output *);

#endif
