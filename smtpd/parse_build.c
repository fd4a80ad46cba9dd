/*
 * Statements become parts of the config here. While one is read its words gather in the draft; its
 * *_finish() function checks them together and moves them over, so that a statement with an error
 * leaves nothing behind but the report.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/log.h"
#include "smtpd/parse_build.h"

#define TTL_MAX (365 * 86400)

char *
parse_copy(const char *text)
{
	char *string = strdup(text);

	if (string == NULL)
		fatal("parse: strdup");
	return string;
}

void
parse_lowercase(char *text)
{
	for (; *text != '\0'; text++)
		*text = (char)tolower((unsigned char)*text);
}

void *
parse_grow(void *array, size_t count, size_t size)
{
	/* Grown at each power of two: a table's entries may come by the hundred thousand. */
	if ((count & (count - 1)) == 0) {
		array = reallocarray(array, count == 0 ? 1 : 2 * count, size);
		if (array == NULL)
			fatal("parse: reallocarray");
	}
	memset((char *)array + count * size, 0, size);
	return array;
}

void
parse_init(struct parse *parse, parse_report_fn report, void *arg)
{
	memset(parse, 0, sizeof(*parse));
	parse->problems.report = report;
	parse->problems.arg = arg;
	parse->lexer = lexer_new(&parse->problems);
	parse->config = config_new();
	draft_begin(parse, (struct place){ "", 0 });
	parse->draft.table.backend = TABLE_ACCOUNTS;
	free(table_finish(parse, (struct place){ "", 0 }, parse_copy("accounts")));
}

void
parse_free(struct parse *parse)
{
	draft_clear(parse);
	for (size_t i = 0; i < parse->reference_count; i++)
		free(parse->references[i].name);
	free(parse->references);
	for (size_t i = 0; i < parse->config->table_count; i++)
		free(parse->notes[i].entries);
	free(parse->notes);
	for (size_t i = 0; i < parse->config->action_count; i++)
		free(parse->host_tables[i]);
	free(parse->host_tables);
	free(parse->action_places);
	free(parse->rule_places);
	free(parse->listener_places);
	free(parse->pki_places);
	free(parse->smtp_ciphers);
	files_forget(parse);
	lexer_free(parse->lexer);
}

void
draft_clear(struct parse *parse)
{
	struct draft *draft = &parse->draft;

	free(draft->where);
	free(draft->port);
	free(draft->family);
	free(draft->listener.proxy_trusted);
	free(draft->listener.hostname);
	free(draft->listener.hostnames);
	free(draft->listener.tag);
	free(draft->listener.pkis);
	free(draft->listener.ca);
	free(draft->listener.tls_ciphers);
	free(draft->listener.auth_table);
	free(draft->listener.senders_table);
	free(draft->action.name);
	free(draft->action.path);
	free(draft->action.command);
	free(draft->action.wrapper);
	free(draft->action.alias_table);
	free(draft->action.virtual_table);
	free(draft->action.userbase_table);
	free(draft->action.user);
	free(draft->action.relay_hosts);
	free(draft->action.relay_domains);
	free(draft->action.relay_auth);
	free(draft->action.relay_ca);
	free(draft->action.relay_pki);
	free(draft->action.relay_ciphers);
	free(draft->action.relay_helo);
	free(draft->action.relay_backup_name);
	free(draft->action.relay_mail_from);
	free(draft->action.relay_source);
	free(draft->action.relay_helo_table);
	free(draft->ttl);
	free(draft->pki_name);
	free(draft->host_table);
	free(draft->limit_name);
	free(draft->rule.from_table);
	free(draft->rule.for_table);
	free(draft->rule.tag_table);
	free(draft->rule.helo_table);
	free(draft->rule.mail_from_table);
	free(draft->rule.rcpt_to_table);
	free(draft->rule.auth_table);
	free(draft->rule.action);
	table_begin(parse, draft->place);
	memset(draft, 0, sizeof(*draft));
}

