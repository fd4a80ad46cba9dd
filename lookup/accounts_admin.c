/*
 * One function a verb. Each checks its words first, looks at what is there, and makes its one
 * change; the directory does nothing else in between, so what was looked at is still so.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "lookup/accounts_admin.h"
#include "lookup/mailbox.h"
#include "lookup/scram.h"

#define TARGETS_TEXT_MAX (1024UL * 1024)
#define LINE_MAX_LENGTH  12000

struct request {
	struct site *site;
	const struct ipc_account *account;
	struct ipc_result *result;
	struct address address; /* its domain as A-labels, its local part in lower case */
	char text[ADDRESS_TEXT_MAX + 2];
};

/* Sets the result; false, for the caller to return. */
static bool __attribute__((format(printf, 3, 4)))
refuse(struct request *r, unsigned code, const char *format, ...)
{
	va_list ap;

	r->result->exit_code = code;
	va_start(ap, format);
	vsnprintf(r->result->words, sizeof(r->result->words), format, ap);
	va_end(ap);
	for (char *at = r->result->words; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	}
	return false;
}

static bool
refuse_broken(struct request *r)
{
	return refuse(r, EX_TEMPFAIL,
	    "the accounts database can't be used now; the log of directory says why");
}

static bool
need_words(struct request *r, uint32_t least, uint32_t most)
{
	if (r->account->word_count >= least && r->account->word_count <= most)
		return true;
	return refuse(r, EX_USAGE, "wrong number of arguments");
}

static bool
parse_domain(struct request *r, const char *word, char *domain, size_t size)
{
	char key[ADDRESS_DOMAIN_MAX + 1];

	if (!address_domain_is_valid(word, true) || *word == '[' ||
	    !address_domain_key(word, key, sizeof(key)))
		return refuse(r, EX_DATAERR, "\"%s\" is not a domain", word);
	if (strcmp(key, MAILBOX_POSTMASTER) == 0)
		return refuse(r, EX_DATAERR, "\"%s\" can't be a domain here", word);
	strlcpy(domain, key, size);
	return true;
}

static bool
parse_address(struct request *r, const char *word)
{
	if (address_parse(word, ADDRESS_ALLOW_UTF8, &r->address) != ADDRESS_OK ||
	    address_is_literal(&r->address))
		return refuse(r, EX_DATAERR, "\"%s\" is not an address", word);
	if (!parse_domain(r, r->address.domain, r->address.domain, sizeof(r->address.domain)))
		return false;
	text_lower(r->address.local);
	address_format(&r->address, r->text, sizeof(r->text));
	return true;
}

/* An address, or "@domain" with an empty local part. */
static bool
parse_alias(struct request *r, const char *word)
{
	if (*word != '@')
		return parse_address(r, word);
	memset(&r->address, 0, sizeof(r->address));
	if (!parse_domain(r, word + 1, r->address.domain, sizeof(r->address.domain)))
		return false;
	snprintf(r->text, sizeof(r->text), "@%s", r->address.domain);
	return true;
}

/* A user's name is a directory's name too: nothing in it may need to be replaced there. */
static bool
check_user_name(struct request *r)
{
	const char *local = r->address.local;
	char text[ADDRESS_TEXT_MAX + 1];

	if (strpbrk(local, "/:\"\\ ") != NULL || *local == '.')
		return refuse(r, EX_DATAERR, "a user's name can't hold / : \" \\ or blanks");
	/* What must be quoted is no name either. */
	address_format(&r->address, text, sizeof(text));
	if (*text == '"')
		return refuse(r, EX_DATAERR, "\"%s\" can't be a user's name", local);
	return true;
}

static bool
need_domain(struct request *r)
{
	switch (accounts_find_domain(r->site->accounts, r->address.domain)) {
	case ACCOUNT_FOUND:
		return true;
	case ACCOUNT_NONE:
		return refuse(r, EX_NOHOST, "domain %s doesn't exist", r->address.domain);
	case ACCOUNT_BROKEN:
		break;
	}
	return refuse_broken(r);
}

