/*
 * An SMTP client for the bench that costs little CPU: one process, epoll, no copy of the message
 * text, MAIL to DATA in one packet where the server offers PIPELINING. What it can do that
 * smtp-source can't: sizes as in real mail, messages that verify.c knows again, latencies, many
 * mailboxes, idle sessions. A message that isn't acknowledged is sent again, and counted.
 *
 * Prints one line of JSON. See usage() for the options.
 */
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "regress/bench/text.h"

#define RETRY_MS          200   /* until a session that was refused connects again */
#define GREETING_PATIENCE 10000 /* ms, then it connects again */
#define IDLE_WINDOW       5     /* idle sessions that are on their way to their EHLO */
#define IDLE_PATIENCE     3000  /* ms for a greeting, then an idle session is said to wait */
#define IDLE_REFUSED      200   /* sessions refused or waiting: the server takes no more */
#define IDLE_WAITING      15
#define REFUSALS          1000 /* then a run is given up */

enum stage {
	STAGE_CLOSED, /* or not yet connected; due at due_ms */
	STAGE_CONNECT,
	STAGE_GREETING,
	STAGE_EHLO,
	STAGE_MAIL,
	STAGE_RCPT,
	STAGE_DATA,
	STAGE_TEXT,
	STAGE_QUIT,
	STAGE_HELD, /* idle, as wanted */
	STAGE_DONE,
};

struct session {
	enum stage stage;
	int fd;
	bool pipelining;
	bool blocked; /* waits to write on */
	bool again;   /* of idle sessions: not greeted in time, connected again */
	bool waiting; /* ... and again not greeted */
	uint32_t id;
	unsigned recipient; /* whose RCPT is next to be sent or answered */
	double due_ms;      /* of a closed one; later, when it began to connect */
	double begun_ms;    /* MAIL was sent */
	struct iovec out[3];
	unsigned out_count;
	char *commands;
	struct text *text;
	size_t have;
	char in[2048];
};

static struct {
	/* options */
	const char *host, *to;
	uint16_t port;
	unsigned sessions, messages, recipients, mailboxes, domains;
	size_t size; /* 0: mixed */
	uint32_t run, seed;
	unsigned duration_ms, limit_ms;
	bool reconnect, plain, idle, spread;
	const char *source;
	/* state */
	struct session *all;
	int epoll;
	uint32_t next_id;
	uint32_t *again; /* messages to send again */
	size_t again_count;
	unsigned acknowledged, refused, closed, held, waiting, dropped, opening, opened;
	double *latency_ms;
	size_t latency_room;
	double begin_ms, end_ms, begin_cpu_ms;
	uint64_t begin_wall_ns;
	char refusal[160];
} load;

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double
cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint64_t
wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void
watch(struct session *s, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = s };

	if (epoll_ctl(load.epoll, operation, s->fd, &event) == -1)
		err(71, "epoll_ctl");
}

/* Closes; the session connects again after `pause_ms`. */
static void
session_close(struct session *s, double pause_ms)
{
	if (s->fd != -1)
		close(s->fd);
	if (load.idle && s->stage > STAGE_CLOSED && s->stage < STAGE_HELD) {
		load.opening -= !s->waiting;
		load.waiting -= s->waiting;
		s->waiting = false;
	}
	s->fd = -1;
	s->have = 0;
	s->out_count = 0;
	s->blocked = false;
	s->stage = load.idle ? STAGE_DONE : STAGE_CLOSED;
	s->due_ms = now_ms() + pause_ms;
	load.closed += s->stage == STAGE_CLOSED;
}

/* For JSON. */
static void
remember_refusal(const char *stage, const char *reply)
{
	char *at;

	snprintf(load.refusal, sizeof(load.refusal), "%s: %s", stage, reply);
	for (at = load.refusal; *at != '\0'; at++)
		if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ')
			*at = '\'';
}

/* The server didn't take it, or went away: what was in hand is to be sent again. */
static void
session_fail(struct session *s, const char *reply)
{
	static const char *const stages[] = { "", "connect", "greeting", "EHLO", "MAIL", "RCPT",
		"DATA", "text", "QUIT", "idle", "" };

	if (load.refusal[0] == '\0')
		remember_refusal(stages[s->stage], reply);
	if (s->stage == STAGE_HELD) {
		load.held--;
		load.dropped++;
	} else
		load.refused++;
	if (s->stage >= STAGE_MAIL && s->stage <= STAGE_TEXT)
		load.again[load.again_count++] = s->id;
	session_close(s, RETRY_MS);
}

