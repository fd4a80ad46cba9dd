/*
 * All that is hashed is taken in lower case, and hashes are compared without regard to case, as others
 * do: some servers on the way change it.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base64.h"
#include "common/srs.h"

#define HASH_LENGTH 4 /* characters, as everywhere */
#define SHA1_LENGTH 20
#define DAY         86400
#define DAYS        1024 /* that two characters count */
#define TAG_LENGTH  5    /* "SRS0=" */
#define TEXT_MAX    (ADDRESS_LOCAL_MAX + ADDRESS_DOMAIN_MAX + 16)

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* The first separator may be one of these; those behind it are "=". */
static bool
has_tag(const struct address *address, const char *tag)
{
	return strncasecmp(address->local, tag, TAG_LENGTH - 1) == 0 &&
	    address->local[TAG_LENGTH - 1] != '\0' &&
	    strchr("=+-", address->local[TAG_LENGTH - 1]) != NULL;
}

bool
srs_is_address(const struct address *address)
{
	return has_tag(address, "SRS0") || has_tag(address, "SRS1");
}

static bool
make_hash(const char *key, const char *text, char hash[HASH_LENGTH + 1])
{
	unsigned char sum[EVP_MAX_MD_SIZE], lower[TEXT_MAX];
	char encoded[BASE64_LENGTH(EVP_MAX_MD_SIZE) + 1];
	unsigned length = 0;
	size_t i;

	for (i = 0; text[i] != '\0' && i < sizeof(lower); i++)
		lower[i] = (unsigned char)tolower((unsigned char)text[i]);
	if (text[i] != '\0' ||
	    HMAC(EVP_sha1(), key, (int)strlen(key), lower, i, sum, &length) == NULL ||
	    length != SHA1_LENGTH)
		return false;
	base64_encode(sum, length, encoded);
	memcpy(hash, encoded, HASH_LENGTH);
	hash[HASH_LENGTH] = '\0';
	return true;
}

/* Whether `hash`, with its "=" behind it, is `text`'s. */
static bool
is_hash(const char *key, const char *text, const char *hash)
{
	char good[HASH_LENGTH + 1];
	int differs = 0;

	if (*key == '\0' || !make_hash(key, text, good))
		return false;
	for (size_t i = 0; i < HASH_LENGTH; i++)
		differs |= tolower((unsigned char)good[i]) ^ tolower((unsigned char)hash[i]);
	return differs == 0;
}

static bool
is_good(const struct srs_keys *keys, const char *text, const char *hash)
{
	bool by_key = is_hash(keys->key, text, hash), by_backup = is_hash(keys->backup, text, hash);

	return by_key || by_backup;
}

static unsigned
today(int64_t now)
{
	return (unsigned)(now / DAY % DAYS);
}

/* Into the local part, if it is no longer than one may be; the domain is the forwarder's. */
static bool
set(struct address *address, const char *local, const char *domain)
{
	return strlcpy(address->local, local, sizeof(address->local)) < sizeof(address->local) &&
	    strlcpy(address->domain, domain, sizeof(address->domain)) < sizeof(address->domain);
}

static bool
encode_first(const struct srs_keys *keys, const struct address *sender, const char *domain,
    int64_t now, struct address *out)
{
	unsigned day = today(now);
	char time[3] = { digits[day / 32], digits[day % 32], '\0' };
	char text[TEXT_MAX], hash[HASH_LENGTH + 1];

	snprintf(text, sizeof(text), "%s%s%s", time, sender->domain, sender->local);
	if (!make_hash(keys->key, text, hash))
		return false;
	snprintf(text, sizeof(text), "SRS0=%s=%s=%s=%s", hash, time, sender->domain, sender->local);
	return set(out, text, domain);
}

/* `host` made the SRS0 address, in which `rest` is behind "SRS0". */
static bool
encode_next(const struct srs_keys *keys, const char *host, const char *rest, const char *domain,
    struct address *out)
{
	char text[TEXT_MAX], hash[HASH_LENGTH + 1];

	snprintf(text, sizeof(text), "%s%s", host, rest);
	if (!make_hash(keys->key, text, hash))
		return false;
	snprintf(text, sizeof(text), "SRS1=%s=%s=%s", hash, host, rest);
	return set(out, text, domain);
}

