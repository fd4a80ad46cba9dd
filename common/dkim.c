/*
 * A signature covers the fields that its h= names, each as it stands in the header, from the lowest
 * upwards (RFC 6376 5.4.2), and itself. A name that stands there once more than the field does in
 * the header is oversigned: a field of that name that somebody adds breaks the signature. So it is
 * with all that a reader is shown, of which there should be one.
 *
 * All signatures have the same h=, so that one hash over the fields serves them all.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "common/address.h"
#include "common/base64.h"
#include "common/dkim.h"
#include "common/dkim_canonical.h"

#define FIELDS_MAX   4096  /* of any name, in a header */
#define NAMES_MAX    300   /* in h= */
#define TEXT_MAX     12000 /* of one signature's field */
#define LINE_LONGEST 76

struct field {
	const char *text;
	size_t length;
	size_t name; /* its length */
};

struct signature {
	struct ipc_dkim_key key;
	uint8_t digest[SHA256_DIGEST_LENGTH];
	uint8_t bytes[KEEPER_SIGNATURE_MAX];
	size_t length; /* 0: not yet there */
};

struct dkim {
	const struct dkim_keys *keys;
	struct dkim_who who;
	int64_t wall;
	struct signature *signatures; /* owned */
	size_t count;
	char *names; /* owned; h= */
	struct dkim_body body;
	EVP_MD_CTX *body_hash;
	EVP_MD_CTX *header_hash;
	uint8_t body_digest[SHA256_DIGEST_LENGTH];
	size_t fields_length;
	struct buf fields;
	bool failed;
};

/* Signed wherever it stands, and oversigned: always, or only where there is one. */
static const struct {
	const char *name;
	bool always;
} selected[] = {
	{ "From", true },
	{ "Sender", false },
	{ "Reply-To", true },
	{ "To", true },
	{ "Cc", true },
	{ "Subject", true },
	{ "Date", true },
	{ "Message-ID", true },
	{ "In-Reply-To", true },
	{ "References", true },
	{ "MIME-Version", true },
	{ "Content-Type", true },
	{ "Content-Transfer-Encoding", true },
	{ "Content-Disposition", false },
	{ "Content-ID", false },
	{ "Resent-Date", false },
	{ "Resent-From", false },
	{ "Resent-To", false },
	{ "Resent-Cc", false },
	{ "List-Id", false },
	{ "List-Help", false },
	{ "List-Unsubscribe", false },
	{ "List-Unsubscribe-Post", false },
	{ "List-Subscribe", false },
	{ "List-Post", false },
	{ "List-Owner", false },
	{ "List-Archive", false },
	{ "TLS-Required", false },
	{ "TLS-Report-Domain", false }, /* RFC 8460 5.3 */
	{ "TLS-Report-Submitter", false },
};
#define SELECTED_COUNT (sizeof(selected) / sizeof(selected[0]))

static void
hash(void *arg, const void *data, size_t length)
{
	struct dkim *dkim = arg;

	if (EVP_DigestUpdate(dkim->body_hash, data, length) != 1)
		dkim->failed = true;
}

struct dkim *
dkim_new(const struct dkim_keys *keys, const struct dkim_who *who, int64_t wall)
{
	struct dkim *dkim = calloc(1, sizeof(*dkim));

	if (dkim == NULL)
		return NULL;
	dkim->keys = keys;
	dkim->who = *who;
	dkim->wall = wall;
	dkim_body_init(&dkim->body, hash, dkim);
	buf_init(&dkim->fields, (size_t)DKIM_SIGNATURES_MAX * TEXT_MAX);
	return dkim;
}

void
dkim_free(struct dkim *dkim)
{
	if (dkim == NULL)
		return;
	EVP_MD_CTX_free(dkim->body_hash);
	EVP_MD_CTX_free(dkim->header_hash);
	buf_free(&dkim->fields);
	free(dkim->signatures);
	free(dkim->names);
	free(dkim);
}

/* The header */

static bool
is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

