/*
 * Hosts of equal preference are shuffled, so that their load is shared. Own names are looked for
 * before the list is cut, and what is at least as far away as we are is left out: mail never goes
 * in circles among backup servers.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "deliver/relay_route.h"
#include "deliver/relay_sts_policy.h"

#define PORT_SMTP  25
#define PORT_SMTPS 465
#define PORT_LMTP  24

struct route *
route_new(void)
{
	struct route *route = calloc(1, sizeof(*route) + ROUTE_HOPS_MAX * sizeof(route->hops[0]));

	if (route != NULL)
		route->holders = 1;
	return route;
}

struct route *
route_trim(struct route *route)
{
	struct route *smaller =
	    realloc(route, sizeof(*route) + route->count * sizeof(route->hops[0]));

	return smaller != NULL ? smaller : route;
}

struct route *
route_hold(struct route *route)
{
	route->holders++;
	return route;
}

void
route_drop(struct route *route)
{
	if (route == NULL || --route->holders > 0)
		return;
	free(route->canonical);
	sts_policy_drop(route->sts);
	free(route);
}

bool
hop_is_public_only(const struct hop *hop, const struct config *config)
{
	return hop->is_foreign && config->mta_no_private_networks;
}

/* RFC 8461 4.1 and 5 */
enum sts_verdict
route_verdict(const struct route *route, const struct hop *hop)
{
	bool is_named;

	if (route == NULL || route->sts == NULL || !hop->is_mx)
		return STS_VERDICT_NONE;
	is_named = sts_mx_has(route->sts->mx, hop->host);
	switch (route->sts->mode) {
	case STS_MODE_NONE:
	case STS_MODE_COUNT:
		break;
	case STS_MODE_TESTING:
		return is_named ? STS_VERDICT_TESTING : STS_VERDICT_TESTING_OTHER;
	case STS_MODE_ENFORCE:
		return is_named ? STS_VERDICT_ENFORCED : STS_VERDICT_ENFORCED_OTHER;
	}
	return STS_VERDICT_NONE;
}

static const struct {
	const char *name;
	uint16_t port;
} schemes[SCHEME_COUNT] = {
	[SCHEME_SMTP] = { "smtp", PORT_SMTP },
	[SCHEME_SMTP_TLS] = { "smtp+tls", PORT_SMTP },
	[SCHEME_SMTP_NOTLS] = { "smtp+notls", PORT_SMTP },
	[SCHEME_SMTPS] = { "smtps", PORT_SMTPS },
	[SCHEME_LMTP] = { "lmtp", PORT_LMTP },
};

static bool
parse_port(const char *text, uint16_t *port)
{
	const char *error;
	long long value = strtonum(text, 1, UINT16_MAX, &error);

	*port = (uint16_t)value;
	return error == NULL;
}

