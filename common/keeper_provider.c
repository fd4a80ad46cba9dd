/*
 * Two kinds of objects, as OpenSSL's provider interface (provider-keymgmt(7),
 * provider-signature(7)) wants them. A key wraps the same public key of OpenSSL's own provider, which
 * answers whatever is asked about it; it claims to have a private half, and refuses to be exported
 * with one, so that OpenSSL signs with it here and nowhere else. A signature computes the digest
 * here and sends that.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/async.h>
#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "common/keeper_client.h"
#include "common/keeper_provider.h"
#include "common/log.h"

/* Signatures waited for at once, each on a stack of 32 KiB. The keeper makes them one by one: more
 * of them would only wait elsewhere. */
#define JOBS_MAX 256

/* The dispatch tables hold functions of many types as one. */
typedef void (*function)(void);

struct keeper_operation {
	struct keeper_request request;
	struct keeper_wait *wait;
	bool done;
	size_t length; /* of the signature; 0: none */
	uint8_t signature[KEEPER_SIGNATURE_MAX];
};

static struct {
	struct keeper_client *client;
	OSSL_PROVIDER *own;
	OSSL_PROVIDER *standard;
	struct keeper_wait *wait; /* of the call under way */
} provider;

/* Keys */

struct key {
	const char *type;
	EVP_PKEY *public; /* NULL until imported */
	uint8_t id[KEEPER_ID_SIZE];
};

static void *
key_new(const char *type)
{
	struct key *key = calloc(1, sizeof(*key));

	if (key != NULL)
		key->type = type;
	return key;
}

static void *
key_new_rsa(void *context)
{
	(void)context;
	return key_new("RSA");
}

static void *
key_new_ec(void *context)
{
	(void)context;
	return key_new("EC");
}

static void *
key_new_ed25519(void *context)
{
	(void)context;
	return key_new("ED25519");
}

static void
key_free(void *keydata)
{
	struct key *key = keydata;

	if (key == NULL)
		return;
	EVP_PKEY_free(key->public);
	free(key);
}

static int
key_has(const void *keydata, int selection)
{
	const struct key *key = keydata;

	(void)selection;
	return key != NULL && key->public != NULL;
}

static int
key_match(const void *one, const void *other, int selection)
{
	const struct key *key1 = one, *key2 = other;

	(void)selection;
	return key1->public != NULL && key2->public != NULL &&
	    EVP_PKEY_eq(key1->public, key2->public) == 1;
}

static int
key_import(void *keydata, int selection, const OSSL_PARAM params[])
{
	struct key *key = keydata;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, key->type, "provider=default");
	unsigned char *der = NULL;
	int length = 0;

	(void)selection;
	/* fromdata() doesn't change its parameters, whatever its type says. */
	if (context != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
	    EVP_PKEY_fromdata(context, &key->public, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)params) ==
	        1)
		length = i2d_PUBKEY(key->public, &der);
	EVP_PKEY_CTX_free(context);
	if (length <= 0)
		return 0;
	SHA256(der, (size_t)length, key->id);
	OPENSSL_free(der);
	return 1;
}

static int
key_export(void *keydata, int selection, OSSL_CALLBACK *callback, void *arg)
{
	const struct key *key = keydata;

	if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 || key->public == NULL)
		return 0;
	return EVP_PKEY_export(key->public, selection, callback, arg);
}

static int
key_get_params(void *keydata, OSSL_PARAM params[])
{
	const struct key *key = keydata;

	return key->public != NULL && EVP_PKEY_get_params(key->public, params);
}

static const OSSL_PARAM *
key_gettable_params(void *context)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)context;
	return params;
}

static const OSSL_PARAM *
key_types(int selection)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)selection;
	return params;
}

