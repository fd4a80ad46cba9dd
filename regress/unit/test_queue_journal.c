/*
 * The journal's rules: what was committed comes back to the byte, what was not or was refused
 * doesn't, what is done stays done, and damage costs only what it hit.
 */
#include <sys/resource.h>

#include "test_queue_fixture.h"

static void
committed_messages_come_back_and_others_do_not(void **state)
{
	(void)state;
	put_committed(1, 100);
	put_committed(2, 0);
	put(3, 5000, JOURNAL_OK);
	put(4, 1, JOURNAL_OK);
	assert_true(commit());
	put(5, 100, JOURNAL_OK); /* never committed */
	crash();
	open_again();
	for (uint32_t id = 1; id <= 4; id++)
		assert_intact(id);
	assert_false(is_queued(5));
}

static void
one_batch_costs_one_sync(void **state)
{
	unsigned before = disk.syncs;

	(void)state;
	for (uint32_t id = 1; id <= 50; id++)
		put(id, 1000, JOURNAL_OK);
	assert_true(commit());
	assert_int_equal(disk.syncs, before + 1);
	assert_int_equal(fixture.committed, 50);
	assert_true(commit());
	assert_int_equal(disk.syncs, before + 1);
}

static void
done_stays_done_once_committed(void **state)
{
	(void)state;
	put_committed(1, 100);
	put_committed(2, 100);
	done(1);
	assert_true(commit());
	done(2); /* not committed: it is tried again, which is harmless */
	crash();
	open_again();
	assert_false(is_queued(1));
	assert_intact(2);
}

static void
the_latest_update_holds(void **state)
{
	(void)state;
	put_committed(1, 100);
	for (uint32_t tries = 1; tries <= 5; tries++)
		change(1, STATE_UPDATE, tries);
	assert_true(commit());
	change(1, STATE_UPDATE, 6);
	assert_true(commit());
	crash();
	open_again();
	assert_intact(1);
	assert_int_equal(find_known(1)->tries, 6);
}

/* Recovery reads many records at once: wherever such a reading ends, none is cut off. */
static void
records_of_all_sizes_come_back(void **state)
{
	(void)state;
	for (uint32_t id = 1; id <= 2000; id++) {
		put(id, id * 7919 % (id % 100 == 0 ? 70000 : 500), JOURNAL_OK);
		if (id % 10 == 0) {
			assert_true(commit());
			change(id - 5, STATE_UPDATE, id);
		}
	}
	assert_true(commit());
	crash();
	open_again();
	for (uint32_t id = 1; id <= 2000; id++)
		assert_intact(id);
	assert_false(journal_was_damaged(fixture.journal));
	for (uint32_t id = 10; id <= 2000; id += 10)
		assert_int_equal(find_known(id - 5)->tries, id);
}

/* Files of the spool. */

static void
segment_path(char *path, size_t size, uint32_t slot_number)
{
	snprintf(path, size, "%s/segments/%08u", fixture.path, slot_number);
}

/* The number of the file that holds this message; fixture must be open. */
static uint32_t
file_of(uint32_t id)
{
	char path[128];
	uint8_t block[SEGMENT_DATA];
	struct segment_header header;
	uint64_t sequence = journal_sequence(fixture.journal, find_known(id)->location.slot);

	for (uint32_t number = 1; number < 1000; number++) {
		int fd;
		bool found;

		segment_path(path, sizeof(path), number);
		fd = open(path, O_RDONLY);
		if (fd == -1)
			continue;
		found = read(fd, block, sizeof(block)) == (ssize_t)sizeof(block) &&
		    segment_header_decode(block, &header) == SEGMENT_HEADER_OK &&
		    header.use != SEGMENT_FREE && header.key.sequence == sequence;
		close(fd);
		if (found)
			return number;
	}
	fail_msg("no segment has message %u", id);
	return 0;
}