/* Cuts the header into its fields; false when there are too many. */
static bool
find_fields(const char *header, size_t length, struct field *fields, size_t *count)
{
	const char *at = header, *end = header + length, *line, *colon;
	struct field *field;

	for (*count = 0; at < end; at = line) {
		line = at;
		do {
			line = memchr(line, '\n', (size_t)(end - line));
			line = line == NULL ? end : line + 1;
		} while (line < end && is_blank(*line));
		colon = memchr(at, ':', (size_t)(line - at));
		if (colon == NULL)
			continue; /* no field: nothing to sign */
		if (*count == FIELDS_MAX)
			return false;
		field = &fields[(*count)++];
		field->text = at;
		field->length = (size_t)(line - at);
		field->name = (size_t)(colon - at);
		while (field->name > 0 && is_blank(at[field->name - 1]))
			field->name--;
	}
	return true;
}

static bool
is_named(const struct field *field, const char *name)
{
	return strlen(name) == field->name && strncasecmp(field->text, name, field->name) == 0;
}

/* Behind a quoted string, a comment or a quoted pair that begins at `at`; or just the next byte. */
static const char *
skip_one(const char *at, const char *end)
{
	unsigned depth = 0;

	if (*at == '"') {
		for (at++; at < end && *at != '"'; at++)
			if (*at == '\\' && at + 1 < end)
				at++;
		return at < end ? at + 1 : end;
	}
	if (*at != '(')
		return *at == '\\' && at + 1 < end ? at + 2 : at + 1;
	for (; at < end; at++) {
		if (*at == '\\' && at + 1 < end)
			at++;
		else if (*at == '(')
			depth++;
		else if (*at == ')' && --depth == 0)
			return at + 1;
	}
	return end;
}

/* RFC 5322 3.4: the last at-sign outside of quotes and comments, in the first address, and within
 * its angle brackets where it has some. */
void
dkim_author_domain(const char *value, size_t length, char *domain, size_t size)
{
	const char *at = value, *end = value + length, *sign = NULL, *next;
	bool in_angle = false, is_over = false;
	size_t used = 0;

	*domain = '\0';
	for (; at < end && !is_over; at = next) {
		next = skip_one(at, end);
		if (next != at + 1)
			continue;
		if (*at == '<') {
			in_angle = true;
			sign = NULL;
		} else if (*at == '@')
			sign = at + 1;
		else if (*at == '>' || ((*at == ',' || *at == ';') && !in_angle))
			is_over = true;
		else if (*at == ':' && !in_angle)
			sign = NULL; /* a group's name */
		else if (*at == ':' || *at == ',')
			sign = NULL; /* an obsolete route */
		if (is_over)
			end = at;
	}
	for (at = sign; at != NULL && at < end && used + 1 < size; at = next) {
		next = skip_one(at, end);
		if (next == at + 1 && !is_blank(*at) && *at != '\r' && *at != '\n')
			domain[used++] = *at;
		else if (next != at + 1 && *at != '(')
			used = size; /* a quote is no domain */
	}
	domain[used < size ? used : 0] = '\0';
}

/* The author's keys, or the sender's. */
static size_t
find_keys(const struct dkim *dkim, const struct field *fields, size_t count,
    const struct ipc_dkim_key **first)
{
	char domain[ADDRESS_DOMAIN_MAX + 1];
	const struct field *from = NULL;
	size_t i, found = 0;

	for (i = 0; i < count; i++)
		if (is_named(&fields[i], "From"))
			from = &fields[i];
	if (from == NULL)
		return 0; /* a signature must cover it: RFC 6376 5.4 */
	if (!dkim->who.sender_only) {
		const char *colon = memchr(from->text, ':', from->length);

		dkim_author_domain(colon + 1, (size_t)(from->text + from->length - colon) - 1,
		    domain, sizeof(domain));
		found = dkim_keys_find(dkim->keys, domain, first);
	}
	if (found == 0)
		found = dkim_keys_find(dkim->keys, dkim->who.sender_domain, first);
	return found < DKIM_SIGNATURES_MAX ? found : DKIM_SIGNATURES_MAX;
}

/* Hashes the field as it is to be hashed, with its line end. */
static bool
hash_field(struct dkim *dkim, const struct field *field)
{
	struct buf canonical;
	bool good;

	buf_init(&canonical, field->length + 8);
	dkim_relax_field(&canonical, field->text, field->length);
	buf_add_text(&canonical, "\r\n");
	good = buf_ok(&canonical) &&
	    EVP_DigestUpdate(dkim->header_hash, canonical.data, canonical.length) == 1;
	buf_free(&canonical);
	return good;
}

