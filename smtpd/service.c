/*
 * What the sessions of a process share: configurations that live as long as a session uses them,
 * the channels to others, ids, and the count of who was turned away.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/stats.h"
#include "smtpd/session_state.h"
#include "common/tls_context.h"

struct settings *
settings_new(struct event_base *base, struct config *config)
{
	struct settings *settings = calloc(1, sizeof(*settings));
	struct timeval idle = { .tv_sec = config->limits.idle_time };

	if (settings == NULL)
		fatal("settings");
	settings->config = config;
	settings->references = 1;
	settings->idle_time = event_base_init_common_timeout(base, &idle);
	if (settings->idle_time == NULL)
		fatalx("too many different idle times since the start; restart to change it");
	return settings;
}

void
settings_release(struct settings *settings)
{
	if (settings == NULL || --settings->references > 0)
		return;
	tls_contexts_free(settings->tls);
	config_free(settings->config);
	free(settings);
}

void
service_init(struct service *service, struct event_base *base)
{
	static const struct upstream_calls calls = {
		.named = session_named,
		.target = session_rcpt_target,
		.rcpt_answered = session_rcpt_answered,
		.file_answered = session_file_answered,
		.commit_answered = session_commit_answered,
		.auth_challenged = session_auth_challenged,
		.auth_answered = session_auth_answered,
	};

	memset(service, 0, sizeof(*service));
	service->base = base;
	service->upstream = upstream_new(base, &calls);
	service->session_max = SIZE_MAX;
	service->refusals.event = "smtp-refused";
	LIST_INIT(&service->sessions);
	arc4random_buf(&service->id_key, sizeof(service->id_key));
	service->buffer = malloc(SERVICE_KEEP_MAX + SERVICE_READ_MAX);
	if (service->buffer == NULL)
		fatal("service");
}

void
service_free(struct service *service)
{
	service_abort(service);
	upstream_free(service->upstream);
	dkim_keys_clear(&service->dkim);
	crowd_free(service->crowd);
	free(service->buffer);
}

/* Ids count, but in an order that tells nobody how many there were (splitmix64's bijection). */
uint64_t
service_next_id(struct service *service)
{
	uint64_t id;

	do {
		id = service->id_key + ++service->id_count * 0x9e3779b97f4a7c15ULL;
		id = (id ^ id >> 30) * 0xbf58476d1ce4e5b9ULL;
		id = (id ^ id >> 27) * 0x94d049bb133111ebULL;
		id ^= id >> 31;
	} while (id == 0);
	return id;
}

void
service_count_gauge(enum client_family family, int change)
{
	stats_add(STATS_SMTP_SESSION, change);
	switch (family) {
	case CLIENT_INET4:
		stats_add(STATS_SMTP_SESSION_INET4, change);
		break;
	case CLIENT_INET6:
		stats_add(STATS_SMTP_SESSION_INET6, change);
		break;
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
	case CLIENT_COUNT:
		stats_add(STATS_SMTP_SESSION_LOCAL, change);
		break;
	}
}

void
service_log_refusal(struct service *service, const char *client, const char *words)
{
	stats_add(STATS_SMTP_REFUSED, 1);
	crowd_log_refusal(&service->refusals, client, words);
}