static const char *
key_operation_ec(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

#define KEY_FUNCTIONS                                                            \
	{ OSSL_FUNC_KEYMGMT_FREE, (function)key_free },                          \
	    { OSSL_FUNC_KEYMGMT_HAS, (function)key_has },                        \
	    { OSSL_FUNC_KEYMGMT_MATCH, (function)key_match },                    \
	    { OSSL_FUNC_KEYMGMT_IMPORT, (function)key_import },                  \
	    { OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (function)key_types },             \
	    { OSSL_FUNC_KEYMGMT_EXPORT, (function)key_export },                  \
	    { OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (function)key_types },             \
	    { OSSL_FUNC_KEYMGMT_GET_PARAMS, (function)key_get_params },          \
	{                                                                        \
		OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (function)key_gettable_params \
	}

static const OSSL_DISPATCH rsa_key_functions[] = {
	{ OSSL_FUNC_KEYMGMT_NEW, (function)key_new_rsa },
	KEY_FUNCTIONS,
	{ 0, NULL },
};
static const OSSL_DISPATCH ec_key_functions[] = {
	{ OSSL_FUNC_KEYMGMT_NEW, (function)key_new_ec },
	{ OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (function)key_operation_ec },
	KEY_FUNCTIONS,
	{ 0, NULL },
};
static const OSSL_DISPATCH ed25519_key_functions[] = {
	{ OSSL_FUNC_KEYMGMT_NEW, (function)key_new_ed25519 },
	KEY_FUNCTIONS,
	{ 0, NULL },
};

/* Signatures */

struct signature {
	const struct key *key; /* OpenSSL holds it as long as this */
	EVP_MD_CTX *digest;    /* NULL for Ed25519 */
	int bits;              /* of the digest */
	bool pss;
};

static void *
signature_new(void *context, const char *properties)
{
	(void)context;
	(void)properties;
	return calloc(1, sizeof(struct signature));
}

static void
signature_free(void *context)
{
	struct signature *signature = context;

	if (signature == NULL)
		return;
	EVP_MD_CTX_free(signature->digest);
	free(signature);
}

static int
signature_set_params(void *context, const OSSL_PARAM params[])
{
	struct signature *signature = context;
	const OSSL_PARAM *param;
	int padding;

	if (params == NULL)
		return 1;
	param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
	if (param == NULL)
		return 1; /* the salt's length: there is but one */
	if (param->data_type == OSSL_PARAM_UTF8_STRING && param->data != NULL)
		padding = strcmp(param->data, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0
		    ? RSA_PKCS1_PSS_PADDING
		    : strcmp(param->data, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0 ? RSA_PKCS1_PADDING
		                                                               : RSA_NO_PADDING;
	else if (!OSSL_PARAM_get_int(param, &padding))
		return 0;
	signature->pss = padding == RSA_PKCS1_PSS_PADDING;
	return signature->pss || padding == RSA_PKCS1_PADDING;
}

static const OSSL_PARAM *
signature_settable_params(void *context, void *provider_context)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
		OSSL_PARAM_END,
	};

	(void)context;
	(void)provider_context;
	return params;
}

static int
signature_begin(void *context, const char *name, void *keydata, const OSSL_PARAM params[])
{
	struct signature *signature = context;
	EVP_MD *md;
	bool good;

	if (keydata != NULL)
		signature->key = keydata;
	if (signature->key == NULL)
		return 0;
	EVP_MD_CTX_free(signature->digest);
	signature->digest = NULL;
	signature->pss = false;
	if (strcmp(signature->key->type, "ED25519") == 0)
		return (name == NULL || *name == '\0') && signature_set_params(context, params);
	md = EVP_MD_fetch(NULL, name == NULL || *name == '\0' ? "SHA2-256" : name, NULL);
	signature->digest = EVP_MD_CTX_new();
	good = md != NULL && signature->digest != NULL &&
	    EVP_DigestInit_ex2(signature->digest, md, NULL) == 1;
	signature->bits = md == NULL ? 0 : EVP_MD_get_size(md) * 8;
	EVP_MD_free(md);
	return good && signature_set_params(context, params);
}

static int
signature_update(void *context, const unsigned char *data, size_t length)
{
	struct signature *signature = context;

	return signature->digest != NULL && EVP_DigestUpdate(signature->digest, data, length) == 1;
}

/* False for digests that no signature is made of any more. */
static bool
choose_algorithm(const struct signature *signature, enum keeper_algorithm *algorithm)
{
	const char *type = signature->key->type;
	unsigned step;

	if (signature->digest == NULL) {
		*algorithm = KEEPER_ED25519;
		return true;
	}
	switch (signature->bits) {
	case 256:
		step = 0;
		break;
	case 384:
		step = 1;
		break;
	case 512:
		step = 2;
		break;
	default:
		return false;
	}
	*algorithm = (strcmp(type, "EC") == 0 ? KEEPER_ECDSA_SHA256
	                     : signature->pss ? KEEPER_RSA_PSS_SHA256
	                                      : KEEPER_RSA_PKCS1_SHA256) +
	    step;
	return true;
}

/* Without memory there are no words. */
static void
set_why(struct keeper_wait *wait, const char *why)
{
	free(wait->why);
	wait->why = why == NULL ? NULL : strdup(why);
}

static void
on_answered(
    struct keeper_request *request, const uint8_t *signature, size_t length, const char *why)
{
	struct keeper_operation *operation = (struct keeper_operation *)request;
	struct keeper_wait *wait = operation->wait;

	operation->done = true;
	if (signature != NULL && length <= sizeof(operation->signature)) {
		memcpy(operation->signature, signature, length);
		operation->length = length;
	} else {
		set_why(wait, why == NULL ? "not a signature" : why);
	}
	wait->ready(wait->arg); /* goes on in sign(), where the operation ends */
}

/* Runs on its job's stack, and the operation with it. */
static int
sign(const struct signature *signature, const void *data, size_t length, unsigned char *result,
    size_t *result_length, size_t size)
{
	struct keeper_operation operation = { .request = { .answered = on_answered } };
	struct keeper_wait *wait = provider.wait;
	struct ipc_sign request = { .kind = KEEPER_TLS, .data = data, .length = length };

	if (wait == NULL || ASYNC_get_current_job() == NULL ||
	    !choose_algorithm(signature, &request.algorithm) || length > KEEPER_DATA_MAX)
		return 0;
	memcpy(request.key, signature->key->id, sizeof(request.key));
	operation.wait = wait;
	set_why(wait, NULL);
	if (!keeper_client_sign(provider.client, &operation.request, &request)) {
		set_why(wait, "no memory");
		return 0;
	}
	wait->operation = &operation;
	while (!operation.done && ASYNC_pause_job() == 1)
		continue; /* a call made for another reason is no answer */
	wait->operation = NULL;
	keeper_client_cancel(provider.client, &operation.request);
	if (operation.length == 0 || operation.length > size)
		return 0;
	memcpy(result, operation.signature, operation.length);
	*result_length = operation.length;
	return 1;
}

static size_t
size_of(const struct signature *signature)
{
	int size = EVP_PKEY_get_size(signature->key->public);

	return size > 0 ? (size_t)size : 0;
}

static int
signature_end(void *context, unsigned char *result, size_t *length, size_t size)
{
	struct signature *signature = context;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned digest_length;

	if (result == NULL) {
		*length = size_of(signature);
		return 1;
	}
	return signature->digest != NULL &&
	    EVP_DigestFinal_ex(signature->digest, digest, &digest_length) == 1 &&
	    sign(signature, digest, digest_length, result, length, size);
}

static int
signature_whole(void *context, unsigned char *result, size_t *length, size_t size,
    const unsigned char *data, size_t data_length)
{
	struct signature *signature = context;

	if (result == NULL) {
		*length = size_of(signature);
		return 1;
	}
	if (signature->digest == NULL)
		return sign(signature, data, data_length, result, length, size);
	return signature_update(context, data, data_length) &&
	    signature_end(context, result, length, size);
}

static const OSSL_DISPATCH signature_functions[] = {
	{ OSSL_FUNC_SIGNATURE_NEWCTX, (function)signature_new },
	{ OSSL_FUNC_SIGNATURE_FREECTX, (function)signature_free },
	{ OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (function)signature_set_params },
	{ OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (function)signature_settable_params },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (function)signature_begin },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, (function)signature_update },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, (function)signature_end },
	{ OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (function)signature_whole },
	{ 0, NULL },
};

