/*
 * What a client says before it has logged in, by each protocol, as it comes from a socket: no bytes
 * do harm, a session that is over is over, and each line of an answer is whole.
 *
 * The first byte chooses whether passwords may come in the clear, whether there is a directory (which
 * never answers), and how large the pieces are; the second the protocol.
 */
#include <sys/socket.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "mailbox/access.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static struct access access_process;
static struct config *config;

static void
drained(void)
{
}

static void
prepare(void)
{
	log_open("fuzz", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY));
	config = config_new();
	config->listeners = calloc(1, sizeof(*config->listeners));
	config->listener_count = 1;
	if (config->listeners == NULL || (access_process.base = event_base_new()) == NULL)
		abort();
	config_complete_listener(&config->listeners[0]);
	access_process.descriptors_max = 80;
	access_process.crowd = crowd_new(-1, 0, 1);
	if (access_process.crowd == NULL)
		abort();
	access_process.drained = drained;
}

static void
turn(int client)
{
	static char said[65536], last;
	ssize_t count;

	(void)event_base_loop(access_process.base, EVLOOP_NONBLOCK);
	count = recv(client, said, sizeof(said), MSG_DONTWAIT);
	for (ssize_t i = 0; i < count; i++) {
		if ((said[i] == '\n') != (last == '\r') && said[i] != '\r')
			abort();
		last = said[i];
	}
}

static void
connect_directory(int *directory)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		abort();
	access_auth_set_channel(access_process.auth, ends[0]);
	*directory = ends[1];
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t address[16] = { 192, 0, 2, 1 };
	static const enum listener_protocol protocols[] = { LISTEN_IMAP, LISTEN_POP3,
		LISTEN_SIEVE };
	struct access_settings *settings;
	int ends[2], directory = -1;
	size_t at = 2, piece;
	uint8_t choice;

	if (size < 3 || size > 65536)
		return 0;
	if (config == NULL)
		prepare();
	choice = data[0];
	piece = (choice & 8) != 0 ? 1 + (choice >> 4) : size;
	config->listeners[0].protocol = protocols[data[1] % 3];
	config->listeners[0].auth_without_tls = (choice & 2) != 0;
	access_process.auth = access_auth_new(access_process.base);
	if ((choice & 4) != 0)
		connect_directory(&directory);
	/* Another reference than the session's: the config is used again. */
	settings = access_settings_new(config);
	settings->references++;
	settings->tls = NULL;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
		abort();
	access_session_start(
	    &access_process, settings, &config->listeners[0], CLIENT_INET4, address, ends[0]);
	while (at < size && access_process.descriptors > 0) {
		ssize_t count = send(ends[1], data + at, size - at < piece ? size - at : piece,
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		turn(ends[1]);
		if (count > 0)
			at += (size_t)count;
		else
			break; /* it waits for the directory, or is over */
	}
	turn(ends[1]);
	close(ends[1]);
	turn(-1);
	access_free(&access_process);
	access_auth_free(access_process.auth);
	if (directory != -1)
		close(directory);
	if (settings->references != 2 || access_process.descriptors != 0)
		abort();
	free(settings);
	return 0;
}
