/*
 * The Maildirs whose directories this process has seen synced. A Maildir that exists may still be
 * one that a killed process made and never synced, so the first delivery of each process to it
 * syncs the directories above new/ too. A bounded table: what drops out is only synced again.
 */
#ifndef DELIVER_KNOWN_H
#define DELIVER_KNOWN_H

#include <sys/types.h>
#include <stdbool.h>
#include <stdint.h>

#define KNOWN_COUNT 1024

struct known_entry { /* an inode's birth tells it from an earlier one of the same number */
	dev_t device;
	ino_t inode;
	int64_t born_ns;
	int64_t tidied_ms; /* when old files were last removed from tmp/ */
};

struct known {
	struct known_entry entries[KNOWN_COUNT];
};

struct known_entry *known_find(struct known *, const struct known_entry *);
void known_add(struct known *, const struct known_entry *);
void known_forget(struct known *, const struct known_entry *);

#endif
