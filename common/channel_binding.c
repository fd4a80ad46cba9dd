/* The two kinds of binding that TLS 1.3 has; "tls-unique" is of none but older versions. */
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "common/channel_binding.h"

#define EXPORTED 32 /* RFC 9266 4.1 */

bool
channel_binding_exporter(SSL *ssl, uint8_t binding[CHANNEL_BINDING_MAX], size_t *length)
{
	static const char label[] = "EXPORTER-Channel-Binding";

	/* RFC 9266 4.2: before TLS 1.3 only with the extended master secret. */
	if (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1)
		return false;
	*length = EXPORTED;
	return SSL_export_keying_material(ssl, binding, *length, label, sizeof(label) - 1,
	           (const unsigned char *)"", 0, 1) == 1;
}

/* The hash that the certificate's signature names; for what has none of its own, and for those that
 * are too weak, SHA-256 (RFC 5929 4.1). */
static const EVP_MD *
digest_of(X509 *certificate)
{
	int digest = NID_undef;

	if (X509_get_signature_info(certificate, &digest, NULL, NULL, NULL) != 1 ||
	    digest == NID_undef || digest == NID_md5 || digest == NID_sha1)
		return EVP_sha256();
	return EVP_get_digestbynid(digest);
}

bool
channel_binding_end_point(X509 *certificate, uint8_t binding[CHANNEL_BINDING_MAX], size_t *length)
{
	const EVP_MD *digest = digest_of(certificate);
	unsigned size = 0;

	if (digest == NULL || EVP_MD_get_size(digest) > CHANNEL_BINDING_MAX ||
	    X509_digest(certificate, digest, binding, &size) != 1)
		return false;
	*length = size;
	return true;
}
