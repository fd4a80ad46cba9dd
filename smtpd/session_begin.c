/*
 * A session's beginning: who may enter and whom the connection counts for, a proxy's header, and
 * the greeting.
 *
 * Behind a proxy the client is known only when the header has come. Until then the connection
 * counts as the proxy's own, and it has little time.
 */
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "smtpd/proxy.h"
#include "smtpd/session_state.h"

#define NAME_MARGIN_MS 1000 /* over the resolver's own limit */
#define PROXY_SECONDS  5    /* until a PROXY header has come: it is the first thing sent */

static void
set_client(struct session *s, const struct client *client)
{
	char text[INET6_ADDRSTRLEN];

	s->client = *client;
	switch (client->family) {
	case CLIENT_INET4:
		inet_ntop(AF_INET, client->address, s->client_text, sizeof(s->client_text));
		break;
	case CLIENT_INET6:
		inet_ntop(AF_INET6, client->address, text, sizeof(text));
		snprintf(s->client_text, sizeof(s->client_text), "IPv6:%s", text);
		break;
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
	case CLIENT_COUNT:
		strlcpy(s->client_text, "local", sizeof(s->client_text));
		break;
	}
}

static void
log_connected(struct session *s)
{
	struct log_line line;

	session_log_begin(s, &line, LOG_LEVEL_INFO, "smtp-connected");
	log_text(&line, "address", s->client_text);
	if (s->client.has_uid)
		log_number(&line, "uid", s->client.uid);
	if (s->listener->address.ss_family == AF_INET || s->listener->address.ss_family == AF_INET6)
		/* IPv6 has it in the same place. */
		log_number(&line, "port",
		    ntohs(((const struct sockaddr_in *)(const void *)&s->listener->address)
		              ->sin_port));
	if (s->lmtp)
		log_text(&line, "protocol", "lmtp");
	if (*s->listener->tag != '\0')
		log_text(&line, "tag", s->listener->tag);
	log_end(&line);
}

/* The banner; the client has said nothing yet, or it isn't one of ours (RFC 5321 4.3.1). */
void
session_greet(struct session *s)
{
	if (session_has_more_input(s)) {
		session_reply(
		    s, 554, "5.5.0", "%s a client must wait for the greeting", session_hostname(s));
		s->linger = true;
		session_close(s, "talked before the greeting");
		return;
	}
	session_send_line(s, "220 %s %s Postern", session_hostname(s), s->lmtp ? "LMTP" : "ESMTP");
	if (s->client.family != CLIENT_INET4 && s->client.family != CLIENT_INET6)
		return;
	s->name_request = upstream_ask_name(s->service->upstream, s, s->client.family,
	    s->client.address, session_config(s)->limits.resolver_time_ms + NAME_MARGIN_MS);
	s->name_unknown = s->name_request == 0;
}

static void
enter(struct session *s)
{
	log_connected(s);
	if (s->listener->tls == LISTEN_TLS_IMPLICIT)
		session_begin_tls(s);
	else
		session_greet(s);
}

size_t
session_take_proxy_header(struct session *s, const char *data, size_t length)
{
	const struct limits_config *limits = &session_config(s)->limits;
	struct proxy_source source;
	struct client client = { .has_uid = false };
	enum crowd_answer answer;
	size_t used;

	switch (proxy_parse((const uint8_t *)data, length, &source, &used)) {
	case PROXY_MORE:
		return 0;
	case PROXY_BAD:
		if (s->listener->tls == LISTEN_TLS_IMPLICIT) {
			session_die(s, "bad PROXY header");
			return 0;
		}
		session_reply(s, 554, "5.5.0", "%s no PROXY version 2 header", session_hostname(s));
		s->linger = true;
		session_close(s, "bad PROXY header");
		return 0;
	case PROXY_OK:
		break;
	}
	(void)event_del(&s->timer);
	if (source.given) {
		client.family = source.family;
		memcpy(client.address, source.address, sizeof(client.address));
		/* From here on it is the client that counts. */
		crowd_leave(s->service->crowd, s->counted_as, s->client.address);
		service_count_gauge(s->counted_as, -1);
		set_client(s, &client);
		answer = crowd_enter(s->service->crowd, limits, client.family, client.address);
		s->counted = answer == CROWD_ENTERED;
		s->counted_as = client.family;
		service_count_gauge(s->counted_as, 1);
		if (!s->counted) {
			service_log_refusal(s->service, s->client_text, crowd_words(answer));
			if (s->listener->tls == LISTEN_TLS_IMPLICIT)
				session_die(s, "limit");
			else
				session_shut(s, "4.7.0", "limit", crowd_words(answer));
			return used;
		}
	}
	s->state = SESSION_COMMAND;
	s->input_behind = length - used;
	enter(s);
	return used;
}

