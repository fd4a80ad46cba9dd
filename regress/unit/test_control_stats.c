/* Counters of several processes, added up. */
#include <sys/mman.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpctl/control_stats.h"

#define PAGE 4096

static struct control_stats *stats;

static int
set_up(void **state)
{
	(void)state;
	stats = control_stats_new();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	control_stats_free(stats);
	return 0;
}

/* A page whose counter STATS_DELIVERY_OK is `count`. */
static int
make_page(int64_t count)
{
	int fd = stats_make_page();
	int64_t *values;

	assert_int_not_equal(fd, -1);
	values = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(values, MAP_FAILED);
	values[STATS_DELIVERY_OK] = count;
	munmap(values, PAGE);
	return fd;
}

static void
set_page(enum program program, uint32_t instance, int64_t count)
{
	struct ipc_peer peer = { .program = program, .instance = instance };
	int fd = make_page(count);

	control_stats_set_page(stats, &peer, fd);
	assert_int_equal(fcntl(fd, F_GETFD) & ~FD_CLOEXEC, 0); /* still the caller's */
	close(fd);
}

static uint64_t
sum(void)
{
	struct buf_reader reader;
	struct buf buf;
	uint64_t value = 0;

	buf_init(&buf, 4096);
	control_stats_encode(stats, &buf);
	buf_reader_init(&reader, buf.data, buf.length);
	for (int key = 0; key < STATS_COUNT; key++) {
		uint64_t one = buf_get_u64(&reader);

		if (key == STATS_DELIVERY_OK)
			value = one;
	}
	(void)buf_get_u64(&reader); /* the uptime */
	assert_true(buf_reader_done(&reader));
	buf_free(&buf);
	return value;
}

static void
test_pages_are_added_up(void **state)
{
	(void)state;
	assert_int_equal(sum(), 0);
	set_page(PROGRAM_LISTENER, 0, 1);
	set_page(PROGRAM_LISTENER, 1, 20);
	set_page(PROGRAM_QUEUE, 0, 300);
	assert_int_equal(sum(), 321);
}

static void
test_a_page_sent_again_replaces_the_first(void **state)
{
	(void)state;
	set_page(PROGRAM_QUEUE, 0, 300);
	set_page(PROGRAM_QUEUE, 0, 7);
	assert_int_equal(sum(), 7);
}

static void
test_a_descriptor_that_is_no_page_changes_nothing(void **state)
{
	struct ipc_peer peer = { .program = PROGRAM_QUEUE };
	int fd = memfd_create("short", MFD_CLOEXEC);

	(void)state;
	set_page(PROGRAM_QUEUE, 0, 300);
	control_stats_set_page(stats, &peer, fd);
	assert_int_equal(sum(), 300);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pages_are_added_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_page_sent_again_replaces_the_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_descriptor_that_is_no_page_changes_nothing, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