static bool
need_user(struct request *r, struct account_user *user)
{
	switch (accounts_find_user(r->site->accounts, r->address.domain, r->address.local, user)) {
	case ACCOUNT_FOUND:
		return true;
	case ACCOUNT_NONE:
		return refuse(r, EX_NOUSER, "user %s doesn't exist", r->text);
	case ACCOUNT_BROKEN:
		break;
	}
	return refuse_broken(r);
}

/* Of a crypt(3) hash, "$id$...": what may be stored. */
static bool
check_hash(struct request *r, const char *hash)
{
	const char *end;

	if (*hash == '\0')
		return true;
	end = *hash == '$' ? strchr(hash + 1, '$') : NULL;
	if (end == NULL || end == hash + 1 || strlen(end) < 10 || strlen(hash) > ACCOUNT_HASH_MAX ||
	    strspn(
	        hash, "$./=,+-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") !=
	        strlen(hash))
		return refuse(r, EX_DATAERR, "the password's hash is not one of crypt(3)");
	return true;
}

/* "iterations,salt,key,key", the last three in base64. */
static bool
check_scram(struct request *r, const char *text)
{
	struct scram_verifier verifier;

	if (*text == '\0' ||
	    (strlen(text) <= ACCOUNT_SCRAM_MAX && scram_verifier_parse(text, &verifier)))
		return true;
	return refuse(r, EX_DATAERR, "the password's SCRAM verifier is not one");
}

static const char *
word_or_none(const struct request *r, uint32_t index)
{
	return r->account->word_count > index ? r->account->words[index] : "";
}

static bool
check_done(struct request *r, enum account_result result)
{
	return result == ACCOUNT_FOUND || refuse_broken(r);
}

static bool
add_domain(struct request *r)
{
	const char *word = r->account->words[0];

	if (!need_words(r, 1, 1) ||
	    !parse_domain(r, word, r->address.domain, sizeof(r->address.domain)))
		return false;
	switch (accounts_find_domain(r->site->accounts, r->address.domain)) {
	case ACCOUNT_FOUND:
		return refuse(r, EX_CANTCREAT, "domain %s already exists", r->address.domain);
	case ACCOUNT_NONE:
		break;
	case ACCOUNT_BROKEN:
		return refuse_broken(r);
	}
	return check_done(r, accounts_put_domain(r->site->accounts, r->address.domain));
}

static bool
count_item(const struct account_item *item, void *arg)
{
	size_t *count = arg;

	(void)item;
	return ++*count < 1000;
}

static bool
delete_domain(struct request *r)
{
	size_t users = 0, aliases = 0;
	struct accounts *accounts = r->site->accounts;

	if (!need_words(r, 1, 1) ||
	    !parse_domain(r, r->account->words[0], r->address.domain, sizeof(r->address.domain)) ||
	    !need_domain(r))
		return false;
	if (accounts_each(accounts, ACCOUNT_USERS, r->address.domain, "", count_item, &users) !=
	        ACCOUNT_FOUND ||
	    accounts_each(accounts, ACCOUNT_ALIASES, r->address.domain, "", count_item, &aliases) !=
	        ACCOUNT_FOUND)
		return refuse_broken(r);
	if (users > 0 || aliases > 0)
		return refuse(r, EX_DATAERR,
		    "domain %s still has %zu%s user%s and %zu%s alias%s: delete them first",
		    r->address.domain, users, users == 1000 ? " or more" : "",
		    users == 1 ? "" : "s", aliases, aliases == 1000 ? " or more" : "",
		    aliases == 1 ? "" : "es");
	return check_done(r, accounts_delete_domain(accounts, r->address.domain));
}

