/*
 * A login is a struct sasl and a state. It is found by peer and id. When a password or a proof is
 * there to be looked at, the throttle says when; a password goes to the threads then, a proof takes
 * no time and is looked at here.
 *
 * Whatever is wrong, the client hears the same words; the log says why.
 */
#include <sys/queue.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"
#include "lookup/auth.h"
#include "lookup/credentials.h"
#include "lookup/password_pool.h"
#include "lookup/sasl.h"

#define LOGINS_MAX      10000
#define BUCKETS         4096
#define CLIENT_SECONDS  900 /* for the client's answer: its session ends earlier */
#define CROWDED_SECONDS 5

enum login_state {
	LOGIN_CLIENT,   /* it has been asked */
	LOGIN_LINE,     /* the password or proof waits to be looked at */
	LOGIN_CHECKING, /* a thread looks at it */
	LOGIN_CROWDED,  /* to be told to come again */
};

struct login {
	LIST_ENTRY(login) by_id;
	struct auth *auth;
	void *peer;
	uint32_t id;
	uint32_t request; /* what the peer waits for */
	enum login_state state;
	enum password_order order;
	bool has_asked; /* the throttle, which wants to be told of the end */
	struct event timer;
	char service[16];
	char table[TABLE_NAME_MAX + 1];
	char account[SASL_USER_MAX + 1]; /* in lower case: for the throttle */
	uint64_t session;
	enum client_family family;
	uint8_t address[16];
	struct sasl sasl;
	struct credentials credentials;
};

struct auth {
	struct event_base *base;
	struct auth_calls calls;
	struct site *site;
	struct throttle *throttle;
	struct password_pool *pool;
	struct credentials_secret secret;
	LIST_HEAD(bucket, login) logins[BUCKETS];
	size_t count;
};

