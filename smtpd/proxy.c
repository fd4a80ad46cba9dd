/*
 * A PROXY v2 header is a 12-byte signature, version and command, family and transport, and a length
 * that counts what follows: the addresses, then extensions that mean nothing here. Everything that
 * isn't exactly so closes the connection: a peer that can't be told apart from its proxy must not
 * be served under the proxy's address.
 */
#include <arpa/inet.h>
#include <string.h>

#include "common/network.h"
#include "smtpd/proxy.h"

#define SIGNATURE_LENGTH 12
#define FIXED_LENGTH     16
#define COMMAND_LOCAL    0x20 /* version 2, the proxy itself: a health check */
#define COMMAND_PROXY    0x21
#define FAMILY_UNSPEC    0x00
#define FAMILY_TCP4      0x11
#define FAMILY_TCP6      0x21
#define FAMILY_UNIX      0x31
#define LENGTH_TCP4      12
#define LENGTH_TCP6      36
#define LENGTH_UNIX      216

static const uint8_t signature[SIGNATURE_LENGTH + 1] = "\r\n\r\n\0\r\nQUIT\n";
static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

enum proxy_result
proxy_parse(const uint8_t *data, size_t length, struct proxy_source *source, size_t *used)
{
	size_t rest;

	memset(source, 0, sizeof(*source));
	*used = 0;
	if (memcmp(data, signature, length < SIGNATURE_LENGTH ? length : SIGNATURE_LENGTH) != 0)
		return PROXY_BAD;
	if (length < FIXED_LENGTH)
		return PROXY_MORE;
	if (data[12] != COMMAND_LOCAL && data[12] != COMMAND_PROXY)
		return PROXY_BAD;
	rest = (size_t)data[14] << 8 | data[15];
	if (FIXED_LENGTH + rest > PROXY_HEADER_MAX)
		return PROXY_BAD;
	if (data[12] == COMMAND_PROXY &&
	    ((data[13] == FAMILY_TCP4 && rest < LENGTH_TCP4) ||
	        (data[13] == FAMILY_TCP6 && rest < LENGTH_TCP6) ||
	        (data[13] == FAMILY_UNIX && rest < LENGTH_UNIX) ||
	        (data[13] != FAMILY_TCP4 && data[13] != FAMILY_TCP6 && data[13] != FAMILY_UNIX &&
	            data[13] != FAMILY_UNSPEC)))
		return PROXY_BAD;
	if (length < FIXED_LENGTH + rest)
		return PROXY_MORE;
	*used = FIXED_LENGTH + rest;
	if (data[12] == COMMAND_LOCAL)
		return PROXY_OK;
	if (data[13] == FAMILY_TCP6 && memcmp(data + FIXED_LENGTH, mapped_prefix, 12) != 0) {
		source->given = true;
		source->family = CLIENT_INET6;
		memcpy(source->address, data + FIXED_LENGTH, 16);
	} else if (data[13] == FAMILY_TCP6 || data[13] == FAMILY_TCP4) {
		source->given = true;
		source->family = CLIENT_INET4;
		memcpy(
		    source->address, data + FIXED_LENGTH + (data[13] == FAMILY_TCP6 ? 12 : 0), 4);
	}
	/* A Unix peer of the proxy's is no local client of ours: the proxy's own address stands. */
	return PROXY_OK;
}

size_t
proxy_missing(const uint8_t *data, size_t length)
{
	size_t whole = FIXED_LENGTH;

	if (length >= FIXED_LENGTH)
		whole += (size_t)data[14] << 8 | data[15];
	return whole > length ? whole - length : 1;
}

/* "192.0.2.1", "192.0.2.0/24", "2001:db8::/32", IPv6 with or without brackets. */
static bool
network_contains(const char *text, enum client_family family, const uint8_t *address)
{
	char host[INET6_ADDRSTRLEN + 2];
	unsigned bits = family == CLIENT_INET4 ? 32 : 128, given = 0;
	const char *slash = strchr(text, '/'), *digit;
	size_t length = slash == NULL ? strlen(text) : (size_t)(slash - text);
	uint8_t network[16];

	if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	}
	if (length >= sizeof(host))
		return false;
	memcpy(host, text, length);
	host[length] = '\0';
	if (inet_pton(family == CLIENT_INET4 ? AF_INET : AF_INET6, host, network) != 1)
		return false;
	if (slash != NULL) {
		for (digit = slash + 1; *digit >= '0' && *digit <= '9' && given <= bits; digit++)
			given = given * 10 + (unsigned)(*digit - '0');
		if (*digit != '\0' || digit == slash + 1 || given > bits)
			return false;
		bits = given;
	}
	return network_same_prefix(network, address, bits);
}

/* 127.0.0.0/8 or ::1. */
static bool
is_loopback(enum client_family family, const uint8_t address[16])
{
	static const uint8_t one[16] = { [15] = 1 };

	return family == CLIENT_INET4 ? address[0] == 127 : memcmp(address, one, 16) == 0;
}

bool
proxy_is_trusted(const struct config *config, const char *table, enum client_family family,
    const uint8_t address[16])
{
	const struct table_config *found;
	size_t i;

	if (family == CLIENT_LOCAL)
		return true;
	if (*table == '\0')
		return is_loopback(family, address);
	found = config_find_table(config, table);
	if (found == NULL)
		return false;
	for (i = 0; i < found->entry_count; i++) {
		if (network_contains(found->entries[i].key, family, address))
			return true;
	}
	return false;
}
