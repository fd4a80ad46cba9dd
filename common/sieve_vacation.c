/*
 * Replies while their writer is away (RFC 5230). Whether one is due at all is decided here, by what the
 * script and the message say; an answer that goes where nobody asked, or to another machine, is worse than none.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "common/mime_header.h"
#include "common/sieve_run.h"

#define DAY         (24 * 3600)
#define DAYS        7  /* RFC 5230 4.1: what is usual */
#define SECONDS_MIN 60 /* RFC 6131 2 leaves it to the site */
#define SECONDS_MAX (365 * DAY)
#define HANDLE_MAX  64

/* Words that the local part begins or ends with when nobody is there to read (RFC 5230 4.6). */
static bool
is_robot(const struct address *sender)
{
	static const char *const whole[] = { "mailer-daemon", "listserv", "majordomo", "postmaster",
		"noreply", "no-reply" };
	size_t length = strlen(sender->local);

	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		if (strcasecmp(sender->local, whole[i]) == 0)
			return true;
	}
	return strncasecmp(sender->local, "owner-", 6) == 0 ||
	    (length >= 8 && strcasecmp(sender->local + length - 8, "-request") == 0);
}

/* What a field says of its message that nobody wants answered (RFC 5230 4.6, RFC 3834 2). */
static bool
tells_automatic(const struct sieve_field *field, const char *text)
{
	static const char *const precedences[] = { "bulk", "list", "junk" };

	if (field->name_length == 14 && strncasecmp(field->name, "Auto-Submitted", 14) == 0)
		return strncasecmp(text, "no", 2) != 0 || strcspn(text, " ;(\t") != 2;
	if (field->name_length == 10 && strncasecmp(field->name, "Precedence", 10) == 0) {
		for (size_t i = 0; i < sizeof(precedences) / sizeof(precedences[0]); i++) {
			if (strcasecmp(text, precedences[i]) == 0)
				return true;
		}
	}
	if (field->name_length == 24 &&
	    strncasecmp(field->name, "X-Auto-Response-Suppress", 24) == 0)
		return strcasestr(text, "all") != NULL || strcasestr(text, "oof") != NULL;
	return field->name_length > 5 && strncasecmp(field->name, "List-", 5) == 0;
}

/* Lists, and what machines have written; of several fields of a name, any. */
static bool
is_automatic(struct sieve_run *run)
{
	struct sieve_view *view = &run->view;

	for (size_t i = 0; i < view->field_count; i++) {
		const char *text = sieve_field_text(view, i);

		/* Without memory to see nobody is answered. */
		if (text == NULL || tells_automatic(&view->fields[i], text))
			return true;
	}
	return false;
}

/*
 * Whether it is one of the owner's addresses: the mailbox's, with any detail, or of ":addresses". An
 * alias isn't, whose other readers answer too.
 */
static bool
is_own(struct sieve_run *run, const struct address *address, char **more)
{
	struct address own = *address;
	char detail[ADDRESS_LOCAL_MAX + 1];

	if (run->message->delimiters != NULL)
		address_split_detail(&own, run->message->delimiters, detail, sizeof(detail));
	if (address_equal(address, run->message->owner) || address_equal(&own, run->message->owner))
		return true;
	for (size_t i = 0; more != NULL && more[i] != NULL; i++) {
		if (sieve_spend(run, 16) && sieve_read_address(more[i], &own) &&
		    address_equal(address, &own))
			return true;
	}
	return false;
}

static bool
field_names_owner(struct sieve_run *run, const char *field, char **more)
{
	struct mime_address address;
	struct mime_addresses addresses;
	enum mime_address_kind kind;
	bool found = false;

	mime_address_init(&address);
	mime_addresses_init(&addresses, field);
	while (!found && (kind = mime_addresses_next(&addresses, &address)) != MIME_ADDRESS_END) {
		struct address one = { .local = "" };

		if (!sieve_spend(run, 16))
			break;
		if (kind != MIME_ADDRESS_MAILBOX || address.local.length > ADDRESS_LOCAL_MAX ||
		    address.domain.length > ADDRESS_DOMAIN_MAX || address.local.length == 0 ||
		    address.domain.length == 0)
			continue;
		memcpy(one.local, address.local.data, address.local.length);
		memcpy(one.domain, address.domain.data, address.domain.length);
		found = is_own(run, &one, more);
	}
	mime_address_free(&address);
	return found;
}

