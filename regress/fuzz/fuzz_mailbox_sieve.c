/*
 * What a client of ManageSieve says after its login, in pieces as the first byte has them: every answer is
 * one that a client can read, and however it ends the folder holds only scripts that compile, under
 * names that scripts may have, the active one among them.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/managesieve.h"
#include "common/sieve.h"
#include "mailbox/scripts.h"
#include "mailbox/sieve_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static struct event_base *base;
static struct maildir *maildir;
static struct managesieve_reader answers;
static bool has_ended;
static size_t script_count;

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static void
remove_all(void)
{
	(void)nftw(maildir->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void
prepare(void)
{
	static const struct quota_limits limits;
	char path[64];
	int root;

	log_open("fuzz", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY));
	base = event_base_new();
	snprintf(path, sizeof(path), "/dev/shm/postern-fuzz-%d", (int)getpid());
	if (base == NULL || mkdir(path, 0700) != 0 || atexit(remove_all) != 0)
		abort();
	root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root == -1 || (maildir = maildir_new(root, path, "fuzz", &limits)) == NULL)
		abort();
}

static void
on_ended(void *arg)
{
	(void)arg;
	has_ended = true;
}

static void
read_answers(int client)
{
	char bytes[65536];
	ssize_t count;
	size_t at, used;

	(void)event_base_loop(base, EVLOOP_NONBLOCK);
	while ((count = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		for (at = 0; at < (size_t)count; at += used) {
			switch (managesieve_take(&answers, bytes + at, (size_t)count - at, &used)) {
			case MANAGESIEVE_MORE:
				break;
			case MANAGESIEVE_LINE:
				if (answers.why != NULL || answers.count == 0)
					abort();
				managesieve_next(&answers);
				break;
			case MANAGESIEVE_END:
				abort();
			}
		}
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	}
}

static void
check_script(const char *name, bool is_active, void *arg)
{
	unsigned *active = arg;
	char error[SIEVE_ERROR_MAX], *text;
	struct sieve *sieve;
	size_t length;

	*active += is_active;
	script_count++;
	if (scripts_read(maildir, name, &text, &length) != MAIL_OK)
		abort();
	sieve = sieve_compile(text, length, error, sizeof(error));
	if (sieve == NULL)
		abort();
	sieve_free(sieve);
	free(text);
}

/* And empties it. */
static void
check_folder(void)
{
	int directory = openat(maildir->root, "sieve", O_RDONLY | O_DIRECTORY);
	unsigned active = 0, links = 0;
	struct dirent *entry;
	size_t files = 0;
	DIR *entries;

	script_count = 0;
	if (scripts_list(maildir, check_script, &active) != MAIL_OK || script_count > SCRIPTS_MAX)
		abort();
	if (directory == -1)
		return;
	if ((entries = fdopendir(directory)) == NULL)
		abort();
	while ((entry = readdir(entries)) != NULL) {
		if (*entry->d_name == '.')
			continue;
		links += strcmp(entry->d_name, "active") == 0;
		files++;
		if (unlinkat(directory, entry->d_name, 0) != 0)
			abort();
	}
	closedir(entries);
	if (links != active || files != script_count + links)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sieve_session *session;
	size_t at = 1, piece, count;
	int ends[2];

	if (size < 2)
		return 0;
	if (base == NULL)
		prepare();
	piece = data[0] == 0 ? size : data[0];
	managesieve_init(&answers, MANAGESIEVE_SERVER, 2 * SIEVE_SCRIPT_MAX);
	has_ended = false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
		abort();
	session = sieve_session_new(base, ends[0], maildir, "alice", 1, on_ended, NULL);
	if (session == NULL)
		abort();
	while (at < size && !has_ended) {
		count = size - at < piece ? size - at : piece;
		if (send(ends[1], data + at, count, MSG_NOSIGNAL) == (ssize_t)count)
			at += count;
		read_answers(ends[1]);
	}
	(void)shutdown(ends[1], SHUT_WR);
	read_answers(ends[1]);
	if (!has_ended || answers.read != 0) /* half an answer */
		abort();
	sieve_session_free(session);
	close(ends[1]);
	managesieve_free(&answers);
	check_folder();
	return 0;
}
