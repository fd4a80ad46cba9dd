/*
 * Statements and options about TLS: pki, ca, and what listeners say of them. The files themselves
 * are read by the supervisor, when it needs them.
 */
#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "common/envelope.h"
#include "common/log.h"
#include "smtpd/parse_build.h"

#define NAME_MAX_BYTES 255
#define CA_NAME_MAX    ACTION_NAME_MAX /* relays keep it */

static bool
name_fits(struct parse *parse, struct place place, const char *name, int most)
{
	const char *at;

	for (at = name; isascii((unsigned char)*at) && isgraph((unsigned char)*at); at++)
		;
	if (*at == '\0' && at > name && at - name <= most)
		return true;
	problem_error(&parse->problems, place,
	    "\"%.40s\" is no name: 1 to %d ASCII characters without blanks", name, most);
	return false;
}

static bool
path_fits(struct parse *parse, struct place place, const char *path)
{
	const char *at;

	for (at = path; *at != '\0' && !iscntrl((unsigned char)*at); at++)
		;
	if (*path == '/' && *at == '\0' && at - path < PATH_MAX)
		return true;
	problem_error(&parse->problems, place, "\"%.100s\" is not an absolute path", path);
	return false;
}

/* Takes `path` over into *member, or says what is wrong with it. */
static void
set_file(struct parse *parse, struct place place, const char *statement, const char *word,
    char **member, char *path)
{
	if (!path_fits(parse, place, path))
		free(path);
	else if (*member != NULL) {
		problem_error(
		    &parse->problems, place, "\"%s\" has a second \"%s\"", statement, word);
		free(path);
	} else
		*member = path;
}

static struct pki_config *
pki_of(struct parse *parse, struct place place, const char *name)
{
	struct config *config = parse->config;
	struct pki_config *pki;

	for (size_t i = 0; i < config->pki_count; i++)
		if (strcasecmp(config->pkis[i].name, name) == 0)
			return &config->pkis[i];
	config->pkis = parse_grow(config->pkis, config->pki_count, sizeof(*config->pkis));
	parse->pki_places = parse_grow(parse->pki_places, config->pki_count, sizeof(place));
	parse->pki_places[config->pki_count] = place;
	pki = &config->pkis[config->pki_count++];
	pki->name = parse_copy(name);
	parse_lowercase(pki->name);
	return pki;
}

/* OpenSMTPD's choice of finite-field Diffie-Hellman for TLS 1.2, which nobody needs who has ECDHE. */
static void
check_dhe(struct parse *parse, struct place place, const char *value)
{
	if (strcasecmp(value, "auto") == 0 || strcasecmp(value, "legacy") == 0)
		problem_warning(
		    &parse->problems, place, "\"dhe %s\" changes nothing: ECDHE is used", value);
	else if (strcasecmp(value, "none") != 0)
		problem_error(&parse->problems, place,
		    "\"dhe\" wants \"none\", \"auto\" or \"legacy\", not \"%.40s\"", value);
}

void
pki_set(struct parse *parse, struct place place, char *name, char *word, char *path)
{
	struct pki_config *pki;

	if (name != NULL) {
		draft_begin(parse, place);
		parse->draft.pki_name = name;
	}
	name = parse->draft.pki_name;
	if (strcmp(word, "dhe") == 0) {
		check_dhe(parse, place, path);
		free(path);
	} else if (strcmp(word, "cert") != 0 && strcmp(word, "key") != 0) {
		problem_error(&parse->problems, place,
		    "\"pki %.40s\" wants \"cert\" or \"key\" and a path, not \"%.40s\"", name,
		    word);
		free(path);
	} else if (!name_fits(parse, place, name, NAME_MAX_BYTES))
		free(path);
	else {
		pki = pki_of(parse, place, name);
		files_note(parse, *word == 'c' ? PARSE_FILE_CERTIFICATE : PARSE_FILE_KEY, place,
		    name, path);
		set_file(
		    parse, place, "pki", word, *word == 'c' ? &pki->certificate : &pki->key, path);
	}
	free(word);
}

