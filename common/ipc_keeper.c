/*
 * The keeper's payloads. Requests come from processes that read the network: a digest has the
 * length that its algorithm says, or the request is refused.
 */
#include <string.h>

#include "common/ipc_keeper.h"

size_t
keeper_digest_length(enum keeper_algorithm algorithm)
{
	switch (algorithm) {
	case KEEPER_RSA_PKCS1_SHA256:
	case KEEPER_RSA_PSS_SHA256:
	case KEEPER_ECDSA_SHA256:
		return 32;
	case KEEPER_RSA_PKCS1_SHA384:
	case KEEPER_RSA_PSS_SHA384:
	case KEEPER_ECDSA_SHA384:
		return 48;
	case KEEPER_RSA_PKCS1_SHA512:
	case KEEPER_RSA_PSS_SHA512:
	case KEEPER_ECDSA_SHA512:
		return 64;
	case KEEPER_ED25519:
	case KEEPER_ALGORITHM_COUNT:
		break;
	}
	return 0;
}

void
ipc_sign_encode(struct buf *buf, const struct ipc_sign *sign)
{
	buf_add_u8(buf, (uint8_t)sign->kind);
	buf_add(buf, sign->key, sizeof(sign->key));
	buf_add_u8(buf, (uint8_t)sign->algorithm);
	buf_add(buf, sign->data, sign->length);
}

bool
ipc_sign_decode(struct buf_reader *reader, struct ipc_sign *sign)
{
	size_t digest;

	memset(sign, 0, sizeof(*sign));
	sign->kind = (enum keeper_kind)buf_get_enum(reader, KEEPER_KIND_COUNT);
	buf_get(reader, sign->key, sizeof(sign->key));
	sign->algorithm = (enum keeper_algorithm)buf_get_enum(reader, KEEPER_ALGORITHM_COUNT);
	if (reader->failed)
		return false;
	sign->data = reader->data;
	sign->length = reader->left;
	digest = keeper_digest_length(sign->algorithm);
	if (digest == 0 ? sign->length == 0 || sign->length > KEEPER_DATA_MAX
	                : sign->length != digest)
		reader->failed = true;
	reader->data += reader->left;
	reader->left = 0;
	return buf_reader_done(reader);
}

void
ipc_sign_refused_encode(struct buf *buf, const struct ipc_sign_refused *refused)
{
	buf_add_string(buf, refused->words);
}

bool
ipc_sign_refused_decode(struct buf_reader *reader, struct ipc_sign_refused *refused)
{
	memset(refused, 0, sizeof(*refused));
	buf_get_string(reader, refused->words, sizeof(refused->words));
	return buf_reader_done(reader);
}
