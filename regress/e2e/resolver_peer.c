/*
 * The resolver as a process, whose supervisor and relay this plays.
 *
 *	resolver_peer PATH-OF-RESOLVER
 *
 * Lines on standard input are orders:
 *
 *	CONFIG NAMESERVER ANCHORS [HOSTS]    files, or "none" for what there shall be none of
 *	MX NAME, ADDRESSES NAME, TXT NAME, TLSA PORT NAME
 *	NOISE                                breaks the channel's rules
 *
 * Each query is numbered from 1 on and answered by a line, in whatever order answers come:
 *
 *	NUMBER STATUS secure=N cut=N ttl=N canonical=NAME canonical_secure=N why=WORDS RECORD...
 *
 * with tabs between these. CONFIG is answered by "configured", NOISE by "rejected". At the end of the
 * input the resolver is stopped; the exit status is its own.
 */
#include <sys/socket.h>
#include <sys/wait.h>
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_relay_resolver.h"
#include "common/ipc_supervisor.h"

static struct {
	struct event_base *base;
	struct channel *supervisor;
	struct channel *relay;
	struct evbuffer *input;
	struct event *readable;
	uint32_t queries;
} peer;

static void on_relay(struct channel *, struct imsg *, void *);
static void on_relay_closed(struct channel *, const char *, void *);

static void
send_peer(void)
{
	struct ipc_peer named = { .program = PROGRAM_RELAY };
	struct buf payload;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
		err(1, "socketpair");
	buf_init(&payload, 64);
	ipc_peer_encode(&payload, &named);
	channel_send(peer.supervisor, SUPERVISOR_CHILD_PEER, 0, 0, pair[1], &payload);
	buf_free(&payload);
	peer.relay = channel_new(peer.base, "relay", pair[0], on_relay, on_relay_closed, NULL);
}

static void
print_record(const struct answer_record *record)
{
	char text[INET6_ADDRSTRLEN];

	if (record->family != CLIENT_LOCAL) {
		inet_ntop(record->family == CLIENT_INET4 ? AF_INET : AF_INET6, record->data, text,
		    sizeof(text));
		printf("\t%s", text);
		return;
	}
	printf("\t%u:%u:%u:%u:", record->preference, record->usage, record->selector,
	    record->matching);
	for (uint16_t i = 0; i < record->length; i++)
		printf(record->data[i] > ' ' && record->data[i] < 0x7f ? "%c" : "<%02x>",
		    record->data[i]);
}

static void
on_relay(struct channel *channel, struct imsg *imsg, void *arg)
{
	static const char *const statuses[] = { "found", "no-data", "no-name", "failed" };
	static struct ipc_answer answer;
	struct buf_reader reader;

	(void)channel;
	(void)arg;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != RESOLVER_RELAY_ANSWER || !ipc_answer_decode(&reader, &answer))
		errx(1, "an answer that can't be decoded");
	printf("%u\t%s\tsecure=%d\tcut=%d\tttl=%u\tcanonical=%s\tcanonical_secure=%d\twhy=%s",
	    imsg->id, statuses[answer.status], answer.secure, answer.cut, answer.ttl,
	    answer.canonical, answer.canonical_secure, answer.why);
	for (uint32_t i = 0; i < answer.count; i++)
		print_record(&answer.records[i]);
	printf("\n");
}

static void
on_relay_closed(struct channel *channel, const char *why, void *arg)
{
	(void)why;
	(void)arg;
	channel_free(channel);
	if (peer.relay == channel)
		peer.relay = NULL;
}

static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	if (imsg->type == CHILD_SUPERVISOR_REJECTED) {
		printf("rejected\n");
		send_peer();
	} else if (imsg->type == CHILD_SUPERVISOR_CONFIGURED) {
		if (peer.relay == NULL)
			send_peer();
		printf("configured\n");
	}
}

static void
on_supervisor_closed(struct channel *channel, const char *why, void *arg)
{
	(void)why;
	(void)arg;
	channel_free(channel);
	peer.supervisor = NULL;
	event_base_loopbreak(peer.base);
}