static void
session_write(struct session *s)
{
	struct msghdr message = { .msg_iov = s->out, .msg_iovlen = s->out_count };
	ssize_t n;
	unsigned i;

	while (s->out_count > 0) {
		message.msg_iovlen = s->out_count;
		n = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n == -1 && errno == EAGAIN) {
			if (!s->blocked)
				watch(s, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
			s->blocked = true;
			return;
		}
		if (n == -1) {
			session_fail(s, strerror(errno));
			return;
		}
		for (i = 0; i < s->out_count && (size_t)n >= s->out[i].iov_len; i++)
			n -= (ssize_t)s->out[i].iov_len;
		memmove(s->out, s->out + i, (s->out_count - i) * sizeof(*s->out));
		s->out_count -= i;
		if (s->out_count > 0) {
			s->out[0].iov_base = (char *)s->out[0].iov_base + n;
			s->out[0].iov_len -= (size_t)n;
		}
	}
	if (s->blocked)
		watch(s, EPOLL_CTL_MOD, EPOLLIN);
	s->blocked = false;
}

static void
session_say(struct session *s, const char *words, size_t length)
{
	s->out[0] = (struct iovec){ (void *)(uintptr_t)words, length };
	s->out_count = 1;
	session_write(s);
}

/* Where there are several they are numbered as by smtp-source: ADDRESS, 2ADDRESS, 3ADDRESS, ... */
static size_t
put_recipient(char *at, const struct session *s, unsigned number)
{
	if (load.domains > 1)
		return (size_t)sprintf(
		    at, "RCPT TO:<u@d%u.%s>\r\n", s->id % load.domains, strchr(load.to, '@') + 1);
	if (load.mailboxes > 1)
		number = s->id % load.mailboxes;
	if (number > 0)
		return (size_t)sprintf(at, "RCPT TO:<%u%s>\r\n", number + 1, load.to);
	return (size_t)sprintf(at, "RCPT TO:<%s>\r\n", load.to);
}

static bool
more_to_send(void)
{
	if (load.refused >= REFUSALS)
		return false;
	if (load.duration_ms > 0)
		return load.end_ms - load.begin_ms < load.duration_ms;
	return load.again_count > 0 || load.next_id < load.messages;
}

/* Begins the next message, or ends the session when there is none. */
static void
session_next(struct session *s)
{
	char *at = s->commands;

	if (load.idle) {
		s->stage = STAGE_HELD;
		load.held++;
		load.opening -= !s->waiting;
		load.waiting -= s->waiting;
		s->waiting = false;
		return;
	}
	if (!more_to_send() || (load.reconnect && s->stage == STAGE_TEXT)) {
		s->stage = STAGE_QUIT;
		session_say(s, "QUIT\r\n", 6);
		return;
	}
	s->id = load.again_count > 0 ? load.again[--load.again_count] : load.next_id++;
	s->stage = STAGE_MAIL;
	s->recipient = 0;
	s->begun_ms = now_ms();
	text_make(s->text, load.run, s->id,
	    load.size > 0 ? load.size : text_mixed_size(load.seed, s->id), wall_ns());
	at += sprintf(at, "MAIL FROM:<s@client.test>\r\n");
	if (s->pipelining) {
		for (; s->recipient < load.recipients; s->recipient++)
			at += put_recipient(at, s, s->recipient);
		at += sprintf(at, "DATA\r\n");
		s->recipient = 0;
	}
	session_say(s, s->commands, (size_t)(at - s->commands));
}

static void
remember_latency(double ms)
{
	if (load.acknowledged == load.latency_room) {
		load.latency_room = load.latency_room * 2 + 1024;
		load.latency_ms =
		    realloc(load.latency_ms, load.latency_room * sizeof(*load.latency_ms));
		if (load.latency_ms == NULL)
			err(71, NULL);
	}
	load.latency_ms[load.acknowledged++] = ms;
}

