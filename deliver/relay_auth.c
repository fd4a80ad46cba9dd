/* PLAIN goes with its initial response (RFC 4954 4), LOGIN answers two questions whose words don't
 * matter. */
#include <string.h>

#include <openssl/evp.h>

#include "deliver/relay_auth.h"

#define CREDENTIALS_MAX 512 /* each of the two */

static void
add_base64(struct buf *buf, const void *data, size_t length)
{
	unsigned char text[4 * (2 * CREDENTIALS_MAX + 4) / 3 + 4];
	int count = EVP_EncodeBlock(text, data, (int)length);

	buf_add(buf, text, (size_t)count);
	explicit_bzero(text, sizeof(text));
}

static void
say_plain(struct buf *buf, const char *user, const char *password)
{
	unsigned char response[2 * CREDENTIALS_MAX + 2];
	size_t user_length = strlen(user), password_length = strlen(password);

	response[0] = '\0';
	memcpy(response + 1, user, user_length + 1);
	memcpy(response + user_length + 2, password, password_length);
	buf_add_text(buf, "AUTH PLAIN ");
	add_base64(buf, response, user_length + password_length + 2);
	buf_add_text(buf, "\r\n");
	explicit_bzero(response, sizeof(response));
}

bool
auth_say(struct buf *buf, enum auth_mechanism mechanism, unsigned *step, const char *user,
    const char *password)
{
	if (strlen(user) > CREDENTIALS_MAX || strlen(password) > CREDENTIALS_MAX)
		return false;
	switch (mechanism) {
	case AUTH_PLAIN:
		if ((*step)++ > 0)
			return false;
		say_plain(buf, user, password);
		return true;
	case AUTH_LOGIN:
		if (*step > 2)
			return false;
		if (*step == 0)
			buf_add_text(buf, "AUTH LOGIN");
		else
			add_base64(buf, *step == 1 ? user : password,
			    strlen(*step == 1 ? user : password));
		(*step)++;
		buf_add_text(buf, "\r\n");
		return true;
	case AUTH_MECHANISM_COUNT:
		break;
	}
	return false;
}