static bool
add_user(struct request *r)
{
	struct account_user user = { 0 };
	struct accounts *accounts = r->site->accounts;
	struct buf targets;
	enum account_result alias;
	const char *hash = word_or_none(r, 1), *scram = word_or_none(r, 2);

	if (!need_words(r, 1, 3) || !parse_address(r, r->account->words[0]) ||
	    !check_user_name(r) || !need_domain(r))
		return false;
	if (!check_hash(r, hash) || !check_scram(r, scram))
		return false;
	switch (accounts_find_user(accounts, r->address.domain, r->address.local, &user)) {
	case ACCOUNT_FOUND:
		explicit_bzero(&user, sizeof(user));
		return refuse(r, EX_CANTCREAT, "user %s already exists", r->text);
	case ACCOUNT_NONE:
		break;
	case ACCOUNT_BROKEN:
		return refuse_broken(r);
	}
	buf_init(&targets, TARGETS_TEXT_MAX);
	alias = accounts_find_alias(accounts, r->address.domain, r->address.local, &targets);
	buf_free(&targets);
	if (alias == ACCOUNT_FOUND)
		return refuse(r, EX_DATAERR, "%s is an alias: delete it first", r->text);
	if (alias == ACCOUNT_BROKEN)
		return refuse_broken(r);
	strlcpy(user.hash, hash, sizeof(user.hash));
	strlcpy(user.scram, scram, sizeof(user.scram));
	user.created = clock_wall();
	alias = accounts_put_user(accounts, r->address.domain, r->address.local, &user);
	explicit_bzero(&user, sizeof(user));
	return check_done(r, alias);
}

static bool
delete_user(struct request *r)
{
	struct account_user user;

	if (!need_words(r, 1, 1) || !parse_address(r, r->account->words[0]) || !need_user(r, &user))
		return false;
	explicit_bzero(&user, sizeof(user));
	if (!check_done(
	        r, accounts_delete_user(r->site->accounts, r->address.domain, r->address.local)))
		return false;
	snprintf(r->result->words, sizeof(r->result->words), "the mail in %.150s/%s/%s is kept",
	    r->site->config->mail_directory, r->address.domain, r->address.local);
	return true;
}

static bool
set_password(struct request *r)
{
	struct account_user user;
	enum account_result result;

	if (!need_words(r, 2, 3) || !parse_address(r, r->account->words[0]) ||
	    !check_hash(r, r->account->words[1]) || !check_scram(r, word_or_none(r, 2)) ||
	    !need_user(r, &user))
		return false;
	explicit_bzero(user.hash, sizeof(user.hash));
	explicit_bzero(user.scram, sizeof(user.scram));
	strlcpy(user.hash, r->account->words[1], sizeof(user.hash));
	strlcpy(user.scram, word_or_none(r, 2), sizeof(user.scram));
	result = accounts_put_user(r->site->accounts, r->address.domain, r->address.local, &user);
	explicit_bzero(&user, sizeof(user));
	return check_done(r, result);
}

static bool
parse_number(struct request *r, const char *word, uint64_t *number)
{
	if (*word == '\0' || strspn(word, "0123456789") != strlen(word) || strlen(word) > 18)
		return refuse(r, EX_DATAERR, "\"%.64s\" is not a number", word);
	*number = strtoull(word, NULL, 10);
	return true;
}

static bool
set_quota(struct request *r)
{
	struct account_user user;
	enum account_result result;
	uint64_t bytes, messages = 0;

	if (!need_words(r, 2, 3) || !parse_address(r, r->account->words[0]) ||
	    !parse_number(r, r->account->words[1], &bytes) ||
	    (r->account->word_count == 3 && !parse_number(r, r->account->words[2], &messages)) ||
	    !need_user(r, &user))
		return false;
	user.quota_bytes = bytes;
	user.quota_messages = messages;
	result = accounts_put_user(r->site->accounts, r->address.domain, r->address.local, &user);
	explicit_bzero(&user, sizeof(user));
	return check_done(r, result);
}

/* A target as it is stored: addresses in full, so that they mean the same wherever they are read.
 */
