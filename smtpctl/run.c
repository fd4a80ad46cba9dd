/*
 * A request of each command, and what is printed of its answer.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "smtpctl/ending.h"
#include "smtpctl/exchange.h"
#include "smtpctl/run.h"
#include "smtpctl/run_history.h"
#include "smtpctl/run_relay.h"
#include "smtpctl/run_sieve.h"
#include "smtpctl/show_account.h"
#include "smtpctl/show_dkim.h"
#include "smtpctl/show_queue.h"
#include "smtpctl/show_relays.h"
#include "smtpctl/show_shape.h"
#include "smtpctl/show_stats.h"
#include "smtpctl/text.h"

/* The server itself gives up waiting after half of it. */
#define STOP_MS 30000

struct listing {
	struct output *output;
	const struct command *command;
	struct shape *shape; /* COMMAND_SHOW_SHAPE: what is counted, instead of shown */
	struct transaction transaction;
	struct envelope envelope;
	char dialogue[IMSG_PAYLOAD_MAX]; /* of one that is shown alone */
	uint64_t count;
};

static bool
take_envelope(const struct imsg *imsg, void *arg)
{
	struct listing *listing = arg;
	struct output *output = listing->output;
	struct buf_reader reader;
	int64_t now = clock_wall();

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != CONTROL_ENVELOPE || !transaction_decode(&reader, &listing->transaction) ||
	    !envelope_decode(&reader, &listing->envelope))
		return false;
	buf_get_string(&reader, listing->dialogue, sizeof(listing->dialogue));
	if (!buf_reader_done(&reader))
		return false;
	if (listing->shape != NULL) {
		shape_count(listing->shape, &listing->transaction, &listing->envelope, now);
		return true;
	}
	if (output->format == OUTPUT_JSON)
		show_queue_json(
		    &output->buf, &listing->transaction, &listing->envelope, listing->dialogue);
	else if (listing->command->verb == COMMAND_SHOW_ENVELOPE)
		show_envelope(
		    &output->buf, &listing->transaction, &listing->envelope, listing->dialogue);
	else if (output->format == OUTPUT_LINES)
		show_queue_line(&output->buf, &listing->transaction, &listing->envelope, now);
	else {
		if (listing->count == 0)
			show_queue_table_head(&output->buf, output->width);
		show_queue_table_row(
		    &output->buf, &listing->transaction, &listing->envelope, now, output->width);
	}
	listing->count++;
	output_flush_some(output);
	return true;
}

/* One by one, or added up. */
static int
run_list(const struct command *command, struct client *client, struct output *output)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	struct ipc_result result;
	struct buf payload;
	int status;

	if (listing == NULL)
		err(EX_OSERR, "envelope");
	listing->output = output;
	listing->command = command;
	if (command->verb == COMMAND_SHOW_SHAPE)
		listing->shape = shape_new(command->by_sender);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_filter_encode(&payload, &command->filter);
	status = exchange_encoded(
	    client, output, CONTROL_QUEUE_LIST, &payload, take_envelope, listing, &result, NULL);
	if (status == 0 && listing->shape != NULL) {
		shape_show(listing->shape, output);
		output_flush(output);
	} else if (status == 0 && listing->count == 0 && command->verb == COMMAND_SHOW_ENVELOPE) {
		warnx("command failed: no such envelope");
		status = EX_DATAERR;
	}
	if (listing->shape != NULL)
		shape_free(listing->shape);
	free(listing);
	return status;
}

static bool
take_destination(const struct imsg *imsg, void *arg)
{
	struct listing *listing = arg;
	struct ipc_destination destination;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != CONTROL_DESTINATION || !ipc_destination_decode(&reader, &destination) ||
	    !buf_reader_done(&reader))
		return false;
	if (listing->count++ == 0)
		show_relays_head(listing->output);
	show_relays_row(listing->output, &destination, clock_wall());
	output_flush_some(listing->output);
	return true;
}