/* Makes h=, and the hash of what it names. */
static enum dkim_verdict
hash_fields(struct dkim *dkim, const struct field *fields, size_t count)
{
	struct buf names;
	size_t i, j, in_all = 0;
	bool good = true;

	buf_init(&names, (size_t)NAMES_MAX * 28);
	for (i = 0; i < SELECTED_COUNT; i++) {
		size_t here = 0;

		for (j = count; j > 0 && good; j--) {
			if (!is_named(&fields[j - 1], selected[i].name))
				continue;
			good = in_all + ++here < NAMES_MAX - SELECTED_COUNT;
			if (good && !hash_field(dkim, &fields[j - 1]))
				dkim->failed = true;
		}
		if (selected[i].always || here > 0)
			here++;
		in_all += here;
		for (j = 0; j < here && good; j++)
			buf_printf(&names, "%s%s", names.length == 0 ? "" : ":", selected[i].name);
	}
	buf_add_u8(&names, '\0');
	if (good && buf_ok(&names) && !dkim->failed)
		dkim->names = strdup((const char *)names.data);
	buf_free(&names);
	if (!good)
		return DKIM_TOO_MANY;
	return dkim->names == NULL ? DKIM_FAILED : DKIM_SIGNS;
}

/* A list that may be folded behind each colon. */
static void
add_names(struct buf *buf, const char *names)
{
	size_t column = 3, length;

	for (; *names != '\0'; names += length) {
		length = strcspn(names, ":");
		length += names[length] == ':';
		if (column + length > LINE_LONGEST) {
			buf_add_text(buf, "\r\n\t ");
			column = 9;
		}
		buf_add(buf, names, length);
		column += length;
	}
}

static void
add_base64(struct buf *buf, const char *text)
{
	size_t column = 10, length;

	for (; *text != '\0'; text += length) {
		length = strlen(text);
		if (length > LINE_LONGEST - column)
			length = LINE_LONGEST - column;
		buf_add(buf, text, length);
		if (text[length] != '\0')
			buf_add_text(buf, "\r\n\t ");
		column = 9;
	}
}

/* A signature's field; `value` is its b=, which is empty while the field itself is hashed. */
static void
add_signature(
    struct buf *buf, const struct dkim *dkim, const struct ipc_dkim_key *key, const char *value)
{
	char digest[BASE64_LENGTH(SHA256_DIGEST_LENGTH) + 1];

	base64_encode(dkim->body_digest, sizeof(dkim->body_digest), digest);
	buf_printf(buf, "DKIM-Signature: v=1; a=%s-sha256; c=relaxed/relaxed;\r\n\td=%s;\r\n",
	    dkim_algorithm_name(key->algorithm), key->domain);
	/* Ten digits until the year 2286: the length is told before the time. */
	buf_printf(buf, "\ts=%s; t=%010" PRId64 ";\r\n\th=", key->selector, dkim->wall);
	add_names(buf, dkim->names);
	buf_printf(buf, ";\r\n\tbh=%s;\r\n\tb=", digest);
	add_base64(buf, value);
	buf_add_text(buf, "\r\n");
}

/* With the signatures that there are, and noughts for those that aren't. */
static bool
format_fields(struct dkim *dkim)
{
	char value[BASE64_LENGTH(KEEPER_SIGNATURE_MAX) + 1];
	size_t i;

	buf_clear(&dkim->fields);
	for (i = 0; i < dkim->count; i++) {
		const struct signature *signature = &dkim->signatures[i];

		base64_encode(signature->bytes, signature->key.signature_length, value);
		add_signature(&dkim->fields, dkim, &signature->key, value);
	}
	buf_add_u8(&dkim->fields, '\0');
	return buf_ok(&dkim->fields);
}