static bool
normalise_target(struct request *r, const char *word, char *stored, size_t size)
{
	char copy[PATH_TEXT_MAX + 1];
	struct target target;
	bool pipes = false;

	if (strlcpy(copy, word, sizeof(copy)) >= sizeof(copy))
		return refuse(r, EX_DATAERR, "a target is too long");
	target_parse(copy, &target);
	for (size_t i = 0; i < r->site->config->action_count; i++)
		pipes |= r->site->actions[i].accounts != ACTION_ACCOUNTS_NEVER &&
		    r->site->config->actions[i].allow_pipes;
	switch (target.kind) {
	case TARGET_USER:
		strlcpy(target.address.local, target.text, sizeof(target.address.local));
		strlcpy(target.address.domain, r->address.domain, sizeof(target.address.domain));
		break;
	case TARGET_ADDRESS:
		text_lower(target.address.domain);
		break;
	case TARGET_PIPE:
		if (!pipes)
			return refuse(r, EX_NOPERM,
			    "no action of smtpd.conf lets aliases run commands (\"pipes\")");
		__attribute__((fallthrough));
	case TARGET_ERROR:
		snprintf(
		    stored, size, "%s%s", target.kind == TARGET_PIPE ? "|" : "error:", target.text);
		return true;
	case TARGET_DOMAIN:
		snprintf(stored, size, "@%s", target.text);
		return true;
	case TARGET_FILE:
	case TARGET_INCLUDE:
	case TARGET_INVALID:
		return refuse(r, EX_DATAERR, "\"%.200s\" can't be an alias's target", word);
	}
	address_format(&target.address, stored, size);
	return true;
}

static bool
has_target(const struct buf *targets, const char *target)
{
	for (size_t at = 0; at < targets->length;) {
		const char *one = (const char *)targets->data + at;

		if (strcmp(one, target) == 0)
			return true;
		at += strlen(one) + 1;
	}
	return false;
}

static void
remove_target(struct buf *targets, const char *target)
{
	for (size_t at = 0; at < targets->length;) {
		char *one = (char *)targets->data + at;
		size_t length = strlen(one) + 1;

		if (strcmp(one, target) == 0) {
			memmove(one, one + length, targets->length - at - length);
			targets->length -= length;
		} else
			at += length;
	}
}

/* Says what is unusual about a target of ours that isn't there. */
static void
note_missing(struct request *r, const char *stored)
{
	struct account_user user;
	struct address address;
	struct buf targets;
	bool missing;

	if (address_parse(stored, ADDRESS_ALLOW_UTF8, &address) != ADDRESS_OK ||
	    *r->result->words != '\0' ||
	    accounts_find_domain(r->site->accounts, address.domain) != ACCOUNT_FOUND)
		return;
	buf_init(&targets, TARGETS_TEXT_MAX);
	missing = accounts_find_user(r->site->accounts, address.domain, address.local, &user) ==
	        ACCOUNT_NONE &&
	    accounts_find_alias(r->site->accounts, address.domain, address.local, &targets) ==
	        ACCOUNT_NONE;
	explicit_bzero(&user, sizeof(user));
	buf_free(&targets);
	if (missing)
		snprintf(r->result->words, sizeof(r->result->words), "%.*s doesn't exist yet",
		    ADDRESS_TEXT_MAX, stored);
}

static size_t
count_targets(const struct buf *targets)
{
	size_t count = 0;

	for (size_t i = 0; i < targets->length; i++)
		count += targets->data[i] == '\0';
	return count;
}

/* Reads the alias in `targets`, and adds or removes the words behind its name. */
static bool
edit_targets(struct request *r, struct buf *targets, bool add)
{
	char stored[PATH_TEXT_MAX + 16];
	uint32_t most = r->site->config->limits.targets;

	for (uint32_t i = 1; i < r->account->word_count; i++) {
		if (!normalise_target(r, r->account->words[i], stored, sizeof(stored)))
			return false;
		if (!add && !has_target(targets, stored))
			return refuse(r, EX_DATAERR, "%s is not a target of %s", stored, r->text);
		if (!add)
			remove_target(targets, stored);
		else if (!has_target(targets, stored)) {
			buf_add(targets, stored, strlen(stored) + 1);
			note_missing(r, stored);
		}
	}
	if (!buf_ok(targets) || count_targets(targets) > most)
		return refuse(
		    r, EX_DATAERR, "an alias can have %u targets (\"smtp limit targets\")", most);
	return true;
}

