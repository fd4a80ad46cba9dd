/*
 * The address parser: a cursor that moves once over the text, one function for each part of the
 * grammar of RFC 5321 4.1.2 (with RFC 6531 3.3 where UTF-8 is allowed). What a mailbox means is
 * decided here and nowhere else, so that no two parts of the suite can read one address as two.
 *
 * A local part is only ever a name: "|cmd", "../x" and "-f" are as good as any other, and nobody
 * may give them to a shell or use them as a path. What could deceive a reader of a log or a header
 * is refused: control characters, also those above ASCII, and the bidirectional overrides.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>
#include <idn2.h>

#include "common/address.h"

#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

struct cursor {
	const unsigned char *at;
	const unsigned char *end;
	bool utf8;
};

static bool
take(struct cursor *c, int byte)
{
	if (c->at == c->end || *c->at != byte)
		return false;
	c->at++;
	return true;
}

static bool
is_atext(unsigned char byte)
{
	return isascii(byte) &&
	    (isalnum(byte) || (byte != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", byte) != NULL));
}

static size_t
utf8_length(const unsigned char *at, const unsigned char *end)
{
	uint32_t character;

	return address_utf8_character((const char *)at, (size_t)(end - at), &character);
}

static bool
all_ascii(const char *text)
{
	for (; *text != '\0'; text++) {
		if (!isascii((unsigned char)*text))
			return false;
	}
	return true;
}

/* Moves one character, ASCII or UTF-8, from the text to the local part. */
static enum address_result
take_local_character(struct cursor *c, char *local, size_t *length)
{
	size_t count = 1;

	if (!isascii(*c->at)) {
		if (!c->utf8)
			return ADDRESS_NEEDS_SMTPUTF8;
		count = utf8_length(c->at, c->end);
		if (count == 0)
			return ADDRESS_SYNTAX;
	}
	if (*length + count > ADDRESS_LOCAL_MAX)
		return ADDRESS_TOO_LONG;
	memcpy(local + *length, c->at, count);
	*length += count;
	c->at += count;
	return ADDRESS_OK;
}

/* Quoted-string = DQUOTE *QcontentSMTP DQUOTE, the opening quote already taken. */
static enum address_result
parse_quoted(struct cursor *c, char *local, size_t *length)
{
	enum address_result result;

	while (c->at < c->end && *c->at != '"') {
		if (*c->at == '\\' && (++c->at == c->end || !isascii(*c->at)))
			return ADDRESS_SYNTAX;
		if (*c->at < ' ' || *c->at == 0x7f)
			return ADDRESS_SYNTAX;
		result = take_local_character(c, local, length);
		if (result != ADDRESS_OK)
			return result;
	}
	return take(c, '"') ? ADDRESS_OK : ADDRESS_SYNTAX;
}

/* Dot-string = Atom *("." Atom) */
static enum address_result
parse_dot_string(struct cursor *c, char *local, size_t *length)
{
	enum address_result result;
	bool in_atom = false;

	for (; c->at < c->end; in_atom = true) {
		if (*c->at == '.') {
			if (!in_atom || c->at + 1 == c->end ||
			    (!is_atext(c->at[1]) && isascii(c->at[1])))
				return ADDRESS_SYNTAX;
		} else if (isascii(*c->at) && !is_atext(*c->at))
			break;
		result = take_local_character(c, local, length);
		if (result != ADDRESS_OK)
			return result;
	}
	return in_atom ? ADDRESS_OK : ADDRESS_SYNTAX;
}

static enum address_result
parse_local(struct cursor *c, char *local)
{
	enum address_result result;
	size_t length = 0;

	result =
	    take(c, '"') ? parse_quoted(c, local, &length) : parse_dot_string(c, local, &length);
	local[length] = '\0';
	/* An empty quoted string names no mailbox here, and would be stored like the null sender.
	 */
	return result == ADDRESS_OK && length == 0 ? ADDRESS_SYNTAX : result;
}

/* "[127.0.0.1]", "[IPv6:::1]" (RFC 5321 4.1.3) in the one form that inet_ntop() gives an address.
 */
static bool
canonical_literal(const char *text, char *domain, size_t size)
{
	unsigned char address[16];
	char inner[ADDRESS_DOMAIN_MAX + 1], canonical[INET6_ADDRSTRLEN];
	size_t length = strlen(text);
	bool ipv6;

	if (length < 3 || length >= sizeof(inner) || text[0] != '[' || text[length - 1] != ']')
		return false;
	ipv6 = strncasecmp(text + 1, "IPv6:", 5) == 0;
	strlcpy(inner, text + (ipv6 ? 6 : 1), sizeof(inner));
	inner[strlen(inner) - 1] = '\0';
	if (inet_pton(ipv6 ? AF_INET6 : AF_INET, inner, address) != 1 ||
	    inet_ntop(ipv6 ? AF_INET6 : AF_INET, address, canonical, sizeof(canonical)) == NULL)
		return false;
	strlcpy(domain, ipv6 ? "[IPv6:" : "[", size);
	strlcat(domain, canonical, size);
	return strlcat(domain, "]", size) < size;
}

