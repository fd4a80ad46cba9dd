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
		[PROGRAM_MAILACCESS] = "mailaccess",
		[PROGRAM_MAILBOX] = "mailbox",
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
	buf_add_u8(buf, (uint8_t)taken->algorithm);
	buf_add_u16(buf, taken->signature_length);
	buf_add_u16(buf, taken->public_length);
	buf_add(buf, taken->public, taken->public_length);
	buf_add_string(buf, taken->words);
}

bool
ipc_key_taken_decode(struct buf_reader *reader, struct ipc_key_taken *taken)
{
	memset(taken, 0, sizeof(*taken));
	taken->success = buf_get_bool(reader);
	buf_get(reader, taken->key, sizeof(taken->key));
	taken->algorithm = (enum dkim_algorithm)buf_get_enum(reader, DKIM_ALGORITHM_COUNT);
	taken->signature_length = buf_get_u16(reader);
	taken->public_length = buf_get_u16(reader);
	if (taken->signature_length > KEEPER_SIGNATURE_MAX ||
	    taken->public_length > KEEPER_PUBLIC_MAX) {
		reader->failed = true;
		return false;
	}
	buf_get(reader, taken->public, taken->public_length);
	buf_get_string(reader, taken->words, sizeof(taken->words));
	return buf_reader_done(reader);
}

const char *
dkim_algorithm_name(enum dkim_algorithm algorithm)
{
	return algorithm == DKIM_ED25519_SHA256 ? "ed25519" : "rsa";
}

void
ipc_generate_encode(struct buf *buf, const struct ipc_generate *generate)
{
	buf_add_u8(buf, (uint8_t)generate->algorithm);
}

bool
ipc_generate_decode(struct buf_reader *reader, struct ipc_generate *generate)
{
	memset(generate, 0, sizeof(*generate));
	generate->algorithm = (enum dkim_algorithm)buf_get_enum(reader, DKIM_ALGORITHM_COUNT);
	return buf_reader_done(reader);
}

void
ipc_forget_encode(struct buf *buf, const struct ipc_forget *forget)
{
	buf_add_u8(buf, (uint8_t)forget->kind);
	buf_add_string(buf, forget->name);
}

bool
ipc_forget_decode(struct buf_reader *reader, struct ipc_forget *forget)
{
	memset(forget, 0, sizeof(*forget));
	forget->kind = (enum keeper_kind)buf_get_enum(reader, KEEPER_KIND_COUNT);
	buf_get_string(reader, forget->name, sizeof(forget->name));
	return buf_reader_done(reader);
}

/* Labels of letters in lower case, digits and hyphens, the first and last character no hyphen. */
static size_t
label_length(const char *text)
{
	size_t length = 0;

	while ((text[length] >= 'a' && text[length] <= 'z') ||
	    (text[length] >= '0' && text[length] <= '9') || text[length] == '-')
		length++;
	if (length > 63 || (length > 0 && (text[0] == '-' || text[length - 1] == '-')))
		return 0;
	return length;
}

bool
dkim_domain_is_valid(const char *domain)
{
	size_t length;

	if (strlen(domain) > DKIM_DOMAIN_MAX)
		return false;
	for (;; domain++) {
		length = label_length(domain);
		domain += length;
		if (length == 0 || *domain != '.')
			return length > 0 && *domain == '\0';
	}
}

bool
dkim_selector_is_valid(const char *selector)
{
	size_t length = label_length(selector);

	return length > 0 && selector[length] == '\0';
}

void
ipc_dkim_key_encode(struct buf *buf, const struct ipc_dkim_key *key)
{
	buf_add_string(buf, key->domain);
	buf_add_string(buf, key->selector);
	buf_add_u8(buf, (uint8_t)key->algorithm);
	buf_add_u16(buf, key->signature_length);
	buf_add(buf, key->key, sizeof(key->key));
}

bool
ipc_dkim_key_decode(struct buf_reader *reader, struct ipc_dkim_key *key)
{
	memset(key, 0, sizeof(*key));
	buf_get_string(reader, key->domain, sizeof(key->domain));
	buf_get_string(reader, key->selector, sizeof(key->selector));
	key->algorithm = (enum dkim_algorithm)buf_get_enum(reader, DKIM_ALGORITHM_COUNT);
	key->signature_length = buf_get_u16(reader);
	buf_get(reader, key->key, sizeof(key->key));
	if (key->signature_length == 0 || key->signature_length > KEEPER_SIGNATURE_MAX ||
	    !dkim_domain_is_valid(key->domain) || !dkim_selector_is_valid(key->selector))
		reader->failed = true;
	return !reader->failed;
}

void
ipc_dkim_encode(struct buf *buf, const struct ipc_dkim *dkim)
{
	buf_add_u8(buf, (uint8_t)dkim->verb);
	buf_add_u32(buf, dkim->caller_uid);
	buf_add_string(buf, dkim->domain);
	buf_add_string(buf, dkim->selector);
	buf_add_u8(buf, dkim->has_algorithm);
	buf_add_u8(buf, (uint8_t)dkim->algorithm);
}

bool
ipc_dkim_decode(struct buf_reader *reader, struct ipc_dkim *dkim)
{
	bool list;

	memset(dkim, 0, sizeof(*dkim));
	dkim->verb = (enum dkim_verb)buf_get_enum(reader, DKIM_VERB_COUNT);
	dkim->caller_uid = buf_get_u32(reader);
	buf_get_string(reader, dkim->domain, sizeof(dkim->domain));
	buf_get_string(reader, dkim->selector, sizeof(dkim->selector));
	dkim->has_algorithm = buf_get_bool(reader);
	dkim->algorithm = (enum dkim_algorithm)buf_get_enum(reader, DKIM_ALGORITHM_COUNT);
	list = dkim->verb == DKIM_LIST || dkim->verb == DKIM_SHOW;
	if (!(list && *dkim->domain == '\0') && !dkim_domain_is_valid(dkim->domain))
		reader->failed = true;
	if (*dkim->selector == '\0' ? dkim->verb == DKIM_DELETE || dkim->verb == DKIM_ACTIVATE
	                            : !dkim_selector_is_valid(dkim->selector))
		reader->failed = true;
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
	buf_add_u8(buf, start->mail_group);
}

bool
ipc_mda_start_decode(struct buf_reader *reader, struct ipc_mda_start *start)
{
	memset(start, 0, sizeof(*start));
	start->uid = buf_get_u32(reader);
	start->gid = buf_get_u32(reader);
	start->mail_group = buf_get_bool(reader);
	return buf_reader_done(reader);
}

void
ipc_connect_encode(struct buf *buf, const struct ipc_connect *connect)
{
	buf_add_string(buf, connect->path);
}

bool
ipc_connect_decode(struct buf_reader *reader, struct ipc_connect *connect)
{
	memset(connect, 0, sizeof(*connect));
	(void)buf_get_string(reader, connect->path, sizeof(connect->path));
	return buf_reader_done(reader) && *connect->path == '/';
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