static bool
change_alias(struct request *r, bool add)
{
	struct buf targets;
	bool changed = false;

	if (!need_words(r, add ? 2 : 1, ACCOUNT_WORDS_MAX) ||
	    !parse_alias(r, r->account->words[0]) || (add && !need_domain(r)))
		return false;
	buf_init(&targets, TARGETS_TEXT_MAX);
	switch (
	    accounts_find_alias(r->site->accounts, r->address.domain, r->address.local, &targets)) {
	case ACCOUNT_FOUND:
	case ACCOUNT_NONE:
		if (!add && targets.length == 0) {
			(void)refuse(r, EX_NOUSER, "alias %s doesn't exist", r->text);
			break;
		}
		if (!edit_targets(r, &targets, add))
			break;
		/* Without targets named, all go. */
		if (!add && r->account->word_count == 1)
			targets.length = 0;
		changed = check_done(r,
		    accounts_put_alias(
		        r->site->accounts, r->address.domain, r->address.local, &targets));
		break;
	case ACCOUNT_BROKEN:
		(void)refuse_broken(r);
		break;
	}
	buf_free(&targets);
	return changed;
}

static const char *const verb_names[ACCOUNT_VERB_COUNT] = {
	[ACCOUNT_DOMAIN_ADD] = "domain-add",
	[ACCOUNT_DOMAIN_DELETE] = "domain-del",
	[ACCOUNT_DOMAIN_LIST] = "domain-list",
	[ACCOUNT_USER_ADD] = "user-add",
	[ACCOUNT_USER_DELETE] = "user-del",
	[ACCOUNT_USER_PASSWORD] = "user-passwd",
	[ACCOUNT_USER_LIST] = "user-list",
	[ACCOUNT_USER_QUOTA] = "user-quota",
	[ACCOUNT_ALIAS_ADD] = "alias-add",
	[ACCOUNT_ALIAS_DELETE] = "alias-del",
	[ACCOUNT_ALIAS_LIST] = "alias-list",
	[ACCOUNT_SLOW_LIST] = "show-banned",
	[ACCOUNT_TLS_RESULT_LIST] = "show-tls-results",
	[ACCOUNT_TLS_REPORT_SEND] = "tls-report-send",
};

static void
log_change(const struct request *r, bool changed)
{
	const struct ipc_account *account = r->account;
	struct log_line line;

	log_begin(&line, changed ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
	    changed ? "account-changed" : "account-change-refused");
	log_text(&line, "verb", verb_names[account->verb]);
	log_number(&line, "uid", account->caller_uid);
	log_text(&line, "name", account->word_count > 0 ? account->words[0] : "");
	/* The second word of the other verbs may be a password's hash. */
	if (account->verb == ACCOUNT_ALIAS_ADD || account->verb == ACCOUNT_ALIAS_DELETE ||
	    account->verb == ACCOUNT_USER_QUOTA) {
		for (uint32_t i = 1; i < account->word_count; i++)
			log_text(&line, account->verb == ACCOUNT_USER_QUOTA ? "quota" : "target",
			    account->words[i]);
	}
	if (!changed)
		log_text(&line, "reason", r->result->words);
	log_end(&line);
}

bool
accounts_admin_is_list(enum account_verb verb)
{
	return verb == ACCOUNT_DOMAIN_LIST || verb == ACCOUNT_USER_LIST ||
	    verb == ACCOUNT_ALIAS_LIST;
}

bool
accounts_admin_change(
    struct site *site, const struct ipc_account *account, struct ipc_result *result)
{
	struct request r = { .site = site, .account = account, .result = result };
	bool changed = false;

	memset(result, 0, sizeof(*result));
	switch (account->verb) {
	case ACCOUNT_DOMAIN_ADD:
		changed = add_domain(&r);
		break;
	case ACCOUNT_DOMAIN_DELETE:
		changed = delete_domain(&r);
		break;
	case ACCOUNT_USER_ADD:
		changed = add_user(&r);
		break;
	case ACCOUNT_USER_DELETE:
		changed = delete_user(&r);
		break;
	case ACCOUNT_USER_PASSWORD:
		changed = set_password(&r);
		break;
	case ACCOUNT_USER_QUOTA:
		changed = set_quota(&r);
		break;
	case ACCOUNT_ALIAS_ADD:
		changed = change_alias(&r, true);
		break;
	case ACCOUNT_ALIAS_DELETE:
		changed = change_alias(&r, false);
		break;
	case ACCOUNT_DOMAIN_LIST:
	case ACCOUNT_USER_LIST:
	case ACCOUNT_ALIAS_LIST:
	case ACCOUNT_SLOW_LIST:
	case ACCOUNT_TLS_RESULT_LIST:
	case ACCOUNT_TLS_REPORT_SEND:
	case ACCOUNT_VERB_COUNT:
		return refuse(&r, EX_SOFTWARE, "not a change");
	}
	log_change(&r, changed);
	return changed;
}