/* Of an SRS1 address: the hash, however long, the host and what is behind it. `local` is cut there. */
static bool
split_next(char *local, const char **hash, const char **host, const char **rest)
{
	char *at = strchr(local + TAG_LENGTH, '='), *end;

	*hash = local + TAG_LENGTH;
	*host = at == NULL ? NULL : at + 1;
	end = at == NULL ? NULL : strchr(at + 1, '=');
	if (end == NULL || end == *host)
		return false;
	*at = *end = '\0';
	*rest = end + 1;
	return **rest != '\0' && strchr("=+-", **rest) != NULL &&
	    address_domain_is_valid(*host, true);
}

bool
srs_encode(const struct srs_keys *keys, const struct address *sender, const char *domain,
    int64_t now, struct address *out)
{
	char local[sizeof(sender->local)];
	const char *hash, *host, *rest;

	if (*keys->key == '\0' || address_is_null(sender) || *sender->domain == '\0')
		return false;
	if (has_tag(sender, "SRS0"))
		return encode_next(
		    keys, sender->domain, sender->local + TAG_LENGTH - 1, domain, out);
	strlcpy(local, sender->local, sizeof(local));
	if (has_tag(sender, "SRS1") && split_next(local, &hash, &host, &rest))
		return encode_next(keys, host, rest, domain, out);
	return encode_first(keys, sender, domain, now, out);
}

/* Whether two characters, followed by "=", are a day that isn't long past. */
static bool
is_current(const char *time, uint32_t ttl, int64_t now)
{
	const char *high = strchr(digits, toupper((unsigned char)time[0]));
	const char *low = strchr(digits, toupper((unsigned char)time[1]));
	unsigned day, age;

	if (high == NULL || low == NULL)
		return false;
	day = (unsigned)((high - digits) * 32 + (low - digits));
	/* Days to come are those of 1024 days ago. */
	age = (today(now) + DAYS - day) % DAYS;
	return age <= (ttl + DAY - 1) / DAY;
}

static enum srs_result
decode_first(
    const struct srs_keys *keys, const struct address *address, int64_t now, struct address *out)
{
	char local[sizeof(address->local)], text[TEXT_MAX], *hash = local + TAG_LENGTH, *time,
	                                                    *host;
	char *user;

	strlcpy(local, address->local, sizeof(local));
	if (strcspn(hash, "=") != HASH_LENGTH || hash[HASH_LENGTH] != '=')
		return SRS_FORGED;
	time = hash + HASH_LENGTH + 1;
	if (strcspn(time, "=") != 2 || time[2] != '=')
		return SRS_FORGED;
	time[2] = '\0';
	host = time + 3;
	user = strchr(host, '=');
	if (user == NULL || user == host || user[1] == '\0')
		return SRS_FORGED;
	*user++ = '\0';
	snprintf(text, sizeof(text), "%s%s%s", time, host, user);
	if (!is_good(keys, text, hash) || !address_domain_is_valid(host, true) ||
	    !set(out, user, host))
		return SRS_FORGED;
	return is_current(time, keys->ttl, now) ? SRS_OK : SRS_EXPIRED;
}

static enum srs_result
decode_next(const struct srs_keys *keys, const struct address *address, struct address *out)
{
	char local[sizeof(address->local)], text[TEXT_MAX];
	const char *hash, *host, *rest;

	strlcpy(local, address->local, sizeof(local));
	if (!split_next(local, &hash, &host, &rest) || strlen(hash) != HASH_LENGTH)
		return SRS_FORGED;
	snprintf(text, sizeof(text), "%s%s", host, rest);
	if (!is_good(keys, text, hash))
		return SRS_FORGED;
	snprintf(text, sizeof(text), "SRS0%s", rest);
	return set(out, text, host) ? SRS_OK : SRS_FORGED;
}

enum srs_result
srs_decode(
    const struct srs_keys *keys, const struct address *address, int64_t now, struct address *out)
{
	return has_tag(address, "SRS0") ? decode_first(keys, address, now, out)
	                                : decode_next(keys, address, out);
}
