/*
 * The config's encoding, in which a program gets it from the supervisor: the fields of each struct,
 * and how many there are of those that may be many.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/config_fields.h"
#include "common/memory_file.h"

/* Changes with every change of the encoding: a child of another version must not guess. */
#define CONFIG_FORMAT     0x50430006
#define CONFIG_ENCODE_MAX (64 * 1024 * 1024)

/* Whether a table holds names of hosts for their addresses, which are no secrets. */
static bool
is_of_hostnames(const struct config *config, const struct table_config *table)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		if (strcmp(config->listeners[i].hostnames, table->name) == 0)
			return true;
	}
	return false;
}

static void
encode(struct buf *buf, const struct config *config, bool with_values)
{
	buf_add_u32(buf, CONFIG_FORMAT);
	fields_encode(buf, config, &config_fields);
	buf_add_u8(buf, (uint8_t)config->bounce_warn_count);
	buf_add_u32(buf, (uint32_t)config->listener_count);
	for (size_t i = 0; i < config->listener_count; i++) {
		fields_encode(buf, &config->listeners[i], &listener_fields);
		buf_add(buf, &config->listeners[i].address, config->listeners[i].address_length);
	}
	buf_add_u32(buf, (uint32_t)config->table_count);
	for (size_t i = 0; i < config->table_count; i++) {
		const struct table_config *table = &config->tables[i];
		bool with_these = with_values || is_of_hostnames(config, table);

		fields_encode(buf, table, &table_fields);
		buf_add_u32(buf, (uint32_t)table->entry_count);
		for (size_t j = 0; j < table->entry_count; j++) {
			struct table_entry entry = table->entries[j];

			if (!with_these)
				entry.value = NULL;
			fields_encode(buf, &entry, &entry_fields);
		}
	}
	buf_add_u32(buf, (uint32_t)config->action_count);
	for (size_t i = 0; i < config->action_count; i++)
		fields_encode(buf, &config->actions[i], &action_fields);
	buf_add_u32(buf, (uint32_t)config->rule_count);
	for (size_t i = 0; i < config->rule_count; i++)
		fields_encode(buf, &config->rules[i], &rule_fields);
	buf_add_u32(buf, (uint32_t)config->pki_count);
	for (size_t i = 0; i < config->pki_count; i++)
		fields_encode(buf, &config->pkis[i], &pki_fields);
	buf_add_u32(buf, (uint32_t)config->ca_count);
	for (size_t i = 0; i < config->ca_count; i++)
		fields_encode(buf, &config->cas[i], &ca_fields);
	buf_add_u32(buf, (uint32_t)config->mta_limit_count);
	for (size_t i = 0; i < config->mta_limit_count; i++)
		fields_encode(buf, &config->mta_limits[i], &mta_limit_fields);
	buf_add_u32(buf, (uint32_t)config->wrapper_count);
	for (size_t i = 0; i < config->wrapper_count; i++)
		fields_encode(buf, &config->wrappers[i], &wrapper_fields);
}

void
config_encode(struct buf *buf, const struct config *config)
{
	encode(buf, config, true);
}

/*
 * A number of elements that the bytes left can hold, each taking at least `least`; NULL with
 * `failed` set otherwise. So a short input can't ask for much memory.
 */
static void *
array_decode(struct buf_reader *reader, size_t size, size_t least, size_t *count)
{
	uint32_t wanted = buf_get_u32(reader);
	void *array;

	*count = 0;
	if (reader->failed || wanted > reader->left / least) {
		reader->failed = true;
		return NULL;
	}
	array = calloc(wanted > 0 ? wanted : 1, size);
	if (array == NULL) {
		reader->failed = true;
		return NULL;
	}
	*count = wanted;
	return array;
}

static void
listener_decode(struct buf_reader *reader, struct listener_config *listener)
{
	size_t wanted = 0;

	fields_decode(reader, listener, &listener_fields);
	if (reader->failed || listener->address_length > sizeof(listener->address)) {
		reader->failed = true;
		return;
	}
	buf_get(reader, &listener->address, listener->address_length);
	switch (listener->address.ss_family) {
	case AF_INET:
		wanted = sizeof(struct sockaddr_in);
		break;
	case AF_INET6:
		wanted = sizeof(struct sockaddr_in6);
		break;
	case AF_UNIX:
		wanted = sizeof(struct sockaddr_un);
		break;
	}
	if (wanted == 0 || listener->address_length != wanted)
		reader->failed = true;
	if (!reader->failed && listener->address.ss_family == AF_UNIX) {
		const struct sockaddr_un *local = (const struct sockaddr_un *)&listener->address;

		/* Whoever prints the path may rely on its end. */
		if (memchr(local->sun_path, '\0', sizeof(local->sun_path)) == NULL)
			reader->failed = true;
	}
}