void
draft_begin(struct parse *parse, struct place place)
{
	draft_clear(parse);
	parse->draft.place = place;
}

void
given_twice(struct parse *parse, struct place place, const char *word)
{
	problem_error(&parse->problems, place, "\"%s\" is given twice", word);
}

void
option_string(struct parse *parse, struct place place, const char *word, char **field, char *value)
{
	if (value == NULL)
		return; /* reported where it went wrong */
	if (*field != NULL) {
		given_twice(parse, place, word);
		free(value);
		return;
	}
	*field = value;
}

void
option_flag(struct parse *parse, struct place place, const char *word, bool *field)
{
	if (*field)
		given_twice(parse, place, word);
	*field = true;
}

/* They travel in fixed fields and stand in log lines. */
bool
action_name_fits(struct parse *parse, struct place place, const char *what, const char *name)
{
	const char *at;

	for (at = name; isascii((unsigned char)*at) && isgraph((unsigned char)*at); at++)
		;
	if (*at == '\0' && at > name && at - name <= ACTION_NAME_MAX)
		return true;
	problem_error(&parse->problems, place,
	    "\"%.40s\" can't name %s: 1 to %d ASCII characters without blanks", name, what,
	    ACTION_NAME_MAX);
	return false;
}

/* Listeners. */

static bool
port_from_word(struct parse *parse, const char *word, uint16_t *port)
{
	const struct servent *service;
	char *end;
	long number;

	number = strtol(word, &end, 10);
	if (isdigit((unsigned char)*word) && *end == '\0' && number > 0 && number < 65536) {
		*port = (uint16_t)number;
		return true;
	}
	service = isalpha((unsigned char)*word) ? getservbyname(word, "tcp") : NULL;
	if (service == NULL) {
		problem_error(&parse->problems, parse->draft.place,
		    "\"%.40s\" is neither a port from 1 to 65535 nor a service's name", word);
		return false;
	}
	*port = ntohs((uint16_t)service->s_port);
	return true;
}

static bool
same_address(const struct listener_config *listener, const struct sockaddr_storage *address)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)address,
	                         *other_in = (const struct sockaddr_in *)&listener->address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address,
	                          *other_in6 = (const struct sockaddr_in6 *)&listener->address;

	if (listener->address.ss_family != address->ss_family)
		return false;
	switch (address->ss_family) {
	case AF_INET:
		return in->sin_port == other_in->sin_port &&
		    in->sin_addr.s_addr == other_in->sin_addr.s_addr;
	case AF_INET6:
		return in6->sin6_port == other_in6->sin6_port &&
		    in6->sin6_scope_id == other_in6->sin6_scope_id &&
		    memcmp(&in6->sin6_addr, &other_in6->sin6_addr, sizeof(in6->sin6_addr)) == 0;
	default:
		return strcmp(((const struct sockaddr_un *)address)->sun_path,
		           ((const struct sockaddr_un *)&listener->address)->sun_path) == 0;
	}
}

/*
 * One listener like the draft at `address`; those from `first` on are of the same statement, and an
 * interface or a host may well give us an address twice.
 */
static void
listener_add(
    struct parse *parse, const struct sockaddr_storage *address, size_t length, size_t first)
{
	struct config *config = parse->config;
	struct listener_config *listener;

