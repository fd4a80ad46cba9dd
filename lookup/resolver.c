/*
 * resolver: tells listeners the forward-confirmed names of their clients, and the relay what DNS
 * has for it, validated.
 *
 * It runs in an empty chroot as a user of its own and talks to DNS servers, listeners and the relay,
 * nothing else. What it needs of the file system, /etc/hosts, the nameservers of /etc/resolv.conf
 * and DNSSEC's trust anchors, the supervisor opens for it, again with each reload.
 *
 * Clients' names aren't validated: they prove nothing, and mail shall come in where the nameservers
 * strip signatures.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_listener_resolver.h"
#include "common/ipc_relay_resolver.h"
#include "common/ipc_supervisor.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "lookup/resolver_anchor.h"
#include "lookup/resolver_dns.h"
#include "lookup/resolver_lookup.h"
#include "lookup/resolver_name.h"
#include "lookup/resolver_query.h"

#define LISTENERS_MAX        1024
#define HOSTS_SIZE_MAX       (1024 * 1024)
#define RESOLV_CONF_SIZE_MAX 65536
#define ANCHORS_SIZE_MAX     65536

/* What validates answers to the relay takes a MiB or more of memory. */
enum validating {
	VALIDATING_NOT,   /* it can't */
	VALIDATING_WAITS, /* it was tried out, and is opened for the first question */
	VALIDATING_OPEN,
};

static struct {
	struct child child;
	struct event_base *base;
	struct child_supervisor supervisor;
	struct channel *listeners[LISTENERS_MAX]; /* by instance; NULL: not there */
	struct channel *relay;                    /* NULL: not there */
	struct hosts *hosts;
	char *anchors;                /* of the file; NULL: there is none */
	char system_nameservers[256]; /* of /etc/resolv.conf */
	char nameservers[256];        /* that `dns` asks */
	struct dns *dns;
	struct lookups *lookups;
	enum validating state;
	char *used_anchors; /* that `validating` uses; NULL: none */
	struct dns *validating;
	struct queries *queries;
} resolver;

static void
on_resolved(void *owner, uint32_t id, const struct ipc_resolved *resolved, void *arg)
{
	struct buf payload;

	(void)arg;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_resolved_encode(&payload, resolved);
	channel_send(owner, RESOLVER_LISTENER_NAME, id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_listener(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct ipc_resolve request;
	struct buf_reader reader;

	(void)arg;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != LISTENER_RESOLVER_NAME || !ipc_resolve_decode(&reader, &request)) {
		channel_reject(channel, imsg, "not a request for a name");
		return;
	}
	lookups_start(resolver.lookups, &request, channel, imsg->id);
}

static void
on_answered(void *owner, uint32_t id, const struct ipc_answer *answer, void *arg)
{
	struct buf payload;

	(void)arg;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_answer_encode(&payload, answer);
	channel_send(owner, RESOLVER_RELAY_ANSWER, id, 0, -1, &payload);
	buf_free(&payload);
}

static void
open_validating(void)
{
	struct dns_source source;

	resolver.validating = dns_new(resolver.base, resolver.nameservers, resolver.used_anchors);
	resolver.state = resolver.validating == NULL ? VALIDATING_NOT : VALIDATING_OPEN;
	if (resolver.validating == NULL) {
		queries_set_source(resolver.queries, NULL, "the resolver has no memory");
		return;
	}
	source = dns_source_of(resolver.validating);
	queries_set_source(resolver.queries, &source, "");
}

static void
on_relay(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct ipc_query query;
	struct buf_reader reader;

	(void)arg;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != RELAY_RESOLVER_QUERY || !ipc_query_decode(&reader, &query)) {
		channel_reject(channel, imsg, "not a question");
		return;
	}
	if (resolver.state == VALIDATING_WAITS)
		open_validating();
	queries_start(resolver.queries, &query, channel, imsg->id);
}

static void
relay_drop(void)
{
	struct channel *channel = resolver.relay;

	if (channel == NULL)
		return;
	resolver.relay = NULL;
	queries_forget(resolver.queries, channel);
	channel_free(channel);
}

static void
on_relay_closed(struct channel *channel, const char *why, void *arg)
{
	(void)arg;
	log_debug("relay: %s", why);
	ipc_report_rejected(resolver.supervisor.channel, channel, PROGRAM_RELAY, 0);
	relay_drop();
}

