/*
 * Names of files in a Maildir. Everything in a name is decimal, hexadecimal or from a small set of
 * bytes: "/" and "," in a host name would be a path and a field, ":" begins the flags.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/maildir_name.h"

void
name_host(const char *hostname, char host[NAME_HOST_MAX + 1])
{
	size_t i;

	for (i = 0; i < NAME_HOST_MAX && hostname[i] != '\0'; i++) {
		unsigned char byte = (unsigned char)hostname[i];

		host[i] =
		    byte < 0x80 && (isalnum(byte) || byte == '.' || byte == '-') ? (char)byte : '_';
	}
	host[i] = '\0';
	if (i == 0)
		strcpy(host, "localhost");
}

void
name_prefix(int64_t created_us, uint64_t envelope_id, char prefix[NAME_SIZE])
{
	if (created_us < 0)
		created_us = 0;
	snprintf(prefix, NAME_SIZE, "%" PRId64 ".M%06" PRId64 "P%016" PRIx64 ".",
	    created_us / 1000000, created_us % 1000000, envelope_id);
}

void
name_final(const char *prefix, const char *host, uint64_t size, uint64_t virtual_size,
    char name[NAME_SIZE])
{
	snprintf(
	    name, NAME_SIZE, "%s%s,S=%" PRIu64 ",W=%" PRIu64, prefix, host, size, virtual_size);
}

bool
name_size(const char *name, uint64_t *size)
{
	const char *at = strstr(name, ",S=");
	const char *flags = strchr(name, ':');
	uint64_t value = 0;

	if (at == NULL || (flags != NULL && flags < at))
		return false;
	at += 3;
	if (!isdigit((unsigned char)*at))
		return false;
	for (; isdigit((unsigned char)*at); at++) {
		unsigned digit = (unsigned)(*at - '0');

		/* A file is never larger than off_t can say. */
		if (value > ((uint64_t)INT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (*at != '\0' && *at != ',' && *at != ':')
		return false;
	*size = value;
	return true;
}

bool
name_is_trashed(const char *name)
{
	const char *flags = strstr(name, ":2,");

	return flags != NULL && strchr(flags, 'T') != NULL;
}