static int
run_relays(const struct command *command, struct client *client, struct output *output)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	struct ipc_result result;
	struct buf payload;
	int status;

	if (listing == NULL)
		err(EX_OSERR, "list");
	listing->output = output;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_filter_encode(&payload, &command->filter);
	status = exchange_encoded(client, output, CONTROL_DESTINATION_LIST, &payload,
	    take_destination, listing, &result, NULL);
	free(listing);
	return status;
}

static int
run_message(const struct command *command, struct client *client, struct output *output)
{
	struct ipc_result result;
	struct buf payload;
	off_t offset = 0;
	int fd = -1;
	int status;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_filter_encode(&payload, &command->filter);
	status = exchange_encoded(
	    client, output, CONTROL_QUEUE_MESSAGE, &payload, NULL, NULL, &result, &fd);
	if (status == 0 && fd == -1)
		status = fail_protocol(output);
	while (status == 0) {
		uint8_t bytes[16384];
		ssize_t count = pread(fd, bytes, sizeof(bytes), offset);

		if (count == -1 && errno == EINTR)
			continue;
		if (count == -1) {
			warn("command failed: the message could not be read");
			status = EX_IOERR;
		}
		if (count <= 0)
			break;
		buf_add(&output->buf, bytes, (size_t)count);
		output_flush(output);
		offset += count;
	}
	if (fd != -1)
		close(fd);
	return status;
}

static int
run_act(const struct command *command, struct client *client, struct output *output)
{
	static const char *const words[QUEUE_ACTION_COUNT] = {
		[QUEUE_SCHEDULE] = "scheduled",
		[QUEUE_REMOVE] = "removed",
		[QUEUE_EXPIRE] = "expired",
		[QUEUE_HOLD] = "paused",
		[QUEUE_UNHOLD] = "resumed",
		[QUEUE_DISCOVER] = "discovered",
	};
	struct ipc_act act = { .action = command->action, .filter = command->filter };
	struct ipc_result result;
	struct buf payload;
	int status;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_act_encode(&payload, &act);
	status = exchange_encoded(
	    client, output, CONTROL_QUEUE_ACT, &payload, NULL, NULL, &result, NULL);
	if (status != 0)
		return status;
	if (output->format == OUTPUT_JSON)
		buf_printf(&output->buf, "{\"action\":\"%s\",\"envelopes\":%" PRIu64 "}\n",
		    words[command->action], result.count);
	else
		buf_printf(&output->buf, "%" PRIu64 " envelope%s %s\n", result.count,
		    result.count == 1 ? "" : "s", words[command->action]);
	output_flush(output);
	return 0;
}

static int
run_pause(const struct command *command, struct client *client, struct output *output)
{
	struct ipc_result result;
	struct buf payload;
	int status;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_pause_encode(&payload, &command->pause);
	status = exchange_encoded(
	    client, output, CONTROL_QUEUE_PAUSE, &payload, NULL, NULL, &result, NULL);
	return status == 0 ? succeed(output) : status;
}

static int
run_supervisor(const struct command *command, struct client *client, const char *socket_path,
    struct output *output)
{
	bool ends = command->supervisor.verb == CONTROL_STOP;
	struct ending ending = { .path = NULL };
	struct ipc_result result;
	struct buf payload;
	int status;

	if (ends)
		ending_begin(&ending, socket_path);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_control_encode(&payload, &command->supervisor);
	status = exchange_encoded(
	    client, output, CONTROL_SUPERVISOR, &payload, NULL, NULL, &result, NULL);
	client_close(client); /* it would be waited for */
	if (!ending_wait(&ending, status == 0 ? STOP_MS : 0) && status == 0) {
		warnx("command failed: smtpd has been told to stop, but is still there");
		return EX_TEMPFAIL;
	}
	return status == 0 ? succeed(output) : status;
}