static const char *const mechanism_names[SASL_MECHANISM_COUNT] = {
	[SASL_PLAIN] = "PLAIN",
	[SASL_LOGIN] = "LOGIN",
	[SASL_SCRAM_SHA_256] = "SCRAM-SHA-256",
	[SASL_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
};

static void password_checked(void *, bool, void *);
static void on_timer(evutil_socket_t, short, void *);

struct auth *
auth_new(struct event_base *base, const struct auth_calls *calls)
{
	struct auth *auth = calloc(1, sizeof(*auth));

	if (auth == NULL)
		fatal("out of memory");
	auth->base = base;
	auth->calls = *calls;
	auth->throttle = throttle_new(1);
	auth->pool = password_pool_new(base, password_checked, auth);
	arc4random_buf(&auth->secret, sizeof(auth->secret));
	return auth;
}

static struct throttle_client
client_of(const struct login *login)
{
	struct throttle_client client = { .family = login->family, .account = login->account };

	memcpy(client.address, login->address, sizeof(client.address));
	return client;
}

static void
free_login(struct login *login)
{
	struct auth *auth = login->auth;

	if (login->state == LOGIN_CHECKING)
		password_pool_cancel(auth->pool, login);
	if (login->has_asked) {
		struct throttle_client client = client_of(login);

		throttle_leave(auth->throttle, &client, clock_monotonic_ms());
	}
	(void)event_del(&login->timer);
	LIST_REMOVE(login, by_id);
	auth->count--;
	sasl_free(&login->sasl);
	explicit_bzero(login, sizeof(*login));
	free(login);
}

void
auth_drop_peer(struct auth *auth, void *peer)
{
	struct login *login, *next;

	for (size_t i = 0; i < BUCKETS; i++) {
		for (login = LIST_FIRST(&auth->logins[i]); login != NULL; login = next) {
			next = LIST_NEXT(login, by_id);
			if (peer == NULL || login->peer == peer)
				free_login(login);
		}
	}
}

void
auth_free(struct auth *auth)
{
	if (auth == NULL)
		return;
	auth_drop_peer(auth, NULL);
	password_pool_free(auth->pool);
	throttle_free(auth->throttle);
	explicit_bzero(&auth->secret, sizeof(auth->secret));
	free(auth);
}

void
auth_set_site(struct auth *auth, struct site *site)
{
	auth->site = site;
	throttle_set_limit(auth->throttle, site->config->auth_failures);
}

struct throttle *
auth_throttle(struct auth *auth)
{
	return auth->throttle;
}

static struct login *
find(struct auth *auth, const void *peer, uint32_t id)
{
	struct login *login;

	LIST_FOREACH(login, &auth->logins[id % BUCKETS], by_id)
	{
		if (login->id == id && login->peer == peer)
			break;
	}
	return login;
}

static void
format_client(const struct login *login, char *text, size_t size)
{
	char address[INET6_ADDRSTRLEN] = "";

	strlcpy(text, "local", size);
	if (login->family == CLIENT_INET4)
		inet_ntop(AF_INET, login->address, text, (socklen_t)size);
	else if (login->family == CLIENT_INET6 &&
	    inet_ntop(AF_INET6, login->address, address, sizeof(address)) != NULL)
		snprintf(text, size, "IPv6:%s", address);
}

static void
log_login(const struct login *login, const char *event, const char *reason)
{
	char text[CLIENT_TEXT_MAX + 1];
	struct log_line line;

	format_client(login, text, sizeof(text));
	log_begin(&line, LOG_LEVEL_INFO, event);
	log_hex64(&line, "session", login->session);
	log_text(&line, "service", login->service);
	log_text(&line, "address", text);
	log_text(&line, "user", login->sasl.user);
	log_text(&line, "mechanism", mechanism_names[login->sasl.mechanism]);
	if (reason != NULL)
		log_text(&line, "reason", reason);
	log_end(&line);
}

static void
count(const struct login *login, enum stats_key smtp)
{
	int service = strcmp(login->service, "imap") == 0 ? 1
	    : strcmp(login->service, "pop3") == 0         ? 2
	    : strcmp(login->service, "sieve") == 0        ? 3
	                                                  : 0;

	stats_add((enum stats_key)((int)smtp + service), 1);
}

/* Answers, and the login is over. */
static void
finish(struct login *login, unsigned code, const char *enhanced, const char *words)
{
	struct auth *auth = login->auth;
	struct ipc_auth_done done = { .user = "" };
	void *peer = login->peer;
	uint32_t request = login->request;

	reply_set(&done.reply, code, enhanced, "%s", words);
	if (code == 235)
		strlcpy(done.user, login->credentials.user, sizeof(done.user));
	free_login(login);
	auth->calls.done(peer, request, &done);
}

static void
defer(struct login *login, const char *why)
{
	count(login, STATS_AUTH_SMTP_DEFERRED);
	log_login(login, "auth-deferred", why);
	finish(login, 454, "4.7.0", "temporary authentication failure, try again later");
}

static void
note(struct login *login, bool right)
{
	struct throttle_client client = client_of(login);

	throttle_note(login->auth->throttle, &client, right, clock_monotonic_ms());
}

static void
fail(struct login *login, const char *reason)
{
	note(login, false);
	count(login, STATS_AUTH_SMTP_FAILED);
	log_login(login, "auth-failed", reason);
	finish(login, 535, "5.7.8", "authentication failed"); /* RFC 4954 6 */
}

static void
succeed(struct login *login)
{
	struct reply why = { .code = 0 };

	note(login, true);
	if (login->auth->calls.admit != NULL &&
	    !login->auth->calls.admit(login->peer, login->session, login->credentials.user, &why)) {
		defer(login, why.text);
		return;
	}
	count(login, STATS_AUTH_SMTP_OK);
	log_login(login, "auth-ok", NULL);
	finish(login, 235, "2.7.0", "authentication succeeded");
}

static void
start_timer(struct login *login, int64_t ms)
{
	struct timeval delay = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };

	if (event_add(&login->timer, &delay) == -1)
		fatalx("out of memory for a timer");
}

static void
ask_client(struct login *login)
{
	login->state = LOGIN_CLIENT;
	start_timer(login, CLIENT_SECONDS * 1000L);
	login->auth->calls.challenge(
	    login->peer, login->request, login->sasl.message, login->sasl.message_length);
}

/* The password or the proof: its turn has come. */
static void
look(struct login *login)
{
	const char *reason = login->credentials.exists ? "wrong password" : "unknown user";

	if (login->sasl.scram != NULL) {
		if (sasl_check_proof(&login->sasl) && login->credentials.has_verifier &&
		    login->credentials.exists)
			ask_client(login);
		else
			fail(login,
			    login->credentials.exists && !login->credentials.has_verifier
			        ? "no SCRAM verifier is stored for this user"
			        : reason);
		return;
	}
	login->state = LOGIN_CHECKING;
	if (!password_pool_check(login->auth->pool, login->order, login->credentials.stored,
	        login->sasl.password, login))
		defer(login, "too many passwords wait to be checked");
	else
		explicit_bzero(login->sasl.password, sizeof(login->sasl.password));
}

static void
password_checked(void *owner, bool right, void *arg)
{
	struct login *login = owner;

	(void)arg;
	login->state = LOGIN_LINE;
	if (right && login->credentials.exists)
		succeed(login);
	else
		fail(login, login->credentials.exists ? "wrong password" : "unknown user");
}

