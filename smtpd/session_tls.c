/*
 * A session's encryption: what is known of it.
 */
#include "smtpd/session_state.h"

bool
session_is_encrypted(const struct session *s)
{
	(void)s;
	return false;
}

bool
session_channel_binding(const struct session *s, const char *type, uint8_t *binding, size_t *length)
{
	(void)s;
	(void)type;
	(void)binding;
	*length = 0;
	return false;
}
