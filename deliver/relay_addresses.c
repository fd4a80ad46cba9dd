/*
 * IPv6 and IPv4 addresses stand in turns, and those of each kind in a random order: a network that
 * has only one of the two is no reason to give up.
 */
#include <sys/types.h>
#include <sys/un.h>
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/network.h"
#include "deliver/relay_addresses.h"

struct own_addresses {
	struct ifaddrs *list; /* NULL: they can't be told */
};

struct own_addresses *
own_addresses_new(void)
{
	struct own_addresses *machine = calloc(1, sizeof(*machine));

	if (machine != NULL && getifaddrs(&machine->list) == -1)
		machine->list = NULL;
	return machine;
}

void
own_addresses_free(struct own_addresses *machine)
{
	if (machine == NULL)
		return;
	if (machine->list != NULL)
		freeifaddrs(machine->list);
	free(machine);
}

static void
set_port(struct sockaddr_storage *address, uint16_t port)
{
	if (address->ss_family == AF_INET6)
		((struct sockaddr_in6 *)address)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)address)->sin_port = htons(port);
}

void
addresses_add(struct addresses *addresses, int family, const void *bytes, uint16_t port)
{
	struct host_address *new;
	struct sockaddr_in6 *six;
	struct sockaddr_in *four;

	if (addresses->count == ADDRESSES_MAX)
		return;
	new = &addresses->all[addresses->count++];
	memset(new, 0, sizeof(*new));
	if (family == AF_INET6) {
		six = (struct sockaddr_in6 *)&new->address;
		memcpy(&six->sin6_addr, bytes, 16);
		new->length = sizeof(*six);
	} else {
		four = (struct sockaddr_in *)&new->address;
		memcpy(&four->sin_addr, bytes, 4);
		new->length = sizeof(*four);
	}
	new->address.ss_family = (sa_family_t)family;
	set_port(&new->address, port);
}

void
addresses_add_answer(
    struct addresses *addresses, const struct ipc_answer *answer, uint16_t port, bool public_only)
{
	for (uint32_t i = 0; answer->status == ANSWER_FOUND && i < answer->count; i++) {
		const struct answer_record *record = &answer->records[i];
		int family = record->family == CLIENT_INET6 ? AF_INET6 : AF_INET;

		if (record->family != CLIENT_INET4 && record->family != CLIENT_INET6)
			continue;
		if (record->length == (family == AF_INET6 ? 16 : 4) &&
		    !(public_only && address_is_private(family, record->data)))
			addresses_add(addresses, family, record->data, port);
	}
}

void
addresses_keep(struct addresses *addresses, enum relay_family family)
{
	sa_family_t wanted = family == RELAY_INET4 ? AF_INET : AF_INET6;
	size_t kept = 0;

	if (family == RELAY_FAMILY_ANY)
		return;
	for (size_t i = 0; i < addresses->count; i++) {
		if (addresses->all[i].address.ss_family == wanted)
			addresses->all[kept++] = addresses->all[i];
	}
	addresses->count = kept;
}

struct network {
	unsigned bits;
	uint8_t bytes[12];
};

static bool
is_in(const uint8_t *address, const struct network *network)
{
	return network_same_prefix(address, network->bytes, network->bits);
}

bool
address_is_private(int family, const void *bytes)
{
	static const struct network four[] = {
		{ 8, { 0 } },         /* RFC 1122 3.2.1.3 */
		{ 8, { 10 } },        /* RFC 1918 3 */
		{ 10, { 100, 64 } },  /* RFC 6598 7 */
		{ 8, { 127 } },       /* RFC 1122 3.2.1.3 */
		{ 16, { 169, 254 } }, /* RFC 3927 1.2 */
		{ 12, { 172, 16 } },
		{ 16, { 192, 168 } },
	};
	static const struct network six[] = {
		{ 7, { 0xfc } },        /* RFC 4193 3.1 */
		{ 10, { 0xfe, 0x80 } }, /* RFC 4291 2.5.6 */
		{ 10, { 0xfe, 0xc0 } }, /* RFC 3879 */
	};
	/* With an IPv4 address at their end: RFC 4291 2.5.5 (:: and ::1 among them) and RFC 6052 2.1 */
	static const struct network with_four[] = {
		{ 96, { 0 } },
		{ 96, { [10] = 0xff, 0xff } },
		{ 96, { 0, 0x64, 0xff, 0x9b } },
	};
	const uint8_t *address = bytes;

	if (family == AF_INET6) {
		for (size_t i = 0; i < sizeof(six) / sizeof(six[0]); i++)
			if (is_in(address, &six[i]))
				return true;
		for (size_t i = 0; i < sizeof(with_four) / sizeof(with_four[0]); i++)
			if (is_in(address, &with_four[i]))
				return address_is_private(AF_INET, address + 12);
		return false;
	}
	for (size_t i = 0; i < sizeof(four) / sizeof(four[0]); i++)
		if (is_in(address, &four[i]))
			return true;
	return false;
}