/* The provider */

static const OSSL_ALGORITHM keys[] = {
	{ "RSA:rsaEncryption", "provider=postern", rsa_key_functions, NULL },
	{ "EC:id-ecPublicKey", "provider=postern", ec_key_functions, NULL },
	{ "ED25519", "provider=postern", ed25519_key_functions, NULL },
	{ NULL, NULL, NULL, NULL },
};
static const OSSL_ALGORITHM signatures[] = {
	{ "RSA:rsaEncryption", "provider=postern", signature_functions, NULL },
	{ "ECDSA", "provider=postern", signature_functions, NULL },
	{ "ED25519", "provider=postern", signature_functions, NULL },
	{ NULL, NULL, NULL, NULL },
};

static const OSSL_ALGORITHM *
query(void *context, int operation, int *no_store)
{
	(void)context;
	*no_store = 0;
	if (operation == OSSL_OP_KEYMGMT)
		return keys;
	return operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int
initialize(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
    void **context)
{
	static const OSSL_DISPATCH functions[] = {
		{ OSSL_FUNC_PROVIDER_QUERY_OPERATION, (function)query },
		{ 0, NULL },
	};

	(void)handle;
	(void)in;
	*out = functions;
	*context = &provider;
	return 1;
}

void
keeper_provider_start(struct keeper_client *client)
{
	provider.client = client;
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
		fatalx("OpenSSL can't be used: %s", ERR_reason_error_string(ERR_peek_error()));
}

void
keeper_provider_need(void)
{
	if (provider.own != NULL)
		return;
	if ((provider.standard = OSSL_PROVIDER_load(NULL, "default")) == NULL ||
	    OSSL_PROVIDER_add_builtin(NULL, "postern", initialize) != 1 ||
	    (provider.own = OSSL_PROVIDER_load(NULL, "postern")) == NULL ||
	    EVP_set_default_properties(NULL, KEEPER_PROPERTIES) != 1 || !ASYNC_is_capable() ||
	    ASYNC_init_thread(JOBS_MAX, 0) != 1)
		fatalx("OpenSSL can't be used: %s", ERR_reason_error_string(ERR_peek_error()));
}

void
keeper_provider_stop(void)
{
	provider.client = NULL;
	if (provider.own == NULL)
		return;
	ASYNC_cleanup_thread();
	OSSL_PROVIDER_unload(provider.own);
	OSSL_PROVIDER_unload(provider.standard);
	provider.own = provider.standard = NULL;
}

EVP_PKEY *
keeper_provider_key(EVP_PKEY *public)
{
	const char *type = EVP_PKEY_is_a(public, "RSA") ? "RSA"
	    : EVP_PKEY_is_a(public, "EC")               ? "EC"
	    : EVP_PKEY_is_a(public, "ED25519")          ? "ED25519"
	                                                : NULL;
	EVP_PKEY_CTX *context;
	OSSL_PARAM *params = NULL;
	EVP_PKEY *key = NULL;

	if (type == NULL)
		return NULL;
	keeper_provider_need();
	context = EVP_PKEY_CTX_new_from_name(NULL, type, "provider=postern");
	if (context == NULL || EVP_PKEY_todata(public, EVP_PKEY_PUBLIC_KEY, &params) != 1 ||
	    EVP_PKEY_fromdata_init(context) != 1 ||
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		key = NULL;
	OSSL_PARAM_free(params);
	EVP_PKEY_CTX_free(context);
	ERR_clear_error();
	return key;
}

void
keeper_provider_use(struct keeper_wait *wait)
{
	provider.wait = wait;
}

void
keeper_provider_cancel(struct keeper_wait *wait)
{
	struct keeper_operation *operation = wait->operation;

	if (operation == NULL)
		return;
	keeper_client_cancel(provider.client, &operation->request);
	operation->done = true;
	operation->length = 0;
}
