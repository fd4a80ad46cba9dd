/*
 * Names of files in a Maildir, as Dovecot and Courier read them:
 *
 *	1700000000.M123456P00112233aabbccdd.mx.example.org,S=1234,W=1260
 *
 * seconds and microseconds at which the transaction began, the envelope's id, the host; then the
 * file's size and its size with CRLF line ends. The part up to the host is the same in each try at
 * one delivery, so that a second try finds the first one's file.
 */
#ifndef COMMON_MAILDIR_NAME_H
#define COMMON_MAILDIR_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_HOST_MAX 64
/* Digits of the time, ".M", "P", ".", the host, ",S=", ",W=" and a terminator. */
#define NAME_SIZE (20 + 2 + 6 + 1 + 16 + 1 + NAME_HOST_MAX + 2 * (3 + 20) + 1)

/* The host's part of names: what could mean a path or a field there becomes "_"; never empty. */
void name_host(const char *hostname, char host[NAME_HOST_MAX + 1]);
/* "1700000000.M123456P00112233aabbccdd." */
void name_prefix(int64_t created_us, uint64_t envelope_id, char prefix[NAME_SIZE]);
void name_final(const char *prefix, const char *host, uint64_t size, uint64_t virtual_size,
    char name[NAME_SIZE]);
/* The value of a name's ",S="; false when there is none to trust. */
bool name_size(const char *name, uint64_t *size);
/* The flags after ":2," say that the message is to be removed. */
bool name_is_trashed(const char *name);

#endif
