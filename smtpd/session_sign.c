/*
 * DKIM signatures for what users send: between the end of the text and its commit the keeper is
 * asked for them, and the session waits. Mail that is to be signed and can't be is deferred, never
 * sent without.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/keeper_client.h"
#include "common/dkim.h"
#include "smtpd/session_state.h"

struct signature_request {
	struct keeper_request keeper;
	struct session_signing *signing;
	size_t index;
};

struct session_signing {
	struct session *session;
	struct dkim *signer; /* the message's */
	size_t unanswered;
	struct signature_request requests[DKIM_SIGNATURES_MAX];
};

/* Of one who has logged in the envelope's sender is known to be his, the author isn't: by a key of
 * the author's domain he could have others of this server's domains vouch for him. */
static struct dkim_who
find_who(const struct session *s)
{
	struct dkim_who who = {
		.sender_domain = s->mail->command.sender.domain,
		.sender_only = s->auth_user != NULL,
	};
	const char *sign;

	if (s->auth_user != NULL && *who.sender_domain == '\0') {
		sign = strrchr(s->auth_user, '@');
		who.sender_domain = sign == NULL ? "" : sign + 1;
	}
	return who;
}

void
session_prepare_signing(struct session *s)
{
	const struct dkim_who who = find_who(s);
	struct dkim *signer;

	if (s->service->dkim.count == 0)
		return;
	signer = dkim_new(&s->service->dkim, &who, clock_wall());
	if (signer == NULL) {
		struct reply reply;

		reply_set(&reply, 451, "4.3.0", "out of memory, try again later");
		message_refuse(s->mail->message, &reply);
		return;
	}
	message_sign(s->mail->message, signer);
}

void
session_forget_signing(struct session *s)
{
	struct session_signing *signing = s->signing;
	size_t i;

	if (signing == NULL)
		return;
	for (i = 0; i < DKIM_SIGNATURES_MAX; i++)
		keeper_client_cancel(s->service->keeper, &signing->requests[i].keeper);
	free(signing);
	s->signing = NULL;
}

static void
log_failure(struct session *s, const struct ipc_dkim_key *key, const char *why)
{
	struct log_line line;

	session_log_begin(s, &line, LOG_LEVEL_ERROR, "dkim-failed");
	log_hex32(&line, "message", s->mail->message_id);
	log_text(&line, "domain", key->domain);
	log_text(&line, "selector", key->selector);
	log_text(&line, "reason", why);
	log_end(&line);
}

/* All have come, or one won't: with `failed` the message is refused. */
static void
finish(struct session *s, bool failed)
{
	struct reply reply;

	if (!failed)
		message_set_signature(s->mail->message);
	else {
		reply_set(&reply, 451, "4.3.0",
		    "the message can't be signed now (DKIM), try again later");
		message_refuse(s->mail->message, &reply);
	}
	session_forget_signing(s);
	session_signed(s);
}

static void
on_answered(struct keeper_request *keeper, const uint8_t *signature, size_t length, const char *why)
{
	/* The keeper's part comes first in it. */
	struct signature_request *request = (struct signature_request *)keeper;
	struct session_signing *signing = request->signing;
	struct session *s = signing->session;

	signing->unanswered--;
	if (signature != NULL &&
	    !dkim_take_signature(signing->signer, request->index, signature, length))
		why = "the keeper's signature hasn't the length of its key's";
	if (why != NULL)
		log_failure(s, dkim_key(signing->signer, request->index), why);
	if (why != NULL || signing->unanswered == 0)
		finish(s, why != NULL);
}

bool
session_begin_signing(struct session *s)
{
	struct dkim *signer = message_signer(s->mail->message);
	struct session_signing *signing;
	struct reply reply;
	struct ipc_sign sign;
	size_t i;

	if (signer == NULL)
		return false;
	signing = calloc(1, sizeof(*signing));
	if (signing == NULL || s->service->keeper == NULL || !dkim_end(signer))
		goto fail;
	s->signing = signing;
	signing->session = s;
	signing->signer = signer;
	for (i = 0; i < dkim_count(signer); i++) {
		struct signature_request *request = &signing->requests[i];

		request->keeper.answered = on_answered;
		request->signing = signing;
		request->index = i;
		dkim_request(signer, i, &sign);
		if (!keeper_client_sign(s->service->keeper, &request->keeper, &sign)) {
			session_forget_signing(s);
			signing = NULL;
			goto fail;
		}
		signing->unanswered++;
	}
	return true;
fail:
	free(signing);
	reply_set(&reply, 451, "4.3.0", "temporary failure here, try again later");
	message_refuse(s->mail->message, &reply);
	return false;
}
