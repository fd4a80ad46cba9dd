/*
 * The resolver's payloads. A listener puts the name into logs and headers, so what isn't a host
 * name is refused here too, whatever the resolver has become.
 */
#include <ctype.h>
#include <string.h>

#include "common/ipc_listener_resolver.h"

void
ipc_resolve_encode(struct buf *buf, const struct ipc_resolve *resolve)
{
	buf_add_u8(buf, resolve->family);
	buf_add(buf, resolve->address, sizeof(resolve->address));
}

bool
ipc_resolve_decode(struct buf_reader *reader, struct ipc_resolve *resolve)
{
	memset(resolve, 0, sizeof(*resolve));
	resolve->family = buf_get_u8(reader);
	buf_get(reader, resolve->address, sizeof(resolve->address));
	if (resolve->family != CLIENT_INET4 && resolve->family != CLIENT_INET6)
		reader->failed = true;
	return buf_reader_done(reader);
}

static bool
is_host_name(const char *name)
{
	const char *at;

	for (at = name; *at != '\0'; at++) {
		if (!isascii((unsigned char)*at) ||
		    (!isalnum((unsigned char)*at) && *at != '-' && *at != '.'))
			return false;
	}
	return at > name && *name != '.' && *name != '-' && at[-1] != '.';
}

void
ipc_resolved_encode(struct buf *buf, const struct ipc_resolved *resolved)
{
	buf_add_u8(buf, (uint8_t)resolved->status);
	buf_add_string(buf, resolved->name);
}

bool
ipc_resolved_decode(struct buf_reader *reader, struct ipc_resolved *resolved)
{
	memset(resolved, 0, sizeof(*resolved));
	resolved->status = buf_get_enum(reader, RESOLVE_STATUS_COUNT);
	buf_get_string(reader, resolved->name, sizeof(resolved->name));
	/* A name comes with a confirmation and never without. */
	if (resolved->status == RESOLVE_CONFIRMED ? !is_host_name(resolved->name)
	                                          : *resolved->name != '\0')
		reader->failed = true;
	return buf_reader_done(reader);
}