	for (size_t i = 0; i < config->listener_count; i++) {
		if (!same_address(&config->listeners[i], address))
			continue;
		if (i < first)
			problem_error(&parse->problems, parse->draft.place,
			    "\"%.100s\" is listened on already, with the same port",
			    parse->draft.where);
		return;
	}
	config->listeners =
	    parse_grow(config->listeners, config->listener_count, sizeof(*config->listeners));
	parse->listener_places = parse_grow(
	    parse->listener_places, config->listener_count, sizeof(*parse->listener_places));
	parse->listener_places[config->listener_count] = parse->draft.place;
	listener = &config->listeners[config->listener_count++];
	*listener = parse->draft.listener;
	listener->address = *address;
	listener->address_length = (uint32_t)length;
	/* Each has strings of its own, those that the draft hasn't too. */
	if (listener->proxy_trusted != NULL)
		listener->proxy_trusted = parse_copy(listener->proxy_trusted);
	if (listener->hostname != NULL)
		listener->hostname = parse_copy(listener->hostname);
	if (listener->hostnames != NULL)
		listener->hostnames = parse_copy(listener->hostnames);
	if (listener->tag != NULL)
		listener->tag = parse_copy(listener->tag);
	if (listener->pkis != NULL)
		listener->pkis = parse_copy(listener->pkis);
	if (listener->ca != NULL)
		listener->ca = parse_copy(listener->ca);
	if (listener->tls_ciphers != NULL)
		listener->tls_ciphers = parse_copy(listener->tls_ciphers);
	if (listener->auth_table != NULL)
		listener->auth_table = parse_copy(listener->auth_table);
	if (listener->senders_table != NULL)
		listener->senders_table = parse_copy(listener->senders_table);
	config_complete_listener(listener);
}

/* Metrics are for everybody who can connect: that is nobody on other machines. */
static bool
may_be_listened_on(struct parse *parse, const struct sockaddr *address)
{
	const struct sockaddr_in *in = (const void *)address;
	const struct sockaddr_in6 *in6 = (const void *)address;

	if (parse->draft.listener.protocol != LISTEN_METRICS ||
	    (address->sa_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) ||
	    (address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr)))
		return true;
	problem_error(&parse->problems, parse->draft.place,
	    "\"metrics on\" wants an address of loopback or \"socket\", not \"%.100s\"",
	    parse->draft.where);
	return false;
}

void
listener_add_inet(struct parse *parse, const struct sockaddr *address, uint16_t port, size_t first)
{
	struct sockaddr_storage storage;
	const char *family = parse->draft.family;

	if (!may_be_listened_on(parse, address))
		return;
	memset(&storage, 0, sizeof(storage));
	if (address->sa_family == AF_INET && (family == NULL || strcmp(family, "inet4") == 0)) {
		struct sockaddr_in *in = (struct sockaddr_in *)&storage;

		memcpy(in, address, sizeof(*in));
		in->sin_port = htons(port);
		listener_add(parse, &storage, sizeof(*in), first);
	}
	if (address->sa_family == AF_INET6 && (family == NULL || strcmp(family, "inet6") == 0)) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;

		memcpy(in6, address, sizeof(*in6));
		in6->sin6_port = htons(port);
		listener_add(parse, &storage, sizeof(*in6), first);
	}
}

static bool
listen_on_host(struct parse *parse, int flags, uint16_t port, size_t first)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | flags
	};
	struct addrinfo *answer, *at;

	if (getaddrinfo(parse->draft.where, NULL, &hints, &answer) != 0)
		return false;
	for (at = answer; at != NULL; at = at->ai_next)
		listener_add_inet(parse, at->ai_addr, port, first);
	freeaddrinfo(answer);
	return true;
}

/* RFC 8314 7.3; RFC 9051 2.1; RFC 1939 3; RFC 5804 1.8. */
static uint16_t
default_port(const struct listener_config *listener)
{
	bool implicit = listener->tls == LISTEN_TLS_IMPLICIT;

	switch (listener->protocol) {
	case LISTEN_IMAP:
		return implicit ? 993 : 143;
	case LISTEN_POP3:
		return implicit ? 995 : 110;
	case LISTEN_SIEVE:
		return 4190;
	case LISTEN_METRICS:
		return 9125;
	case LISTEN_SMTP:
	case LISTEN_LMTP:
	case LISTEN_PROTOCOL_COUNT:
		break;
	}
	return implicit ? 465 : 25;
}

