/*
 * What the mda's tests share: a home of their own under /tmp, deliveries made of strings, and a
 * look at what then lies in the Maildir.
 */
#ifndef TEST_MDA_FIXTURE_H
#define TEST_MDA_FIXTURE_H

#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "deliver/batch.h"

#define CREATED_US 1700000000123456LL

struct fixture {
	char top[64];
	char home[96];
	char maildir[128];
	struct batch_context context;
	uint64_t quota_bytes;
	uint64_t quota_messages;
	size_t answers; /* calls of the batch's answer callback */
};

static inline int
fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static inline int
fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	strcpy(fixture->top, "/tmp/postern-mda-XXXXXX");
	assert_non_null(mkdtemp(fixture->top));
	snprintf(fixture->home, sizeof(fixture->home), "%s/home", fixture->top);
	assert_int_equal(mkdir(fixture->home, 0700), 0);
	snprintf(fixture->maildir, sizeof(fixture->maildir), "%s/Maildir", fixture->home);
	batch_context_init(&fixture->context, "mx.example.org", "");
	*state = fixture;
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	nftw(fixture->top, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	batch_context_free(&fixture->context);
	free(fixture);
	return 0;
}

/* "home/Maildir/new" below the fixture's folder. */
static inline const char *
fixture_path(struct fixture *fixture, const char *rest)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", fixture->top, rest);
	return path;
}

static inline void
fixture_write(struct fixture *fixture, const char *rest, const char *text)
{
	int fd = open(fixture_path(fixture, rest), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static inline void
fixture_make_maildir(struct fixture *fixture)
{
	assert_int_equal(mkdir(fixture->maildir, 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/tmp"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/new"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/cur"), 0700), 0);
}

/* How many files, hidden ones too; -1 when there is no such directory. */
static inline int
fixture_count(struct fixture *fixture, const char *rest)
{
	DIR *directory = opendir(fixture_path(fixture, rest));
	struct dirent *entry;
	int count = 0;

	if (directory == NULL)
		return -1;
	while ((entry = readdir(directory)) != NULL)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(directory);
	return count;
}

/* The content of a file, static. */
static inline const char *
fixture_read(struct fixture *fixture, const char *rest)
{
	static char text[65536];
	int fd = open(fixture_path(fixture, rest), O_RDONLY);
	ssize_t length;

	assert_int_not_equal(fd, -1);
	length = read(fd, text, sizeof(text) - 1);
	assert_int_not_equal(length, -1);
	text[length] = '\0';
	close(fd);
	return text;
}

static inline int
fixture_message(const char *text, size_t length)
{
	int fd = memfd_create("message", MFD_CLOEXEC);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, text, length), (ssize_t)length);
	return fd;
}

static inline struct delivery *
fixture_delivery_bytes(struct fixture *fixture, uint64_t id, const char *text, size_t length)
{
	static struct ipc_deliver request;
	struct delivery *delivery;

	memset(&request, 0, sizeof(request));
	request.envelope_id = id;
	request.kind = ENVELOPE_MAILDIR;
	request.created_us = CREATED_US;
	request.size = length;
	assert_int_equal(address_parse("sender@client.test", 0, &request.sender), ADDRESS_OK);
	assert_int_equal(address_parse("user+x@example.test", 0, &request.rcpt), ADDRESS_OK);
	assert_int_equal(address_parse("user@example.test", 0, &request.dest), ADDRESS_OK);
	reply_set(&request.mailbox.reply, 250, "2.1.5", "ok");
	request.mailbox.uid = geteuid();
	request.mailbox.gid = getegid();
	strcpy(request.mailbox.user, "user");
	strcpy(request.mailbox.home, fixture->home);
	strcpy(request.mailbox.path, fixture->maildir);
	request.mailbox.quota_bytes = fixture->quota_bytes;
	request.mailbox.quota_messages = fixture->quota_messages;
	delivery = delivery_new(&request, 1, fixture_message(text, length));
	assert_non_null(delivery);
	return delivery;
}

static inline struct delivery *
fixture_delivery(struct fixture *fixture, uint64_t id, const char *text)
{
	return fixture_delivery_bytes(fixture, id, text, strlen(text));
}

static inline void
fixture_answered(void *arg)
{
	((struct fixture *)arg)->answers++;
}

static inline void
fixture_deliver(struct fixture *fixture, struct delivery *delivery)
{
	batch_deliver(&fixture->context, &delivery, 1, fixture_answered, fixture);
}

/* Delivers one text and returns the result, static. */
static inline const struct ipc_delivered *
fixture_result(struct fixture *fixture, uint64_t id, const char *text)
{
	static struct ipc_delivered result;
	struct delivery *delivery = fixture_delivery(fixture, id, text);

	fixture_deliver(fixture, delivery);
	result = delivery->result;
	delivery_free(delivery);
	return &result;
}

static inline void
assert_reply(const struct reply *reply, unsigned code, const char *enhanced, const char *words)
{
	char text[REPLY_TEXT_MAX + 64];

	reply_format(reply, text, sizeof(text));
	if (reply->code != code || strcmp(reply->enhanced, enhanced) != 0 ||
	    strstr(reply->text, words) == NULL)
		fail_msg("reply is \"%s\", not %u %s …%s…", text, code, enhanced, words);
}

/* A mount namespace of this process's own; skips the test where that isn't allowed. */
static inline void
fixture_private_mounts(void)
{
	static bool done;

	if (done)
		return;
	if (unshare(CLONE_NEWNS) == -1 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1)
		skip();
	done = true;
}

#endif
