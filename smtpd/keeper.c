/*
 * keeper: holds the private keys and signs with them. Keys come from the supervisor alone, and
 * leave this process never; those that ask for signatures read the network and are trusted with
 * nothing else.
 *
 * Each request is answered at once, in the order of their coming: a signature takes a millisecond
 * at most, so that waiting for one is never worth a thread.
 */
#include <sys/prctl.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>
#include <openssl/crypto.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "common/sandbox.h"
#include "smtpd/keeper_keys.h"

#define PEERS_MAX 1024

struct peer {
	enum program program;
	uint32_t instance;
	struct channel *channel; /* NULL: no peer */
};

static struct {
	struct child child;
	struct event_base *base;
	struct child_supervisor supervisor;
	struct keys *keys;
	struct peer peers[PEERS_MAX];
} keeper;

/* Peers */

static void
refuse(struct channel *channel, const struct imsg *imsg, const char *words)
{
	struct ipc_sign_refused refused;
	struct buf payload;

	strlcpy(refused.words, words, sizeof(refused.words));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_sign_refused_encode(&payload, &refused);
	channel_send(channel, KEEPER_REFUSED, imsg->id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_peer(struct channel *channel, struct imsg *imsg, void *arg)
{
	const struct peer *peer = arg;
	uint8_t signature[KEEPER_SIGNATURE_MAX];
	struct buf_reader reader;
	struct ipc_sign sign;
	struct buf payload;
	const char *why;
	size_t length;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	/* The queue speaks TLS with nobody. */
	if (imsg->type != KEEPER_SIGN || imsg->fd != -1 || !ipc_sign_decode(&reader, &sign) ||
	    (peer->program == PROGRAM_QUEUE && sign.kind != KEEPER_DKIM)) {
		channel_reject(channel, imsg, "not a request for a signature");
		return;
	}
	why = keys_sign(keeper.keys, &sign, signature, &length);
	if (why != NULL) {
		refuse(channel, imsg, why);
		return;
	}
	buf_init(&payload, sizeof(signature));
	buf_add(&payload, signature, length);
	channel_send(channel, KEEPER_SIGNED, imsg->id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_peer_closed(struct channel *channel, const char *why, void *arg)
{
	struct peer *peer = arg;

	log_debug("%s: %s", channel_name(channel), why);
	ipc_report_rejected(keeper.supervisor.channel, channel, peer->program, peer->instance);
	channel_free(channel);
	peer->channel = NULL;
}

static bool
add_peer(const struct ipc_peer *who, int fd)
{
	struct peer *peer = NULL;
	size_t i;

	if (who->program != PROGRAM_LISTENER && who->program != PROGRAM_RELAY &&
	    who->program != PROGRAM_QUEUE && who->program != PROGRAM_MAILACCESS)
		return false;
	for (i = 0; i < PEERS_MAX; i++) {
		struct peer *place = &keeper.peers[i];

		if (place->channel != NULL && place->program == who->program &&
		    place->instance == who->instance) {
			peer = place; /* its next life */
			break;
		}
		if (place->channel == NULL && peer == NULL)
			peer = place;
	}
	if (peer == NULL)
		return false;
	channel_free(peer->channel);
	peer->program = who->program;
	peer->instance = who->instance;
	peer->channel =
	    channel_new(keeper.base, program_name(who->program), fd, on_peer, on_peer_closed, peer);
	return true;
}

/* From the supervisor */

static bool
has_pki(const char *name, void *config)
{
	return config_find_pki(config, name) != NULL;
}

static void
configure(struct config *config)
{
	keys_retire(keeper.keys, KEEPER_TLS, has_pki, config);
	config_free(config);
}

static void
take_key_from(const struct ipc_key *key, int fd, struct ipc_key_taken *taken)
{
	size_t length;
	uint8_t *text = fd == -1 ? NULL : memory_file_read(fd, (size_t)2 * PKI_FILE_MAX, &length);

	if (text == NULL || length != (size_t)key->key_length + key->certificate_length)
		strlcpy(taken->words, "the key can't be read", sizeof(taken->words));
	else
		taken->success = keys_take(
		    keeper.keys, key, text, taken->key, taken->words, sizeof(taken->words));
	if (taken->success && key->kind == KEEPER_DKIM)
		taken->success = keys_describe(keeper.keys, taken);
	if (text != NULL) {
		explicit_bzero(text, length);
		free(text);
	}
}

static bool
generate_key(struct channel *channel, struct imsg *imsg)
{
	struct ipc_done done = { .success = false, .words = "no key can be made" };
	struct ipc_generate generate;
	struct buf_reader reader;
	struct buf payload;
	size_t length;
	char *text;
	int fd = -1;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->fd != -1 || !ipc_generate_decode(&reader, &generate))
		return false;
	text = keys_generate(generate.algorithm, &length);
	if (text != NULL) {
		fd = memory_file_make("key", text, length);
		OPENSSL_clear_free(text, length);
	}
	done.success = fd != -1;
	if (done.success)
		done.words[0] = '\0';
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_done_encode(&payload, &done);
	channel_send(channel, KEEPER_SUPERVISOR_GENERATED, imsg->id, 0, fd, &payload);
	buf_free(&payload);
	return true;
}

static bool
forget_key(const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_forget forget;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->fd != -1 || !ipc_forget_decode(&reader, &forget))
		return false;
	keys_forget(keeper.keys, &forget);
	return true;
}

static bool
take_key(struct channel *channel, struct imsg *imsg)
{
	struct ipc_key_taken taken = { .success = false };
	struct buf_reader reader;
	struct buf payload;
	struct ipc_key key;

	if (imsg->type == SUPERVISOR_KEEPER_GENERATE)
		return generate_key(channel, imsg);
	if (imsg->type == SUPERVISOR_KEEPER_FORGET)
		return forget_key(imsg);
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != SUPERVISOR_KEEPER_KEY || !ipc_key_decode(&reader, &key))
		return false;
	take_key_from(&key, imsg->fd, &taken);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_key_taken_encode(&payload, &taken);
	channel_send(channel, KEEPER_SUPERVISOR_KEY_TAKEN, imsg->id, 0, -1, &payload);
	buf_free(&payload);
	return true;
}

static void
leave(void)
{
	event_base_loopbreak(keeper.base);
}

static const struct child_orders orders = {
	.config = configure,
	.peer = add_peer,
	.stop = leave,
	.other = take_key,
	.unusable = child_supervisor_fatal,
	.gone = leave,
};

int
main(int argc, char **argv)
{
	size_t i;

	child_start(&keeper.child, "keeper", argc, argv);
	(void)landlock_confine(0, -1);
	sandbox_enter(0);
	/* Nobody of the same user looks into its memory, where there is no user of its own. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		fatal("prctl");
	/* No file of the system's changes how it works. */
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
		fatalx("OpenSSL can't be used");
	keeper.base = child_event_base();
	keeper.keys = keys_new();
	child_supervisor_open(&keeper.supervisor, keeper.base, &keeper.child, &orders);
	if (event_base_dispatch(keeper.base) == -1)
		fatalx("event loop failed");

	for (i = 0; i < PEERS_MAX; i++)
		channel_free(keeper.peers[i].channel);
	child_supervisor_close(&keeper.supervisor);
	keys_free(keeper.keys);
	event_base_free(keeper.base);
	return 0;
}