static void
listen_inet(struct parse *parse)
{
	struct draft *draft = &parse->draft;
	size_t first = parse->config->listener_count;
	unsigned errors = parse->problems.errors;
	uint16_t port = default_port(&draft->listener);

	if (draft->port != NULL && !port_from_word(parse, draft->port, &port))
		return;
	/* RFC 2033 5: LMTP must not be used on port 25. */
	if (draft->listener.protocol == LISTEN_LMTP && port == 25) {
		problem_error(&parse->problems, draft->place,
		    "\"lmtp\" on \"%.100s\" needs a port other than 25", draft->where);
		return;
	}
	if (!listen_on_host(parse, AI_NUMERICHOST, port, first) &&
	    !listen_on_interface(parse, port, first) &&
	    (strcmp(draft->where, "egress") == 0 || !address_domain_is_valid(draft->where, false) ||
	        !listen_on_host(parse, 0, port, first)))
		problem_error(&parse->problems, draft->place,
		    strcmp(draft->where, "egress") == 0
		        ? "\"%.100s\": no interface has a default route"
		        : "\"%.100s\" is no address, no interface and no host name that resolves",
		    draft->where);
	else if (parse->config->listener_count == first && parse->problems.errors == errors)
		problem_error(&parse->problems, draft->place, "\"%.100s\" has no %s address",
		    draft->where, draft->family == NULL ? "IP" : draft->family);
}

/* Programs of this machine submit there: what is for strangers has no meaning. */
static bool
local_socket_fits(struct parse *parse)
{
	const struct listener_config *listener = &parse->draft.listener;
	const char *foreign = listener->protocol != LISTEN_SMTP ? "lmtp"
	    : listener->tls != LISTEN_TLS_NONE                  ? "tls"
	    : listener->auth != LISTEN_AUTH_NONE                ? "auth"
	    : listener->proxy_v2                                ? "proxy-v2"
	    : listener->received_auth                           ? "received-auth"
	                                                        : NULL;

	if (foreign == NULL)
		return true;
	problem_error(&parse->problems, parse->draft.place,
	    "\"%s\" doesn't go with \"socket\" without a path", foreign);
	return false;
}

static void
listen_socket(struct parse *parse)
{
	struct draft *draft = &parse->draft;
	bool is_default = draft->where == NULL && draft->listener.protocol == LISTEN_METRICS;
	bool is_path = true;
	struct sockaddr_un address;

	if (draft->port != NULL || draft->family != NULL) {
		problem_error(&parse->problems, draft->place, "\"socket\" has no \"%s\"",
		    draft->port != NULL ? "port" : draft->family);
		return;
	}
	if (draft->listener.hostnames != NULL) {
		problem_error(&parse->problems, draft->place,
		    "\"socket\" has no address that \"hostnames\" could name");
		return;
	}
	if (draft->where == NULL && !is_default && !local_socket_fits(parse))
		return;
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	/* The path of one without it isn't known before the file's end: listen_local_socket(),
	 * metrics_check(). */
	if (draft->where == NULL)
		draft->where = parse_copy(is_default ? METRICS_SOCKET : "");
	else if (*draft->where != '/')
		is_path = false;
	if (!is_path ||
	    strlcpy(address.sun_path, draft->where, sizeof(address.sun_path)) >=
	        sizeof(address.sun_path)) {
		problem_error(&parse->problems, draft->place,
		    "\"%.100s\" is not an absolute path of at most %zu bytes", draft->where,
		    sizeof(address.sun_path) - 1);
		return;
	}
	struct sockaddr_storage storage;

	memset(&storage, 0, sizeof(storage));
	memcpy(&storage, &address, sizeof(address));
	listener_add(parse, &storage, sizeof(address), parse->config->listener_count);
}