/* A reply that is as hoped for; answers with what comes next. */
static void
session_go_on(struct session *s)
{
	switch (s->stage) {
	case STAGE_GREETING:
		s->stage = STAGE_EHLO;
		session_say(s, "EHLO client.test\r\n", 18);
		break;
	case STAGE_MAIL:
		s->stage = STAGE_RCPT;
		if (!s->pipelining)
			session_say(s, s->commands, put_recipient(s->commands, s, 0));
		break;
	case STAGE_RCPT:
		if (++s->recipient == load.recipients)
			s->stage = STAGE_DATA;
		if (s->pipelining)
			break;
		if (s->stage == STAGE_DATA)
			session_say(s, "DATA\r\n", 6);
		else
			session_say(s, s->commands, put_recipient(s->commands, s, s->recipient));
		break;
	case STAGE_DATA:
		s->stage = STAGE_TEXT;
		memcpy(s->out, s->text->parts, sizeof(s->out));
		s->out_count = 3;
		session_write(s);
		break;
	case STAGE_TEXT:
		load.end_ms = now_ms();
		remember_latency(load.end_ms - s->begun_ms);
		session_next(s);
		break;
	case STAGE_EHLO:
		session_next(s);
		break;
	case STAGE_QUIT:
		session_close(s, 0);
		break;
	case STAGE_CLOSED:
	case STAGE_CONNECT:
	case STAGE_HELD:
	case STAGE_DONE:
		session_fail(s, "a reply that was not asked for");
		break;
	}
}

static void
session_reply(struct session *s, const char *line)
{
	char wanted = s->stage == STAGE_DATA ? '3' : '2';

	if (s->stage == STAGE_EHLO && strncmp(line + 4, "PIPELINING", 10) == 0)
		s->pipelining = !load.plain;
	if (line[0] != wanted)
		session_fail(s, line);
	else if (line[3] != '-')
		session_go_on(s);
}

static void
session_read(struct session *s)
{
	char *line, *end;
	ssize_t n;

	n = recv(s->fd, s->in + s->have, sizeof(s->in) - 1 - s->have, MSG_DONTWAIT);
	if (n == -1 && errno == EAGAIN)
		return;
	if (n <= 0) {
		if (s->stage == STAGE_QUIT)
			session_close(s, 0);
		else
			session_fail(s, n == 0 ? "closed by the server" : strerror(errno));
		return;
	}
	s->have += (size_t)n;
	s->in[s->have] = '\0';
	for (line = s->in; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		if (end > line && end[-1] == '\r')
			end[-1] = '\0';
		if (strlen(line) < 3)
			session_fail(s, "no SMTP reply");
		else
			session_reply(s, line);
		if (s->fd == -1)
			return;
	}
	s->have = strlen(line);
	if (s->have == sizeof(s->in) - 1)
		session_fail(s, "a reply without end");
	else
		memmove(s->in, line, s->have);
}

/* Idle sessions come from 200 addresses in each of many networks, as clients do. */
static void
bind_source(const struct session *s)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	unsigned number = (unsigned)(s - load.all);
	int one = 1;

	if (load.spread)
		from.sin_addr.s_addr = htonl(0x7f010001 + (number / 200 << 8) + number % 200);
	else if (load.source == NULL || inet_pton(AF_INET, load.source, &from.sin_addr) != 1)
		return;
	setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(s->fd, (struct sockaddr *)&from, sizeof(from)) == -1)
		err(71, "bind");
}

static void
session_connect(struct session *s)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(load.port) };
	int one = 1;

	if (inet_pton(AF_INET, load.host, &to.sin_addr) != 1)
		errx(64, "%s: not an IPv4 address", load.host);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd == -1)
		err(71, "socket");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	bind_source(s);
	s->stage = STAGE_CONNECT;
	s->pipelining = false;
	s->due_ms = now_ms();
	load.opening += load.idle;
	if (connect(s->fd, (struct sockaddr *)&to, sizeof(to)) == -1 && errno != EINPROGRESS) {
		session_fail(s, strerror(errno));
		return;
	}
	watch(s, EPOLL_CTL_ADD, EPOLLOUT);
}

static void
session_event(struct session *s, uint32_t events)
{
	socklen_t length = sizeof(int);
	int error = 0;

	if (s->stage == STAGE_CONNECT) {
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error != 0) {
			session_fail(s, strerror(error));
			return;
		}
		s->stage = STAGE_GREETING;
		watch(s, EPOLL_CTL_MOD, EPOLLIN);
		return;
	}
	if ((events & EPOLLOUT) != 0)
		session_write(s);
	if (s->fd != -1 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		session_read(s);
}

/* Connects the sessions that are due. Returns ms until the next is, -1 without one. */
static int
connect_due(void)
{
	double now = now_ms(), next = -1;
	struct session *s;
	unsigned i;

	if (load.closed == 0 || !more_to_send())
		return -1;
	for (i = 0; i < load.sessions; i++) {
		s = &load.all[i];
		if (s->stage != STAGE_CLOSED)
			continue;
		if (s->due_ms <= now) {
			load.closed--;
			session_connect(s);
		} else if (next < 0 || s->due_ms - now < next)
			next = s->due_ms - now;
	}
	return next < 0 ? -1 : (int)next + 1;
}

