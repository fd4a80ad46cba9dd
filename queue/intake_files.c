/*
 * A lease for reading (fcntl(2), F_SETLEASE) is given only while no descriptor of the file can
 * write, whoever has it: it is taken to ask just that, and given back at once.
 *
 * An honest listener closes a file before it gives it up, but for one that was under way to it when
 * its client went: so a file may linger for a while. It counts among those that the listener may
 * have.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "queue/intake_files.h"
#include "queue/spool.h"

#define LINGER_MS 10000

struct lingering_file {
	struct lingering_file *next;
	int fd; /* for reading */
	int64_t since_ms;
};

bool
spool_file_is_written(int fd)
{
#ifdef F_SETLEASE
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == -1)
		return errno == EAGAIN;
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
#else
	(void)fd;
#endif
	return false;
}

void
lingering_remove_file(struct lingering *lingering, const struct spool *spool, uint32_t message_id)
{
	struct lingering_file *file;
	int fd = spool_large_open(spool, message_id);

	spool_large_remove(spool, message_id);
	if (fd == -1)
		return;
	file = spool_file_is_written(fd) ? malloc(sizeof(*file)) : NULL;
	if (file == NULL) {
		close(fd);
		return;
	}
	file->fd = fd;
	file->since_ms = clock_monotonic_ms();
	file->next = lingering->first;
	lingering->first = file;
	lingering->count++;
}

const char *
lingering_look(struct lingering *lingering, uint64_t size_max)
{
	struct lingering_file **at = &lingering->first, *file;
	struct stat status;

	while ((file = *at) != NULL) {
		if (!spool_file_is_written(file->fd)) {
			*at = file->next;
			close(file->fd);
			free(file);
			lingering->count--;
			continue;
		}
		if (fstat(file->fd, &status) == 0 && (uint64_t)status.st_size > size_max)
			return "a spool file that it gave up grows";
		if (clock_monotonic_ms() - file->since_ms > LINGER_MS)
			return "a spool file that it gave up is kept open";
		at = &file->next;
	}
	return NULL;
}

void
lingering_free(struct lingering *lingering)
{
	struct lingering_file *file;

	while ((file = lingering->first) != NULL) {
		lingering->first = file->next;
		close(file->fd);
		free(file);
	}
	lingering->count = 0;
}