void
listen_local_socket(struct parse *parse)
{
	struct config *config = parse->config;
	struct sockaddr_un *local, wanted = { .sun_family = AF_UNIX };
	struct sockaddr_storage storage;
	bool is_there = false;
	size_t i;

	/* smtpd itself refuses to start where the control socket's path, which is longer, has no room. */
	if (snprintf(wanted.sun_path, sizeof(wanted.sun_path), "%s/" LOCAL_SOCKET,
	        config->run_directory) >= (int)sizeof(wanted.sun_path))
		wanted.sun_path[0] = '\0';
	for (i = 0; i < config->listener_count; i++) {
		local = (struct sockaddr_un *)&config->listeners[i].address;
		if (local->sun_family != AF_UNIX)
			continue;
		if (local->sun_path[0] != '\0' && strcmp(local->sun_path, wanted.sun_path) != 0)
			continue;
		if (is_there)
			problem_error(&parse->problems, parse->listener_places[i],
			    "the socket \"%s\" is listened on already", wanted.sun_path);
		is_there = true;
		*local = wanted;
	}
	if (is_there || wanted.sun_path[0] == '\0')
		return;
	draft_begin(parse, (struct place){ "", 0 });
	memset(&storage, 0, sizeof(storage));
	memcpy(&storage, &wanted, sizeof(wanted));
	listener_add(parse, &storage, sizeof(wanted), 0);
	draft_clear(parse);
}

void
metrics_check(struct parse *parse)
{
	struct config *config = parse->config;

	for (size_t i = 0; i < config->listener_count; i++) {
		struct sockaddr_un *address = (void *)&config->listeners[i].address;

		if (address->sun_family != AF_UNIX || *address->sun_path == '/' ||
		    !listener_is_metrics(&config->listeners[i]))
			continue;
		(void)snprintf(address->sun_path, sizeof(address->sun_path), "%s/" METRICS_SOCKET,
		    config->run_directory);
	}
}

void
listen_finish(struct parse *parse)
{
	struct draft *draft = &parse->draft;

	if (draft->listener.tag != NULL &&
	    !action_name_fits(parse, draft->place, "a tag", draft->listener.tag))
		return;
	if (draft->listener.hostname != NULL &&
	    !address_domain_is_valid(draft->listener.hostname, true)) {
		problem_error(&parse->problems, draft->place, "\"%.100s\" is not a host name",
		    draft->listener.hostname);
		return;
	}
	if (!listen_access_fits(parse) || !listen_tls_fits(parse) || !listen_auth_fits(parse))
		return;
	if (draft->is_socket)
		listen_socket(parse);
	else
		listen_inet(parse);
	draft_clear(parse);
}

/* Actions. */

/* An option that the action's method has no use for, or NULL. */
static const char *
misplaced_option(const struct draft *draft)
{
	const struct action_config *action = &draft->action;
	bool is_local = action_is_local(action);
	bool is_relay = action->method == ACTION_RELAY;

	if (action->alias_table != NULL && is_relay)
		return "alias";
	if (action->virtual_table != NULL && is_relay)
		return "virtual";
	if (action->userbase_table != NULL && is_relay)
		return "userbase";
	if (action->user != NULL && !is_local)
		return "user";
	if (action->allow_pipes && is_relay)
		return "pipes";
	if (action->junk && action->method != ACTION_MAILDIR)
		return "junk";
	if (action->wrapper != NULL && (!is_local || action->method == ACTION_LMTP))
		return "wrapper";
	return relay_misplaced(draft);
}

