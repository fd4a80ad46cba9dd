/*
 * Names and addresses as the resolver sees them: what may be a host's name, the name under which an
 * address is asked for, and the two files of the system that say something about either.
 */
#ifndef LOOKUP_RESOLVER_NAME_H
#define LOOKUP_RESOLVER_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "common/ipc_listener_resolver.h"

#define REVERSE_NAME_MAX 80

/*
 * A host name (RFC 1123 2.1): labels of 1 to 63 letters, digits and hyphens, none of the latter at
 * an end, at most 253 bytes, one dot at its end being allowed. Not something that looks like an
 * address: a last label of digits alone.
 */
bool host_name_is_valid(const char *name);
/* Copies a valid name in lower case, without the dot at its end; false when it isn't valid. */
bool host_name_copy(const char *name, char *copy, size_t size);

/* "1.2.0.192.in-addr.arpa.", or of ip6.arpa; `size` at least REVERSE_NAME_MAX. */
void reverse_name(const struct ipc_resolve *, char *name, size_t size);
/* An IPv4 address that was written as IPv6 (::ffff:192.0.2.1) becomes one. */
void address_unmap(struct ipc_resolve *);
bool address_is_loopback(const struct ipc_resolve *);
bool address_equals(const struct ipc_resolve *, const struct ipc_resolve *);

/* /etc/hosts, in memory. */
struct hosts;
/* From the file's text; lines that aren't an address and a name are passed over. */
struct hosts *hosts_new(const char *text);
void hosts_free(struct hosts *);
/* The first valid name of an address, lent, or NULL. A loopback address that the file doesn't have
 * is "localhost" (RFC 6761 6.3) when it is 127.0.0.1 or ::1. */
const char *hosts_find(const struct hosts *, const struct ipc_resolve *);

/* The addresses of a name in the file, at most `most`; returns how many. */
size_t hosts_addresses(
    const struct hosts *, const char *name, struct ipc_resolve *addresses, size_t most);

/* The addresses on the nameserver lines of /etc/resolv.conf, at most three as in resolv.conf(5),
 * separated by blanks; "" when there is none. */
void nameservers_read(const char *text, char *nameservers, size_t size);

/* A small file's text, terminated, as far as it can be read; the caller frees it. The descriptor
 * stays open. */
char *file_text(int fd, size_t limit);

#endif