bool
accounts_admin_list(struct site *site, const struct ipc_account *account,
    struct accounts_listing *listing, struct ipc_result *result)
{
	struct request r = { .site = site, .account = account, .result = result };

	memset(listing, 0, sizeof(*listing));
	memset(result, 0, sizeof(*result));
	listing->kind = account->verb == ACCOUNT_DOMAIN_LIST ? ACCOUNT_DOMAINS
	    : account->verb == ACCOUNT_USER_LIST             ? ACCOUNT_USERS
	                                                     : ACCOUNT_ALIASES;
	if (!need_words(&r, 0, listing->kind == ACCOUNT_DOMAINS ? 0 : 1))
		return false;
	if (account->word_count == 0)
		return true;
	if (!parse_domain(&r, account->words[0], r.address.domain, sizeof(r.address.domain)) ||
	    !need_domain(&r))
		return false;
	strlcpy(listing->domain, r.address.domain, sizeof(listing->domain));
	return true;
}

struct portion {
	struct accounts_listing *listing;
	size_t items;
	accounts_line_fn line;
	void *arg;
};

static void
give_alias(const struct portion *portion, const char *name, const struct buf *targets)
{
	struct buf line;
	size_t fields = 0;

	buf_init(&line, 2 * LINE_MAX_LENGTH);
	for (size_t at = 0; at < targets->length;) {
		const char *target = (const char *)targets->data + at;

		if (line.length == 0)
			buf_add_text(&line, name);
		buf_printf(&line, "\t%s", target);
		fields++;
		at += strlen(target) + 1;
		if (fields == ACCOUNT_WORDS_MAX - 1 ||
		    line.length > LINE_MAX_LENGTH - PATH_TEXT_MAX || at >= targets->length) {
			buf_add_u8(&line, '\0');
			if (buf_ok(&line))
				portion->line((const char *)line.data, portion->arg);
			buf_clear(&line);
			fields = 0;
		}
	}
	buf_free(&line);
}

static bool
give_item(const struct account_item *item, void *arg)
{
	struct portion *portion = arg;
	char name[ADDRESS_TEXT_MAX + 2], line[ADDRESS_TEXT_MAX + 64];

	strlcpy(portion->listing->after, item->key, sizeof(portion->listing->after));
	portion->listing->count++;
	if (*item->address.local == '\0')
		snprintf(name, sizeof(name), "%s%s",
		    portion->listing->kind == ACCOUNT_DOMAINS ? "" : "@", item->address.domain);
	else
		address_format(&item->address, name, sizeof(name));
	switch (portion->listing->kind) {
	case ACCOUNT_DOMAINS:
		portion->line(name, portion->arg);
		break;
	case ACCOUNT_USERS:
		snprintf(line, sizeof(line), "%s\t%llu\t%llu", name,
		    (unsigned long long)item->user->quota_bytes,
		    (unsigned long long)item->user->quota_messages);
		portion->line(line, portion->arg);
		break;
	case ACCOUNT_ALIASES:
		give_alias(portion, name, item->targets);
		break;
	}
	return --portion->items > 0;
}

bool
accounts_admin_portion(struct site *site, struct accounts_listing *listing, size_t items,
    accounts_line_fn line, void *arg, struct ipc_result *result)
{
	struct portion portion = { listing, items, line, arg };
	struct request r = { .site = site, .result = result };

	memset(result, 0, sizeof(*result));
	if (accounts_each(site->accounts, listing->kind, listing->domain, listing->after, give_item,
	        &portion) != ACCOUNT_FOUND)
		return refuse_broken(&r);
	if (portion.items == 0)
		return true;
	result->count = listing->count;
	return false;
}
