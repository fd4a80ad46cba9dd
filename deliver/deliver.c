/*
 * What a wrapper runs to have the message stored: reads it on standard input and hands it to the
 * mda, whose socket's name is the argument. The mda stores it when all of the wrapper's command has
 * ended well: a status of 0 here means that it has it.
 *
 * A first line "From ", which some filters write before the header, is left out: it belongs to mbox
 * files, which get one of their own.
 */
#include <sys/socket.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "deliver/collect.h"

#define FROM        "From "
#define FROM_LENGTH 5

static int
fail(int status, const char *words)
{
	fprintf(stderr, "deliver: %s\n", words);
	return status;
}

/* At most `size` bytes, fewer only at the end; -1 with errno. */
static ssize_t
fill(uint8_t *buffer, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t got = read(STDIN_FILENO, buffer + used, size - used);

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return -1;
		if (got == 0)
			break;
		used += (size_t)got;
	}
	return (ssize_t)used;
}

/* How much of the data belongs to the first line. */
static size_t
to_line_end(const uint8_t *data, size_t length, bool *in_from)
{
	const uint8_t *end = memchr(data, '\n', length);

	*in_from = end == NULL;
	return end == NULL ? length : (size_t)(end - data) + 1;
}

/* Waits while the mda has enough in hand. */
static bool
send_packet(int fd, const uint8_t *packet, size_t length)
{
	ssize_t sent;

	do
		sent = send(fd, packet, length, MSG_NOSIGNAL);
	while (sent == -1 && errno == EINTR);
	return sent == (ssize_t)length;
}

static bool
send_data(int fd, uint8_t *packet, size_t length, size_t skip)
{
	if (skip == length)
		return true;
	/* The byte before the data says what it is. */
	packet[skip] = COLLECT_DATA;
	return send_packet(fd, packet + skip, 1 + length - skip);
}

static int
hear_answer(int fd)
{
	char answer[1 + COLLECT_WORDS_MAX + 1];
	bool was_reset = false;
	ssize_t got;

	/* A reset, of what it hasn't read, comes before the answer. */
	do {
		got = recv(fd, answer, sizeof(answer) - 1, 0);
		if (got != -1 || (errno == ECONNRESET && was_reset))
			break;
		was_reset = errno == ECONNRESET;
	} while (errno == EINTR || was_reset);
	if (got <= 0)
		return fail(EX_TEMPFAIL, "the mda has ended");
	answer[got] = '\0';
	return answer[0] == EX_OK ? EX_OK : fail(answer[0], answer + 1);
}

int
main(int argc, char **argv)
{
	const uint8_t end = COLLECT_END;
	static uint8_t packet[1 + COLLECT_PACKET_MAX];
	bool is_first = true, in_from = false;
	bool has_input;
	ssize_t got;
	int fd;

	if (argc != 2)
		return fail(EX_USAGE, "it is run where %{mda} stands in a wrapper, see mda(8)");
	/* What is opened next would be taken for it else. */
	has_input = fcntl(STDIN_FILENO, F_GETFD) != -1;
	fd = collect_connect(argv[1]);
	if (fd == -1)
		return fail(EX_TEMPFAIL, "the mda isn't there any more");
	/* The mda knows by now that there should have been a message. */
	if (!has_input)
		return fail(EX_IOERR, "it has no standard input");
	while ((got = fill(packet + 1, COLLECT_PACKET_MAX)) > 0) {
		size_t length = (size_t)got, skip = 0;

		if (is_first)
			in_from =
			    length >= FROM_LENGTH && memcmp(packet + 1, FROM, FROM_LENGTH) == 0;
		is_first = false;
		if (in_from)
			skip = to_line_end(packet + 1, length, &in_from);
		/* Its answer says why it takes no more. */
		if (!send_data(fd, packet, length, skip))
			return hear_answer(fd);
	}
	if (got == -1)
		return fail(EX_IOERR, strerror(errno));
	(void)send_packet(fd, &end, 1);
	return hear_answer(fd);
}
