/*
 * resolver: tells listeners the forward-confirmed names of their clients.
 *
 * It runs in an empty chroot as a user of its own and talks to DNS servers and to listeners,
 * nothing else. What it needs of the file system, /etc/hosts and the nameservers of
 * /etc/resolv.conf, the supervisor opens for it, again with each reload.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_listener_resolver.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "lookup/resolver_dns.h"
#include "lookup/resolver_lookup.h"
#include "lookup/resolver_name.h"

#define LISTENERS_MAX        1024
#define HOSTS_SIZE_MAX       (1024 * 1024)
#define RESOLV_CONF_SIZE_MAX 65536

static struct {
	struct child child;
	struct event_base *base;
	struct child_supervisor supervisor;
	struct channel *listeners[LISTENERS_MAX]; /* by instance; NULL: not there */
	struct hosts *hosts;
	char system_nameservers[256]; /* of /etc/resolv.conf */
	char nameservers[256];        /* that `dns` asks */
	struct dns *dns;
	struct lookups *lookups;
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
	struct lookup_dns interface;

	if (resolver.dns != NULL && strcmp(nameservers, resolver.nameservers) == 0)
		return;
	if (resolver.lookups != NULL) {
		lookups_fail_all(resolver.lookups);
		lookups_free(resolver.lookups);
		dns_free(resolver.dns);
	}
	strlcpy(resolver.nameservers, nameservers, sizeof(resolver.nameservers));
	resolver.dns = dns_new(resolver.base, nameservers);
	if (resolver.dns == NULL)
		fatalx("no DNS");
	interface = dns_interface(resolver.dns);
	resolver.lookups =
	    lookups_new(resolver.base, &interface, resolver.hosts, on_resolved, NULL);
	log_debug("nameservers: %s", *nameservers == '\0' ? "the root's" : nameservers);
}

static void
configure(struct config *config)
{
	use_nameservers(
	    *config->nameserver != '\0' ? config->nameserver : resolver.system_nameservers);
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
	hosts_free(old);
}

/* The system's files, which come before the configuration that they belong to. */
static bool
take_file(struct channel *channel, struct imsg *imsg)
{
	bool is_hosts = imsg->type == SUPERVISOR_RESOLVER_HOSTS;
	char *text;

	(void)channel;
	if (!is_hosts && imsg->type != SUPERVISOR_RESOLVER_NAMESERVERS)
		return false;
	/* Lost for want of descriptors: what was known is as good as anything. */
	if (imsg->fd == -1)
		return true;
	text = file_text(imsg->fd, is_hosts ? HOSTS_SIZE_MAX : RESOLV_CONF_SIZE_MAX);
	if (is_hosts)
		use_hosts(text);
	else
		nameservers_read(
		    text, resolver.system_nameservers, sizeof(resolver.system_nameservers));
	free(text);
	return true;
}

static bool
add_peer(const struct ipc_peer *peer, int fd)
{
	if (peer->program != PROGRAM_LISTENER || peer->instance >= LISTENERS_MAX ||
	    resolver.lookups == NULL)
		return false;
	listener_drop(peer->instance);
	resolver.listeners[peer->instance] =
	    channel_new(resolver.base, "listener", fd, on_listener, on_listener_closed, NULL);
	return true;
}

/* Names are a nicety: those who wait do without, and nothing is held up. */
static void
stop(void)
{
	if (resolver.lookups != NULL)
		lookups_fail_all(resolver.lookups);
	for (uint32_t i = 0; i < LISTENERS_MAX; i++) {
		if (resolver.listeners[i] != NULL)
			channel_flush(resolver.listeners[i]);
	}
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
	resolver.hosts = hosts_new("");
	resolver.base = child_event_base();
	child_supervisor_open(&resolver.supervisor, resolver.base, &resolver.child, &orders);
	event_base_dispatch(resolver.base);

	for (uint32_t i = 0; i < LISTENERS_MAX; i++)
		listener_drop(i);
	child_supervisor_close(&resolver.supervisor);
	if (resolver.lookups != NULL) {
		lookups_free(resolver.lookups);
		dns_free(resolver.dns);
	}
	hosts_free(resolver.hosts);
	event_base_free(resolver.base);
	return 0;
}
