/*
 * The bench's IMAP client: cheap enough not to be what is measured. It reads large pieces, counts
 * bytes, and looks only at each piece's last line, for the tagged answer.
 *
 *	imap PORT USER PASSWORD
 *		Logs in, then does the commands that come line by line on standard input and says of each
 *		how long it took: {"ok": true, "ms": 1.5, "bytes": 100, "first": "* 5 EXISTS"}. `first`
 *		is the beginning of the answer. After IDLE it says when each EXISTS came, in seconds since
 *		1970: {"exists": 1790000000.123456}, until the line DONE.
 *	imap PORT USERS PASSWORD SESSIONS
 *		Holds that many sessions that have selected INBOX and idle, of u, 2u, 3u up to USERSu in
 *		turn, fifty from an address; says {"held": N} and ends with its standard input.
 */
#include <sys/resource.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <err.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DOMAIN     "example.test"
#define READ_SIZE  (1024 * 1024)
#define TAIL_SIZE  512 /* the longest last line */
#define FIRST_SIZE 120
#define SECONDS    600 /* for an answer */

#define SESSIONS_EACH 50 /* of an address */

static char piece[READ_SIZE];

static double
now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int
open_connection(unsigned port, unsigned from)
{
	struct sockaddr_in own = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + from) };
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct timeval limit = { .tv_sec = SECONDS };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd == -1 || bind(fd, (struct sockaddr *)&own, sizeof(own)) == -1 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1)
		err(1, "connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static void
say(int fd, const char *text)
{
	size_t length = strlen(text);

	if (send(fd, text, length, MSG_NOSIGNAL) != (ssize_t)length)
		err(1, "send");
}

struct answer {
	uint64_t bytes;
	char first[FIRST_SIZE];
	char last[TAIL_SIZE]; /* its last line */
};

/* Reads until a piece ends with a line that begins with `mark`. */
static void
take_answer(int fd, const char *mark, struct answer *answer)
{
	char tail[TAIL_SIZE + 1] = "";
	size_t length = 0;

	memset(answer, 0, sizeof(*answer));
	for (;;) {
		ssize_t count = recv(fd, piece, sizeof(piece) - 1, 0);
		size_t kept, added;
		char *line;

		if (count <= 0)
			err(1, "%s: no answer", mark);
		if (answer->bytes == 0)
			snprintf(answer->first, sizeof(answer->first), "%.*s",
			    (int)strcspn(piece, "\r\n\"\\"), piece);
		answer->bytes += (uint64_t)count;
		added = (size_t)count < TAIL_SIZE ? (size_t)count : TAIL_SIZE;
		kept = length + added > TAIL_SIZE ? TAIL_SIZE - added : length;
		memmove(tail, tail + length - kept, kept);
		memcpy(tail + kept, piece + count - added, added);
		length = kept + added;
		if (length < 2 || memcmp(tail + length - 2, "\r\n", 2) != 0)
			continue;
		tail[length - 2] = '\0';
		line = memrchr(tail, '\n', length - 2);
		line = line != NULL ? line + 1 : tail;
		if (strncmp(line, mark, strlen(mark)) == 0) {
			snprintf(answer->last, sizeof(answer->last), "%s", line);
			return;
		}
		tail[length - 2] = '\r';
	}
}

static bool
do_command(int fd, const char *tag, const char *command, struct answer *answer)
{
	char text[4096], mark[32];

	snprintf(text, sizeof(text), "%s %s\r\n", tag, command);
	snprintf(mark, sizeof(mark), "%s ", tag);
	say(fd, text);
	take_answer(fd, mark, answer);
	return strncmp(answer->last + strlen(mark), "OK", 2) == 0;
}

static int
log_in(unsigned port, unsigned from, const char *user, const char *password)
{
	int fd = open_connection(port, from);
	struct answer answer;
	char text[256];

	take_answer(fd, "* OK", &answer);
	snprintf(text, sizeof(text), "LOGIN %s@" DOMAIN " \"%s\"", user, password);
	if (!do_command(fd, "zLogin", text, &answer))
		errx(1, "%s", answer.last);
	return fd;
}

static void
idle(int fd)
{
	struct pollfd fds[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = fd, .events = POLLIN } };
	struct answer answer;
	ssize_t count;
	double when;

	say(fd, "zIdle IDLE\r\n");
	take_answer(fd, "+", &answer);
	printf("{\"ok\": true}\n");
	for (;;) {
		if (poll(fds, 2, -1) == -1)
			err(1, "poll");
		if (fds[1].revents != 0) {
			count = recv(fd, piece, sizeof(piece) - 1, 0);
			when = now(CLOCK_REALTIME);
			if (count <= 0)
				errx(1, "closed while idle");
			if (memmem(piece, (size_t)count, " EXISTS", 7) != NULL)
				printf("{\"exists\": %.6f}\n", when);
		}
		if (fds[0].revents != 0) {
			if (read(STDIN_FILENO, piece, 64) < 0)
				err(1, "standard input");
			say(fd, "DONE\r\n");
			take_answer(fd, "zIdle ", &answer);
			printf("{\"ok\": true}\n");
			return;
		}
	}
}

static void
converse(int fd)
{
	char line[4000];
	ssize_t count;

	/* By read(2): what isn't taken yet stays where poll() sees it. */
	while ((count = read(STDIN_FILENO, line, sizeof(line) - 1)) > 0) {
		struct answer answer;
		double began, cpu;
		bool good;

		line[count] = '\0';
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, "IDLE") == 0) {
			idle(fd);
			continue;
		}
		began = now(CLOCK_MONOTONIC);
		cpu = now(CLOCK_PROCESS_CPUTIME_ID);
		good = do_command(fd, "zBench", line, &answer);
		printf("{\"ok\": %s, \"ms\": %.3f, \"client_ms\": %.3f, \"bytes\": %llu, "
		       "\"first\": \"%s\"}\n",
		    good ? "true" : "false", (now(CLOCK_MONOTONIC) - began) * 1e3,
		    (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e3, (unsigned long long)answer.bytes,
		    answer.first);
	}
}

static void
hold(unsigned port, unsigned users, const char *password, unsigned sessions)
{
	struct answer answer;
	char user[32];

	for (unsigned i = 0; i < sessions; i++) {
		int fd;

		snprintf(user, sizeof(user), i % users == 0 ? "u" : "%uu", i % users + 1);
		fd = log_in(port, i / SESSIONS_EACH, user, password);
		if (!do_command(fd, "zSelect", "SELECT INBOX", &answer))
			errx(1, "%s", answer.last);
		say(fd, "zIdle IDLE\r\n");
		take_answer(fd, "+", &answer);
	}
	printf("{\"held\": %u}\n", sessions);
	while (read(STDIN_FILENO, piece, sizeof(piece)) > 0)
		;
}

int
main(int argc, char **argv)
{
	struct rlimit files;
	unsigned port;

	if (argc != 4 && argc != 5)
		errx(64, "usage: imap port user password | port users password sessions");
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	port = (unsigned)strtoul(argv[1], NULL, 10);
	if (argc == 5)
		hold(port, (unsigned)strtoul(argv[2], NULL, 10), argv[3],
		    (unsigned)strtoul(argv[4], NULL, 10));
	else
		converse(log_in(port, 0, argv[2], argv[3]));
	return 0;
}
