/*
 * A signer: whatever header and body it is given, and wherever the body is cut, it hashes the same,
 * and its fields are as long as it said when the header was over. Canonical forms have no folding
 * and no white space at a line's end, and are their own canonical forms.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/memory_file.h"
#include "common/dkim.h"
#include "common/dkim_canonical.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check(bool good)
{
	if (!good)
		abort();
}

static void
write_to(void *arg, const void *data, size_t length)
{
	buf_add(arg, data, length);
}

static void
canonical_body(struct buf *out, const void *data, size_t length, size_t piece)
{
	struct dkim_body body;
	size_t at;

	buf_init(out, 1000000);
	dkim_body_init(&body, write_to, out);
	for (at = 0; at < length; at += piece)
		dkim_body_feed(
		    &body, (const char *)data + at, length - at < piece ? length - at : piece);
	dkim_body_end(&body);
	check(buf_ok(out));
}

static bool
same(const struct buf *a, const struct buf *b)
{
	return a->length == b->length &&
	    (a->length == 0 || memcmp(a->data, b->data, a->length) == 0);
}

static void
check_body(const uint8_t *data, size_t length, size_t piece)
{
	struct buf whole, pieces, again;

	canonical_body(&whole, data, length, length + 1);
	canonical_body(&pieces, data, length, piece);
	canonical_body(&again, whole.data, whole.length, piece);
	check(same(&whole, &pieces) && same(&whole, &again));
	check(whole.length == 0 || memmem(whole.data, whole.length, " \r\n", 3) == NULL);
	check(whole.length == 0 || memmem(whole.data, whole.length, "  ", 2) == NULL);
	check(whole.length < 4 || memcmp(whole.data + whole.length - 4, "\r\n\r\n", 4) != 0);
	buf_free(&whole);
	buf_free(&pieces);
	buf_free(&again);
}

/* A CR or LF alone, which no text has that comes to a signer: parts that are removed between two of
 * them can make a line end. */
static bool
has_bare_line_end(const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (data[i] == '\r' && (i + 1 == length || data[i + 1] != '\n'))
			return true;
		if (data[i] == '\n' && (i == 0 || data[i - 1] != '\r'))
			return true;
	}
	return false;
}

static void
check_field(const uint8_t *data, size_t length)
{
	const uint8_t *colon = memchr(data, ':', length);
	struct buf once, again;

	/* A name that is folded is none, and stays as it is. */
	if (memchr(data, '\r', colon == NULL ? length : (size_t)(colon - data)) != NULL)
		return;
	buf_init(&once, length + 2);
	dkim_relax_field(&once, (const char *)data, length);
	check(buf_ok(&once));
	check(
	    memmem(once.data, once.length, "\r\n ", 3) == NULL || has_bare_line_end(data, length));
	buf_init(&again, once.length + 2);
	dkim_relax_field(&again, (const char *)once.data, once.length);
	check(same(&once, &again) || memchr(data, '\r', length) != NULL);
	buf_free(&once);
	buf_free(&again);
}

static void
make_keys(struct dkim_keys *keys)
{
	struct ipc_dkim_key key = { .domain = "a.test", .selector = "s", .signature_length = 256 };
	struct buf list;
	int fd;

	buf_init(&list, 1000);
	ipc_dkim_key_encode(&list, &key);
	key.algorithm = DKIM_ED25519_SHA256;
	key.signature_length = 64;
	ipc_dkim_key_encode(&list, &key);
	fd = memory_file_make("keys", list.data, list.length);
	check(fd != -1 && dkim_keys_take(keys, fd));
	close(fd);
	buf_free(&list);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dkim_keys keys;
	struct dkim_who who = { .sender_domain = "a.test" };
	const uint8_t *body, *end;
	struct dkim *dkim;
	char domain[256];

	if (size < 1 || size > 60000)
		return 0;
	if (keys.count == 0)
		make_keys(&keys);
	data++;
	size--;
	end = data + size;
	body = size == 0 ? NULL : memmem(data, size, "\r\n\r\n", 4);
	body = body == NULL ? end : body + 4;
	check_body(body, (size_t)(end - body), (size_t)data[-1] % 9 + 1);
	check_field(data, (size_t)(body - data));
	dkim_author_domain((const char *)data, size, domain, sizeof(domain));
	check(strlen(domain) < sizeof(domain));
	who.sender_only = (data[-1] & 128) != 0;
	dkim = dkim_new(&keys, &who, 1528637909);
	if (dkim_header(dkim, (const char *)data, (size_t)(body - data)) == DKIM_SIGNS) {
		dkim_feed(dkim, body, (size_t)(end - body));
		check(dkim_end(dkim) && dkim_count(dkim) == 2);
		check(strlen(dkim_fields(dkim)) == dkim_fields_length(dkim));
	}
	dkim_free(dkim);
	return 0;
}