static void
wait_for_events(int timeout_ms)
{
	struct epoll_event events[256];
	int n, i;

	n = epoll_wait(load.epoll, events, 256, timeout_ms);
	if (n == -1 && errno != EINTR)
		err(71, "epoll_wait");
	for (i = 0; i < n; i++)
		session_event(events[i].data.ptr, events[i].events);
}

/*
 * A server whose backlog overflows forgets connections that the client holds for made: those that
 * are not greeted in time are made again, or given up when no more are needed.
 */
static void
give_up_waiting(void)
{
	static double last;
	double now = now_ms();
	struct session *s;
	unsigned i;

	if (now - last < 1000)
		return;
	last = now;
	for (i = 0; i < load.sessions; i++) {
		s = &load.all[i];
		if (s->stage != STAGE_CONNECT && s->stage != STAGE_GREETING)
			continue;
		if (!more_to_send())
			session_close(s, 0);
		else if (now - s->due_ms > GREETING_PATIENCE)
			session_fail(s, "not in time");
	}
}

static bool
all_closed(void)
{
	return load.closed == load.sessions;
}

static void
run_load(void)
{
	int timeout;

	while (more_to_send() || !all_closed()) {
		timeout = connect_due();
		if (load.duration_ms > 0)
			load.end_ms = now_ms();
		if (now_ms() - load.begin_ms > load.limit_ms)
			break;
		wait_for_events(timeout == -1 || timeout > 100 ? 100 : timeout);
		give_up_waiting();
	}
}

/*
 * Those that are not greeted in time connect once more, as a server whose backlog overflows forgets
 * some; then they no longer hold up the ones after them.
 */
static void
pass_by_waiting(void)
{
	double now = now_ms();
	struct session *s;
	unsigned i;

	for (i = 0; i < load.opened; i++) {
		s = &load.all[i];
		if (s->stage == STAGE_CLOSED || s->stage >= STAGE_HELD || s->waiting ||
		    now - s->due_ms < IDLE_PATIENCE)
			continue;
		load.opening--;
		if (!s->again) {
			s->again = true;
			close(s->fd);
			session_connect(s);
		} else {
			s->waiting = true;
			load.waiting++;
		}
	}
}

static void
report_idle(bool settled)
{
	printf("{\"settled\": %s, \"held\": %u, \"refused\": %u, \"waiting\": %u, \"dropped\": %u, "
	       "\"seconds\": %.3f, \"refusal\": \"%s\"}\n",
	    settled ? "true" : "false", load.held, load.refused, load.waiting, load.dropped,
	    (now_ms() - load.begin_ms) / 1e3, load.refusal);
	fflush(stdout);
}

/* Opens all, says so, and holds them until standard input ends. */
static void
run_idle(void)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	bool full = false;

	while (!full && (load.opened < load.sessions || load.opening > 0)) {
		while (load.opened < load.sessions && load.opening < IDLE_WINDOW) {
			session_connect(&load.all[load.opened++]);
		}
		wait_for_events(100);
		pass_by_waiting();
		full = load.refused >= IDLE_REFUSED || load.waiting >= IDLE_WAITING;
	}
	report_idle(true);
	while (poll(&input, 1, 0) == 0)
		wait_for_events(100);
	report_idle(false);
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double
percentile(double share)
{
	if (load.acknowledged == 0)
		return 0;
	return load.latency_ms[(size_t)(share * (double)(load.acknowledged - 1))];
}

static void
report_load(void)
{
	double used_ms = cpu_ms() - load.begin_cpu_ms;

	qsort(load.latency_ms, load.acknowledged, sizeof(*load.latency_ms), compare);
	printf("{\"acknowledged\": %u, \"begun\": %u, \"refused\": %u, \"began\": %.4f, "
	       "\"seconds\": %.4f, "
	       "\"client_cpu_ms\": %.1f, "
	       "\"latency_ms\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}, "
	       "\"refusal\": \"%s\"}\n",
	    load.acknowledged, load.next_id, load.refused, (double)load.begin_wall_ns / 1e9,
	    (load.end_ms - load.begin_ms) / 1e3, used_ms, percentile(0.50), percentile(0.90),
	    percentile(0.99), percentile(1), load.refusal);
}