static bool
is_let_dig(unsigned char byte)
{
	/* Host names with "_" exist and do no harm, though RFC 5321 4.1.2 has none. */
	return !isascii(byte) || isalnum(byte) || byte == '_';
}

/* Domain = sub-domain *("." sub-domain): labels that neither start nor end with a hyphen. */
static bool
labels_are_valid(const char *domain)
{
	const unsigned char *at = (const unsigned char *)domain, *label = at;

	for (;; at++) {
		if (*at == '.' || *at == '\0') {
			/* The length of a U-label counts in its A-label's form: see to_key(). */
			if (at == label || !is_let_dig(*label) || !is_let_dig(at[-1]) ||
			    (at - label > LABEL_MAX && all_ascii(domain)))
				return false;
			if (*at == '\0')
				return true;
			label = at + 1;
		} else if (!is_let_dig(*at) && *at != '-')
			return false;
	}
}

static void
to_lower(char *text)
{
	for (; *text != '\0'; text++) {
		if (*text >= 'A' && *text <= 'Z')
			*text += 'a' - 'A';
	}
}

static bool
to_key(const char *domain, char *key, size_t size)
{
	uint8_t *converted = NULL;
	size_t length;

	if (all_ascii(domain)) {
		length = strlcpy(key, domain, size);
		to_lower(key);
		return length < size;
	}
	if (idn2_lookup_u8((const uint8_t *)domain, &converted,
	        IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return false;
	length = strlcpy(key, (const char *)converted, size);
	idn2_free(converted);
	to_lower(key);
	return length < size;
}

bool
address_domain_is_valid(const char *domain, bool utf8)
{
	char key[ADDRESS_DOMAIN_MAX + 1];

	if (*domain == '\0' || strlen(domain) > ADDRESS_DOMAIN_MAX)
		return false;
	if (*domain == '[')
		return canonical_literal(domain, key, sizeof(key));
	if (!labels_are_valid(domain))
		return false;
	return all_ascii(domain) ||
	    (utf8 && address_is_utf8(domain) && to_key(domain, key, sizeof(key)));
}

/* A domain or address literal, from the cursor up to the first byte that can't be part of one. */
static enum address_result
parse_domain(struct cursor *c, char *domain)
{
	const unsigned char *start = c->at;
	char text[ADDRESS_DOMAIN_MAX + 2];
	size_t length;

	if (take(c, '[')) {
		while (c->at < c->end && (isxdigit(*c->at) || strchr("IPVipv:.", *c->at) != NULL) &&
		    *c->at != '\0')
			c->at++;
		if (!take(c, ']'))
			return ADDRESS_SYNTAX;
	} else {
		while (c->at < c->end && (is_let_dig(*c->at) || *c->at == '-' || *c->at == '.')) {
			if (!isascii(*c->at) && !c->utf8)
				return ADDRESS_NEEDS_SMTPUTF8;
			c->at++;
		}
	}
	length = (size_t)(c->at - start);
	if (length > ADDRESS_DOMAIN_MAX + 1)
		return ADDRESS_TOO_LONG;
	memcpy(text, start, length);
	text[length] = '\0';
	/* The root's dot (RFC 1034 3.1): not of the grammar, but what it means is clear. */
	if (length > 1 && text[length - 1] == '.')
		text[--length] = '\0';
	if (length > ADDRESS_DOMAIN_MAX)
		return ADDRESS_TOO_LONG;
	if (*text == '[')
		return canonical_literal(text, domain, ADDRESS_DOMAIN_MAX + 1) ? ADDRESS_OK
		                                                               : ADDRESS_SYNTAX;
	if (!address_domain_is_valid(text, c->utf8))
		return ADDRESS_SYNTAX;
	strlcpy(domain, text, ADDRESS_DOMAIN_MAX + 1);
	to_lower(domain);
	return ADDRESS_OK;
}

static enum address_result
parse_mailbox(struct cursor *c, unsigned allow, struct address *address)
{
	enum address_result result;

	result = parse_local(c, address->local);
	if (result != ADDRESS_OK)
		return result;
	if (take(c, '@'))
		return parse_domain(c, address->domain);
	return (allow & ADDRESS_ALLOW_BARE_LOCAL) != 0 ? ADDRESS_OK : ADDRESS_SYNTAX;
}

/* A-d-l ":" = "@a,@b:" read and dropped (RFC 5321 4.1.1.3, appendix C). */
static enum address_result
skip_source_route(struct cursor *c)
{
	char domain[ADDRESS_DOMAIN_MAX + 1];
	enum address_result result;

	do {
		if (!take(c, '@'))
			return ADDRESS_SYNTAX;
		result = parse_domain(c, domain);
		if (result != ADDRESS_OK)
			return result;
	} while (take(c, ','));
	return take(c, ':') ? ADDRESS_OK : ADDRESS_SYNTAX;
}

enum address_result
address_parse_path(
    const char *text, size_t length, unsigned allow, struct address *address, size_t *used)
{
	struct cursor c = { (const unsigned char *)text, (const unsigned char *)text + length,
		(allow & ADDRESS_ALLOW_UTF8) != 0 };
	enum address_result result = ADDRESS_OK;

	memset(address, 0, sizeof(*address));
	*used = 0;
	if (!take(&c, '<'))
		return ADDRESS_SYNTAX;
	if ((allow & ADDRESS_ALLOW_NULL) == 0 || c.at == c.end || *c.at != '>') {
		if (c.at < c.end && *c.at == '@')
			result = skip_source_route(&c);
		if (result == ADDRESS_OK)
			result = parse_mailbox(&c, allow, address);
	}
	if (result == ADDRESS_OK && !take(&c, '>'))
		result = ADDRESS_SYNTAX;
	if (result == ADDRESS_OK)
		*used = (size_t)(c.at - (const unsigned char *)text);
	else
		memset(address, 0, sizeof(*address));
	return result;
}

enum address_result
address_parse(const char *text, unsigned allow, struct address *address)
{
	struct cursor c = { (const unsigned char *)text, (const unsigned char *)text + strlen(text),
		(allow & ADDRESS_ALLOW_UTF8) != 0 };
	enum address_result result;

	memset(address, 0, sizeof(*address));
	if (*text == '\0')
		return (allow & ADDRESS_ALLOW_NULL) != 0 ? ADDRESS_OK : ADDRESS_SYNTAX;
	result = parse_mailbox(&c, allow, address);
	if (result == ADDRESS_OK && c.at != c.end)
		result = ADDRESS_SYNTAX;
	if (result != ADDRESS_OK)
		memset(address, 0, sizeof(*address));
	return result;
}

static bool
needs_quotes(const char *local)
{
	const char *at;

	if (*local == '.' || *local == '\0')
		return true;
	for (at = local; *at != '\0'; at++) {
		if (*at == '.') {
			if (at[1] == '.' || at[1] == '\0')
				return true;
		} else if (isascii((unsigned char)*at) && !is_atext((unsigned char)*at))
			return true;
	}
	return false;
}

void
address_format(const struct address *address, char *text, size_t size)
{
	char quoted[2 * ADDRESS_LOCAL_MAX + 3], *to = quoted;
	const char *from;

	if (size == 0)
		return;
	*text = '\0';
	if (address_is_null(address))
		return;
	if (needs_quotes(address->local)) {
		*to++ = '"';
		for (from = address->local; *from != '\0'; from++) {
			if (*from == '"' || *from == '\\')
				*to++ = '\\';
			*to++ = *from;
		}
		*to++ = '"';
		*to = '\0';
		strlcpy(text, quoted, size);
	} else
		strlcpy(text, address->local, size);
	if (*address->domain != '\0') {
		strlcat(text, "@", size);
		strlcat(text, address->domain, size);
	}
}

bool
address_equal(const struct address *a, const struct address *b)
{
	char key_a[ADDRESS_DOMAIN_MAX + 1], key_b[ADDRESS_DOMAIN_MAX + 1];
	const char *at_a = a->local, *at_b = b->local;

	for (; *at_a != '\0' && *at_b != '\0'; at_a++, at_b++) {
		if (*at_a != *at_b &&
		    !(isascii((unsigned char)*at_a) && isascii((unsigned char)*at_b) &&
		        tolower((unsigned char)*at_a) == tolower((unsigned char)*at_b)))
			return false;
	}
	if (*at_a != *at_b)
		return false;
	if (strcasecmp(a->domain, b->domain) == 0)
		return true;
	return address_domain_key(a->domain, key_a, sizeof(key_a)) &&
	    address_domain_key(b->domain, key_b, sizeof(key_b)) && strcmp(key_a, key_b) == 0;
}

bool
address_is_literal(const struct address *address)
{
	return *address->domain == '[';
}

bool
address_domain_key(const char *domain, char *key, size_t size)
{
	if (size == 0)
		return false;
	*key = '\0';
	if (*domain == '[') {
		if (!canonical_literal(domain, key, size))
			return false;
		to_lower(key);
		return true;
	}
	return labels_are_valid(domain) && to_key(domain, key, size);
}

void
address_split_detail(struct address *address, const char *delimiters, char *detail, size_t size)
{
	char *cut;

	if (size > 0)
		*detail = '\0';
	if (*address->local == '\0' || *delimiters == '\0')
		return;
	cut = strpbrk(address->local + 1, delimiters);
	if (cut == NULL)
		return;
	strlcpy(detail, cut + 1, size);
	*cut = '\0';
}