static void
send_file(uint16_t type, const char *path, bool always)
{
	int fd = path == NULL || strcmp(path, "none") == 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (fd != -1 || always)
		channel_send(peer.supervisor, type, 0, 0, fd, NULL);
}

static void
configure(const char *nameserver, const char *anchors, const char *hosts)
{
	struct config *config = config_new();

	free(config->nameserver);
	free(config->trust_anchor);
	config->nameserver = strdup(nameserver);
	config->trust_anchor = strdup(anchors);
	if (config->nameserver == NULL || config->trust_anchor == NULL)
		err(1, "config");
	send_file(SUPERVISOR_RESOLVER_HOSTS, hosts, false);
	send_file(SUPERVISOR_RESOLVER_ANCHORS, anchors, true);
	channel_send(peer.supervisor, SUPERVISOR_CHILD_CONFIG, 1, 0, config_to_fd(config), NULL);
	config_free(config);
}

static void
ask(enum query_kind kind, const char *name, const char *port)
{
	struct ipc_query query = { .kind = kind };
	struct buf payload;

	snprintf(query.name, sizeof(query.name), "%s", name);
	if (port != NULL)
		query.port = (uint16_t)atoi(port);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_query_encode(&payload, &query);
	channel_send(peer.relay, RELAY_RESOLVER_QUERY, ++peer.queries, 0, -1, &payload);
	buf_free(&payload);
}

static void
obey(char *line)
{
	static const char *const kinds[] = { "MX", "ADDRESSES", "TLSA", "TXT" };
	const char *words[4] = { NULL };
	char *word;
	size_t count = 0;

	while (count < 4 && (word = strsep(&line, " ")) != NULL)
		words[count++] = word;
	if (count >= 3 && strcmp(words[0], "CONFIG") == 0) {
		configure(words[1], words[2], words[3]);
		return;
	}
	if (strcmp(words[0], "NOISE") == 0) {
		channel_send(peer.relay, RELAY_RESOLVER_QUERY, 1, 0, -1, NULL);
		return;
	}
	for (enum query_kind kind = 0; kind < QUERY_KIND_COUNT; kind++) {
		if (strcmp(words[0], kinds[kind]) != 0 || count != (kind == QUERY_TLSA ? 3 : 2))
			continue;
		ask(kind, words[count - 1], kind == QUERY_TLSA ? words[1] : NULL);
		return;
	}
	errx(1, "not an order: %s", words[0]);
}

static void
on_input(int fd, short what, void *arg)
{
	char *line;

	(void)what;
	(void)arg;
	if (evbuffer_read(peer.input, fd, 65536) <= 0) {
		event_del(peer.readable);
		channel_send(peer.supervisor, SUPERVISOR_CHILD_STOP, 2, 0, -1, NULL);
		return;
	}
	while ((line = evbuffer_readln(peer.input, NULL, EVBUFFER_EOL_LF)) != NULL) {
		obey(line);
		free(line);
	}
}

int
main(int argc, char **argv)
{
	int pair[2], status;
	char fd[16];
	pid_t pid;

	if (argc != 2)
		errx(64, "usage: resolver_peer PATH-OF-RESOLVER");
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1)
		err(1, "socketpair");
	pid = fork();
	if (pid == -1)
		err(1, "fork");
	if (pid == 0) {
		close(pair[0]);
		snprintf(fd, sizeof(fd), "%d", pair[1]);
		execl(argv[1], "resolver", "-k", fd, "-l", "2", "-t", "stderr", "-n", "4096",
		    (char *)NULL);
		err(1, "%s", argv[1]);
	}
	close(pair[1]);
	peer.base = event_base_new();
	peer.input = evbuffer_new();
	peer.supervisor =
	    channel_new(peer.base, "resolver", pair[0], on_supervisor, on_supervisor_closed, NULL);
	peer.readable = event_new(peer.base, 0, EV_READ | EV_PERSIST, on_input, NULL);
	if (peer.input == NULL || peer.readable == NULL || event_add(peer.readable, NULL) == -1)
		errx(1, "no events");
	event_base_dispatch(peer.base);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 1;
	return WEXITSTATUS(status);
}
