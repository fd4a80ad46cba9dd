/*
 * The file `subscriptions`, in whichever of its two forms it is: a new line is put at its end. The
 * file is replaced by a new one, as Dovecot does it, under the lock that Dovecot and mailbox(8) take.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/write.h"
#include "deliver/maildir.h"

#define FILE_NAME "subscriptions"
#define FILE_MAX  (1024 * 1024)
#define VERSION_2 "V\t2\n\n" /* tabs between a name's levels */

/* All of it, nothing when it is missing; false with errno. */
static bool
read_file(int root, struct buf *text)
{
	int fd = openat(root, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), error;
	char chunk[8192];
	struct stat st;
	ssize_t got;

	if (fd == -1)
		return errno == ENOENT;
	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		close(fd);
		errno = EINVAL;
		return false;
	}
	while ((got = read(fd, chunk, sizeof(chunk))) > 0 && buf_ok(text))
		buf_add(text, chunk, (size_t)got);
	error = got == -1 ? errno : EFBIG;
	close(fd);
	errno = error;
	return got == 0 && buf_ok(text);
}

static bool
has_line(const struct buf *text, const char *name)
{
	const char *at = (const char *)text->data, *end = at + text->length, *line_end;
	size_t length = strlen(name);

	for (; at < end; at = line_end + 1) {
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (line_end == NULL)
			line_end = end;
		if ((size_t)(line_end - at) == length && memcmp(at, name, length) == 0)
			return true;
	}
	return false;
}

static bool
replace_file(const struct maildir *inbox, const struct buf *text)
{
	char temporary[64];
	int fd, error;

	snprintf(temporary, sizeof(temporary), FILE_NAME ".%d", (int)getpid());
	(void)unlinkat(inbox->tmp, temporary, 0);
	fd = openat(
	    inbox->tmp, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return false;
	if (write_all(fd, text->data, text->length) && fsync(fd) == 0 &&
	    renameat(inbox->tmp, temporary, inbox->root, FILE_NAME) == 0) {
		close(fd);
		return true;
	}
	error = errno;
	close(fd);
	(void)unlinkat(inbox->tmp, temporary, 0);
	errno = error;
	return false;
}

/* False with errno. */
static bool
add_line(const struct maildir *inbox, const char *folder, struct buf *text)
{
	char name[MAILDIR_FOLDER_MAX + 1];

	if (!read_file(inbox->root, text))
		return false;
	if (text->length == 0)
		buf_add_text(text, VERSION_2);
	snprintf(name, sizeof(name), "%s", folder);
	if (text->length >= 4 && memcmp(text->data, VERSION_2, 4) == 0) {
		for (char *at = name; *at != '\0'; at++)
			*at = *at == '.' ? '\t' : *at;
	}
	if (has_line(text, name))
		return true;
	if (text->data[text->length - 1] != '\n')
		buf_add_u8(text, '\n');
	buf_add_text(text, name);
	buf_add_u8(text, '\n');
	if (!buf_ok(text)) {
		errno = EFBIG;
		return false;
	}
	return replace_file(inbox, text);
}

void
maildir_subscribe(const struct maildir *inbox, const char *folder)
{
	char host[256] = "localhost";
	bool good = false;
	struct lock lock;
	struct buf text;

	(void)gethostname(host, sizeof(host) - 1);
	buf_init(&text, FILE_MAX);
	if (lock_take(&lock, inbox->root, FILE_NAME ".lock", host)) {
		good = add_line(inbox, folder, &text);
		lock_drop(&lock);
	}
	if (!good)
		log_warning("%s: folder %s is not subscribed: %m", inbox->path, folder);
	buf_free(&text);
}
