/*
 * An explanation on its way: whom to ask next. First the directory; then, for each destination that
 * it named, the relay and the queue. No I/O.
 */
#ifndef SMTPCTL_CONTROL_EXPLAIN_H
#define SMTPCTL_CONTROL_EXPLAIN_H

#include "common/imsg.h"
#include "common/ipc_control.h"
#include "smtpctl/control_order.h"

/* No more destinations are begun after this long. */
#define EXPLANATION_MS 60000
/* Frames of the relay's in one answer: hosts of a route, or a portion of a listing. */
#define RELAY_FRAMES_MAX 1024

struct explanation;

/* Never NULL. `now_ms` is monotonic. */
struct explanation *explanation_new(int64_t now_ms);
void explanation_free(struct explanation *); /* NULL is allowed */
/* A frame of the directory's; false when it isn't a step. */
bool explanation_note_step(struct explanation *, const struct imsg *);
/* The directory's result, which is the whole's. */
void explanation_set_result(struct explanation *, const struct ipc_result *);
const struct ipc_result *explanation_result(const struct explanation *);
/*
 * Goes on: whom to ask now, and `payload` (CONTROL_EXPLAIN_RELAY); CONTROL_PEER_NONE at the end.
 * `*begins`: a destination's part begins with this. `*more`, at the end: there are destinations that
 * were not looked at.
 */
enum control_peer explanation_next(
    struct explanation *, int64_t now_ms, struct buf *payload, bool *begins, bool *more);
/* The same question to the queue, from there on. */
void explanation_go_on(const struct explanation *, uint64_t cursor, struct buf *payload);

/* Whether a frame of the relay's is one that may answer such an order, after so many others. */
bool control_relay_frame_is_good(enum ipc_control_type order, const struct imsg *, unsigned count);

#endif