static void
listener_drop(uint32_t instance)
{
	struct channel *channel = resolver.listeners[instance];

	if (channel == NULL)
		return;
	resolver.listeners[instance] = NULL;
	lookups_forget(resolver.lookups, channel);
	channel_free(channel);
}

static void
on_listener_closed(struct channel *channel, const char *why, void *arg)
{
	(void)arg;
	log_debug("%s: %s", channel_name(channel), why);
	for (uint32_t i = 0; i < LISTENERS_MAX; i++) {
		if (resolver.listeners[i] != channel)
			continue;
		ipc_report_rejected(resolver.supervisor.channel, channel, PROGRAM_LISTENER, i);
		listener_drop(i);
	}
}

/* Whoever waits for the old servers is told that DNS failed; nothing is left to call back. */
static void
use_nameservers(const char *nameservers)
{
	struct dns_source source;

	if (resolver.lookups != NULL) {
		lookups_fail_all(resolver.lookups);
		lookups_free(resolver.lookups);
		dns_free(resolver.dns);
	}
	resolver.dns = dns_new(resolver.base, nameservers, NULL);
	if (resolver.dns == NULL)
		fatalx("no DNS");
	source = dns_source_of(resolver.dns);
	resolver.lookups = lookups_new(resolver.base, &source, resolver.hosts, on_resolved, NULL);
	log_debug("nameservers: %s", *nameservers == '\0' ? "the root's" : nameservers);
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* The anchors that the configuration asks for; NULL: nothing is to be validated. False when its file
 * couldn't be read. */
static bool
choose_anchors(const struct config *config, const char **anchors)
{
	*anchors = NULL;
	if (strcmp(config->trust_anchor, TRUST_ANCHOR_NONE) == 0)
		return true;
	*anchors = resolver.anchors;
	if (*anchors == NULL && *config->trust_anchor == '\0')
		*anchors = anchors_of_the_root;
	return *anchors != NULL;
}

/* The relay's. Without good anchors it gets no answers rather than such as nobody has checked: mail
 * waits, and says why. */
static void
use_anchors(const struct config *config, const char *nameservers, bool is_other)
{
	const char *anchors;
	struct dns_source source;
	bool can_choose = choose_anchors(config, &anchors);
	bool was_open = resolver.state == VALIDATING_OPEN;

	if (!is_other && resolver.state != VALIDATING_NOT && can_choose &&
	    same_text(anchors, resolver.used_anchors))
		return;
	queries_fail_all(resolver.queries, "the resolver has got a new configuration");
	dns_free(resolver.validating);
	free(resolver.used_anchors);
	resolver.used_anchors = anchors == NULL ? NULL : strdup(anchors);
	if (anchors != NULL && resolver.used_anchors == NULL)
		fatal("trust anchors");
	resolver.validating = can_choose ? dns_new(resolver.base, nameservers, anchors) : NULL;
	if (resolver.validating == NULL) {
		resolver.state = VALIDATING_NOT;
		log_error(
		    "DNSSEC: the trust anchors in %s can't be used: mail to other hosts waits "
		    "until they can, or \"resolver trust-anchor\" names others",
		    *config->trust_anchor == '\0' ? TRUST_ANCHOR_DEFAULT : config->trust_anchor);
		queries_set_source(
		    resolver.queries, NULL, "the resolver's trust anchors (DNSSEC) can't be used");
		return;
	}
	if (was_open) {
		source = dns_source_of(resolver.validating);
		queries_set_source(resolver.queries, &source, "");
		return;
	}
	dns_free(resolver.validating);
	resolver.validating = NULL;
	(void)malloc_trim(0);
	resolver.state = VALIDATING_WAITS;
}

static void
configure(struct config *config)
{
	const char *nameservers =
	    *config->nameserver != '\0' ? config->nameserver : resolver.system_nameservers;
	bool is_other = resolver.dns == NULL || strcmp(nameservers, resolver.nameservers) != 0;

	if (is_other)
		use_nameservers(nameservers);
	use_anchors(config, nameservers, is_other);
	strlcpy(resolver.nameservers, nameservers, sizeof(resolver.nameservers));
	lookups_set_time(resolver.lookups, config->limits.resolver_time_ms);
	config_free(config);
}

static void
use_hosts(const char *text)
{
	struct hosts *old = resolver.hosts;

	resolver.hosts = hosts_new(text);
	if (resolver.lookups != NULL)
		lookups_set_hosts(resolver.lookups, resolver.hosts);
	queries_set_hosts(resolver.queries, resolver.hosts);
	hosts_free(old);
}

/* The system's files, which come before the configuration that they belong to. */
static bool
take_file(struct channel *channel, struct imsg *imsg)
{
	char *text;

	(void)channel;
	if (imsg->type != SUPERVISOR_RESOLVER_HOSTS &&
	    imsg->type != SUPERVISOR_RESOLVER_NAMESERVERS &&
	    imsg->type != SUPERVISOR_RESOLVER_ANCHORS)
		return false;
	/* Lost for want of descriptors: what was known is as good as anything. */
	if (imsg->fd == -1 && (imsg->descriptor_lost || imsg->type != SUPERVISOR_RESOLVER_ANCHORS))
		return true;
	if (imsg->type == SUPERVISOR_RESOLVER_ANCHORS) {
		free(resolver.anchors);
		resolver.anchors = imsg->fd == -1 ? NULL : file_text(imsg->fd, ANCHORS_SIZE_MAX);
	} else if (imsg->type == SUPERVISOR_RESOLVER_HOSTS) {
		text = file_text(imsg->fd, HOSTS_SIZE_MAX);
		use_hosts(text);
		free(text);
	} else {
		text = file_text(imsg->fd, RESOLV_CONF_SIZE_MAX);
		nameservers_read(
		    text, resolver.system_nameservers, sizeof(resolver.system_nameservers));
		free(text);
	}
	return true;
}

static bool
add_peer(const struct ipc_peer *peer, int fd)
{
	if (resolver.lookups == NULL)
		return false;
	if (peer->program == PROGRAM_RELAY && peer->instance == 0) {
		relay_drop();
		resolver.relay =
		    channel_new(resolver.base, "relay", fd, on_relay, on_relay_closed, NULL);
		return true;
	}
	if (peer->program != PROGRAM_LISTENER || peer->instance >= LISTENERS_MAX)
		return false;
	listener_drop(peer->instance);
	resolver.listeners[peer->instance] =
	    channel_new(resolver.base, "listener", fd, on_listener, on_listener_closed, NULL);
	return true;
}

/* Names are a nicety: those who wait do without; mail to others waits for the next start. */
static void
stop(void)
{
	if (resolver.lookups != NULL)
		lookups_fail_all(resolver.lookups);
	for (uint32_t i = 0; i < LISTENERS_MAX; i++) {
		if (resolver.listeners[i] != NULL)
			channel_flush(resolver.listeners[i]);
	}
	queries_fail_all(resolver.queries, "the resolver stops");
	if (resolver.relay != NULL)
		channel_flush(resolver.relay);
	event_base_loopbreak(resolver.base);
}

static void
supervisor_gone(void)
{
	event_base_loopbreak(resolver.base);
}

static const struct child_orders orders = {
	.config = configure,
	.peer = add_peer,
	.stop = stop,
	.other = take_file,
	.gone = supervisor_gone,
};

int
main(int argc, char **argv)
{
	child_start(&resolver.child, "resolver", argc, argv);
	(void)landlock_confine(LANDLOCK_TCP, -1);
	sandbox_enter(SANDBOX_SOCKETS);
	resolver.hosts = hosts_new("");
	resolver.base = child_event_base();
	resolver.queries = queries_new(resolver.base, resolver.hosts, on_answered, NULL);
	child_supervisor_open(&resolver.supervisor, resolver.base, &resolver.child, &orders);
	event_base_dispatch(resolver.base);

	for (uint32_t i = 0; i < LISTENERS_MAX; i++)
		listener_drop(i);
	relay_drop();
	child_supervisor_close(&resolver.supervisor);
	if (resolver.lookups != NULL) {
		lookups_free(resolver.lookups);
		dns_free(resolver.dns);
	}
	queries_free(resolver.queries);
	dns_free(resolver.validating);
	hosts_free(resolver.hosts);
	free(resolver.anchors);
	free(resolver.used_anchors);
	event_base_free(resolver.base);
	return 0;
}
