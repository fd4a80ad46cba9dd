/*
 * A listener's certificates are its pkis', in the order of the config. A client that names a host
 * (SNI) gets the first that is valid for that name, others the first of all. Where several with keys
 * of different kinds, RSA and EC, are valid for one name, they share a context, and OpenSSL
 * chooses by what the client can verify.
 *
 * The defaults are those of Mozilla's "intermediate" without what costs the server most, finite-field
 * Diffie-Hellman: TLS 1.2 and 1.3, ephemeral keys only, authenticated encryption only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "common/keeper_provider.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "common/tls_context.h"

#define CIPHERS                                                      \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define GROUPS "X25519:P-256:P-384"
/* No SHA-1, and nothing that the keeper doesn't sign. */
#define SIGNATURES                                                                      \
	"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:RSA-PSS+SHA256:RSA-PSS+SHA384:" \
	"RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512"
#define PEER_CHAIN_BYTES (64 * 1024) /* of a client's certificates */
#define CHAIN_MAX        16

/* A pki's certificates as they came. */
struct chain {
	X509 *leaf;
	STACK_OF(X509) * others;
	EVP_PKEY *key;
};

struct server {
	size_t count;
	const struct chain **chains; /* by order of preference */
	SSL_CTX **made;              /* of each chain */
};

struct tls_contexts {
	const struct config *config;
	const struct ipc_ticket_keys *tickets;
	struct chain *chains;   /* by pki; leaf NULL: it hasn't come */
	X509_STORE **stores;    /* by ca, and the default one behind them */
	struct server *servers; /* by listener; count 0: none */
};

static void
chain_free(struct chain *chain)
{
	X509_free(chain->leaf);
	sk_X509_pop_free(chain->others, X509_free);
	EVP_PKEY_free(chain->key);
	*chain = (struct chain){ 0 };
}

struct tls_contexts *
tls_contexts_new(const struct config *config, const struct ipc_ticket_keys *tickets)
{
	struct tls_contexts *contexts = calloc(1, sizeof(*contexts));

	if (contexts == NULL)
		fatal("tls");
	contexts->config = config;
	contexts->tickets = tickets;
	contexts->chains = calloc(config->pki_count + 1, sizeof(*contexts->chains));
	contexts->stores = calloc(config->ca_count + 1, sizeof(X509_STORE *));
	contexts->servers = calloc(config->listener_count + 1, sizeof(*contexts->servers));
	if (contexts->chains == NULL || contexts->stores == NULL || contexts->servers == NULL)
		fatal("tls");
	return contexts;
}

static void
server_clear(struct server *server)
{
	size_t i;

	for (i = 0; i < server->count; i++)
		SSL_CTX_free(server->made[i]);
	free(server->chains);
	free(server->made);
	*server = (struct server){ 0 };
}

void
tls_contexts_free(struct tls_contexts *contexts)
{
	size_t i;

	if (contexts == NULL)
		return;
	for (i = 0; i < contexts->config->listener_count; i++)
		server_clear(&contexts->servers[i]);
	for (i = 0; i < contexts->config->pki_count; i++)
		chain_free(&contexts->chains[i]);
	for (i = 0; i <= contexts->config->ca_count; i++)
		X509_STORE_free(contexts->stores[i]);
	free(contexts->servers);
	free(contexts->chains);
	free(contexts->stores);
	free(contexts);
}

/* Files */

