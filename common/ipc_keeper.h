/*
 * The channels between the keeper, which holds the private keys, and those that need signatures:
 * listeners, relay for its client certificates, and queue for the DKIM signatures of its reports.
 *
 *	peer -> keeper                     keeper -> peer
 *	KEEPER_SIGN                        KEEPER_SIGNED with the signature's bytes as payload, or
 *	                                   KEEPER_REFUSED with words
 *
 * The peer makes an id for its request, which the answer carries; there is no order among answers.
 * The keeper trusts no peer: it signs what it is asked to by a key of the kind named, and never hands
 * out a key. How a key comes to the keeper stands in ipc_supervisor.h.
 */
#ifndef COMMON_IPC_KEEPER_H
#define COMMON_IPC_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/imsg.h"

enum ipc_keeper_type {
	KEEPER_SIGN = 1,
	KEEPER_SIGNED,
	KEEPER_REFUSED,
};

/* What a key is for. A signature by the one kind can't be had for the other. */
enum keeper_kind {
	KEEPER_TLS,
	KEEPER_DKIM,
	KEEPER_KIND_COUNT,
};

/* What is signed, and how. But for ED25519 `data` is the digest that the name says; PSS has a salt
 * as long as the digest. ECDSA signatures are DER, as in TLS. */
enum keeper_algorithm {
	KEEPER_RSA_PKCS1_SHA256,
	KEEPER_RSA_PKCS1_SHA384,
	KEEPER_RSA_PKCS1_SHA512,
	KEEPER_RSA_PSS_SHA256,
	KEEPER_RSA_PSS_SHA384,
	KEEPER_RSA_PSS_SHA512,
	KEEPER_ECDSA_SHA256,
	KEEPER_ECDSA_SHA384,
	KEEPER_ECDSA_SHA512,
	KEEPER_ED25519, /* `data` is the message itself */
	KEEPER_ALGORITHM_COUNT,
};
/* Bytes of the digest; 0 for ED25519. */
size_t keeper_digest_length(enum keeper_algorithm);

/* A key's name: SHA-256 of its SubjectPublicKeyInfo in DER, so that a certificate says it too. */
#define KEEPER_ID_SIZE 32

#define KEEPER_DATA_MAX      4096
#define KEEPER_SIGNATURE_MAX 1024 /* RSA of 8192 bits */

/* KEEPER_SIGN */
struct ipc_sign {
	enum keeper_kind kind;
	uint8_t key[KEEPER_ID_SIZE];
	enum keeper_algorithm algorithm;
	const uint8_t *data; /* decoded: points into the frame */
	size_t length;
};
void ipc_sign_encode(struct buf *, const struct ipc_sign *);
bool ipc_sign_decode(struct buf_reader *, struct ipc_sign *);

/* KEEPER_REFUSED */
#define KEEPER_WORDS_MAX 200
struct ipc_sign_refused {
	char words[KEEPER_WORDS_MAX + 1];
};
void ipc_sign_refused_encode(struct buf *, const struct ipc_sign_refused *);
bool ipc_sign_refused_decode(struct buf_reader *, struct ipc_sign_refused *);

#endif