static bool
is_same_address(const struct sockaddr_storage *one, const struct sockaddr *other)
{
	if (one->ss_family != other->sa_family)
		return false;
	if (one->ss_family == AF_INET6)
		return memcmp(&((const struct sockaddr_in6 *)one)->sin6_addr,
		           &((const struct sockaddr_in6 *)(const void *)other)->sin6_addr, 16) == 0;
	return ((const struct sockaddr_in *)one)->sin_addr.s_addr ==
	    ((const struct sockaddr_in *)(const void *)other)->sin_addr.s_addr;
}

static bool
is_any(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
	return ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
}

static bool
is_loopback(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
	return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
}

static bool
is_of_this_machine(const struct own_addresses *machine, const struct sockaddr_storage *address)
{
	if (is_loopback(address) || is_any(address))
		return true;
	for (const struct ifaddrs *own = machine == NULL ? NULL : machine->list; own != NULL;
	     own = own->ifa_next)
		if (own->ifa_addr != NULL &&
		    (own->ifa_addr->sa_family == AF_INET || own->ifa_addr->sa_family == AF_INET6) &&
		    is_same_address(address, own->ifa_addr))
			return true;
	return false;
}

bool
own_addresses_listen(const struct own_addresses *machine, const struct config *config,
    const struct sockaddr_storage *address)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct sockaddr_storage *own = &config->listeners[i].address;

		if (own->ss_family != address->ss_family ||
		    ((const struct sockaddr_in *)own)->sin_port !=
		        ((const struct sockaddr_in *)address)->sin_port)
			continue; /* the port is at the same place in both kinds */
		if (is_same_address(own, (const struct sockaddr *)address) ||
		    (is_any(own) && is_of_this_machine(machine, address)))
			return true;
	}
	return false;
}

static bool
add_local(struct addresses *addresses, const char *path)
{
	struct host_address *new = &addresses->all[addresses->count];
	struct sockaddr_un *local = (struct sockaddr_un *)(void *)&new->address;

	if (addresses->count == ADDRESSES_MAX)
		return false;
	memset(new, 0, sizeof(*new));
	local->sun_family = AF_UNIX;
	new->length = sizeof(*local);
	if (strlcpy(local->sun_path, path, sizeof(local->sun_path)) >= sizeof(local->sun_path))
		return false;
	addresses->count++;
	return true;
}

bool
addresses_add_text(struct addresses *addresses, const char *text, uint16_t port)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	if (*text == '/')
		return add_local(addresses, text);
	if (inet_pton(AF_INET, text, bytes) == 1)
		addresses_add(addresses, AF_INET, bytes, port);
	else if (inet_pton(AF_INET6, text, bytes) == 1)
		addresses_add(addresses, AF_INET6, bytes, port);
	else
		return false;
	return true;
}

void
addresses_order(struct addresses *addresses)
{
	struct host_address all[ADDRESSES_MAX];
	size_t count = addresses->count, taken = 0;
	bool used[ADDRESSES_MAX] = { false };
	sa_family_t want = AF_INET6;
	size_t i, other;

	for (i = count; i > 1; i--) {
		other = arc4random_uniform((uint32_t)i);
		all[0] = addresses->all[i - 1];
		addresses->all[i - 1] = addresses->all[other];
		addresses->all[other] = all[0];
	}
	memcpy(all, addresses->all, sizeof(all));
	while (taken < count) {
		for (i = 0; i < count && (used[i] || all[i].address.ss_family != want); i++)
			;
		if (i < count) {
			used[i] = true;
			addresses->all[taken++] = all[i];
		}
		want = want == AF_INET6 ? AF_INET : AF_INET6;
	}
}