/* RFC 5230 4.5: the message names the owner, rather than a list or an alias that the owner is on. */
static bool
is_for_owner(struct sieve_run *run, char **more)
{
	static const char *const names[] = { "To", "Cc", "Bcc", "Resent-To", "Resent-Cc",
		"Resent-Bcc" };
	struct sieve_view *view = &run->view;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t at = 0;

		for (; (at = sieve_find_field(view, names[i], at)) < view->field_count; at++) {
			char *text = sieve_field_text(view, at);

			if (text != NULL && field_names_owner(run, text, more))
				return true;
		}
	}
	return false;
}

/* What tells this reply from others: the handle given, or its parts (RFC 5230 4.2). */
static char *
make_handle(struct sieve_run *run, const struct sieve_node *node, const char *const parts[4])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context;
	char text[HANDLE_MAX + 1];
	unsigned length = 0;
	bool good;

	context = EVP_MD_CTX_new();
	good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
	for (size_t i = 0; good && i < 4; i++)
		good = EVP_DigestUpdate(context, parts[i], strlen(parts[i]) + 1) == 1;
	good = good && EVP_DigestFinal_ex(context, digest, &length) == 1;
	EVP_MD_CTX_free(context);
	if (!good) {
		sieve_run_fail(run, node->line, "no memory");
		return NULL;
	}
	for (unsigned i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	return sieve_keep_text(run, text);
}

static const char *
text_of(struct sieve_run *run, const struct sieve_node *node, enum sieve_slot slot)
{
	return node->tags[slot] == TAG_NONE ? "" : sieve_expand_first(run, node->values[slot]);
}

uint32_t
sieve_vacation_seconds(const struct sieve_node *node)
{
	uint64_t number = DAYS, unit = DAY;

	if (node->tags[SLOT_SECONDS] != TAG_NONE)
		number = node->values[SLOT_SECONDS]->number;
	if (node->tags[SLOT_SECONDS] == TAG_SECONDS)
		unit = 1;
	else if (number == 0)
		number = 1;
	if (number > SECONDS_MAX / unit)
		number = SECONDS_MAX / unit;
	number *= unit;
	return (uint32_t)(number < SECONDS_MIN ? SECONDS_MIN : number);
}

static char *
default_subject(struct sieve_run *run)
{
	size_t at = sieve_find_field(&run->view, "Subject", 0);
	char subject[1000], *words = NULL;
	size_t length;

	if (at < run->view.field_count)
		words = sieve_field_words(&run->view, at);
	if (words == NULL || *words == '\0')
		return sieve_run_copy(run, "Automated reply", 15);
	length = sieve_cut(words, strlen(words), 800);
	snprintf(subject, sizeof(subject), "Auto: %.*s", (int)length, words);
	return sieve_run_copy(run, subject, strlen(subject));
}

void
sieve_do_vacation(struct sieve_run *run, const struct sieve_node *node)
{
	const char *reason = sieve_expand_first(run, node->positions[0]);
	const char *subject = text_of(run, node, SLOT_SUBJECT);
	const char *from = text_of(run, node, SLOT_FROM);
	const char *handle = text_of(run, node, SLOT_HANDLE);
	const struct address *sender = run->message->sender;
	struct sieve_action *action;
	struct address from_address;
	char **more = NULL;

	if (node->tags[SLOT_ADDRESSES] != TAG_NONE)
		more = sieve_expand_all(run, node->values[SLOT_ADDRESSES]);
	if (run->has_failed || reason == NULL || subject == NULL || from == NULL || handle == NULL)
		return;
	if (run->has_vacation) {
		sieve_run_fail(run, node->line, "vacation twice"); /* RFC 5230 4.7 */
		return;
	}
	run->has_vacation = true;
	if (*from != '\0' && !sieve_read_address(from, &from_address)) {
		sieve_run_fail(run, node->line, "\"%.100s\" is no address", from);
		return;
	}
	if (address_is_null(sender) || is_robot(sender) || is_own(run, sender, more) ||
	    is_automatic(run) || !is_for_owner(run, more))
		return;
	if (run->has_failed || (action = sieve_add_action(run, node->line, SIEVE_VACATION)) == NULL)
		return;
	action->is_mime = node->tags[SLOT_MIME] != TAG_NONE;
	action->handle = make_handle(run, node,
	    (const char *const[4]){ *handle == '\0' ? subject : "", *handle == '\0' ? from : "",
	        action->is_mime && *handle == '\0' ? "mime" : "",
	        *handle == '\0' ? reason : handle });
	if (*subject == '\0')
		subject = default_subject(run);
	action->subject = sieve_keep_text(run, subject);
	action->from = sieve_keep_text(run, from);
	action->seconds = sieve_vacation_seconds(node);
	action->text = sieve_keep_text(run, reason);
	if (action->text != NULL)
		action->text[sieve_cut(reason, strlen(reason), SIEVE_REASON_MAX)] = '\0';
}
