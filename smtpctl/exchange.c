/*
 * A request and its answer, frame by frame.
 */
#include <err.h>
#include <errno.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "smtpctl/exchange.h"
#include "smtpctl/text.h"

void
warn_words(const char *before, const char *words)
{
	struct buf buf;
	const char *line = words;

	buf_init(&buf, 4 * IPC_WORDS_MAX);
	buf_add_text(&buf, before);
	while (line[0] != '\0') {
		char part[IPC_WORDS_MAX + 1];
		size_t length = strcspn(line, "\n");

		if (length >= sizeof(part))
			length = sizeof(part) - 1;
		memcpy(part, line, length);
		part[length] = '\0';
		text_add_clean(&buf, part, IPC_WORDS_MAX);
		line += length;
		if (line[0] == '\n' && *++line != '\0')
			buf_add_text(&buf, "\n");
	}
	warnx("%.*s", (int)buf.length, buf.data == NULL ? "" : (const char *)buf.data);
	buf_free(&buf);
}

int
fail_result(const struct ipc_result *result)
{
	if (result->exit_code == EX_NOPERM)
		warn_words("", result->words);
	else
		warn_words(result->words[0] == '\0' ? "command failed" : "command failed: ",
		    result->words);
	return (int)result->exit_code;
}

int
succeed(struct output *output)
{
	buf_add_text(&output->buf,
	    output->format == OUTPUT_JSON ? "{\"result\":\"command succeeded\"}\n"
	                                  : "command succeeded\n");
	output_flush(output);
	return 0;
}

int
fail_protocol(struct output *output)
{
	output_flush(output);
	warnx("command failed: smtpd answered what smtpctl doesn't understand: start it anew, if "
	      "this is after an upgrade");
	return EX_PROTOCOL;
}

int
exchange(struct client *client, struct output *output, enum ipc_control_type type,
    const struct buf *payload, frame_fn each, void *arg, struct ipc_result *result, int *fd)
{
	struct buf_reader reader;
	struct imsg imsg;
	const char *why;

	if (!client_send(client, type, payload) && errno != EPIPE) {
		warn("command failed");
		return EX_UNAVAILABLE;
	}
	for (;;) {
		if (!client_receive(client, &imsg, &why)) {
			output_flush(output);
			warnx("command failed: %s", why);
			return EX_UNAVAILABLE;
		}
		/* Id 0: refused as a whole, whatever we ask. */
		if (imsg.id != client->id && !(imsg.id == 0 && imsg.type == CONTROL_DONE)) {
			if (imsg.fd != -1)
				close(imsg.fd);
			return fail_protocol(output);
		}
		if (imsg.type == CONTROL_DONE)
			break;
		if (imsg.fd != -1)
			close(imsg.fd);
		if (each == NULL || !each(&imsg, arg))
			return fail_protocol(output);
	}
	if (fd != NULL)
		*fd = imsg.fd;
	else if (imsg.fd != -1)
		close(imsg.fd);
	buf_reader_init(&reader, imsg.payload, imsg.length);
	if (!ipc_result_decode(&reader, result) || !buf_reader_done(&reader))
		return fail_protocol(output);
	output_flush(output);
	return result->exit_code == 0 ? 0 : fail_result(result);
}

int
exchange_encoded(struct client *client, struct output *output, enum ipc_control_type type,
    struct buf *payload, frame_fn each, void *arg, struct ipc_result *result, int *fd)
{
	int status = exchange(client, output, type, payload, each, arg, result, fd);

	if (payload->data != NULL)
		explicit_bzero(payload->data, payload->length);
	buf_free(payload);
	return status;
}