static bool
take_line(const struct imsg *imsg, void *arg)
{
	struct listing *listing = arg;
	struct buf_reader reader;
	bool shown = false;
	char *line;

	if (imsg->type != CONTROL_LINE)
		return false;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	line = buf_get_string_alloc(&reader, IMSG_PAYLOAD_MAX);
	if (line != NULL && buf_reader_done(&reader)) {
		if (listing->count++ == 0)
			show_account_head(listing->output, listing->command->account);
		shown = show_account_row(listing->output, listing->command->account, line);
		output_flush_some(listing->output);
	}
	free(line);
	return shown;
}

static int
run_account(const struct command *command, const struct password_hashes *hashes,
    struct client *client, struct output *output)
{
	struct ipc_account account = { .verb = command->account };
	struct listing *listing = calloc(1, sizeof(*listing));
	char bytes[24], messages[24];
	struct ipc_result result;
	struct buf payload;
	bool list = command->account == ACCOUNT_DOMAIN_LIST ||
	    command->account == ACCOUNT_USER_LIST || command->account == ACCOUNT_ALIAS_LIST ||
	    command->account == ACCOUNT_SLOW_LIST || command->account == ACCOUNT_TLS_RESULT_LIST;
	int status;

	if (listing == NULL)
		err(EX_OSERR, "list");
	/* The words are lent, not owned: the encoder only reads them. */
	for (size_t i = 0; i < command->word_count && i < ACCOUNT_WORDS_MAX; i++)
		account.words[account.word_count++] = command->words[i];
	if (command->account == ACCOUNT_USER_ADD || command->account == ACCOUNT_USER_PASSWORD) {
		account.words[account.word_count++] = (char *)(size_t)hashes->crypt;
		account.words[account.word_count++] = (char *)(size_t)hashes->scram;
	}
	if (command->account == ACCOUNT_USER_QUOTA) {
		(void)snprintf(bytes, sizeof(bytes), "%" PRIu64, command->quota_bytes);
		(void)snprintf(messages, sizeof(messages), "%" PRIu64, command->quota_messages);
		account.words[account.word_count++] = bytes;
		account.words[account.word_count++] = messages;
	}
	listing->output = output;
	listing->command = command;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_account_encode(&payload, &account);
	status = exchange_encoded(client, output, CONTROL_ACCOUNT, &payload,
	    list ? take_line : NULL, listing, &result, NULL);
	free(listing);
	return status == 0 && !list ? succeed(output) : status;
}

static bool
take_key(const struct imsg *imsg, void *arg)
{
	struct listing *listing = arg;
	enum dkim_verb verb = listing->command->dkim.verb;
	struct buf_reader reader;
	bool shown = false;
	char *line;

	if (imsg->type != CONTROL_LINE)
		return false;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	line = buf_get_string_alloc(&reader, IMSG_PAYLOAD_MAX);
	if (line != NULL && buf_reader_done(&reader)) {
		if (listing->count++ == 0 && verb == DKIM_LIST)
			show_dkim_head(listing->output);
		shown = show_dkim(listing->output, verb == DKIM_LIST, line);
		output_flush_some(listing->output);
	}
	free(line);
	return shown;
}

static int
run_dkim(const struct command *command, struct client *client, struct output *output)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	enum dkim_verb verb = command->dkim.verb;
	struct ipc_result result;
	struct buf payload;
	int status;

	if (listing == NULL)
		err(EX_OSERR, "list");
	listing->output = output;
	listing->command = command;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_dkim_encode(&payload, &command->dkim);
	status = exchange_encoded(
	    client, output, CONTROL_DKIM, &payload, take_key, listing, &result, NULL);
	free(listing);
	return status == 0 && (verb == DKIM_DELETE || verb == DKIM_ACTIVATE) ? succeed(output)
	                                                                     : status;
}

static bool
take_stats(const struct imsg *imsg, void *arg)
{
	return imsg->type == CONTROL_STATS && show_stats_decode(imsg->payload, imsg->length, arg);
}

