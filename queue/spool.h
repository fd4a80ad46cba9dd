/*
 * The spool's directory:
 *
 *	lock         held by the queue that runs on it
 *	segments/    NNNNNNNN: the journal
 *	large/       XXXXXXXX: the bytes of a message too large for the journal, by its id
 *	quarantine/  what could not be read, kept for an administrator
 *
 * Everything is opened below the directory's descriptor and without following symbolic links.
 */
#ifndef QUEUE_SPOOL_H
#define QUEUE_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPOOL_NAME_MAX 64

struct stat;

struct spool {
	int fd;
	int lock_fd;
	int segments_fd;
	int large_fd;
	int quarantine_fd;
};

enum spool_result {
	SPOOL_OK,
	SPOOL_BUSY,  /* another queue runs on it */
	SPOOL_ERROR, /* logged */
};

/* Opens the spool for the queue alone and makes what is missing in it. Says in the log what is
 * wrong and what to do. */
enum spool_result spool_open(struct spool *, const char *path);
/* The same to look only: nothing is made, and fails while a queue runs. */
enum spool_result spool_open_read(struct spool *, const char *path);
void spool_close(struct spool *);

/* Free share of the spool's file system in tenths of a percent; -1 when it can't be told. */
int spool_free_permille(const struct spool *);
/* Its size in bytes, 0 when it can't be told. */
uint64_t spool_disk_size(const struct spool *);

/* Moves segments/NAME or large/NAME into quarantine/ and says so. */
void spool_quarantine_file(
    const struct spool *, int directory_fd, const char *name, const char *why);
/* Saves bytes as quarantine/NAME; one that is there already is left alone. False when that failed
 * (logged). */
bool spool_quarantine_bytes(
    const struct spool *, const char *name, const void *data, size_t length, const char *why);

/* Files of large messages. All return -1 (or false) with errno. */
int spool_large_create(const struct spool *, uint32_t message_id); /* write-only, exclusive */
int spool_large_open(const struct spool *, uint32_t message_id);   /* read-only */
bool spool_large_remove(const struct spool *, uint32_t message_id);
bool spool_large_stat(const struct spool *, uint32_t message_id, struct stat *);
/* Syncs the directory, so that the names of synced files are durable. */
bool spool_large_sync(const struct spool *) __attribute__((warn_unused_result));
/* Moves it into quarantine/ and says so. */
void spool_large_quarantine(const struct spool *, uint32_t message_id);
/* Calls `is_known` for each file there; those it doesn't know are removed, or moved to quarantine/
 * when `keep` (their records may be among those that could not be read). */
void spool_large_sweep(
    const struct spool *, bool (*is_known)(uint32_t message_id, void *arg), void *arg, bool keep);

#endif