static uint8_t *
load(uint32_t number, size_t *length)
{
	char path[128];
	uint8_t *data = malloc(2 * SEGMENT);
	ssize_t got;
	int fd;

	segment_path(path, sizeof(path), number);
	fd = open(path, O_RDONLY);
	assert_true(fd != -1 && data != NULL);
	got = read(fd, data, 2 * SEGMENT);
	assert_true(got >= 0);
	close(fd);
	*length = (size_t)got;
	return data;
}

static void
save(uint32_t number, const uint8_t *data, size_t length)
{
	char path[128];
	int fd;

	segment_path(path, sizeof(path), number);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd != -1);
	assert_int_equal(write(fd, data, length), length);
	close(fd);
}

static unsigned
files_in(const char *folder)
{
	char path[128];
	struct dirent *entry;
	unsigned count = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/%s", fixture.path, folder);
	directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static void
empty_quarantine(void)
{
	char command[160];

	snprintf(command, sizeof(command), "rm -f '%s'/quarantine/*", fixture.path);
	assert_int_equal(system(command), 0);
}

/* Three messages in three batches; where each one's record and the log end. */
struct three {
	uint32_t number;
	uint8_t *data;
	size_t length;
	uint32_t start[3];
	uint32_t end[3]; /* of the record, not of its batch */
	uint32_t log_end;
};

static struct three
make_three(void)
{
	struct three three;

	for (uint32_t id = 1; id <= 3; id++) {
		put_committed(id, 40);
		three.start[id - 1] = find_known(id)->location.offset;
		three.end[id - 1] =
		    three.start[id - 1] + (uint32_t)record_size(find_known(id)->location.length);
	}
	three.log_end = three.end[2] + (uint32_t)record_size(4);
	three.number = file_of(1);
	crash();
	three.data = load(three.number, &three.length);
	return three;
}

/* Every other segment file goes, so that each try begins alike. */
static void
restore(const struct three *three, const uint8_t *data, size_t length)
{
	char command[200];

	snprintf(command, sizeof(command), "rm -f '%s'/segments/*", fixture.path);
	assert_int_equal(system(command), 0);
	save(three->number, data, length);
}

static void
a_flipped_bit_costs_at_most_its_own_record(void **state)
{
	struct three three = make_three();
	uint8_t *damaged = malloc(three.length);
	unsigned tries = 0;

	(void)state;
	assert_non_null(damaged);
	for (uint32_t at = SEGMENT_DATA; at < three.log_end; at++) {
		unsigned bit = at % 8;

		/* The records' headers at every byte, their payloads at every fifth. */
		for (unsigned i = 0; i < 3; i++) {
			if (at >= three.start[i] + RECORD_HEADER_SIZE && at < three.end[i] &&
			    at % 5 != 0)
				goto next;
		}
		tries++;
		memcpy(damaged, three.data, three.length);
		damaged[at] ^= (uint8_t)(1 << bit);
		restore(&three, damaged, three.length);
		empty_quarantine();
		open_again();
		for (uint32_t id = 1; id <= 3; id++) {
			bool hit = at >= three.start[id - 1] && at < three.end[id - 1];

			if (hit && is_queued(id)) {
				/* Only a bit of the padding may go unnoticed. */
				assert_true(at >= three.end[id - 1] - RECORD_ALIGNMENT);
				assert_intact(id);
			} else if (hit) {
				assert_true(journal_was_damaged(fixture.journal));
				assert_true(files_in("quarantine") > 0);
			} else
				assert_intact(id);
		}
		crash();
	next:;
	}
	assert_true(tries > 200);
	free(damaged);
	free(three.data);
}

static void
a_flipped_bit_in_a_segment_header_costs_nothing(void **state)
{
	struct three three = make_three();
	uint8_t *damaged = malloc(three.length);

	(void)state;
	assert_non_null(damaged);
	for (uint32_t at = 0; at < 64; at++) {
		memcpy(damaged, three.data, three.length);
		damaged[at] ^= (uint8_t)(1 << at % 8);
		restore(&three, damaged, three.length);
		open_again();
		for (uint32_t id = 1; id <= 3; id++)
			assert_intact(id);
		crash();
	}
	/* Both headers lost, or the whole block. */
	memcpy(damaged, three.data, three.length);
	memset(damaged, 0xff, SEGMENT_DATA);
	restore(&three, damaged, three.length);
	open_again();
	assert_intact(1);
	assert_intact(3);
	crash();
	memset(damaged, 0, SEGMENT_DATA);
	restore(&three, damaged, three.length);
	open_again();
	assert_intact(1);
	assert_intact(3);
	free(damaged);
	free(three.data);
}

static void
a_cut_file_keeps_what_was_before_the_cut(void **state)
{
	struct three three = make_three();

	(void)state;
	for (uint32_t length = 0; length <= three.log_end + 8; length += 13) {
		restore(&three, three.data, length);
		empty_quarantine();
		open_again();
		for (uint32_t id = 1; id <= 3; id++) {
			if (length >= three.end[id - 1] && length >= SEGMENT_DATA)
				assert_intact(id);
			else
				assert_false(is_queued(id));
		}
		crash();
	}
	free(three.data);
}

static void
a_torn_tail_or_one_of_zeroes_ends_the_log(void **state)
{
	struct three three = make_three();
	uint8_t *torn = malloc(three.length);

	(void)state;
	assert_non_null(torn);
	for (uint32_t from = three.start[2]; from < three.end[2] - RECORD_ALIGNMENT; from += 7) {
		memcpy(torn, three.data, three.length);
		memset(torn + from, 0, three.length - from);
		restore(&three, torn, three.length);
		empty_quarantine();
		open_again();
		assert_intact(1);
		assert_intact(2);
		assert_false(is_queued(3));
		/* Without even the salt nothing tells that there was anything. */
		assert_int_equal(files_in("quarantine"), from < three.start[2] + 8 ? 0 : 1);
		put_committed(4, 100);
		crash();
		open_again();
		assert_intact(2);
		assert_intact(4);
		crash();
	}
	free(torn);
	free(three.data);
}

static void
a_newer_version_is_refused_and_left_alone(void **state)
{
	struct three three = make_three();
	uint8_t *newer = malloc(three.length), *after;
	struct segment_header header;
	size_t length;

	(void)state;
	assert_non_null(newer);
	memcpy(newer, three.data, three.length);
	assert_int_equal(segment_header_decode(newer, &header), SEGMENT_HEADER_OK);
	header.version = SEGMENT_VERSION + 1;
	segment_header_encode(newer, &header);
	restore(&three, newer, three.length);
	assert_int_equal(try_open(), JOURNAL_NEWER_VERSION);
	after = load(three.number, &length);
	assert_int_equal(length, three.length);
	assert_memory_equal(after, newer, length);
	free(after);
	free(newer);
	free(three.data);
}

/* Its records are as now, without what came later: see test_common_envelope. */
static void
an_older_version_is_read_and_gone_on_with(void **state)
{
	struct three three = make_three();
	uint8_t *older = malloc(three.length);
	struct segment_header header;

	(void)state;
	assert_non_null(older);
	memcpy(older, three.data, three.length);
	assert_int_equal(segment_header_decode(older, &header), SEGMENT_HEADER_OK);
	header.version = 1;
	segment_header_encode(older, &header);
	restore(&three, older, three.length);
	open_again();
	for (uint32_t id = 1; id <= 3; id++)
		assert_intact(id);
	put_committed(4, 100);
	change(1, STATE_UPDATE, 2);
	assert_true(commit());
	crash();
	open_again();
	for (uint32_t id = 1; id <= 4; id++)
		assert_intact(id);
	free(older);
	free(three.data);
}

static void
foreign_files_and_links_are_left_alone(void **state)
{
	char path[128], target[128];
	struct stat status;
	int fd;

	(void)state;
	put_committed(1, 100);
	crash();
	snprintf(target, sizeof(target), "%s/elsewhere", fixture.path);
	fd = open(target, O_RDWR | O_CREAT, 0600);
	assert_true(fd != -1);
	assert_int_equal(write(fd, "precious", 8), 8);
	close(fd);
	segment_path(path, sizeof(path), 77);
	assert_int_equal(symlink(target, path), 0);
	segment_path(path, sizeof(path), 78);
	assert_int_equal(mkdir(path, 0700), 0);
	segment_path(path, sizeof(path), 79);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/segments/notes.txt", fixture.path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd != -1);
	close(fd);
	open_again();
	assert_intact(1);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(stat(target, &status), 0);
	assert_int_equal(status.st_size, 8);
	assert_int_equal(files_in("quarantine"), 0);
}

static bool
is_known(uint32_t message_id, void *arg)
{
	(void)arg;
	return is_queued(message_id);
}

/* A message of which only the record tells that its file is still wanted. */
static void
put_large(uint32_t id)
{
	int fd = spool_large_create(&fixture.spool, id);

	assert_true(fd != -1);
	close(fd);
	put_committed(id, 100);
}

/* As the queue does after the recovery. */
static void
assert_large_is_kept(uint32_t id)
{
	spool_large_sweep(&fixture.spool, is_known, NULL, journal_was_damaged(fixture.journal));
	assert_int_equal(files_in("large") + files_in("quarantine"), 1);
	assert_true(is_queued(id) || files_in("quarantine") == 1);
}

/* A backup by hard links, as `cp -al` makes it. */
static void
a_segment_with_another_link_stops_the_start(void **state)
{
	char path[128], other[128];

	(void)state;
	put_large(7);
	segment_path(path, sizeof(path), file_of(7));
	crash();
	snprintf(other, sizeof(other), "%s/backup", fixture.path);
	assert_int_equal(link(path, other), 0);
	assert_int_equal(try_open(), JOURNAL_UNREADABLE);
	assert_int_equal(unlink(other), 0);
	open_again();
	assert_intact(7);
	assert_large_is_kept(7);
}

static void
a_segment_of_another_user_stops_the_start(void **state)
{
	char path[128];

	(void)state;
	if (geteuid() != 0)
		skip();
	put_large(7);
	segment_path(path, sizeof(path), file_of(7));
	crash();
	assert_int_equal(chown(path, 12345, 12345), 0);
	assert_int_equal(try_open(), JOURNAL_UNREADABLE);
	assert_int_equal(chown(path, 0, 0), 0);
	open_again();
	assert_large_is_kept(7);
}

static void
a_lack_of_descriptors_stops_the_start(void **state)
{
	struct rlimit limit, low;
	int fd;

	(void)state;
	put_large(7);
	crash();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(spool_open(&fixture.spool, fixture.path), SPOOL_OK);
	fd = dup(fixture.spool.fd);
	assert_true(fd != -1);
	close(fd);
	spool_close(&fixture.spool);
	/* The directory can be read, but no file in it be opened. */
	low = (struct rlimit){ (rlim_t)fd + 1, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(try_open(), JOURNAL_UNREADABLE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	open_again();
	assert_intact(7);
	assert_large_is_kept(7);
}

/* One that was moved to another disk, say. */
static void
a_segment_that_became_a_link_costs_no_large_message(void **state)
{
	char path[128], other[128];

	(void)state;
	put_large(7);
	segment_path(path, sizeof(path), file_of(7));
	crash();
	snprintf(other, sizeof(other), "%s/elsewhere", fixture.path);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
	open_again();
	assert_true(journal_was_damaged(fixture.journal));
	assert_large_is_kept(7);
}

static void
a_file_that_is_no_segment_goes_to_quarantine(void **state)
{
	uint8_t junk[8192];

	(void)state;
	put_committed(1, 100);
	crash();
	memset(junk, 'j', sizeof(junk));
	save(88, junk, sizeof(junk));
	open_again();
	assert_intact(1);
	assert_int_equal(files_in("quarantine"), 1);
	assert_true(journal_was_damaged(fixture.journal));
}

/* Records whose sums are right, and which only a fault of a program can have written. */
static void
records_that_can_t_be_decoded_go_to_quarantine(void **state)
{
	static const enum record_type types[] = { RECORD_MESSAGE, RECORD_STATE, RECORD_VOID };
	struct location location;
	uint8_t *to;

	(void)state;
	put_committed(1, 100);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		assert_int_equal(
		    journal_begin(fixture.journal, JOURNAL_FIRST, 7, false, &to), JOURNAL_OK);
		memset(to, 0xee, 7);
		journal_end(fixture.journal, JOURNAL_FIRST, types[i], 7, &location);
	}
	put_committed(2, 100);
	crash();
	open_again();
	assert_intact(1);
	assert_intact(2);
	assert_int_equal(files_in("quarantine"), 3);
	assert_true(journal_was_damaged(fixture.journal));
}

static void
a_second_queue_is_refused(void **state)
{
	struct spool other;

	(void)state;
	assert_int_equal(spool_open(&other, fixture.path), SPOOL_BUSY);
	assert_int_equal(spool_open_read(&other, fixture.path), SPOOL_BUSY);
	crash();
	assert_int_equal(spool_open_read(&other, fixture.path), SPOOL_OK);
	spool_close(&other);
	open_again();
}

static void
a_spool_of_another_user_is_refused(void **state)
{
	struct spool other;

	(void)state;
	if (geteuid() != 0)
		skip();
	crash();
	assert_int_equal(chown(fixture.path, 12345, 12345), 0);
	assert_int_equal(spool_open(&other, fixture.path), SPOOL_ERROR);
	assert_int_equal(chown(fixture.path, 0, 0), 0);
	open_again();
}

/* Bytes in a message that look like a record, where a search for the next record comes by. */
static void
a_message_can_not_hold_a_record_of_its_own(void **state)
{
	uint8_t *forged;
	struct record record;
	struct three three = make_three();
	struct record_key key;
	uint8_t *damaged = malloc(three.length);
	uint32_t at = three.start[1] + 64;

	(void)state;
	assert_non_null(damaged);
	memcpy(damaged, three.data, three.length);
	assert_true(segment_guess_key(damaged, (uint32_t)three.length, &key));
	/* All is known to the forger but the salt. */
	key.salt ^= 1;
	forged = damaged + at;
	record = (struct record){ RECORD_BATCH, 4, 0, key, 1000, at };
	record_seal(forged, &record);
	damaged[three.start[1] + 9] ^= 1; /* its message's own header is damaged */
	restore(&three, damaged, three.length);
	open_again();
	assert_intact(1);
	assert_intact(3);
	assert_false(is_queued(2));
	/* One stretch of damage, not two around a record. */
	assert_int_equal(files_in("quarantine"), 1);
	free(damaged);
	free(three.data);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(committed_messages_come_back_and_others_do_not),
		TEST(one_batch_costs_one_sync),
		TEST(done_stays_done_once_committed),
		TEST(the_latest_update_holds),
		TEST(records_of_all_sizes_come_back),
		TEST(a_flipped_bit_costs_at_most_its_own_record),
		TEST(a_flipped_bit_in_a_segment_header_costs_nothing),
		TEST(a_cut_file_keeps_what_was_before_the_cut),
		TEST(a_torn_tail_or_one_of_zeroes_ends_the_log),
		TEST(a_newer_version_is_refused_and_left_alone),
		TEST(an_older_version_is_read_and_gone_on_with),
		TEST(foreign_files_and_links_are_left_alone),
		TEST(a_segment_with_another_link_stops_the_start),
		TEST(a_segment_of_another_user_stops_the_start),
		TEST(a_lack_of_descriptors_stops_the_start),
		TEST(a_segment_that_became_a_link_costs_no_large_message),
		TEST(a_file_that_is_no_segment_goes_to_quarantine),
		TEST(records_that_can_t_be_decoded_go_to_quarantine),
		TEST(a_second_queue_is_refused),
		TEST(a_spool_of_another_user_is_refused),
		TEST(a_message_can_not_hold_a_record_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
