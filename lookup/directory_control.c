/*
 * Control's requests. A listing is given in portions, several in turn, while control takes them; all
 * else is answered at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/ipc_control.h"
#include "common/ipc_directory.h"
#include "common/ipc_mailbox.h"
#include "lookup/auth.h"
#include "lookup/directory_state.h"
#include "lookup/explain.h"
#include "lookup/history.h"
#include "lookup/hourly.h"
#include "lookup/login.h"
#include "lookup/site.h"
#include "lookup/usage.h"

#define LISTINGS_MAX    16
#define LISTING_PORTION 200
#define LISTING_QUEUED  (256UL * 1024)
#define SLOW_MAX        1000 /* lines of those whose logins are slowed down */

static void
send_result(uint32_t id, uint32_t frame_peer, const struct ipc_result *result)
{
	struct buf *frame = directory_payload();

	ipc_result_encode(frame, result);
	channel_send(directory.control.channel, CONTROL_DONE, id, frame_peer, -1, frame);
}

static void
send_line(const char *line, void *arg)
{
	const struct listing *listing = arg;
	struct buf *frame = directory_payload();

	buf_add_string(frame, line);
	channel_send(
	    directory.control.channel, CONTROL_LINE, listing->id, listing->frame_peer, -1, frame);
}

static void
end_listing(struct listing *listing)
{
	TAILQ_REMOVE(&directory.listings, listing, next);
	directory.listing_count--;
	free(listing);
}

static bool
give_portion(struct listing *listing, struct ipc_result *result)
{
	if (listing->is_tls)
		return tls_admin_portion(
		    directory.tls_sums, &listing->tls, LISTING_PORTION, send_line, listing, result);
	return accounts_admin_portion(
	    directory.site, &listing->state, LISTING_PORTION, send_line, listing, result);
}

void
directory_continue_listings(struct channel *channel, void *arg)
{
	struct listing *listing;
	struct ipc_result result;

	(void)arg;
	while (channel_queued(channel) < LISTING_QUEUED &&
	    (listing = TAILQ_FIRST(&directory.listings)) != NULL) {
		if (give_portion(listing, &result)) {
			TAILQ_REMOVE(&directory.listings, listing, next);
			TAILQ_INSERT_TAIL(&directory.listings, listing, next);
		} else {
			send_result(listing->id, listing->frame_peer, &result);
			end_listing(listing);
		}
	}
}

static void
start_listing(const struct imsg *imsg, const struct ipc_account *account)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	struct ipc_result result;

	memset(&result, 0, sizeof(result));
	if (listing == NULL || directory.listing_count >= LISTINGS_MAX) {
		result.exit_code = EX_TEMPFAIL;
		strcpy(result.words, "too many listings at once, try again later");
		send_result(imsg->id, imsg->peer, &result);
		free(listing);
		return;
	}
	listing->is_tls = account->verb == ACCOUNT_TLS_RESULT_LIST;
	if (listing->is_tls
	        ? !tls_admin_list(directory.tls_sums, account, &listing->tls, &result)
	        : !accounts_admin_list(directory.site, account, &listing->state, &result)) {
		send_result(imsg->id, imsg->peer, &result);
		free(listing);
		return;
	}
	listing->id = imsg->id;
	listing->frame_peer = imsg->peer;
	TAILQ_INSERT_TAIL(&directory.listings, listing, next);
	directory.listing_count++;
	directory_continue_listings(directory.control.channel, NULL);
}

struct slow_listing {
	const struct imsg *imsg;
	uint64_t count;
};

static bool
send_slow(const struct throttle_slow *slow, void *arg)
{
	struct slow_listing *listing = arg;
	struct buf *frame = directory_payload();
	char line[USER_NAME_MAX + 128];

	snprintf(line, sizeof(line), "%s\t%s\t%u\t%u\t%lld",
	    slow->is_network ? "network" : "account", slow->text, slow->failures, slow->step_ms,
	    (long long)(slow->failed_ago_ms / 1000));
	buf_add_string(frame, line);
	channel_send(directory.control.channel, CONTROL_LINE, listing->imsg->id,
	    listing->imsg->peer, -1, frame);
	return ++listing->count < SLOW_MAX;
}

static void
list_slow(const struct imsg *imsg)
{
	struct slow_listing listing = { .imsg = imsg };
	struct ipc_result result;

	memset(&result, 0, sizeof(result));
	throttle_each(auth_throttle(directory.auth), clock_monotonic_ms(), send_slow, &listing);
	result.count = listing.count;
	send_result(imsg->id, imsg->peer, &result);
}

void
directory_receive_account(struct peer *peer, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_account account;
	struct ipc_result result;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_account_decode(&reader, &account)) {
		channel_reject(peer->channel, imsg, "an account that can't be decoded");
		return;
	}
	if (!buf_reader_done(&reader))
		channel_reject(peer->channel, imsg, "bytes left over behind an account");
	else if (account.verb == ACCOUNT_SLOW_LIST)
		list_slow(imsg);
	else if (accounts_admin_is_list(account.verb) || account.verb == ACCOUNT_TLS_RESULT_LIST)
		start_listing(imsg, &account);
	else if (account.verb == ACCOUNT_TLS_REPORT_SEND) {
		tls_admin_send(
		    directory.tls_sums, directory.tls_sender, &account, clock_wall(), &result);
		send_result(imsg->id, imsg->peer, &result);
	} else {
		if (accounts_admin_change(directory.site, &account, &result))
			directory_forget();
		send_result(imsg->id, imsg->peer, &result);
	}
	ipc_account_free(&account);
}