static STACK_OF(X509) * read_certificates(const uint8_t *text, size_t length)
{
	BIO *bio = BIO_new_mem_buf(text, (int)length);
	STACK_OF(X509) *certificates = sk_X509_new_null();
	X509 *certificate;

	while (bio != NULL && certificates != NULL &&
	    (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (sk_X509_push(certificates, certificate) == 0) {
			X509_free(certificate);
			break;
		}
	}
	BIO_free(bio);
	ERR_clear_error(); /* that no more of them follow is one */
	if (certificates != NULL && sk_X509_num(certificates) == 0) {
		sk_X509_free(certificates);
		certificates = NULL;
	}
	return certificates;
}

bool
tls_contexts_take_certificate(
    struct tls_contexts *contexts, uint32_t index, const uint8_t *text, size_t length)
{
	struct chain chain = { 0 };

	if (index >= contexts->config->pki_count)
		return false;
	keeper_provider_need();
	chain.others = read_certificates(text, length);
	if (chain.others == NULL)
		return false;
	chain.leaf = sk_X509_shift(chain.others);
	if (sk_X509_num(chain.others) <= CHAIN_MAX && X509_get0_pubkey(chain.leaf) != NULL)
		chain.key = keeper_provider_key(X509_get0_pubkey(chain.leaf));
	if (chain.key == NULL) {
		chain_free(&chain);
		return false;
	}
	chain_free(&contexts->chains[index]);
	contexts->chains[index] = chain;
	return true;
}

bool
tls_contexts_take_authorities(
    struct tls_contexts *contexts, uint32_t index, const uint8_t *text, size_t length)
{
	STACK_OF(X509) * certificates;
	X509_STORE *store;
	int i;

	if (index == IPC_DEFAULT_CA)
		index = (uint32_t)contexts->config->ca_count;
	if (index > contexts->config->ca_count)
		return false;
	certificates = read_certificates(text, length);
	if (certificates == NULL)
		return false;
	store = X509_STORE_new();
	if (store == NULL)
		fatalx("tls: no memory");
	for (i = 0; i < sk_X509_num(certificates); i++)
		if (X509_STORE_add_cert(store, sk_X509_value(certificates, i)) != 1)
			fatalx("tls: no memory");
	sk_X509_pop_free(certificates, X509_free);
	X509_STORE_free(contexts->stores[index]);
	contexts->stores[index] = store;
	return true;
}

/* Callbacks of handshakes */

static int
on_name(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct server *server = arg;
	size_t i;

	(void)alert;
	if (name == NULL || *name == '\0')
		return SSL_TLSEXT_ERR_NOACK;
	for (i = 0; i < server->count; i++) {
		if (X509_check_host(server->chains[i]->leaf, name, 0, 0, NULL) != 1)
			continue;
		return SSL_set_SSL_CTX(ssl, server->made[i]) == NULL ? SSL_TLSEXT_ERR_ALERT_FATAL
		                                                     : SSL_TLSEXT_ERR_OK;
	}
	/* RFC 6066 3 would let us refuse; the client decides what it makes of our default. */
	return SSL_TLSEXT_ERR_NOACK;
}

static bool
set_ticket_key(const struct ticket_key *key, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int encrypt)
{
	uint8_t authentication[sizeof(key->authentication)];
	char digest[] = "SHA256";
	OSSL_PARAM params[3];
	bool good;

	memcpy(authentication, key->authentication, sizeof(authentication));
	params[0] = OSSL_PARAM_construct_octet_string(
	    OSSL_MAC_PARAM_KEY, authentication, sizeof(authentication));
	params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[2] = OSSL_PARAM_construct_end();
	good =
	    EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->encryption, iv, encrypt) == 1 &&
	    EVP_MAC_CTX_set_params(mac, params) == 1;
	explicit_bzero(authentication, sizeof(authentication));
	return good;
}

static int
on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int encrypt)
{
	const struct ipc_ticket_keys *keys = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (encrypt == 1) {
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1 ||
		    !set_ticket_key(&keys->current, iv, cipher, mac, encrypt))
			return -1;
		memcpy(name, keys->current.name, sizeof(keys->current.name));
		return 1;
	}
	if (memcmp(name, keys->current.name, sizeof(keys->current.name)) == 0)
		/* RFC 8446 C.4: a ticket is used once; 2 gets the client the next one. */
		return !set_ticket_key(&keys->current, iv, cipher, mac, encrypt) ? -1
		    : SSL_version(ssl) == TLS1_3_VERSION                         ? 2
		                                                                 : 1;
	if (memcmp(name, keys->previous.name, sizeof(keys->previous.name)) == 0)
		return set_ticket_key(&keys->previous, iv, cipher, mac, encrypt) ? 2 : -1;
	return 0; /* a whole handshake, then */
}

/* Making contexts */

static X509_STORE *
store_for(const struct tls_contexts *contexts, const struct listener_config *listener)
{
	const struct ca_config *ca = config_find_ca(contexts->config, listener->ca);

	return contexts->stores[ca == NULL ? contexts->config->ca_count
	                                   : (size_t)(ca - contexts->config->cas)];
}

