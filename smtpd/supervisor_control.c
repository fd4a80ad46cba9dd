/*
 * What smtpctl asks of the supervisor, by way of control, and reload. A new config is taken whole
 * or not at all: it is parsed, its directories and accounts checked and its new addresses bound
 * before anything of the old one is given up, and the answer comes when every child has taken it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "smtpd/parse.h"
#include "smtpd/supervisor_paths.h"
#include "smtpd/supervisor_state.h"

/* An address given up by the last reload may be held by a listener for a moment longer. */
#define REBIND_MS         300
#define CONFIGURE_SECONDS 5 /* for all children; one that takes longer isn't waited for */

static void
answer(struct supervisor *supervisor, uint32_t id, bool success, const char *words)
{
	struct channel *channel = children_channel(supervisor, PROGRAM_CONTROL);
	struct ipc_done done = { .success = success };
	struct buf payload;

	if (channel == NULL)
		return;
	strlcpy(done.words, words, sizeof(done.words));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_done_encode(&payload, &done);
	channel_send(channel, SUPERVISOR_CONTROL_DONE, id, 0, -1, &payload);
	buf_free(&payload);
}

struct report {
	char *why; /* gets the first error */
	size_t size;
	bool has_error;
};

static void
report_problem(bool is_error, const char *text, void *arg)
{
	struct report *report = arg;
	struct log_line line;

	log_begin(&line, is_error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "config-problem");
	log_text(&line, "text", text);
	log_end(&line);
	if (!is_error || report->has_error)
		return;
	report->has_error = true;
	strlcpy(report->why, text, report->size);
}

/* What can't change while all runs. */
static bool
has_same_places(const struct config *a, const struct config *b, char *why, size_t size)
{
	const char *what = NULL;

	if (strcmp(a->spool_directory, b->spool_directory) != 0)
		what = "spool";
	else if (strcmp(a->state_directory, b->state_directory) != 0)
		what = "state";
	else if (strcmp(a->run_directory, b->run_directory) != 0)
		what = "run";
	if (what == NULL)
		return true;
	snprintf(why, size, "\"directory %s\" has changed: that takes a restart of smtpd", what);
	return false;
}

/* On success the config and its keys are taken over. */
static bool
take_config(struct supervisor *supervisor, struct config *config, struct tls_set *keys, char *why,
    size_t size)
{
	struct accounts accounts;
	struct listen_set sockets;

	if (!has_same_places(supervisor->config, config, why, size) ||
	    !accounts_find(&accounts, config->mail_user, why, size) ||
	    !paths_make_directory(config->mail_directory, accounts.mail.uid, accounts.mail.gid,
	        0711, true, why, size) ||
	    !listen_set_open(&sockets, config, &supervisor->sockets, REBIND_MS, why, size))
		return false;
	listen_set_close(&supervisor->sockets, &sockets);
	supervisor->sockets = sockets;
	supervisor->accounts = accounts;
	config_free(supervisor->config);
	supervisor->config = config;
	tls_set_free(supervisor->tls);
	supervisor->tls = keys;
	supervisor->generation++;
	return true;
}

static void
end_reload(struct supervisor *supervisor, bool success, const char *why)
{
	struct log_line line;

	log_begin(&line, success ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
	    success ? "reloaded" : "reload-failed");
	log_text(&line, "file", supervisor->config_path);
	if (success)
		log_number(&line, "listeners", (int64_t)supervisor->config->listener_count);
	else
		log_text(&line, "reason", why);
	log_end(&line);
	event_del(supervisor->reload.timeout);
	supervisor->reload.in_progress = false;
	if (supervisor->reload.has_caller)
		answer(supervisor, supervisor->reload.caller_id, success,
		    success ? "configuration reloaded" : why);
	supervisor->reload.has_caller = false;
}

static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *supervisor = arg;
	char names[160], why[WHY_MAX];

	(void)fd;
	(void)what;
	children_name_configuring(supervisor, names, sizeof(names));
	snprintf(why, sizeof(why),
	    "the new configuration is in use, but not confirmed after %d s by: %s",
	    CONFIGURE_SECONDS, names);
	end_reload(supervisor, false, why);
}

void
control_child_configured(struct supervisor *supervisor)
{
	if (supervisor->reload.in_progress && !children_are_configuring(supervisor))
		end_reload(supervisor, true, "");
}

