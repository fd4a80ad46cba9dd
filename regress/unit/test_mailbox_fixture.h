/* What the store's tests share: a Maildir of their own under /tmp, and short ways to fill it. */
#ifndef TEST_MAILBOX_FIXTURE_H
#define TEST_MAILBOX_FIXTURE_H

#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"
#include "mailbox/folder.h"
#include "mailbox/folder_view.h"
#include "mailbox/folders.h"

/* Where Maildirs are made; a test with thousands of syncs takes memory instead. */
static const char *fixture_base = "/tmp";

struct fixture {
	char top[64];
	char root[96];
	struct quota_limits limits;
	struct maildir *maildir;
};

static inline int
fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

/* (Re)opens the Maildir, as a process that starts does. */
static inline struct maildir *
fixture_start(struct fixture *fixture)
{
	int root = open(fixture->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_not_equal(root, -1);
	fixture->maildir = maildir_new(root, fixture->root, "mx.example.org", &fixture->limits);
	assert_non_null(fixture->maildir);
	return fixture->maildir;
}

static inline void
fixture_stop(struct fixture *fixture)
{
	maildir_free(fixture->maildir);
	fixture->maildir = NULL;
}

static inline int
fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int log = open("/dev/null", O_WRONLY | O_CLOEXEC);

	assert_non_null(fixture);
	if (getenv("SHOW_LOG") == NULL)
		log_open("mailbox", LOG_TARGET_STDERR, log);
	snprintf(fixture->top, sizeof(fixture->top), "%s/postern-mailbox-XXXXXX", fixture_base);
	assert_non_null(mkdtemp(fixture->top));
	snprintf(fixture->root, sizeof(fixture->root), "%s/Maildir", fixture->top);
	assert_int_equal(mkdir(fixture->root, 0700), 0);
	fixture_start(fixture);
	*state = fixture;
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->maildir != NULL)
		fixture_stop(fixture);
	assert_int_equal(chdir("/"), 0);
	nftw(fixture->top, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(fixture);
	return 0;
}

/* "cur/name" in the Maildir. */
static inline const char *
fixture_path(struct fixture *fixture, const char *rest)
{
	static char path[2][4096];
	static unsigned which;

	which ^= 1;
	snprintf(path[which], sizeof(path[which]), "%s/%s", fixture->root, rest);
	return path[which];
}

static inline void
fixture_write(struct fixture *fixture, const char *rest, const void *data, size_t length)
{
	int fd = open(fixture_path(fixture, rest), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, data, length), length);
	close(fd);
}

static inline void
fixture_text(struct fixture *fixture, const char *rest, const char *text)
{
	fixture_write(fixture, rest, text, strlen(text));
}

static inline char *
fixture_read(struct fixture *fixture, const char *rest, size_t *length)
{
	static char data[1 << 20];
	int fd = open(fixture_path(fixture, rest), O_RDONLY);
	ssize_t got;

	assert_int_not_equal(fd, -1);
	got = read(fd, data, sizeof(data) - 1);
	assert_true(got >= 0);
	close(fd);
	data[got] = '\0';
	if (length != NULL)
		*length = (size_t)got;
	return data;
}

/* How many files; -1 when there is no such directory. */
static inline int
fixture_count(struct fixture *fixture, const char *rest)
{
	DIR *directory = opendir(fixture_path(fixture, rest));
	struct dirent *entry;
	int count = 0;

	if (directory == NULL)
		return -1;
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static inline struct folder *
fixture_open(struct fixture *fixture, const char *name)
{
	enum mail_result why;
	struct folder *folder = folder_open(fixture->maildir, name, &why);

	assert_int_equal(why, MAIL_OK);
	assert_non_null(folder);
	return folder;
}

static inline void
fixture_sync(struct folder *folder)
{
	assert_int_equal(folder_sync(folder), MAIL_OK);
}

/* How many messages, those expunged left out. */
static inline size_t
fixture_live(struct folder *folder)
{
	struct folder_counts counts;

	assert_int_equal(folder_count(folder, false, &counts), MAIL_OK);
	return counts.messages;
}

static inline uint32_t
fixture_append(struct folder *folder, const char *text, uint32_t bits)
{
	struct append *append;
	uint32_t uid = 0;

	assert_int_equal(append_begin(folder, strlen(text), &append), MAIL_OK);
	append_write(append, text, strlen(text));
	append_set(append, bits, 1600000000);
	assert_int_equal(folder_append(folder, &append, 1, &uid), MAIL_OK);
	append_free(append);
	return uid;
}

static inline enum mail_result
fixture_store(struct folder *folder, uint32_t uid, enum folder_store how, uint32_t bits)
{
	return folder_store(folder, &uid, 1, how, bits, UINT64_MAX, NULL, NULL);
}

/* The message's whole file, static. */
static inline const char *
fixture_body(struct folder *folder, uint32_t uid)
{
	static char text[65536];
	uint64_t size;
	ssize_t got;
	int fd;

	assert_int_equal(folder_message_open(folder, uid, &fd, &size), MAIL_OK);
	got = read(fd, text, sizeof(text) - 1);
	assert_int_equal(got, size);
	close(fd);
	text[got] = '\0';
	return text;
}

/* "1:S 2: 3:FSa" of what is there. */
static inline const char *
fixture_flags(struct folder *folder)
{
	static char text[16384];
	size_t length = 0, i;

	text[0] = '\0';
	for (i = 0; i < folder_length(folder); i++) {
		const struct message *message = folder_at(folder, i);
		unsigned letter;

		if (message->expunged != 0)
			continue;
		length += (size_t)snprintf(text + length, sizeof(text) - length,
		    "%s%" PRIu32 ":%s%s%s%s%s", length > 0 ? " " : "", message->uid,
		    (message->bits & MESSAGE_DRAFT) != 0 ? "D" : "",
		    (message->bits & MESSAGE_FLAGGED) != 0 ? "F" : "",
		    (message->bits & MESSAGE_ANSWERED) != 0 ? "R" : "",
		    (message->bits & MESSAGE_SEEN) != 0 ? "S" : "",
		    (message->bits & MESSAGE_DELETED) != 0 ? "T" : "");
		for (letter = 0; letter < KEYWORDS_COUNT; letter++) {
			if ((message->bits & 1u << letter) != 0)
				text[length++] = (char)('a' + letter);
		}
		text[length] = '\0';
		assert_true(length < sizeof(text) - 64);
	}
	return text;
}

#endif
