/* A URI ends where a comma or a blank is: in it both are encoded (RFC 8460 3). */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/hex.h"
#include "lookup/tls_rua.h"

#define HTTPS_PORT 443

/* RFC 6068 2, the address alone. */
static bool
parse_mailto(const char *uri, size_t length, struct address *address)
{
	char text[ADDRESS_TEXT_MAX + 1];
	size_t used = 0;

	for (size_t i = 0; i < length && uri[i] != '?'; i++) {
		int byte = (unsigned char)uri[i];

		if (byte == '%') {
			int high = i + 2 < length ? hex_digit(uri[i + 1]) : -1;
			int low = high == -1 ? -1 : hex_digit(uri[i + 2]);

			if (low == -1)
				return false;
			byte = high * 16 + low;
			i += 2;
		}
		/* A header field is made of it. */
		if (byte < ' ' || byte > '~' || used + 1 >= sizeof(text))
			return false;
		text[used++] = (char)byte;
	}
	text[used] = '\0';
	return address_parse(text, 0, address) == ADDRESS_OK;
}

/* A name with a letter in its last label: no address, of whatever form. */
static bool
is_host_name(const char *host)
{
	const char *last = strrchr(host, '.');

	last = last == NULL ? host : last + 1;
	return *last != '\0' && *host != '[' && strspn(last, "0123456789") < strlen(last);
}

static bool
parse_port(const char *text, size_t length, uint16_t *port)
{
	unsigned number = 0;

	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9' || length > 5)
			return false;
		number = number * 10 + (unsigned)(text[i] - '0');
	}
	if (number == 0 || number > UINT16_MAX)
		return false;
	*port = (uint16_t)number;
	return true;
}

/* RFC 9110 4.2.2, with a name and without a user; what is behind "https:". The fragment isn't sent. */
static bool
parse_https(const char *uri, size_t length, struct ipc_post *post)
{
	char host[HOSTNAME_MAX + 1];
	const char *end, *at, *colon;
	size_t size;

	memset(post, 0, sizeof(*post));
	post->port = HTTPS_PORT;
	for (size_t i = 0; i < length; i++)
		if (uri[i] <= ' ' || uri[i] > '~')
			return false;
	if (length < 2 || memcmp(uri, "//", 2) != 0)
		return false;
	uri += 2;
	length -= 2;
	if ((end = memchr(uri, '#', length)) == NULL)
		end = uri + length;
	for (at = uri; at < end && *at != '/' && *at != '?'; at++)
		;
	size = (size_t)(at - uri);
	if ((colon = memchr(uri, ':', size)) != NULL) {
		if (!parse_port(colon + 1, (size_t)(at - colon - 1), &post->port))
			return false;
		size = (size_t)(colon - uri);
	}
	if (size == 0 || size >= sizeof(host))
		return false;
	memcpy(host, uri, size);
	host[size] = '\0';
	if (!is_host_name(host) || !address_domain_is_valid(host, false) ||
	    !address_domain_key(host, post->host, sizeof(post->host)))
		return false;
	size = (size_t)(end - at);
	if (size + 1 >= sizeof(post->path))
		return false;
	snprintf(post->path, sizeof(post->path), "%s%.*s", *at == '/' && size > 0 ? "" : "/",
	    (int)size, at);
	return true;
}

bool
tls_rua_next(const char **rua, struct tls_rua *found)
{
	static const char mailto[] = "mailto:", https[] = "https:";
	const char *at = *rua, *uri;
	size_t length;
	bool is_good = false;

	while (!is_good && *at != '\0') {
		uri = at + strspn(at, " \t");
		length = strcspn(uri, " \t,");
		at = uri + length + strspn(uri + length, " \t");
		if (*at != ',' && *at != '\0') { /* two words */
			at += strcspn(at, ",");
		} else if (strncasecmp(uri, mailto, sizeof(mailto) - 1) == 0) {
			found->kind = TLS_RUA_MAILTO;
			is_good = parse_mailto(uri + sizeof(mailto) - 1,
			    length - (sizeof(mailto) - 1), &found->address);
		} else if (strncasecmp(uri, https, sizeof(https) - 1) == 0) {
			found->kind = TLS_RUA_HTTPS;
			is_good = parse_https(
			    uri + sizeof(https) - 1, length - (sizeof(https) - 1), &found->post);
		}
		at += *at == ',';
	}
	*rua = at;
	return is_good;
}

void
tls_rua_format(const struct tls_rua *rua, char text[TLS_RUA_TEXT_MAX + 1])
{
	switch (rua->kind) {
	case TLS_RUA_MAILTO:
		address_format(&rua->address, text, TLS_RUA_TEXT_MAX + 1);
		return;
	case TLS_RUA_HTTPS:
		if (rua->post.port == HTTPS_PORT)
			snprintf(text, TLS_RUA_TEXT_MAX + 1, "https://%s%s", rua->post.host,
			    rua->post.path);
		else
			snprintf(text, TLS_RUA_TEXT_MAX + 1, "https://%s:%u%s", rua->post.host,
			    rua->post.port, rua->post.path);
		return;
	}
}