void
ca_set(struct parse *parse, struct place place, char *name, char *word, char *path)
{
	struct config *config = parse->config;
	struct ca_config *ca;

	parse_lowercase(name);
	if (strcmp(word, "cert") == 0 && strcmp(name, "default") == 0) {
		files_note(parse, PARSE_FILE_AUTHORITIES, place, name, path);
		setting_set(parse, place, "ca default cert", path);
		path = NULL;
	} else if (strcmp(word, "cert") != 0)
		problem_error(&parse->problems, place,
		    "\"ca %.40s\" wants \"cert\" and a path, not \"%.40s\"", name, word);
	else if (config_find_ca(config, name) != NULL)
		problem_error(&parse->problems, place, "ca \"%.40s\" is defined twice", name);
	else if (name_fits(parse, place, name, CA_NAME_MAX) && path_fits(parse, place, path)) {
		files_note(parse, PARSE_FILE_AUTHORITIES, place, name, path);
		config->cas = parse_grow(config->cas, config->ca_count, sizeof(*config->cas));
		ca = &config->cas[config->ca_count++];
		ca->name = name;
		ca->certificates = path;
		free(word);
		return;
	}
	free(name);
	free(word);
	free(path);
}

/* Options of listeners */

void
listen_tls(struct parse *parse, struct place place, enum listener_tls tls, bool verify)
{
	static const char *const words[] = { "", "tls", "tls-require", "smtps" };
	struct listener_config *listener = &parse->draft.listener;

	if (listener->tls != LISTEN_TLS_NONE)
		problem_error(&parse->problems, place, "\"%s\" comes after \"%s\": one of them",
		    words[tls], words[listener->tls]);
	listener->tls = tls;
	listener->tls_verify = verify;
}

void
listen_pki(struct parse *parse, struct place place, char *name)
{
	char **names = &parse->draft.listener.pkis, *longer;

	if (!name_fits(parse, place, name, NAME_MAX_BYTES)) {
		free(name);
		return;
	}
	parse_lowercase(name);
	if (*names == NULL) {
		*names = name;
		return;
	}
	if (asprintf(&longer, "%s %s", *names, name) == -1)
		fatal("parse: asprintf");
	free(*names);
	free(name);
	*names = longer;
}

/* NULL, with the words freed, when they are none; that is reported. */
static char *
check_ciphers(struct parse *parse, struct place place, char *ciphers)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	bool known = context != NULL && SSL_CTX_set_cipher_list(context, ciphers) == 1;

	SSL_CTX_free(context);
	ERR_clear_error();
	if (known)
		return ciphers;
	problem_error(&parse->problems, place,
	    "\"%.100s\" is not a list of ciphers as openssl-ciphers(1) has it", ciphers);
	free(ciphers);
	return NULL;
}

void
listen_ciphers(struct parse *parse, struct place place, char *ciphers)
{
	option_string(parse, place, "ciphers", &parse->draft.listener.tls_ciphers,
	    check_ciphers(parse, place, ciphers));
}

void
smtp_ciphers(struct parse *parse, struct place place, char *ciphers)
{
	option_string(parse, place, "smtp ciphers", &parse->smtp_ciphers,
	    check_ciphers(parse, place, ciphers));
}

/* Listeners that take mail in and don't say which. */
static void
spread_ciphers(struct parse *parse)
{
	for (size_t i = 0; i < parse->config->listener_count && parse->smtp_ciphers != NULL; i++) {
		struct listener_config *listener = &parse->config->listeners[i];

		if (*listener->tls_ciphers != '\0' || listener->tls == LISTEN_TLS_NONE ||
		    listener_is_access(listener))
			continue;
		free(listener->tls_ciphers);
		listener->tls_ciphers = parse_copy(parse->smtp_ciphers);
	}
}

/* As libtls has them: words separated by commas or colons, in any case. Whether it is TLS 1.3 alone. */
static bool
check_protocols(struct parse *parse, struct place place, char *protocols)
{
	bool with_2 = false, with_3 = false, known = *protocols != '\0';
	char copy[64], *at = copy, *word;

	if (strlcpy(copy, protocols, sizeof(copy)) >= sizeof(copy))
		known = false;
	while (known && (word = strsep(&at, ",:")) != NULL) {
		bool all = strcasecmp(word, "secure") == 0 || strcasecmp(word, "default") == 0;

		known = all || strcasecmp(word, "tlsv1.2") == 0 || strcasecmp(word, "tlsv1.3") == 0;
		with_2 |= all || strcasecmp(word, "tlsv1.2") == 0;
		with_3 |= all || strcasecmp(word, "tlsv1.3") == 0;
	}
	if (!known || !with_3)
		problem_error(&parse->problems, place,
		    "\"protocols\" wants \"tlsv1.3\" or \"tlsv1.2,tlsv1.3\", not \"%.40s\"",
		    protocols);
	free(protocols);
	return known && !with_2;
}