static bool
prepare(struct dkim *dkim, const struct ipc_dkim_key *first, size_t count)
{
	size_t i;

	dkim->signatures = calloc(count, sizeof(*dkim->signatures));
	dkim->body_hash = EVP_MD_CTX_new();
	dkim->header_hash = EVP_MD_CTX_new();
	if (dkim->signatures == NULL || dkim->body_hash == NULL || dkim->header_hash == NULL ||
	    EVP_DigestInit_ex(dkim->body_hash, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestInit_ex(dkim->header_hash, EVP_sha256(), NULL) != 1)
		return false;
	for (i = 0; i < count; i++)
		dkim->signatures[i].key = first[i];
	dkim->count = count;
	return true;
}

enum dkim_verdict
dkim_header(struct dkim *dkim, const char *header, size_t length)
{
	struct field *fields = calloc(FIELDS_MAX, sizeof(*fields));
	const struct ipc_dkim_key *first = NULL;
	enum dkim_verdict verdict;
	size_t count, keys;
	bool few;

	if (fields == NULL)
		return DKIM_FAILED;
	few = find_fields(header, length, fields, &count);
	keys = find_keys(dkim, fields, count, &first);
	if (keys == 0)
		verdict = DKIM_NO_KEY;
	else if (!few)
		verdict = DKIM_TOO_MANY;
	else if (!prepare(dkim, first, keys))
		verdict = DKIM_FAILED;
	else
		verdict = hash_fields(dkim, fields, count);
	free(fields);
	dkim->keys = NULL;
	dkim->who = (struct dkim_who){ .sender_domain = "" };
	if (verdict != DKIM_SIGNS)
		return verdict;
	if (!format_fields(dkim))
		return DKIM_FAILED;
	dkim->fields_length = dkim->fields.length - 1;
	buf_free(&dkim->fields);
	return DKIM_SIGNS;
}

size_t
dkim_fields_length(const struct dkim *dkim)
{
	return dkim->fields_length;
}

/* The body, and the end */

void
dkim_feed(struct dkim *dkim, const void *data, size_t length)
{
	dkim_body_feed(&dkim->body, data, length);
}

/* The hash of the fields, and of the signature's own with its b= empty and without a line end
 * (RFC 6376 3.7). */
static bool
hash_signature(const struct dkim *dkim, struct signature *signature)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	struct buf field, canonical;
	bool good;

	buf_init(&field, TEXT_MAX);
	buf_init(&canonical, TEXT_MAX);
	add_signature(&field, dkim, &signature->key, "");
	if (buf_ok(&field))
		dkim_relax_field(&canonical, (const char *)field.data, field.length);
	good = context != NULL && buf_ok(&field) && buf_ok(&canonical) &&
	    EVP_MD_CTX_copy_ex(context, dkim->header_hash) == 1 &&
	    EVP_DigestUpdate(context, canonical.data, canonical.length) == 1 &&
	    EVP_DigestFinal_ex(context, signature->digest, NULL) == 1;
	buf_free(&canonical);
	buf_free(&field);
	EVP_MD_CTX_free(context);
	return good;
}

bool
dkim_end(struct dkim *dkim)
{
	size_t i;

	dkim_body_end(&dkim->body);
	if (dkim->failed || EVP_DigestFinal_ex(dkim->body_hash, dkim->body_digest, NULL) != 1)
		return false;
	for (i = 0; i < dkim->count; i++)
		if (!hash_signature(dkim, &dkim->signatures[i]))
			return false;
	return true;
}

size_t
dkim_count(const struct dkim *dkim)
{
	return dkim->count;
}

void
dkim_request(const struct dkim *dkim, size_t index, struct ipc_sign *sign)
{
	const struct signature *signature = &dkim->signatures[index];

	memset(sign, 0, sizeof(*sign));
	sign->kind = KEEPER_DKIM;
	memcpy(sign->key, signature->key.key, sizeof(sign->key));
	/* RFC 8463 3: Ed25519 signs the hash as if it were the message. */
	sign->algorithm = signature->key.algorithm == DKIM_ED25519_SHA256 ? KEEPER_ED25519
	                                                                  : KEEPER_RSA_PKCS1_SHA256;
	sign->data = signature->digest;
	sign->length = sizeof(signature->digest);
}

bool
dkim_take_signature(struct dkim *dkim, size_t index, const uint8_t *bytes, size_t length)
{
	struct signature *signature = &dkim->signatures[index];

	if (length != signature->key.signature_length)
		return false;
	memcpy(signature->bytes, bytes, length);
	signature->length = length;
	return true;
}

const struct ipc_dkim_key *
dkim_key(const struct dkim *dkim, size_t index)
{
	return &dkim->signatures[index].key;
}

const char *
dkim_fields(struct dkim *dkim)
{
	if (!format_fields(dkim) || dkim->fields.length != dkim->fields_length + 1)
		return NULL;
	return (const char *)dkim->fields.data;
}
