/*
 * What a wrapper's command hands in to be stored. The command runs deliver/deliver.c where "%{mda}"
 * stands, which connects to a socket of this process and sends what it reads on its standard input.
 *
 *	deliver -> mda: COLLECT_DATA and bytes of the message, …, COLLECT_END
 *	mda -> deliver: an exit status of sysexits(3) and words
 *
 * Each is one packet, its first byte says which. Only with COLLECT_END the message is whole: the
 * end of the connection may be that of a process that was killed.
 *
 * The socket has a name of its own (abstract, not in the file system) rather than a descriptor that
 * is passed on, because many programs close what they don't know before they run another.
 */
#ifndef DELIVER_COLLECT_H
#define DELIVER_COLLECT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COLLECT_PACKET_MAX (64 * 1024)
#define COLLECT_WORDS_MAX  200
#define COLLECT_NAME_SIZE  48

enum collect_packet {
	COLLECT_DATA = 1,
	COLLECT_END,
};

enum collect_state {
	COLLECT_NOTHING,
	COLLECT_SOME,  /* its connection stands */
	COLLECT_LOST,  /* one came that wasn't whole or couldn't be taken, and none after it */
	COLLECT_WHOLE, /* the file has the message */
	COLLECT_TWICE, /* a second one came: none of them can be the message */
};

struct collect {
	enum collect_state state;
	int listener;
	int connection;
	int file; /* without a name */
	uint64_t size;
	uint64_t limit;
	char name[COLLECT_NAME_SIZE];
};

/* A file without a name, on the disk where that is possible: it may be large. -1 with errno. */
int collect_open_nameless(void);
/* For a message of `size` bytes, which may grow. False with errno. */
bool collect_open(struct collect *, uint64_t size);
/* Closes all that is open. */
void collect_close(struct collect *);
/* What to wait for. */
void collect_poll(const struct collect *, struct pollfd fds[2]);
/* Takes what is there, at most some packets; doesn't wait. */
void collect_attend(struct collect *);

/* The other end's side: connects to a process of the same user. -1 with errno: EPERM when another has
 * taken the name, which is free once its first process has ended. */
int collect_connect(const char *name);

#endif