/* What a client proved to one listener must not be taken for proven to another. */
static bool
set_session_context(SSL_CTX *context, const struct listener_config *listener)
{
	unsigned char id[EVP_MAX_MD_SIZE];
	unsigned length;
	char words[300];

	snprintf(words, sizeof(words), "%d %.255s", listener->tls_verify,
	    listener->tls_verify ? listener->ca : "");
	return EVP_Digest(words, strlen(words), id, &length, EVP_sha256(), NULL) == 1 &&
	    SSL_CTX_set_session_id_context(context, id, length) == 1;
}

static bool
ask_for_certificate(
    SSL_CTX *context, const struct tls_contexts *contexts, const struct listener_config *listener)
{
	X509_STORE *store = store_for(contexts, listener);
	STACK_OF(X509) * authorities;
	int i;

	if (store == NULL)
		return false;
	SSL_CTX_set1_cert_store(context, store);
	SSL_CTX_set_max_cert_list(context, PEER_CHAIN_BYTES);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	if (*listener->ca == '\0')
		return true; /* the names of all of the world's would be a long list */
	authorities = X509_STORE_get1_all_certs(store);
	for (i = 0; i < sk_X509_num(authorities); i++)
		if (SSL_CTX_add_client_CA(context, sk_X509_value(authorities, i)) != 1)
			break;
	sk_X509_pop_free(authorities, X509_free);
	return true;
}

static void
set_ciphers(SSL_CTX *context, const char *ciphers)
{
	if (*ciphers != '\0' && SSL_CTX_set_cipher_list(context, ciphers) == 1)
		return;
	if (*ciphers != '\0')
		log_error("no cipher is in \"%s\"; the default ones are used", ciphers);
	if (SSL_CTX_set_cipher_list(context, CIPHERS) != 1)
		fatalx("tls: no ciphers");
}

static SSL_CTX *
make_context(const struct tls_contexts *contexts, const struct listener_config *listener,
    struct server *server)
{
	SSL_CTX *context;

	keeper_provider_need();
	context = SSL_CTX_new_ex(NULL, KEEPER_PROPERTIES, TLS_server_method());
	if (context == NULL)
		return NULL;
	SSL_CTX_set_app_data(context, (void *)contexts->tickets);
	SSL_CTX_set_options(context,
	    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
	        SSL_OP_PRIORITIZE_CHACHA | (listener->tls_no_tickets ? SSL_OP_NO_TICKET : 0));
	SSL_CTX_set_mode(context,
	    SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	        SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ASYNC);
	/* Whoever sends records without data, updates of keys say, gives way to others. */
	SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_read_ahead(context, 1);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	set_ciphers(context, listener->tls_ciphers);
	SSL_CTX_set_tlsext_servername_callback(context, on_name);
	SSL_CTX_set_tlsext_servername_arg(context, server);
	if (SSL_CTX_set_min_proto_version(
	        context, listener->tls_1_3_only ? TLS1_3_VERSION : TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set1_groups_list(context, GROUPS) != 1 ||
	    SSL_CTX_set1_sigalgs_list(context, SIGNATURES) != 1 ||
	    SSL_CTX_set_num_tickets(context, listener->tls_no_tickets ? 0 : 1) != 1 ||
	    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket) != 1 ||
	    !set_session_context(context, listener) ||
	    (listener->tls_verify && !ask_for_certificate(context, contexts, listener))) {
		SSL_CTX_free(context);
		return NULL;
	}
	return context;
}

static bool
use_chain(SSL_CTX *context, const struct chain *chain)
{
	return SSL_CTX_use_cert_and_key(context, chain->leaf, chain->key, chain->others, 1) == 1;
}

static bool
have_common_name(const struct chain *one, const struct chain *other)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(one->leaf, NID_subject_alt_name, NULL, NULL);
	bool common = false;
	int i;

	for (i = 0; i < sk_GENERAL_NAME_num(names) && !common; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			common = X509_check_host(other->leaf,
			             (const char *)ASN1_STRING_get0_data(name->d.dNSName),
			             (size_t)ASN1_STRING_length(name->d.dNSName), 0, NULL) == 1;
	}
	GENERAL_NAMES_free(names);
	return common;
}