/* The config is read, and the keeper has said what it makes of its keys. */
static void
on_keys_checked(struct supervisor *supervisor, struct tls_set *keys, const char *refusal)
{
	const struct timeval patience = { .tv_sec = CONFIGURE_SECONDS };
	struct config *config = supervisor->reload.config;
	char why[WHY_MAX];

	supervisor->reload.config = NULL;
	if (refusal != NULL)
		strlcpy(why, refusal, sizeof(why));
	if (supervisor->state != SUPERVISOR_RUNNING)
		strlcpy(why, "smtpd is stopping", sizeof(why));
	if (refusal != NULL || supervisor->state != SUPERVISOR_RUNNING ||
	    !take_config(supervisor, config, keys, why, sizeof(why))) {
		config_free(config);
		tls_set_free(keys);
		end_reload(supervisor, false, why);
		return;
	}
	if (event_add(supervisor->reload.timeout, &patience) != 0)
		fatalx("no timer");
	children_configure(supervisor);
	mda_configure_all(supervisor);
	mailbox_configure_all(supervisor);
	dkim_read_again(supervisor);
}

void
control_reload(struct supervisor *supervisor)
{
	char why[WHY_MAX] = "";
	struct report report = { .why = why, .size = sizeof(why) };
	struct config *config;
	struct tls_set *keys;

	if (supervisor->reload.timeout == NULL)
		supervisor->reload.timeout = evtimer_new(supervisor->base, on_timeout, supervisor);
	if (supervisor->reload.timeout == NULL)
		fatalx("no timer");
	supervisor->reload.in_progress = true;
	config = parse_config_file(supervisor->config_path, report_problem, &report);
	keys =
	    config == NULL ? NULL : tls_set_load(config, supervisor->tls, false, why, sizeof(why));
	if (keys == NULL) {
		config_free(config);
		end_reload(supervisor, false, why);
		return;
	}
	supervisor->reload.config = config;
	/* A look at changed files that is under way is about the old config. */
	keys_give_up_check(supervisor, "all is read again by a reload");
	keys_check(supervisor, keys, false, on_keys_checked);
}

static void
set_log(struct supervisor *supervisor, bool verbose, uint32_t trace)
{
	supervisor->verbose = verbose;
	supervisor->trace = trace;
	log_set_level(verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_set_trace(trace);
	children_send_log(supervisor, false);
	mda_send_log(supervisor, false);
	mailbox_send_log(supervisor, false);
}

static void
pause_smtp(struct supervisor *supervisor, bool paused)
{
	supervisor->smtp_paused = paused;
	children_send_listeners(
	    supervisor, paused ? SUPERVISOR_CHILD_PAUSE : SUPERVISOR_CHILD_RESUME);
}

/* True when the answer comes later. */
static bool
start_reload(struct supervisor *supervisor, uint32_t id, const char **refusal)
{
	if (supervisor->state != SUPERVISOR_RUNNING) {
		*refusal = "smtpd isn't running yet, or no longer";
		return false;
	}
	if (supervisor->reload.in_progress) {
		*refusal = "a reload is under way";
		return false;
	}
	supervisor->reload.has_caller = true;
	supervisor->reload.caller_id = id;
	control_reload(supervisor);
	return true;
}

bool
control_request(struct supervisor *supervisor, struct channel *channel, const struct imsg *imsg)
{
	struct ipc_control request;
	struct buf_reader reader;
	const char *refusal = NULL, *words = "";
	char reason[64];

	(void)channel;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_control_decode(&reader, &request) || imsg->fd != -1)
		return false;
	switch (request.verb) {
	case CONTROL_RELOAD:
		if (start_reload(supervisor, imsg->id, &refusal))
			return true;
		break;
	case CONTROL_STOP:
		answer(supervisor, imsg->id, true, "stopping");
		snprintf(reason, sizeof(reason), "asked to by user %u", request.caller_uid);
		supervisor_stop(supervisor, reason);
		return true;
	case CONTROL_LOG_BRIEF:
	case CONTROL_LOG_VERBOSE:
		set_log(supervisor, request.verb == CONTROL_LOG_VERBOSE, supervisor->trace);
		break;
	case CONTROL_TRACE:
	case CONTROL_UNTRACE:
		if (request.argument == 0 || (request.argument & ~(uint32_t)LOG_TRACE_ALL) != 0)
			return false;
		set_log(supervisor, supervisor->verbose,
		    request.verb == CONTROL_TRACE ? supervisor->trace | request.argument
		                                  : supervisor->trace & ~request.argument);
		break;
	case CONTROL_PAUSE_SMTP:
		pause_smtp(supervisor, true);
		break;
	case CONTROL_RESUME_SMTP:
		pause_smtp(supervisor, false);
		break;
	case CONTROL_SMTP_STATUS:
		words = supervisor->smtp_paused ? "paused" : "running";
		break;
	case CONTROL_VERB_COUNT:
		return false;
	}
	answer(supervisor, imsg->id, refusal == NULL, refusal == NULL ? words : refusal);
	return true;
}
