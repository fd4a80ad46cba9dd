/*
 * smtpctl's end of the control socket: one request at a time, waiting for each answer. Smaller than
 * a channel (common/imsg.h), whose frames it speaks, since there is nothing else to do meanwhile.
 */
#ifndef SMTPCTL_CLIENT_H
#define SMTPCTL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/imsg.h"
#include "common/ipc_control.h"

struct client {
	int fd;
	uint32_t id;     /* of the request in hand */
	int received_fd; /* came with bytes not yet taken for a frame; -1: none */
	size_t start;
	size_t length;
	uint8_t bytes[2 * (IMSG_HEADER_SIZE + IMSG_PAYLOAD_MAX)];
};

/* Takes over the connected socket. */
void client_init(struct client *, int fd);
void client_close(struct client *);
/* An EX_* status; 0 when the socket is connected. Says on stderr why not. */
int client_connect(const char *path, int *fd);
/* Sends a request. False after an error, which is in errno. */
bool client_send(struct client *, enum ipc_control_type, const struct buf *payload)
    __attribute__((warn_unused_result));
/* The next frame of the answer; its payload lives until the next call, its descriptor is the
 * caller's. False with a reason in words when the connection failed. */
bool client_receive(struct client *, struct imsg *, const char **why)
    __attribute__((warn_unused_result));

#endif
