/*
 * The C library's own parser of DNS messages takes answers apart. Only the answer section is
 * looked at; owners' names are not compared, since CNAMEs may lie between (RFC 2317).
 */
#include <sys/types.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <string.h>

#include "lookup/resolver_answer.h"
#include "lookup/resolver_name.h"

#define RECORDS_MAX 1000

static bool
start(ns_msg *message, const uint8_t *packet, size_t length, int *count)
{
	if (length > UINT16_MAX || ns_initparse(packet, (int)length, message) != 0)
		return false;
	*count = ns_msg_count(*message, ns_s_an);
	if (*count > RECORDS_MAX)
		*count = RECORDS_MAX;
	return true;
}

size_t
answer_names(const uint8_t *packet, size_t length, char names[ANSWER_NAMES_MAX][HOSTNAME_MAX + 1])
{
	ns_msg message;
	ns_rr record;
	char name[NS_MAXDNAME];
	size_t found = 0;
	int count, i;

	if (!start(&message, packet, length, &count))
		return 0;
	for (i = 0; i < count && found < ANSWER_NAMES_MAX; i++) {
		if (ns_parserr(&message, ns_s_an, i, &record) != 0)
			break;
		if (ns_rr_type(record) != ns_t_ptr || ns_rr_class(record) != ns_c_in)
			continue;
		if (ns_name_uncompress(ns_msg_base(message), ns_msg_end(message),
		        ns_rr_rdata(record), name, sizeof(name)) < 0)
			break;
		/* Bytes that aren't of a host name are escaped in the text, and so refused. */
		if (host_name_copy(name, names[found], sizeof(names[found])))
			found++;
	}
	return found;
}

bool
answer_has_address(const uint8_t *packet, size_t length, const struct ipc_resolve *address)
{
	bool is_inet4 = address->family == CLIENT_INET4;
	size_t size = is_inet4 ? 4 : 16;
	ns_msg message;
	ns_rr record;
	int count, i;

	if (!start(&message, packet, length, &count))
		return false;
	for (i = 0; i < count; i++) {
		if (ns_parserr(&message, ns_s_an, i, &record) != 0)
			return false;
		if (ns_rr_type(record) == (is_inet4 ? ns_t_a : ns_t_aaaa) &&
		    ns_rr_class(record) == ns_c_in && ns_rr_rdlen(record) == size &&
		    memcmp(ns_rr_rdata(record), address->address, size) == 0)
			return true;
	}
	return false;
}
