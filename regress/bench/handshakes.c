/*
 * A client that makes connections, asks for STARTTLS, shakes hands without resuming anything, says
 * QUIT and begins again: how many handshakes a second the server makes. One process with epoll.
 *
 *	handshakes SESSIONS MILLISECONDS PORT
 *
 * Prints one line of JSON.
 */
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

enum stage {
	GREETING,
	EHLO,
	STARTTLS,
	HANDSHAKE,
	QUIT
};

struct session {
	enum stage stage;
	int fd;
	SSL *ssl;
	uint32_t watched;
	size_t have;
	char in[4096];
};

static struct {
	SSL_CTX *context;
	int epoll;
	uint16_t port;
	unsigned sessions;
	unsigned long long done, failed;
	char cipher[128];
} client;

static void begin(struct session *);

static double
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void
watch(struct session *s, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = s };

	if (s->watched == events)
		return;
	if (epoll_ctl(
	        client.epoll, s->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, s->fd, &event) == -1)
		err(71, "epoll_ctl");
	s->watched = events;
}

static void
again(struct session *s, bool failed)
{
	client.failed += failed;
	if (client.failed > 1000)
		errx(75, "the server makes no handshakes");
	SSL_free(s->ssl);
	s->ssl = NULL;
	close(s->fd);
	begin(s);
}

static void
say(struct session *s, const char *words)
{
	if (send(s->fd, words, strlen(words), MSG_NOSIGNAL) != (ssize_t)strlen(words))
		again(s, true);
}

static void
shake_hands(struct session *s)
{
	int result = SSL_connect(s->ssl);

	if (result == 1) {
		if (client.cipher[0] == '\0')
			snprintf(client.cipher, sizeof(client.cipher), "%s %s",
			    SSL_get_version(s->ssl), SSL_get_cipher(s->ssl));
		s->stage = QUIT;
		watch(s, EPOLLIN);
		if (SSL_write(s->ssl, "QUIT\r\n", 6) != 6)
			again(s, true);
		return;
	}
	switch (SSL_get_error(s->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		watch(s, EPOLLIN);
		return;
	case SSL_ERROR_WANT_WRITE:
		watch(s, EPOLLIN | EPOLLOUT);
		return;
	default:
		again(s, true);
	}
}

/* The server's answer to QUIT comes after the handshake has ended on its side too. */
static void
read_goodbye(struct session *s)
{
	char words[512];
	int n = SSL_read(s->ssl, words, sizeof(words));

	if (n > 0 && words[0] == '2') {
		client.done++;
		again(s, false);
	} else if (n > 0 || SSL_get_error(s->ssl, n) != SSL_ERROR_WANT_READ)
		again(s, true);
}

/* True when the last line of a reply is there. */
static bool
has_reply(const struct session *s)
{
	const char *line = s->in, *end;

	while ((end = strchr(line, '\n')) != NULL) {
		if (end - line > 3 && line[3] == ' ')
			return true;
		line = end + 1;
	}
	return false;
}

static void
read_reply(struct session *s)
{
	ssize_t n = recv(s->fd, s->in + s->have, sizeof(s->in) - 1 - s->have, MSG_DONTWAIT);

	if (n == -1 && errno == EAGAIN)
		return;
	if (n <= 0) {
		again(s, true);
		return;
	}
	s->have += (size_t)n;
	s->in[s->have] = '\0';
	if (!has_reply(s))
		return;
	s->have = 0;
	if (s->in[0] != '2') {
		again(s, true);
		return;
	}
	switch (s->stage) {
	case GREETING:
		s->stage = EHLO;
		say(s, "EHLO client.test\r\n");
		break;
	case EHLO:
		s->stage = STARTTLS;
		say(s, "STARTTLS\r\n");
		break;
	case STARTTLS:
		s->stage = HANDSHAKE;
		s->ssl = SSL_new(client.context);
		if (s->ssl == NULL || SSL_set_fd(s->ssl, s->fd) != 1)
			errx(71, "no memory");
		SSL_set_connect_state(s->ssl);
		shake_hands(s);
		break;
	case HANDSHAKE:
	case QUIT:
		break;
	}
}

static void
begin(struct session *s)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons(client.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1;

	s->stage = GREETING;
	s->have = 0;
	s->watched = 0;
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* On loopback it is made at once, or waits for the backlog. */
	if (s->fd == -1 || connect(s->fd, (struct sockaddr *)&to, sizeof(to)) == -1 ||
	    fcntl(s->fd, F_SETFL, O_NONBLOCK) == -1)
		err(71, "connect");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	watch(s, EPOLLIN);
}

static void
serve(struct session *s)
{
	switch (s->stage) {
	case GREETING:
	case EHLO:
	case STARTTLS:
		read_reply(s);
		break;
	case HANDSHAKE:
		shake_hands(s);
		break;
	case QUIT:
		read_goodbye(s);
		break;
	}
}

int
main(int argc, char *argv[])
{
	struct epoll_event events[256];
	struct session *all;
	struct rusage usage;
	double began, until;
	int n, i;

	if (argc != 4)
		errx(64, "handshakes SESSIONS MILLISECONDS PORT");
	signal(SIGPIPE, SIG_IGN);
	client.sessions = (unsigned)atoi(argv[1]);
	client.port = (uint16_t)atoi(argv[3]);
	client.epoll = epoll_create1(EPOLL_CLOEXEC);
	client.context = SSL_CTX_new(TLS_client_method());
	all = calloc(client.sessions, sizeof(*all));
	if (client.epoll == -1 || client.context == NULL || all == NULL)
		errx(71, "no memory");
	SSL_CTX_set_session_cache_mode(client.context, SSL_SESS_CACHE_OFF);
	began = now_ms();
	until = began + atoi(argv[2]);
	for (i = 0; i < (int)client.sessions; i++)
		begin(&all[i]);
	while (now_ms() < until) {
		n = epoll_wait(client.epoll, events, 256, 100);
		for (i = 0; i < n; i++)
			serve(events[i].data.ptr);
	}
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"handshakes\": %llu, \"failed\": %llu, \"seconds\": %.3f, \"cipher\": \"%s\", "
	       "\"client_cpu_ms\": %.1f}\n",
	    client.done, client.failed, (now_ms() - began) / 1e3, client.cipher,
	    (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
	        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3);
	return 0;
}
