/*
 * What DNS and files say is read here byte by byte; nothing but a valid host name in lower case
 * comes out.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/log.h"
#include "lookup/resolver_name.h"

#define NAME_MAX_BYTES  253 /* RFC 1035 2.3.4, as text */
#define LABEL_MAX       63
#define HOSTS_MAX       20000 /* names */
#define NAMESERVERS_MAX 3
#define BLANKS          " \t\r"

struct host {
	struct ipc_resolve address;
	char *name;
};

struct hosts {
	struct host *hosts; /* one for each name */
	size_t count;
	size_t room;
};

static bool
label_is_valid(const char *label, size_t length)
{
	if (length < 1 || length > LABEL_MAX || label[0] == '-' || label[length - 1] == '-')
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!isascii((unsigned char)label[i]) ||
		    (!isalnum((unsigned char)label[i]) && label[i] != '-'))
			return false;
	}
	return true;
}

bool
host_name_is_valid(const char *name)
{
	size_t length = strlen(name), label;
	const char *at = name;

	if (length > 0 && name[length - 1] == '.')
		length--;
	if (length < 1 || length > NAME_MAX_BYTES)
		return false;
	for (;;) {
		label = strcspn(at, ".");
		if (!label_is_valid(at, label))
			return false;
		if (at + label >= name + length)
			return strspn(at, "0123456789") < label;
		at += label + 1;
	}
}

bool
host_name_copy(const char *name, char *copy, size_t size)
{
	size_t length = strlcpy(copy, name, size);

	if (!host_name_is_valid(name) || length >= size) {
		*copy = '\0';
		return false;
	}
	if (copy[length - 1] == '.')
		copy[length - 1] = '\0';
	for (char *at = copy; *at != '\0'; at++) {
		if (*at >= 'A' && *at <= 'Z')
			*at += 'a' - 'A';
	}
	return true;
}

void
reverse_name(const struct ipc_resolve *address, char *name, size_t size)
{
	const uint8_t *byte = address->address;
	size_t length = 0;

	if (address->family == CLIENT_INET4) {
		snprintf(
		    name, size, "%u.%u.%u.%u.in-addr.arpa.", byte[3], byte[2], byte[1], byte[0]);
		return;
	}
	for (int i = 15; i >= 0; i--)
		length += (size_t)snprintf(
		    name + length, size - length, "%x.%x.", byte[i] & 0x0f, byte[i] >> 4);
	snprintf(name + length, size - length, "ip6.arpa.");
}

void
address_unmap(struct ipc_resolve *address)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	if (address->family != CLIENT_INET6 ||
	    memcmp(address->address, prefix, sizeof(prefix)) != 0)
		return;
	address->family = CLIENT_INET4;
	memmove(address->address, address->address + 12, 4);
	memset(address->address + 4, 0, 12);
}

bool
address_is_loopback(const struct ipc_resolve *address)
{
	static const uint8_t one[16] = { [15] = 1 };

	if (address->family == CLIENT_INET4)
		return address->address[0] == 127;
	return memcmp(address->address, one, sizeof(one)) == 0;
}

bool
address_equals(const struct ipc_resolve *a, const struct ipc_resolve *b)
{
	return a->family == b->family &&
	    memcmp(a->address, b->address, a->family == CLIENT_INET4 ? 4 : 16) == 0;
}

static bool
address_parse_text(const char *text, struct ipc_resolve *address)
{
	memset(address, 0, sizeof(*address));
	address->family = CLIENT_INET4;
	if (inet_pton(AF_INET, text, address->address) == 1)
		return true;
	address->family = CLIENT_INET6;
	return inet_pton(AF_INET6, text, address->address) == 1;
}

static void
hosts_add(struct hosts *hosts, const struct ipc_resolve *address, const char *name)
{
	if (hosts->count == HOSTS_MAX)
		return;
	if (hosts->count == hosts->room) {
		hosts->room = hosts->room == 0 ? 16 : 2 * hosts->room;
		hosts->hosts = reallocarray(hosts->hosts, hosts->room, sizeof(*hosts->hosts));
		if (hosts->hosts == NULL)
			fatal("hosts");
	}
	hosts->hosts[hosts->count].address = *address;
	hosts->hosts[hosts->count].name = strdup(name);
	if (hosts->hosts[hosts->count].name == NULL)
		fatal("hosts");
	hosts->count++;
}

