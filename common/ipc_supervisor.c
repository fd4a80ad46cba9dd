/*
 * The payloads of the channel between the supervisor and its children. The decoders of what
 * children send check every value's range: to the supervisor a child is a stranger.
 */
#include <string.h>

#include "common/ipc_supervisor.h"
#include "common/log.h"

const char *
program_name(enum program program)
{
	static const char *const names[PROGRAM_COUNT] = {
		[PROGRAM_SUPERVISOR] = "smtpd",
		[PROGRAM_LISTENER] = "listener",
		[PROGRAM_QUEUE] = "queue",
		[PROGRAM_DIRECTORY] = "directory",
		[PROGRAM_RESOLVER] = "resolver",
		[PROGRAM_CONTROL] = "control",
		[PROGRAM_MDA] = "mda",
		[PROGRAM_KEEPER] = "keeper",
		[PROGRAM_RELAY] = "relay",
	};

	return names[program];
}

void
ipc_peer_encode(struct buf *buf, const struct ipc_peer *peer)
{
	buf_add_u8(buf, (uint8_t)peer->program);
	buf_add_u32(buf, peer->instance);
}

bool
ipc_peer_decode(struct buf_reader *reader, struct ipc_peer *peer)
{
	memset(peer, 0, sizeof(*peer));
	peer->program = (enum program)buf_get_enum(reader, PROGRAM_COUNT);
	peer->instance = buf_get_u32(reader);
	return buf_reader_done(reader);
}

void
ipc_report(struct channel *supervisor, enum program program, uint32_t instance)
{
	struct ipc_peer peer = { .program = program, .instance = instance };
	struct buf payload;

	buf_init(&payload, 64);
	ipc_peer_encode(&payload, &peer);
	channel_send(supervisor, CHILD_SUPERVISOR_REJECTED, 0, 0, -1, &payload);
	buf_free(&payload);
}

void
ipc_report_rejected(struct channel *supervisor, const struct channel *closed, enum program program,
    uint32_t instance)
{
	if (channel_was_rejected(closed))
		ipc_report(supervisor, program, instance);
}

void
ipc_listen_encode(struct buf *buf, const struct ipc_listen *listen)
{
	buf_add_u32(buf, listen->index);
}

bool
ipc_listen_decode(struct buf_reader *reader, struct ipc_listen *listen)
{
	memset(listen, 0, sizeof(*listen));
	listen->index = buf_get_u32(reader);
	return buf_reader_done(reader);
}

void
ipc_certificate_encode(struct buf *buf, const struct ipc_certificate *certificate)
{
	buf_add_u32(buf, certificate->index);
}

bool
ipc_certificate_decode(struct buf_reader *reader, struct ipc_certificate *certificate)
{
	memset(certificate, 0, sizeof(*certificate));
	certificate->index = buf_get_u32(reader);
	return buf_reader_done(reader);
}

static void
ticket_key_encode(struct buf *buf, const struct ticket_key *key)
{
	buf_add(buf, key->name, sizeof(key->name));
	buf_add(buf, key->encryption, sizeof(key->encryption));
	buf_add(buf, key->authentication, sizeof(key->authentication));
}

static void
ticket_key_decode(struct buf_reader *reader, struct ticket_key *key)
{
	buf_get(reader, key->name, sizeof(key->name));
	buf_get(reader, key->encryption, sizeof(key->encryption));
	buf_get(reader, key->authentication, sizeof(key->authentication));
}

void
ipc_ticket_keys_encode(struct buf *buf, const struct ipc_ticket_keys *keys)
{
	ticket_key_encode(buf, &keys->current);
	ticket_key_encode(buf, &keys->previous);
}

bool
ipc_ticket_keys_decode(struct buf_reader *reader, struct ipc_ticket_keys *keys)
{
	memset(keys, 0, sizeof(*keys));
	ticket_key_decode(reader, &keys->current);
	ticket_key_decode(reader, &keys->previous);
	return buf_reader_done(reader);
}

