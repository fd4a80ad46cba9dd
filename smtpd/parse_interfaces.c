/*
 * "listen on" with what isn't an address: an interface, or one of the groups of interfaces that
 * OpenBSD has and its users' configurations name. "all" is every address, also those that come
 * later; "egress" is what a default route leads through, as the kernel's tables say.
 */
#include <sys/socket.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "smtpd/parse_build.h"

#define ROUTES_INET4 "/proc/net/route"
#define ROUTES_INET6 "/proc/net/ipv6_route"
#define LINE_LENGTH  512

/* RTF_UP and RTF_REJECT of <net/route.h>, which these files have in base 16. */
#define ROUTE_UP     0x1
#define ROUTE_REJECT 0x200

/* "eth0 00000000 0100A8C0 0003 0 0 0 00000000 ...": interface, destination, gateway, flags, three
 * numbers, mask. */
static bool
is_default_inet4(const char *line, char *name)
{
	unsigned long destination, mask;
	unsigned flags;

	return sscanf(line, "%15s %lx %*x %x %*d %*d %*d %lx", name, &destination, &flags, &mask) ==
	    4 &&
	    destination == 0 && mask == 0 && (flags & ROUTE_UP) != 0 && (flags & ROUTE_REJECT) == 0;
}

/* Destination and its length, source and its length, gateway, three numbers, flags, interface. */
static bool
is_default_inet6(const char *line, char *name)
{
	char destination[33];
	unsigned length, flags;

	return sscanf(line, "%32s %x %*s %*x %*s %*x %*x %*x %x %15s", destination, &length, &flags,
	           name) == 4 &&
	    length == 0 && strspn(destination, "0") == 32 && (flags & ROUTE_UP) != 0 &&
	    (flags & ROUTE_REJECT) == 0;
}

static bool
has_default_route(const char *interface)
{
	static const struct {
		const char *path;
		bool (*is_default)(const char *, char *);
	} tables[] = { { ROUTES_INET4, is_default_inet4 }, { ROUTES_INET6, is_default_inet6 } };
	char line[LINE_LENGTH], name[IF_NAMESIZE];
	bool found = false;

	for (size_t i = 0; i < PARSE_COUNT(tables); i++) {
		FILE *file = fopen(tables[i].path, "re");

		/* A kernel without IPv6 has no such file. */
		if (file == NULL)
			continue;
		while (!found && fgets(line, sizeof(line), file) != NULL)
			found = tables[i].is_default(line, name) && strcmp(name, interface) == 0;
		(void)fclose(file); /* only read */
	}
	return found;
}

/* Loopback has another name on BSD, where there is no "lo". */
static bool
is_wanted(const char *interface, const char *wanted, bool is_egress)
{
	return is_egress ? has_default_route(interface) : strcmp(interface, wanted) == 0;
}

static bool
add_addresses(struct parse *parse, const char *wanted, bool is_egress, uint16_t port, size_t first)
{
	struct ifaddrs *interfaces, *at;
	bool found = false;

	if (getifaddrs(&interfaces) == -1)
		fatal("parse: getifaddrs");
	for (at = interfaces; at != NULL; at = at->ifa_next) {
		if (!is_wanted(at->ifa_name, wanted, is_egress))
			continue;
		found = true;
		if (at->ifa_addr != NULL)
			listener_add_inet(parse, at->ifa_addr, port, first);
	}
	freeifaddrs(interfaces);
	return found;
}

static void
add_all(struct parse *parse, uint16_t port, size_t first)
{
	struct sockaddr_in inet4 = { .sin_family = AF_INET };
	struct sockaddr_in6 inet6 = { .sin6_family = AF_INET6, .sin6_addr = in6addr_any };

	listener_add_inet(parse, (struct sockaddr *)&inet4, port, first);
	listener_add_inet(parse, (struct sockaddr *)&inet6, port, first);
}

bool
listen_on_interface(struct parse *parse, uint16_t port, size_t first)
{
	const char *where = parse->draft.where;

	if (add_addresses(parse, where, false, port, first))
		return true;
	if (strcmp(where, "lo0") == 0)
		return add_addresses(parse, "lo", false, port, first);
	if (strcmp(where, "egress") == 0)
		return add_addresses(parse, "", true, port, first);
	if (strcmp(where, "all") != 0)
		return false;
	add_all(parse, port, first);
	return true;
}