/* Before a session exists: one write, and gone. */
static void
turn_away(struct service *service, const struct session *s, const char *code, const char *words)
{
	char text[512], user[32];
	int length;

	length = snprintf(text, sizeof(text), "%s %s %s\r\n", code, session_hostname(s), words);
	/* Nobody would understand them in the place of a handshake. */
	if (s->listener->tls != LISTEN_TLS_IMPLICIT && length > 0 && (size_t)length < sizeof(text))
		(void)send(s->fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)close(s->fd); /* it was told, or is gone */
	if (s->client.has_uid)
		snprintf(user, sizeof(user), "local, uid %u", s->client.uid);
	service_log_refusal(service, s->client.has_uid ? user : s->client_text, words);
}

/* A proxy has as many connections as all of its clients, and each counts as its own until the
 * header has come. So it is given half of all: those without a header leave the rest to others. */
static enum crowd_answer
enter_proxy(struct crowd *crowd, const struct limits_config *limits, const struct client *client)
{
	struct limits_config half = *limits;

	half.sessions_per_address = half.sessions_per_network = (limits->sessions + 1) / 2;
	return crowd_enter(crowd, &half, client->family, client->address);
}

/* Counts the session in; false when the client is told that it may not enter. */
static bool
let_in(struct session *s)
{
	const struct config *config = session_config(s);
	const struct client *client = &s->client;
	struct service *service = s->service;
	enum crowd_answer answer;

	if (s->listener->proxy_v2 &&
	    !proxy_is_trusted(
	        config, s->listener->proxy_trusted, client->family, client->address)) {
		turn_away(service, s, "554 5.7.1", "only proxies named in proxy-v2 may connect");
		return false;
	}
	if (service->session_count >= service->session_max)
		answer = CROWD_FULL;
	else if (s->listener->proxy_v2)
		answer = enter_proxy(service->crowd, &config->limits, client);
	else
		answer =
		    crowd_enter(service->crowd, &config->limits, client->family, client->address);
	if (answer != CROWD_ENTERED)
		turn_away(service, s, "421 4.7.0", crowd_words(answer));
	return answer == CROWD_ENTERED;
}

static void
await_proxy_header(struct session *s)
{
	struct timeval limit = { .tv_sec = PROXY_SECONDS };

	s->state = SESSION_PROXY;
	if (event_add(&s->timer, &limit) == -1)
		session_die(s, "no memory");
}

/* The listener's name, or that of the address which the client has connected to. */
static const char *
hostname_of(const struct session *s)
{
	const char *name = s->listener->hostname;
	const struct table_config *names;
	struct sockaddr_storage own;
	socklen_t length = sizeof(own);
	unsigned char key[16];
	const void *bytes;
	size_t size;

	if (*s->listener->hostnames == '\0' ||
	    getsockname(s->fd, (struct sockaddr *)&own, &length) == -1)
		return name;
	if (own.ss_family == AF_INET) {
		bytes = &((const struct sockaddr_in *)&own)->sin_addr;
		size = 4;
	} else if (own.ss_family == AF_INET6) {
		bytes = &((const struct sockaddr_in6 *)&own)->sin6_addr;
		size = 16;
	} else
		return name;
	/* The parser sees to it that there is no other table. */
	names = config_find_table(session_config(s), s->listener->hostnames);
	for (size_t i = 0; names != NULL && i < names->entry_count; i++) {
		if (inet_pton(own.ss_family, names->entries[i].key, key) == 1 &&
		    memcmp(key, bytes, size) == 0)
			return names->entries[i].value;
	}
	return name;
}

void
session_start(struct service *service, struct settings *settings,
    const struct listener_config *listener, const struct client *client, int fd)
{
	static const char no_memory[] = "421 4.3.0 too little memory, try again later\r\n";
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		log_error("no memory for another session: give the machine more, or lower smtp "
		          "limit sessions");
		(void)send(fd, no_memory, sizeof(no_memory) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)close(fd); /* it was told, or is gone */
		return;
	}
	s->service = service;
	s->settings = settings;
	s->listener = listener;
	s->fd = fd;
	s->hostname = hostname_of(s);
	s->lmtp = listener->protocol == LISTEN_LMTP;
	s->id = service_next_id(service);
	set_client(s, client);
	s->counted_as = client->family;
	if (!let_in(s)) {
		free(s);
		return;
	}
	s->counted = true;
	session_open(s);
	if (listener->proxy_v2)
		await_proxy_header(s);
	else {
		s->state = SESSION_COMMAND;
		enter(s);
	}
	session_settle(s);
}