static bool
is_address(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

bool
hop_parse(struct hop *hop, const char *url)
{
	const char *rest = strstr(url, "://"), *at, *port = NULL;
	char host[HOSTNAME_MAX + 3], *colon, *end;

	memset(hop, 0, sizeof(*hop));
	if (rest != NULL) {
		for (hop->scheme = 0; hop->scheme < SCHEME_COUNT; hop->scheme++)
			if (strlen(schemes[hop->scheme].name) == (size_t)(rest - url) &&
			    strncasecmp(schemes[hop->scheme].name, url, (size_t)(rest - url)) == 0)
				break;
		if (hop->scheme == SCHEME_COUNT)
			return false;
		rest += 3;
	} else {
		rest = url;
	}
	if (hop->scheme == SCHEME_LMTP && *rest == '/') {
		hop->is_address = hop->is_secure = true;
		return strlcpy(hop->host, rest, sizeof(hop->host)) <= SOCKET_PATH_MAX;
	}
	at = strrchr(rest, '@');
	if (at != NULL) {
		if ((size_t)(at - rest) >= sizeof(hop->label))
			return false;
		memcpy(hop->label, rest, (size_t)(at - rest));
		rest = at + 1;
	}
	if (strlcpy(host, rest, sizeof(host)) >= sizeof(host))
		return false;
	rest = host;
	colon = strrchr(host, ':');
	if (*host == '[') { /* [2001:db8::1]:25 */
		end = strchr(host, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		port = end[1] == ':' ? end + 2 : NULL;
		*end = '\0';
		rest = host + 1;
		if (strncasecmp(rest, "IPv6:", 5) == 0)
			rest += 5;
	} else if (colon != NULL && strchr(host, ':') == colon) {
		*colon = '\0';
		port = colon + 1;
	}
	hop->port = schemes[hop->scheme].port;
	if (port != NULL && !parse_port(port, &hop->port))
		return false;
	strlcpy(hop->host, rest, sizeof(hop->host));
	hop->is_address = is_address(hop->host);
	hop->is_secure = true;
	return *hop->host != '\0' && (hop->is_address || address_domain_is_valid(hop->host, false));
}

const char *
hop_scheme(const struct hop *hop)
{
	return schemes[hop->scheme].name;
}

bool
route_add_smarthosts(struct route *route, const char *urls)
{
	char url[HOSTNAME_MAX + ACTION_NAME_MAX + 32];
	size_t length;

	while (*(urls += strspn(urls, " ")) != '\0') {
		length = strcspn(urls, " ");
		if (length >= sizeof(url) || route->count == ROUTE_HOPS_MAX)
			return false;
		memcpy(url, urls, length);
		url[length] = '\0';
		if (!hop_parse(&route->hops[route->count], url))
			return false;
		route->hops[route->count].preference = (uint16_t)route->count;
		route->count++;
		urls += length;
	}
	return route->count > 0;
}

bool
route_add_literal(struct route *route, const char *literal)
{
	struct hop *hop = &route->hops[route->count];

	if (!hop_parse(hop, literal) || !hop->is_address || hop->port != PORT_SMTP)
		return false;
	hop->is_foreign = true;
	route->count++;
	return true;
}

static void
set_hop(struct hop *hop, const char *host, uint16_t preference, bool is_implicit, bool is_secure)
{
	memset(hop, 0, sizeof(*hop));
	strlcpy(hop->host, host, sizeof(hop->host));
	hop->port = PORT_SMTP;
	hop->preference = preference;
	hop->scheme = SCHEME_SMTP;
	hop->is_implicit = is_implicit;
	hop->is_mx = hop->is_foreign = true;
	hop->is_secure = is_secure;
}

/* The host's name, without a dot at its end; false when that is no name. */
static bool
mx_name(const struct answer_record *record, char *name, size_t size)
{
	size_t length = record->length;

	if (length > 0 && record->data[length - 1] == '.')
		length--;
	if (length == 0 || length >= size)
		return false;
	/* DNS can hold bytes that no host's name has; they are escaped. */
	for (size_t i = 0; i < length; i++)
		if (record->data[i] <= ' ' || record->data[i] > '~' || record->data[i] == '\\')
			return false;
	memcpy(name, record->data, length);
	name[length] = '\0';
	return true;
}

static bool
is_own(const char *name, const char *const own[2])
{
	return (*own[0] != '\0' && strcasecmp(name, own[0]) == 0) ||
	    (*own[1] != '\0' && strcasecmp(name, own[1]) == 0);
}

static int
compare_hops(const void *a, const void *b)
{
	const struct hop *one = a, *other = b;

	return (int)one->preference - (int)other->preference;
}

/* Fisher and Yates; then by preference, which keeps the order of equal ones (mergesort does). */
static bool
order_hops(struct hop *hops, size_t count)
{
	struct hop swapped;
	size_t other;

	for (size_t i = count; i > 1; i--) {
		other = arc4random_uniform((uint32_t)i);
		swapped = hops[i - 1];
		hops[i - 1] = hops[other];
		hops[other] = swapped;
	}
	return count < 2 || mergesort(hops, count, sizeof(*hops), compare_hops) == 0;
}

static bool
add_records(struct route *route, const char *domain, const struct ipc_answer *answer,
    const char *const own[2], struct failure *failure)
{
	struct hop hops[IPC_ANSWER_RECORDS_MAX];
	uint32_t own_preference = UINT32_MAX;
	bool has_null = false;
	size_t count = 0;
	char name[HOSTNAME_MAX + 1];

	for (uint32_t i = 0; i < answer->count; i++) {
		const struct answer_record *record = &answer->records[i];

		if (!mx_name(record, name, sizeof(name))) {
			has_null |= record->length <= 1;
			continue;
		}
		if (is_own(name, own) && record->preference < own_preference)
			own_preference = record->preference;
		set_hop(&hops[count++], name, record->preference, false, answer->secure);
	}
	/* RFC 7505 3 and 4.2 */
	if (count == 0) {
		failure_set(failure, RELAY_FAULT_NONE, has_null ? 556 : 550,
		    has_null ? "5.1.10" : "5.4.4",
		    has_null ? "the domain %s takes no mail (null MX)"
		             : "the domain %s has mail servers without valid names",
		    domain);
		return false;
	}
	if (!order_hops(hops, count)) {
		failure_set(failure, RELAY_FAULT_OURS, 451, "4.3.0", "no memory");
		return false;
	}
	for (size_t i = 0; i < count && route->count < ROUTE_HOPS_MAX; i++)
		if (hops[i].preference < own_preference)
			route->hops[route->count++] = hops[i];
	if (route->count == 0) {
		failure_set(failure, RELAY_FAULT_NONE, 554, "5.4.6",
		    "mail for %s comes back to this server, which is the best of its mail servers "
		    "in DNS and doesn't have the domain",
		    domain);
		return false;
	}
	return true;
}

bool
route_add_mx(struct route *route, const char *domain, const struct ipc_answer *answer,
    const char *const own[2], struct failure *failure)
{
	if (*answer->canonical != '\0')
		route->canonical = strdup(answer->canonical); /* without memory: a name less */
	switch (answer->status) {
	case ANSWER_FOUND:
		return add_records(route, domain, answer, own, failure);
	case ANSWER_NO_DATA:
		if (is_own(domain, own)) {
			failure_set(failure, RELAY_FAULT_NONE, 554, "5.4.6",
			    "mail for %s comes back to this server, which doesn't have the domain",
			    domain);
			return false;
		}
		set_hop(&route->hops[route->count++],
		    *answer->canonical != '\0' ? answer->canonical : domain, 0, true,
		    answer->secure);
		return true;
	case ANSWER_NO_NAME:
		failure_set(
		    failure, RELAY_FAULT_NONE, 550, "5.1.2", "the domain %s doesn't exist", domain);
		return false;
	case ANSWER_FAILED:
	case ANSWER_STATUS_COUNT:
		break;
	}
	failure_set(failure, RELAY_FAULT_DESTINATION, 451, "4.4.3",
	    "the mail servers of %s can't be looked up: %s", domain, answer->why);
	return false;
}