static int
run_stats(struct client *client, struct output *output)
{
	struct show_stats stats = { .uptime = 0 };
	struct ipc_result result;
	int status =
	    exchange(client, output, CONTROL_STATS, NULL, take_stats, &stats, &result, NULL);

	if (status != 0)
		return status;
	show_stats(output, &stats);
	output_flush(output);
	return 0;
}

static int
run_monitor(const struct command *command, struct client *client, struct output *output)
{
	struct show_stats before, now = { .uptime = 0 };
	struct ipc_result result;
	struct timespec next;
	int status;

	if (clock_gettime(CLOCK_MONOTONIC, &next) != 0)
		err(EX_OSERR, "clock");
	status = exchange(client, output, CONTROL_STATS, NULL, take_stats, &now, &result, NULL);
	for (unsigned long line = 0; status == 0 && (command->count == 0 || line < command->count);
	     line++) {
		next.tv_sec++;
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR)
			;
		before = now;
		status =
		    exchange(client, output, CONTROL_STATS, NULL, take_stats, &now, &result, NULL);
		if (status != 0)
			break;
		show_monitor(output, &before, &now, line);
		output_flush(output);
	}
	return status;
}

/* Three lines, "MDA running"; as JSON one object, {"mda":"running", …}. */
static int
run_status(struct client *client, struct output *output)
{
	struct ipc_result result;
	struct buf *buf = &output->buf;
	char *rest = result.words, *line;
	const char *before = "{";
	int status = exchange(client, output, CONTROL_STATUS, NULL, NULL, NULL, &result, NULL);

	if (status != 0)
		return status;
	while ((line = strsep(&rest, "\n")) != NULL) {
		char *state = strchr(line, ' ');

		if (output->format != OUTPUT_JSON) {
			text_add_clean(buf, line, IPC_WORDS_MAX);
			buf_add_text(buf, "\n");
			continue;
		}
		if (state == NULL)
			return fail_protocol(output);
		*state++ = '\0';
		for (char *letter = line; *letter != '\0'; letter++)
			if (*letter >= 'A' && *letter <= 'Z')
				*letter += 'a' - 'A';
		buf_add_text(buf, before);
		text_add_json(buf, line);
		buf_add_text(buf, ":");
		text_add_json(buf, state);
		before = ",";
	}
	if (output->format == OUTPUT_JSON)
		buf_add_text(buf, "}\n");
	output_flush(output);
	return 0;
}

int
run_command(const struct command *command, const struct password_hashes *hashes,
    struct client *client, const char *socket_path, struct output *output)
{
	switch (command->verb) {
	case COMMAND_SHOW_QUEUE:
	case COMMAND_SHOW_ENVELOPE:
	case COMMAND_SHOW_SHAPE:
		return run_list(command, client, output);
	case COMMAND_SHOW_RELAYS:
		return run_relays(command, client, output);
	case COMMAND_EXPLAIN:
		return run_explain(command, client, output);
	case COMMAND_SHOW_HOSTS:
	case COMMAND_SHOW_ROUTES:
	case COMMAND_SHOW_HOSTSTATS:
		return run_hosts(command, client, output);
	case COMMAND_SHOW_MESSAGE:
		return run_message(command, client, output);
	case COMMAND_SHOW_STATS:
		return run_stats(client, output);
	case COMMAND_SHOW_STATUS:
		return run_status(client, output);
	case COMMAND_ACT:
		return run_act(command, client, output);
	case COMMAND_PAUSE:
		return run_pause(command, client, output);
	case COMMAND_SUPERVISOR:
		return run_supervisor(command, client, socket_path, output);
	case COMMAND_ACCOUNT:
		return run_account(command, hashes, client, output);
	case COMMAND_DKIM:
		return run_dkim(command, client, output);
	case COMMAND_SIEVE:
		return run_sieve(command, client, output);
	case COMMAND_TRACE_MESSAGE:
		return run_trace_message(command, client, output);
	case COMMAND_MONITOR:
		return run_monitor(command, client, output);
	case COMMAND_SPOOL:
	case COMMAND_ENCRYPT:
		break;
	}
	return EX_SOFTWARE;
}
