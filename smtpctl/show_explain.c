/*
 * An explanation from its question to its answer: each part shows its own facts.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "smtpctl/show_explain.h"
#include "smtpctl/show_explain_parts.h"

void
show_explain_begin(struct show_explain *show, const struct ipc_rcpt *rcpt)
{
	show->asked = rcpt;
	show->steps = 0;
	show->is_refused = false;
}

/* The client's address, "" on this machine. */
static void
format_client(char *text, size_t size, const struct ipc_rcpt *rcpt)
{
	int family = rcpt->client_family == CLIENT_INET4 ? AF_INET : AF_INET6;

	*text = '\0';
	if (rcpt->client_family == CLIENT_INET4 || rcpt->client_family == CLIENT_INET6)
		(void)inet_ntop(family, rcpt->client_address, text, (socklen_t)size);
}

static void
show_question_json(struct buf *buf, const struct ipc_rcpt *rcpt, const char *to, const char *from)
{
	char client[INET6_ADDRSTRLEN];

	format_client(client, sizeof(client), rcpt);
	explain_begin(buf, "question");
	explain_text(buf, "to", to);
	explain_text(buf, "from", from);
	explain_text(buf, "client",
	    *rcpt->auth_user != '\0' ? "user"
	        : *client != '\0'    ? "remote"
	                             : "local");
	if (*client != '\0')
		explain_text(buf, "ip", client);
	if (*rcpt->client_name != '\0')
		explain_text(buf, "name", rcpt->client_name);
	if (*rcpt->helo != '\0')
		explain_text(buf, "helo", rcpt->helo);
	if (*rcpt->auth_user != '\0')
		explain_text(buf, "user", rcpt->auth_user);
	if (*rcpt->tag != '\0')
		explain_text(buf, "tag", rcpt->tag);
	explain_bool(buf, "tls", rcpt->tls);
	buf_add_text(buf, "}\n");
}

static void
show_question(struct show_explain *show)
{
	const struct ipc_rcpt *rcpt = show->asked;
	struct buf *buf = &show->output->buf;
	char to[ADDRESS_TEXT_MAX + 1], from[ADDRESS_TEXT_MAX + 1] = "<>";
	char client[INET6_ADDRSTRLEN];

	show->asked = NULL;
	address_format(&rcpt->rcpt, to, sizeof(to));
	if (!address_is_null(&rcpt->sender))
		address_format(&rcpt->sender, from, sizeof(from));
	if (explain_is_json(show)) {
		show_question_json(buf, rcpt, to, from);
		return;
	}
	format_client(client, sizeof(client), rcpt);
	explain_phrase(buf, "Mail from %s to %s, sent ", from, to, NULL);
	if (*client != '\0')
		explain_phrase(buf, "by the client %s", client, NULL, NULL);
	else
		buf_add_text(buf,
		    *rcpt->auth_user != '\0' && !show->is_user ? "by a user" : "on this machine");
	if (*rcpt->client_name != '\0')
		explain_phrase(buf, " called %s", rcpt->client_name, NULL, NULL);
	if (*rcpt->auth_user != '\0' && show->is_user)
		explain_phrase(buf, ", logged in as %s", rcpt->auth_user, NULL, NULL);
	else if (*rcpt->auth_user != '\0')
		buf_add_text(buf, " who has logged in");
	if (*rcpt->helo != '\0')
		explain_phrase(buf, ", with HELO %s", rcpt->helo, NULL, NULL);
	if (*rcpt->tag != '\0')
		explain_phrase(buf, ", to a listener tagged %s", rcpt->tag, NULL, NULL);
	buf_add_text(buf, rcpt->tls ? ", by TLS:\n" : ":\n");
}

static bool
show_note(struct show_explain *show, struct buf_reader *reader)
{
	char *line = buf_get_string_alloc(reader, IMSG_PAYLOAD_MAX);
	struct buf *buf = &show->output->buf;
	bool good = line != NULL && !reader->failed;

	if (good && explain_is_json(show)) {
		explain_begin(buf, "note");
		explain_text(buf, "text", line);
		buf_add_text(buf, "}\n");
	} else if (good)
		explain_sentence(buf, "note: %s", line, NULL, NULL);
	free(line);
	return good;
}

static bool
take(struct show_explain *show, const struct imsg *imsg, struct buf_reader *reader)
{
	union {
		struct ipc_explain_step step;
		struct ipc_explain_relay relay;
		struct ipc_explain_route route;
		struct ipc_explain_host host;
		struct ipc_host known;
		struct ipc_destination line;
		struct ipc_explain_queue queue;
	} fact;

	switch (imsg->type) {
	case CONTROL_EXPLAIN_STEP:
		if (!ipc_explain_step_decode(reader, &fact.step))
			return false;
		explain_step(show, &fact.step);
		return true;
	case CONTROL_EXPLAIN_RELAY:
		if (!ipc_explain_relay_decode(reader, &fact.relay))
			return false;
		explain_queue(show);
		explain_destination(show, &fact.relay);
		return true;
	case CONTROL_EXPLAIN_ROUTE:
		if (!ipc_explain_route_decode(reader, &fact.route))
			return false;
		explain_route(show, &fact.route);
		return true;
	case CONTROL_EXPLAIN_HOST:
		if (!ipc_explain_host_decode(reader, &fact.host))
			return false;
		explain_host(show, &fact.host);
		return true;
	case CONTROL_HOST:
		if (!ipc_host_decode(reader, &fact.known))
			return false;
		explain_known(show, &fact.known);
		return true;
	case CONTROL_DESTINATION:
		if (!ipc_destination_decode(reader, &fact.line))
			return false;
		show->has_line = true;
		explain_line(show, &fact.line);
		return true;
	case CONTROL_EXPLAIN_QUEUE:
		if (!ipc_explain_queue_decode(reader, &fact.queue))
			return false;
		explain_queue_add(show, &fact.queue);
		return true;
	case CONTROL_LINE:
		explain_queue(show);
		return show_note(show, reader);
	default:
		return false;
	}
}

bool
show_explain_frame(struct show_explain *show, const struct imsg *imsg)
{
	struct buf_reader reader;

	if (show->asked != NULL)
		show_question(show);
	buf_reader_init(&reader, imsg->payload, imsg->length);
	return take(show, imsg, &reader) && buf_reader_done(&reader);
}

void
show_explain_end(struct show_explain *show, const char *reply)
{
	struct buf *buf = &show->output->buf;

	if (show->asked != NULL)
		show_question(show);
	explain_queue(show);
	if (explain_is_json(show)) {
		explain_begin(buf, "answer");
		explain_text(buf, "reply", reply);
		buf_add_text(buf, "}\n");
	} else
		explain_sentence(buf, "answer to RCPT: %s", reply, NULL, NULL);
}