static void
stand_in_line(struct login *login)
{
	struct throttle_client client = client_of(login);
	unsigned wait_ms;

	login->state = LOGIN_LINE;
	login->has_asked = true;
	switch (throttle_ask(login->auth->throttle, &client, clock_monotonic_ms(), &wait_ms)) {
	case THROTTLE_KNOWN:
		login->order = PASSWORD_KNOWN;
		look(login);
		break;
	case THROTTLE_FREE:
		login->order = PASSWORD_FIRST;
		look(login);
		break;
	case THROTTLE_WAIT:
		login->order = PASSWORD_LAST;
		start_timer(login, wait_ms);
		break;
	case THROTTLE_CROWDED:
		login->state = LOGIN_CROWDED;
		start_timer(login, CROWDED_SECONDS * 1000L);
		break;
	}
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct login *login = arg;

	(void)fd;
	(void)what;
	switch (login->state) {
	case LOGIN_CLIENT:
		free_login(login); /* nobody waits for an answer */
		break;
	case LOGIN_LINE:
		look(login);
		break;
	case LOGIN_CROWDED:
		defer(login, "too many of its network wait already");
		break;
	case LOGIN_CHECKING:
		break;
	}
}

/* Whose login it is, is known now. False when it is over. */
static bool
find_user(struct login *login)
{
	strlcpy(login->account, login->sasl.user, sizeof(login->account));
	text_lower(login->account);
	switch (credentials_find(login->auth->site, login->table, login->sasl.user,
	    &login->auth->secret, &login->credentials)) {
	case TABLE_FOUND:
	case TABLE_NONE:
		return true;
	case TABLE_BROKEN:
		break;
	}
	defer(login, "the table of credentials can't be used now");
	return false;
}

static void
go_on(struct login *login, const void *data, size_t length)
{
	switch (sasl_respond(&login->sasl, data, length)) {
	case SASL_CHALLENGE:
		ask_client(login);
		break;
	case SASL_PASSWORD:
		if (find_user(login))
			stand_in_line(login);
		break;
	case SASL_VERIFIER:
		if (!find_user(login))
			break;
		sasl_use_verifier(&login->sasl, &login->credentials.verifier);
		ask_client(login);
		break;
	case SASL_PROOF:
		stand_in_line(login);
		break;
	case SASL_DONE:
		succeed(login);
		break;
	case SASL_MALFORMED:
		fail(login, "malformed");
		break;
	}
}

void
auth_begin(struct auth *auth, void *peer, uint32_t id, const struct ipc_auth *begun)
{
	struct login *login = find(auth, peer, id);
	struct ipc_auth_done full = { .user = "" };

	if (login != NULL)
		free_login(login);
	login = auth->count < LOGINS_MAX ? calloc(1, sizeof(*login)) : NULL;
	if (login == NULL) {
		reply_set(&full.reply, 454, "4.7.0", "too many logins at once, try again later");
		auth->calls.done(peer, id, &full);
		return;
	}
	login->auth = auth;
	login->peer = peer;
	login->id = login->request = id;
	login->session = begun->session;
	login->family = (enum client_family)begun->client_family;
	memcpy(login->address, begun->client_address, sizeof(login->address));
	strlcpy(login->service, begun->service, sizeof(login->service));
	strlcpy(login->table, begun->table, sizeof(login->table));
	event_assign(&login->timer, auth->base, -1, EV_TIMEOUT, on_timer, login);
	sasl_init(&login->sasl, begun->mechanism, &begun->exporter, &begun->end_point);
	LIST_INSERT_HEAD(&auth->logins[id % BUCKETS], login, by_id);
	auth->count++;
	if (begun->has_initial)
		go_on(login, begun->initial.bytes, begun->initial.length);
	else {
		sasl_begin(&login->sasl);
		ask_client(login);
	}
}

bool
auth_respond(
    struct auth *auth, void *peer, uint32_t id, uint32_t request, const struct ipc_auth_data *data)
{
	struct login *login = find(auth, peer, id);
	struct ipc_auth_done late = { .user = "" };

	if (login == NULL) {
		reply_set(&late.reply, 454, "4.7.0", "the login took too long, try again");
		auth->calls.done(peer, request, &late);
		return true;
	}
	if (login->state != LOGIN_CLIENT)
		return false;
	(void)event_del(&login->timer);
	login->request = request;
	go_on(login, data->bytes, data->length);
	return true;
}

void
auth_cancel(struct auth *auth, void *peer, uint32_t id)
{
	struct login *login = find(auth, peer, id);

	if (login == NULL)
		return;
	/* A password that was looked at while nobody waits for the answer is a guess as well. */
	if (login->state != LOGIN_CLIENT)
		note(login, false);
	free_login(login);
}