void
ipc_key_encode(struct buf *buf, const struct ipc_key *key)
{
	buf_add_u8(buf, (uint8_t)key->kind);
	buf_add_string(buf, key->name);
	buf_add_u32(buf, key->key_length);
	buf_add_u32(buf, key->certificate_length);
}

bool
ipc_key_decode(struct buf_reader *reader, struct ipc_key *key)
{
	memset(key, 0, sizeof(*key));
	key->kind = (enum keeper_kind)buf_get_enum(reader, KEEPER_KIND_COUNT);
	buf_get_string(reader, key->name, sizeof(key->name));
	key->key_length = buf_get_u32(reader);
	key->certificate_length = buf_get_u32(reader);
	if (key->key_length > PKI_FILE_MAX || key->certificate_length > PKI_FILE_MAX)
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_key_taken_encode(struct buf *buf, const struct ipc_key_taken *taken)
{
	buf_add_u8(buf, taken->success);
	buf_add(buf, taken->key, sizeof(taken->key));
	buf_add_string(buf, taken->words);
}

bool
ipc_key_taken_decode(struct buf_reader *reader, struct ipc_key_taken *taken)
{
	memset(taken, 0, sizeof(*taken));
	taken->success = buf_get_bool(reader);
	buf_get(reader, taken->key, sizeof(taken->key));
	buf_get_string(reader, taken->words, sizeof(taken->words));
	return buf_reader_done(reader);
}

void
ipc_start_encode(struct buf *buf, const struct ipc_start *start)
{
	buf_add_u32(buf, start->listeners);
}

bool
ipc_start_decode(struct buf_reader *reader, struct ipc_start *start)
{
	memset(start, 0, sizeof(*start));
	start->listeners = buf_get_u32(reader);
	if (start->listeners == 0)
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_log_encode(struct buf *buf, const struct ipc_log *log)
{
	buf_add_u8(buf, log->verbose);
	buf_add_u32(buf, log->trace);
}

bool
ipc_log_decode(struct buf_reader *reader, struct ipc_log *log)
{
	memset(log, 0, sizeof(*log));
	log->verbose = buf_get_bool(reader);
	log->trace = buf_get_u32(reader);
	if ((log->trace & ~(uint32_t)LOG_TRACE_ALL) != 0)
		reader->failed = true;
	return buf_reader_done(reader);
}

void
ipc_mda_start_encode(struct buf *buf, const struct ipc_mda_start *start)
{
	buf_add_u32(buf, start->uid);
	buf_add_u32(buf, start->gid);
}

bool
ipc_mda_start_decode(struct buf_reader *reader, struct ipc_mda_start *start)
{
	memset(start, 0, sizeof(*start));
	start->uid = buf_get_u32(reader);
	start->gid = buf_get_u32(reader);
	return buf_reader_done(reader);
}

void
ipc_done_encode(struct buf *buf, const struct ipc_done *done)
{
	buf_add_u8(buf, done->success);
	buf_add_string(buf, done->words);
}

bool
ipc_done_decode(struct buf_reader *reader, struct ipc_done *done)
{
	memset(done, 0, sizeof(*done));
	done->success = buf_get_bool(reader);
	buf_get_string(reader, done->words, sizeof(done->words));
	return buf_reader_done(reader);
}

void
ipc_control_encode(struct buf *buf, const struct ipc_control *control)
{
	buf_add_u8(buf, (uint8_t)control->verb);
	buf_add_u32(buf, control->argument);
	buf_add_u32(buf, control->caller_uid);
}

bool
ipc_control_decode(struct buf_reader *reader, struct ipc_control *control)
{
	memset(control, 0, sizeof(*control));
	control->verb = (enum control_verb)buf_get_enum(reader, CONTROL_VERB_COUNT);
	control->argument = buf_get_u32(reader);
	control->caller_uid = buf_get_u32(reader);
	return buf_reader_done(reader);
}