/* The chain, and for each other kind of key the first that is valid for a name of its own. */
static bool
use_chains(SSL_CTX *context, const struct server *server, size_t first)
{
	const struct chain *chain = server->chains[first];
	int used[CHAIN_MAX] = { EVP_PKEY_get_base_id(X509_get0_pubkey(chain->leaf)) };
	size_t count = 1, i, j;

	for (i = 0; i < server->count && count < CHAIN_MAX; i++) {
		int kind = EVP_PKEY_get_base_id(X509_get0_pubkey(server->chains[i]->leaf));

		for (j = 0; j < count && used[j] != kind; j++)
			continue;
		if (j < count || !have_common_name(chain, server->chains[i]))
			continue;
		if (!use_chain(context, server->chains[i]))
			return false;
		used[count++] = kind;
	}
	return use_chain(context, chain);
}

/* By the order in which the listener names them. */
static void
gather(const struct tls_contexts *contexts, const struct listener_config *listener,
    struct server *server)
{
	const struct config *config = contexts->config;
	const char *names = *listener->pkis != '\0' ? listener->pkis
	    : *listener->hostname != '\0'           ? listener->hostname
	                                            : config->hostname;
	size_t i, rank, end;

	server->chains = calloc(config->pki_count + 1, sizeof(struct chain *));
	server->made = calloc(config->pki_count + 1, sizeof(SSL_CTX *));
	if (server->chains == NULL || server->made == NULL)
		fatal("tls");
	for (rank = 0; names[rank] != '\0'; rank = end + (names[end] == ' ')) {
		char name[KEY_NAME_MAX + 1];

		end = rank + strcspn(names + rank, " ");
		snprintf(name, sizeof(name), "%.*s", (int)(end - rank), names + rank);
		for (i = 0; i < config->pki_count; i++)
			if (contexts->chains[i].leaf != NULL && server->count < config->pki_count &&
			    strcasecmp(name, config->pkis[i].name) == 0)
				server->chains[server->count++] = &contexts->chains[i];
	}
}

static void
build_server(const struct tls_contexts *contexts, const struct listener_config *listener,
    struct server *server)
{
	size_t i;

	server_clear(server);
	if (listener->tls == LISTEN_TLS_NONE)
		return;
	gather(contexts, listener, server);
	if (server->count == 0)
		log_error("a listener has no certificate: clients get no TLS there");
	for (i = 0; i < server->count; i++) {
		server->made[i] = make_context(contexts, listener, server);
		if (server->made[i] != NULL && use_chains(server->made[i], server, i))
			continue;
		log_error("a listener's TLS can't be set up: %s",
		    ERR_peek_error() != 0 ? ERR_reason_error_string(ERR_peek_last_error())
		                          : "its authorities (ca) haven't come");
		ERR_clear_error();
		server_clear(server);
		return;
	}
}

bool
tls_contexts_take(struct tls_contexts *contexts, const struct imsg *imsg, bool build)
{
	bool authorities = imsg->type == SUPERVISOR_CHILD_AUTHORITIES, taken = false;
	struct ipc_certificate which;
	struct buf_reader reader;
	uint8_t *text = NULL;
	size_t length;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_certificate_decode(&reader, &which))
		return false;
	if (imsg->fd != -1)
		text =
		    memory_file_read(imsg->fd, authorities ? CA_FILE_MAX : PKI_FILE_MAX, &length);
	if (text != NULL)
		taken = authorities
		    ? tls_contexts_take_authorities(contexts, which.index, text, length)
		    : tls_contexts_take_certificate(contexts, which.index, text, length);
	free(text);
	if (!taken)
		log_error("a file of %s can't be used",
		    authorities ? "certificates of authorities" : "certificates");
	else if (build)
		tls_contexts_build(contexts);
	return true;
}

void
tls_contexts_build(struct tls_contexts *contexts)
{
	size_t i;

	for (i = 0; i < contexts->config->listener_count; i++)
		build_server(contexts, &contexts->config->listeners[i], &contexts->servers[i]);
}

SSL_CTX *
tls_contexts_get(const struct tls_contexts *contexts, const struct listener_config *listener)
{
	size_t index = (size_t)(listener - contexts->config->listeners);

	return contexts->servers[index].count > 0 ? contexts->servers[index].made[0] : NULL;
}