static void
table_decode(struct buf_reader *reader, struct table_config *table)
{
	fields_decode(reader, table, &table_fields);
	/* An entry is two strings, each at least its length. */
	table->entries = array_decode(reader, sizeof(*table->entries), 4, &table->entry_count);
	for (size_t i = 0; i < table->entry_count && !reader->failed; i++)
		fields_decode(reader, &table->entries[i], &entry_fields);
}

static void
arrays_decode(struct buf_reader *reader, struct config *config)
{
	config->listeners =
	    array_decode(reader, sizeof(*config->listeners), 16, &config->listener_count);
	for (size_t i = 0; i < config->listener_count && !reader->failed; i++)
		listener_decode(reader, &config->listeners[i]);
	config->tables = array_decode(reader, sizeof(*config->tables), 9, &config->table_count);
	for (size_t i = 0; i < config->table_count && !reader->failed; i++)
		table_decode(reader, &config->tables[i]);
	config->actions = array_decode(reader, sizeof(*config->actions), 20, &config->action_count);
	for (size_t i = 0; i < config->action_count && !reader->failed; i++)
		fields_decode(reader, &config->actions[i], &action_fields);
	config->rules = array_decode(reader, sizeof(*config->rules), 26, &config->rule_count);
	for (size_t i = 0; i < config->rule_count && !reader->failed; i++)
		fields_decode(reader, &config->rules[i], &rule_fields);
	config->pkis = array_decode(reader, sizeof(*config->pkis), 6, &config->pki_count);
	for (size_t i = 0; i < config->pki_count && !reader->failed; i++)
		fields_decode(reader, &config->pkis[i], &pki_fields);
	config->cas = array_decode(reader, sizeof(*config->cas), 4, &config->ca_count);
	for (size_t i = 0; i < config->ca_count && !reader->failed; i++)
		fields_decode(reader, &config->cas[i], &ca_fields);
	config->mta_limits =
	    array_decode(reader, sizeof(*config->mta_limits), 28, &config->mta_limit_count);
	for (size_t i = 0; i < config->mta_limit_count && !reader->failed; i++)
		fields_decode(reader, &config->mta_limits[i], &mta_limit_fields);
	config->wrappers =
	    array_decode(reader, sizeof(*config->wrappers), 4, &config->wrapper_count);
	for (size_t i = 0; i < config->wrapper_count && !reader->failed; i++)
		fields_decode(reader, &config->wrappers[i], &wrapper_fields);
}

struct config *
config_decode(const void *data, size_t length)
{
	struct buf_reader reader;
	struct config *config = calloc(1, sizeof(*config));

	if (config == NULL)
		return NULL;
	buf_reader_init(&reader, data, length);
	if (buf_get_u32(&reader) != CONFIG_FORMAT)
		reader.failed = true;
	fields_decode(&reader, config, &config_fields);
	config->bounce_warn_count =
	    buf_get_enum(&reader, sizeof(config->bounce_warn) / sizeof(config->bounce_warn[0]) + 1);
	if (!reader.failed)
		arrays_decode(&reader, config);
	if (!buf_reader_done(&reader)) {
		config_free(config);
		return NULL;
	}
	return config;
}

static int
to_fd(const struct config *config, bool with_values)
{
	struct buf buf;
	int fd;

	buf_init(&buf, CONFIG_ENCODE_MAX);
	encode(&buf, config, with_values);
	fd = buf_ok(&buf) ? memory_file_make("config", buf.data, buf.length) : -1;
	buf_free(&buf);
	return fd;
}

int
config_to_fd(const struct config *config)
{
	return to_fd(config, true);
}

int
config_to_fd_without_values(const struct config *config, bool with_srs)
{
	struct config shown = *config;
	char nothing[] = "";

	if (!with_srs)
		shown.srs_key = shown.srs_key_backup = nothing;
	return to_fd(&shown, false);
}

/* Read into memory of our own: what is decoded can't change meanwhile, whoever else has `fd`. */
struct config *
config_from_fd(int fd)
{
	struct config *config = NULL;
	size_t length;
	uint8_t *data = memory_file_read(fd, CONFIG_ENCODE_MAX, &length);

	if (data != NULL)
		config = config_decode(data, length);
	free(data);
	return config;
}
