/* Segments are made durable, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/syscall.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "queue/segment_make.h"

#define SIZE (16U * 1024 * 1024)

static unsigned waits;      /* for what the kernel is writing */
static unsigned wait_fails; /* which one tells of an error; 0: none */

int
sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags)
{
	if ((flags & SYNC_FILE_RANGE_WAIT_BEFORE) != 0 && ++waits == wait_fails) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_sync_file_range, fd, offset, length, flags);
}

/* Whether it could be made. */
static bool
make(int directory)
{
	const struct record_key key = { .sequence = 1, .salt = 2 };
	struct segment_maker maker;
	unsigned steps;

	waits = 0;
	assert_true(segment_make_begin(&maker, directory, "segment", SIZE));
	for (steps = 0; maker.phase != MAKE_DONE; steps++) {
		assert_true(steps < 100);
		if (!segment_make_step(&maker, &key, 1)) {
			assert_int_equal(errno, EIO);
			assert_int_equal(maker.phase, MAKE_NOTHING);
			return false;
		}
	}
	segment_free(segment_make_take(&maker));
	assert_int_equal(unlinkat(directory, "segment", 0), 0);
	return true;
}

/* The kernel tells each error once only: not at the sync any more. */
static void
an_error_told_while_zeroes_are_written_is_not_lost(void **state)
{
	char folder[] = "/tmp/postern-segment-XXXXXX";
	int directory;
	unsigned all;

	(void)state;
	assert_non_null(mkdtemp(folder));
	directory = open(folder, O_RDONLY | O_DIRECTORY);
	assert_true(directory != -1);
	wait_fails = 0;
	assert_true(make(directory));
	all = waits;
	assert_true(all > 1);
	for (wait_fails = 1; wait_fails <= all; wait_fails++) {
		assert_false(make(directory));
		assert_int_equal(faccessat(directory, "segment", F_OK, 0), -1);
	}
	close(directory);
	assert_int_equal(rmdir(folder), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_told_while_zeroes_are_written_is_not_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
