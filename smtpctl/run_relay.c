/*
 * An address is explained as for a client on this machine. When no rule takes mail for it from there,
 * it is explained once more as for a user who has logged in: that is how most mail leaves.
 */
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "smtpctl/exchange.h"
#include "smtpctl/run_relay.h"
#include "smtpctl/show_explain.h"
#include "smtpctl/show_hosts.h"

struct hosts {
	const struct command *command;
	struct output *output;
	uint64_t count;
};

static bool
take_host(const struct imsg *imsg, struct hosts *hosts)
{
	struct ipc_host host;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != CONTROL_HOST || !ipc_host_decode(&reader, &host) ||
	    !buf_reader_done(&reader))
		return false;
	if (hosts->command->verb == COMMAND_SHOW_ROUTES) {
		show_routes_row(hosts->output, &host);
		return true;
	}
	if (hosts->count++ == 0)
		show_hosts_head(hosts->output);
	show_hosts_row(hosts->output, &host, clock_wall());
	return true;
}

static bool
take_stat(const struct imsg *imsg, struct hosts *hosts)
{
	struct ipc_hoststat stat;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != CONTROL_HOSTSTAT || !ipc_hoststat_decode(&reader, &stat) ||
	    !buf_reader_done(&reader))
		return false;
	show_hoststats_row(hosts->output, &stat, clock_wall());
	return true;
}

static bool
take(const struct imsg *imsg, void *arg)
{
	struct hosts *hosts = arg;
	bool taken = hosts->command->verb == COMMAND_SHOW_HOSTSTATS ? take_stat(imsg, hosts)
	                                                            : take_host(imsg, hosts);

	output_flush_some(hosts->output);
	return taken;
}

int
run_hosts(const struct command *command, struct client *client, struct output *output)
{
	struct hosts hosts = { .command = command, .output = output };
	struct ipc_result result;

	return exchange(client, output,
	    command->verb == COMMAND_SHOW_HOSTSTATS ? CONTROL_HOSTSTAT_LIST : CONTROL_HOST_LIST,
	    NULL, take, &hosts, &result, NULL);
}

static bool
take_fact(const struct imsg *imsg, void *arg)
{
	struct show_explain *show = arg;
	bool taken = show_explain_frame(show, imsg);

	output_flush_some(show->output);
	return taken;
}

static int
explain(const struct ipc_rcpt *rcpt, struct client *client, struct show_explain *show)
{
	struct ipc_result result;
	struct buf payload;
	int status;

	show_explain_begin(show, rcpt);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_rcpt_encode(&payload, rcpt);
	status = exchange_encoded(
	    client, show->output, CONTROL_EXPLAIN, &payload, take_fact, show, &result, NULL);
	if (status == 0)
		show_explain_end(show, result.words);
	output_flush(show->output);
	return status;
}

int
run_explain(const struct command *command, struct client *client, struct output *output)
{
	struct show_explain show = { .output = output };
	struct ipc_rcpt rcpt = command->explain;
	char name[ADDRESS_TEXT_MAX + 1] = "a user";
	int status;

	show.is_user = *rcpt.auth_user != '\0';
	status = explain(&rcpt, client, &show);

	/* Who says how the mail comes in has asked about nothing else. */
	if (status != 0 || !show.is_refused || *rcpt.auth_user != '\0' || *rcpt.helo != '\0' ||
	    *rcpt.tag != '\0' || rcpt.client_family != CLIENT_LOCAL || rcpt.tls)
		return status;
	if (!address_is_null(&rcpt.sender))
		address_format(&rcpt.sender, name, sizeof(name));
	strlcpy(rcpt.auth_user, name, sizeof(rcpt.auth_user));
	return explain(&rcpt, client, &show);
}