/* What is wrong with the action in the draft, reported. */
static bool
action_is_sound(struct parse *parse)
{
	struct draft *draft = &parse->draft;
	struct action_config *action = &draft->action;
	struct problems *problems = &parse->problems;
	const char *misplaced = misplaced_option(draft);
	uint64_t ttl = 0;

	if (!action_name_fits(parse, draft->place, "an action", action->name))
		return false;
	if (misplaced != NULL) {
		problem_error(problems, draft->place,
		    "\"%s\" is not an option of action \"%s\"'s method", misplaced, action->name);
		return false;
	}
	if (action->alias_table != NULL && action->virtual_table != NULL) {
		problem_error(problems, draft->place,
		    "action \"%s\" has both \"alias\" and \"virtual\"", action->name);
		return false;
	}
	if (action->method == ACTION_EXPAND_ONLY && action->alias_table == NULL &&
	    action->virtual_table == NULL) {
		problem_error(problems, draft->place,
		    "\"expand-only\" of action \"%s\" needs \"alias\" or \"virtual\"",
		    action->name);
		return false;
	}
	if (draft->ttl != NULL &&
	    (!duration_from_word(draft->ttl, &ttl) || ttl == 0 || ttl > TTL_MAX)) {
		problem_error(problems, draft->place,
		    "\"ttl\" wants a duration like 4d, up to 365d, not \"%.40s\"", draft->ttl);
		return false;
	}
	action->ttl = (uint32_t)ttl;
	if (!relay_fits(parse))
		return false;
	if (!action_templates_fit(parse))
		return false;
	if (config_find_action(parse->config, action->name) != NULL) {
		problem_error(
		    problems, draft->place, "action \"%s\" is defined twice", action->name);
		return false;
	}
	return true;
}

void
action_finish(struct parse *parse)
{
	struct config *config = parse->config;
	struct action_config *action = &parse->draft.action;
	struct place place = parse->draft.place;

	if (action_is_sound(parse)) {
		config_complete_action(action);
		parse->action_places =
		    parse_grow(parse->action_places, config->action_count, sizeof(place));
		parse->action_places[config->action_count] = place;
		parse->host_tables = parse_grow(
		    parse->host_tables, config->action_count, sizeof(*parse->host_tables));
		parse->host_tables[config->action_count] = parse->draft.host_table;
		parse->draft.host_table = NULL;
		config->actions =
		    parse_grow(config->actions, config->action_count, sizeof(*config->actions));
		config->actions[config->action_count++] = *action;
		memset(action, 0, sizeof(*action));
	}
	draft_clear(parse);
}

/* Delay warnings. */

void
bounce_add(struct parse *parse, struct place place, char *interval)
{
	struct draft *draft = &parse->draft;
	uint64_t seconds;

	if (!duration_from_word(interval, &seconds) || seconds == 0 || seconds > TTL_MAX)
		problem_error(&parse->problems, place,
		    "\"bounce warn-interval\" wants durations like 4h, not \"%.40s\"", interval);
	else if (draft->bounce_warn_count == PARSE_COUNT(draft->bounce_warn))
		problem_error(&parse->problems, place,
		    "\"bounce warn-interval\" takes up to %zu durations, \"%.40s\" is one more",
		    PARSE_COUNT(draft->bounce_warn), interval);
	else if (draft->bounce_warn_count > 0 &&
	    draft->bounce_warn[draft->bounce_warn_count - 1] >= seconds)
		problem_error(&parse->problems, place,
		    "\"%.40s\" is not later than the duration before it", interval);
	else
		draft->bounce_warn[draft->bounce_warn_count++] = (uint32_t)seconds;
	free(interval);
}

void
bounce_finish(struct parse *parse, struct place place)
{
	if (parse->bounce_place.line != 0)
		problem_error(&parse->problems, place,
		    "\"bounce warn-interval\" is set a second time; first in line %u of %.200s",
		    parse->bounce_place.line, parse->bounce_place.file);
	parse->bounce_place = place;
	memset(parse->config->bounce_warn, 0, sizeof(parse->config->bounce_warn));
	memcpy(
	    parse->config->bounce_warn, parse->draft.bounce_warn, sizeof(parse->draft.bounce_warn));
	parse->config->bounce_warn_count = parse->draft.bounce_warn_count;
	draft_clear(parse);
}