static void
prepare(void)
{
	struct rlimit files;
	size_t room = 256 + (size_t)load.recipients * 80;
	struct session *s;
	unsigned i;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	load.all = calloc(load.sessions, sizeof(*load.all));
	load.again = calloc(load.sessions + REFUSALS, sizeof(*load.again));
	if (load.epoll == -1 || load.all == NULL || load.again == NULL)
		err(71, NULL);
	for (i = 0; i < load.sessions; i++) {
		s = &load.all[i];
		s->fd = -1;
		s->stage = STAGE_CLOSED;
		if (load.idle)
			continue;
		s->commands = malloc(room);
		s->text = malloc(sizeof(*s->text));
		if (s->commands == NULL || s->text == NULL)
			err(71, NULL);
	}
	load.closed = load.idle ? 0 : load.sessions;
	if (!load.idle)
		text_prepare(load.size > 0 ? load.size : TEXT_LARGEST);
}

static void
usage(void)
{
	fputs("usage: load [options] port\n"
	      "  -s N      sessions at once (1)\n"
	      "  -m N      messages (1)\n"
	      "  -d MS     instead: as many as come to their end in so long\n"
	      "  -l N|mix  bytes of a message's body (4096), or sizes as in real mail\n"
	      "  -r N      recipients of each: ADDRESS, 2ADDRESS, 3ADDRESS, ... (1)\n"
	      "  -u N      mailboxes in turn: ADDRESS, 2ADDRESS, 3ADDRESS, ... (1)\n"
	      "  -D N      domains in turn: u@d0.DOMAIN, u@d1.DOMAIN, ... of ADDRESS (1)\n"
	      "  -t ADDR   ADDRESS (u@example.test)\n"
	      "  -c        a new connection for each message\n"
	      "  -n        one command at a time, even where the server offers PIPELINING\n"
	      "  -i        no messages: idle sessions, until standard input ends\n"
	      "  -b ADDR   the client's address\n"
	      "  -B        the clients' addresses are spread over many networks\n"
	      "  -R N      number of the run, in each message (1)\n"
	      "  -S N      seed of the mixed sizes (1)\n"
	      "  -T MS     gives up after so long (600000)\n"
	      "  -h HOST   address of the server (127.0.0.1)\n",
	    stderr);
	exit(64);
}

static unsigned
number(const char *word)
{
	char *end;
	unsigned long value = strtoul(word, &end, 10);

	if (*word == '\0' || *end != '\0' || value > 1000000000)
		errx(64, "%s: not a number", word);
	return (unsigned)value;
}

static void
read_options(int argc, char *argv[])
{
	int option;

	while ((option = getopt(argc, argv, "s:m:d:l:r:u:D:t:b:R:S:T:h:cniB")) != -1) {
		switch (option) {
		case 's':
			load.sessions = number(optarg);
			break;
		case 'm':
			load.messages = number(optarg);
			break;
		case 'd':
			load.duration_ms = number(optarg);
			break;
		case 'l':
			load.size = strcmp(optarg, "mix") == 0 ? 0 : number(optarg);
			break;
		case 'r':
			load.recipients = number(optarg);
			break;
		case 'u':
			load.mailboxes = number(optarg);
			break;
		case 'D':
			load.domains = number(optarg);
			break;
		case 't':
			load.to = optarg;
			break;
		case 'b':
			load.source = optarg;
			break;
		case 'R':
			load.run = number(optarg);
			break;
		case 'S':
			load.seed = number(optarg);
			break;
		case 'T':
			load.limit_ms = number(optarg);
			break;
		case 'h':
			load.host = optarg;
			break;
		case 'c':
			load.reconnect = true;
			break;
		case 'n':
			load.plain = true;
			break;
		case 'i':
			load.idle = true;
			break;
		case 'B':
			load.spread = true;
			break;
		default:
			usage();
		}
	}
	if (optind + 1 != argc || load.sessions == 0 || load.recipients == 0 ||
	    load.mailboxes == 0 || load.domains == 0 || strlen(load.to) > 60 ||
	    strchr(load.to, '@') == NULL || load.size > TEXT_LARGEST ||
	    (load.size > 0 && load.size < TEXT_SMALLEST))
		usage();
	load.port = (uint16_t)number(argv[optind]);
}

int
main(int argc, char *argv[])
{
	load.host = "127.0.0.1";
	load.to = "u@example.test";
	load.sessions = load.messages = load.recipients = load.mailboxes = load.domains = 1;
	load.size = 4096;
	load.run = load.seed = 1;
	load.limit_ms = 600000;
	read_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	prepare();
	load.begin_cpu_ms = cpu_ms();
	load.begin_wall_ns = wall_ns();
	load.begin_ms = load.end_ms = now_ms();
	if (load.idle) {
		run_idle();
		return 0;
	}
	run_load();
	report_load();
	return load.duration_ms == 0 && load.acknowledged < load.messages ? 75 : 0;
}