static void
send_step(const struct ipc_explain_step *step, void *arg)
{
	const struct job *job = arg;
	struct buf *frame = directory_payload();

	ipc_explain_step_encode(frame, step);
	channel_send(job->peer->channel, CONTROL_EXPLAIN_STEP, job->id, job->frame_peer, -1, frame);
}

/* Whether the user who asks is over the hourly limit, which counts nothing. */
static void
explain_hourly(struct job *job)
{
	const struct config *config = directory.site->config;
	struct expanded *expanded = &job->expanded;
	const uint32_t limit = config->user_mails_per_hour;
	struct ipc_explain_step step = { .step = EXPLAIN_HOURLY, .is_known = true };
	uint32_t left;

	if (limit == 0 || *job->rcpt.auth_user == '\0' || !reply_is_success(&expanded->reply))
		return;
	left = hourly_left(directory.hourly, job->rcpt.auth_user, limit, clock_monotonic_ms());
	strlcpy(step.address, job->rcpt.auth_user, sizeof(step.address));
	step.quota_messages = limit;
	step.used_messages = limit - left;
	strlcpy(step.words, config->user_mails_hold ? "held" : "refused", sizeof(step.words));
	send_step(&step, job);
	if (left == 0 && !config->user_mails_hold)
		directory_refuse_hourly(&expanded->reply);
}

void
directory_explain(struct job *job)
{
	if (job->peer == NULL) {
		directory_end_job(job);
		return;
	}
	while (!explain_recipient(
	    directory.site, &job->rcpt, job->forwards, send_step, job, &job->expanded)) {
		expanded_free(&job->expanded);
		if (!forward_set_gather(job->forwards))
			return;
	}
	explain_hourly(job);
	usage_doubt(directory.usage, &job->expanded.mailbox);
	directory_check_quota(job);
}

void
directory_end_explanation(struct job *job)
{
	const struct expanded *expanded = &job->expanded;
	struct ipc_explain_step step = { .step = EXPLAIN_QUOTA };
	struct ipc_result result;

	if (job->peer == NULL || job->peer->channel == NULL)
		return;
	/* One mailbox, which has one. */
	if (expanded->count == 1 &&
	    (expanded->mailbox.quota_bytes != 0 || expanded->mailbox.quota_messages != 0)) {
		address_format(&expanded->targets[0].dest, step.address, sizeof(step.address));
		step.quota_bytes = expanded->mailbox.quota_bytes;
		step.quota_messages = expanded->mailbox.quota_messages;
		step.is_known = usage_get(
		    directory.usage, &expanded->mailbox, &step.used_bytes, &step.used_messages);
		send_step(&step, job);
	}
	memset(&result, 0, sizeof(result));
	reply_format(&expanded->reply, result.words, sizeof(result.words));
	result.count = reply_is_success(&expanded->reply) ? expanded->count : 0;
	send_result(job->id, job->frame_peer, &result);
}

/* Where mail would go, without any. */
void
directory_receive_explain(struct peer *peer, struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_result result = { .exit_code = EX_TEMPFAIL };
	struct ipc_rcpt rcpt;
	struct job *job;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_rcpt_decode(&reader, &rcpt) || !buf_reader_done(&reader) ||
	    *rcpt.user_action != '\0') {
		channel_reject(peer->channel, imsg, "a recipient to explain that can't be decoded");
		return;
	}
	job = directory_add_job(peer, imsg, &rcpt);
	if (job == NULL) {
		strcpy(result.words, "too many explanations at once, try again later");
		send_result(imsg->id, imsg->peer, &result);
		return;
	}
	job->is_explanation = true;
	directory_explain(job);
}

/* As after a login, but that control gets the session. */
void
directory_receive_scripts(struct peer *peer, const struct imsg *imsg)
{
	struct ipc_mailbox_login login = { .session = imsg->id };
	struct ipc_scripts scripts;
	struct ipc_result result;
	struct buf_reader reader;
	struct buf *frame;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_scripts_decode(&reader, &scripts) || !buf_reader_done(&reader)) {
		channel_reject(peer->channel, imsg, "a request for scripts that can't be decoded");
		return;
	}
	if (!login_find_mailbox(directory.site, scripts.user, &login.mailbox)) {
		memset(&result, 0, sizeof(result));
		result.exit_code = login.mailbox.reply.code < 500 ? EX_TEMPFAIL : EX_NOUSER;
		snprintf(result.words, sizeof(result.words), "%s", login.mailbox.reply.text);
		send_result(imsg->id, imsg->peer, &result);
		return;
	}
	frame = directory_payload();
	ipc_mailbox_login_encode(frame, &login);
	channel_send(directory.supervisor.channel, DIRECTORY_SUPERVISOR_SCRIPTS, 0, 0, -1, frame);
}

static void
send_event(uint32_t id, const struct buf *event)
{
	channel_send(directory.control.channel, CONTROL_HISTORY, id, 0, -1, event);
}

static void
send_events_done(uint32_t id, const struct ipc_result *result)
{
	send_result(id, 0, result);
}

const struct history_calls directory_history_calls = { send_event, send_events_done };

/* What became of a message. */
void
directory_receive_trace(struct peer *peer, struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_trace trace;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_trace_decode(&reader, &trace)) {
		channel_reject(peer->channel, imsg, "a message to trace that can't be decoded");
		return;
	}
	history_ask(directory.history, imsg->id, &trace);
}

void
directory_end_listings(void)
{
	struct listing *listing;

	while ((listing = TAILQ_FIRST(&directory.listings)) != NULL)
		end_listing(listing);
}