void
listen_protocols(struct parse *parse, struct place place, char *protocols)
{
	parse->draft.listener.tls_1_3_only = check_protocols(parse, place, protocols);
}

void
relay_protocols(struct parse *parse, struct place place, char *protocols)
{
	option_flag(parse, place, "protocols", &parse->draft.relay_protocols);
	parse->draft.action.relay_tls_1_3_only = check_protocols(parse, place, protocols);
}

void
relay_ciphers(struct parse *parse, struct place place, char *ciphers)
{
	if (strlen(ciphers) > RELAY_CIPHERS_MAX) {
		problem_error(&parse->problems, place,
		    "the list of ciphers that begins with \"%.20s\" is longer than %d bytes",
		    ciphers, RELAY_CIPHERS_MAX);
		free(ciphers);
		return;
	}
	option_string(parse, place, "ciphers", &parse->draft.action.relay_ciphers,
	    check_ciphers(parse, place, ciphers));
}

/* Without TLS, what belongs to it is a slip that would leave a listener in the clear. */
bool
listen_tls_fits(struct parse *parse)
{
	const struct listener_config *listener = &parse->draft.listener;
	const char *word = listener->pkis != NULL ? "pki"
	    : listener->ca != NULL                ? "ca"
	    : listener->tls_ciphers != NULL       ? "ciphers"
	    : listener->tls_1_3_only              ? "protocols"
	    : listener->tls_no_tickets            ? "no-tickets"
	                                          : NULL;

	if (listener->tls == LISTEN_TLS_NONE && word != NULL) {
		problem_error(&parse->problems, parse->draft.place,
		    "\"%s\" without \"tls\", \"tls-require\" or \"smtps\"", word);
		return false;
	}
	if (listener->ca != NULL && !listener->tls_verify)
		problem_warning(&parse->problems, parse->draft.place,
		    "\"ca\" changes nothing without \"verify\"");
	return true;
}

/* The whole */

static void
check_pki(struct parse *parse, struct place place, const char *name, bool is_default)
{
	if (config_find_pki(parse->config, name) != NULL)
		return;
	if (is_default)
		problem_error(&parse->problems, place,
		    "TLS needs a certificate: no \"pki\" is given here, and none has the host's "
		    "name \"%.100s\"",
		    name);
	else
		problem_error(&parse->problems, place, "pki \"%.100s\" is not defined", name);
}

static void
check_listener(struct parse *parse, const struct listener_config *listener, struct place place)
{
	char name[NAME_MAX_BYTES + 1];
	const char *at;

	if (listener->tls == LISTEN_TLS_NONE)
		return;
	if (*listener->pkis == '\0')
		check_pki(parse, place,
		    *listener->hostname != '\0' ? listener->hostname : parse->config->hostname,
		    true);
	for (at = listener->pkis; *at != '\0'; at += *at == ' ') {
		size_t length = strcspn(at, " ");

		strlcpy(name, at, length + 1);
		check_pki(parse, place, name, false);
		at += length;
	}
	if (*listener->ca != '\0' && config_find_ca(parse->config, listener->ca) == NULL)
		problem_error(
		    &parse->problems, place, "ca \"%.100s\" is not defined", listener->ca);
}

void
tls_check(struct parse *parse)
{
	struct config *config = parse->config;
	size_t i;

	spread_ciphers(parse);
	for (i = 0; i < config->pki_count; i++) {
		if (config->pkis[i].certificate == NULL || config->pkis[i].key == NULL)
			problem_error(&parse->problems, parse->pki_places[i],
			    "pki \"%.100s\" has no \"%s\"", config->pkis[i].name,
			    config->pkis[i].key == NULL ? "key" : "cert");
		config_complete_pki(&config->pkis[i]);
	}
	for (i = 0; i < config->listener_count; i++) {
		/* An interface's addresses are of one statement: its slips are told once. */
		if (i > 0 && parse->listener_places[i].line == parse->listener_places[i - 1].line &&
		    parse->listener_places[i].file == parse->listener_places[i - 1].file)
			continue;
		check_listener(parse, &config->listeners[i], parse->listener_places[i]);
	}
}