/* One line, which is changed: an address, then its names, of which the first is found first. */
static void
hosts_add_line(struct hosts *hosts, char *line)
{
	struct ipc_resolve address;
	char name[HOSTNAME_MAX + 1], *word;

	line[strcspn(line, "#")] = '\0';
	word = strsep(&line, BLANKS);
	while (word != NULL && *word == '\0')
		word = strsep(&line, BLANKS);
	if (word == NULL || !address_parse_text(word, &address))
		return;
	address_unmap(&address);
	while ((word = strsep(&line, BLANKS)) != NULL) {
		if (host_name_copy(word, name, sizeof(name)))
			hosts_add(hosts, &address, name);
	}
}

struct hosts *
hosts_new(const char *text)
{
	struct hosts *hosts = calloc(1, sizeof(*hosts));
	char *copy = strdup(text), *at = copy, *line;

	if (hosts == NULL || copy == NULL)
		fatal("hosts");
	while ((line = strsep(&at, "\n")) != NULL)
		hosts_add_line(hosts, line);
	free(copy);
	return hosts;
}

void
hosts_free(struct hosts *hosts)
{
	for (size_t i = 0; i < hosts->count; i++)
		free(hosts->hosts[i].name);
	free(hosts->hosts);
	free(hosts);
}

const char *
hosts_find(const struct hosts *hosts, const struct ipc_resolve *address)
{
	static const struct ipc_resolve localhost4 = { CLIENT_INET4, { 127, 0, 0, 1 } };

	for (size_t i = 0; i < hosts->count; i++) {
		if (address_equals(&hosts->hosts[i].address, address))
			return hosts->hosts[i].name;
	}
	if (address_equals(address, &localhost4) ||
	    (address->family == CLIENT_INET6 && address_is_loopback(address)))
		return "localhost";
	return NULL;
}

size_t
hosts_addresses(
    const struct hosts *hosts, const char *name, struct ipc_resolve *addresses, size_t most)
{
	char copy[HOSTNAME_MAX + 1];
	size_t count = 0;

	if (!host_name_copy(name, copy, sizeof(copy)))
		return 0;
	for (size_t i = 0; i < hosts->count && count < most; i++) {
		if (strcmp(hosts->hosts[i].name, copy) == 0)
			addresses[count++] = hosts->hosts[i].address;
	}
	return count;
}

void
nameservers_read(const char *text, char *nameservers, size_t size)
{
	char *copy = strdup(text), *at = copy, *line, *word, plain[64];
	struct ipc_resolve address;
	unsigned count = 0;

	if (copy == NULL)
		fatal("resolv.conf");
	*nameservers = '\0';
	while ((line = strsep(&at, "\n")) != NULL && count < NAMESERVERS_MAX) {
		line += strspn(line, BLANKS);
		word = strsep(&line, BLANKS);
		if (strcmp(word, "nameserver") != 0 || line == NULL)
			continue;
		line += strspn(line, BLANKS);
		word = strsep(&line, BLANKS);
		/* A link-local one has an interface behind "%". */
		strlcpy(plain, word, sizeof(plain));
		plain[strcspn(plain, "%")] = '\0';
		if (!address_parse_text(plain, &address) || strlen(word) >= sizeof(plain))
			continue;
		if (count++ > 0)
			strlcat(nameservers, " ", size);
		strlcat(nameservers, word, size);
	}
	free(copy);
}

char *
file_text(int fd, size_t limit)
{
	char *text = calloc(1, limit + 1);
	size_t length = 0;
	ssize_t count = 0;

	if (text == NULL)
		fatal("a file's text");
	while (length < limit) {
		count = read(fd, text + length, limit - length);
		if (count == -1 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		length += (size_t)count;
	}
	text[length] = '\0';
	return text;
}
