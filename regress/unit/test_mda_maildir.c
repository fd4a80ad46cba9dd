/* Deliveries to Maildirs: what lies where afterwards, again and again, and where it must not go. */
#include "test_mda_fixture.h"

#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <dirent.h>
#include <dlfcn.h>
#include <time.h>

#include "deliver/maildir.h"

#define ID        0x00112233aabbccddULL
#define NEW_NAME  "1700000000.M123456P00112233aabbccdd.mx.example.org,S=87,W=92"
#define TEXT      "Subject: hello\r\n\r\nline\r\n"
#define STRANGERS 12345 /* a uid */

static time_t ahead; /* seconds that this process's wall clock is in the future */

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += ahead;
	if (result != NULL)
		*result = now.tv_sec;
	return now.tv_sec;
}

static unsigned readings; /* of directories */

DIR *
fdopendir(int fd)
{
	DIR *(*next)(int) = (DIR * (*)(int)) dlsym(RTLD_NEXT, "fdopendir");

	readings++;
	return next(fd);
}

static const char *
new_file(const char *name)
{
	static char path[2048];

	snprintf(path, sizeof(path), "home/Maildir/new/%s", name);
	return path;
}

static const char *
delivered_file(const char *file)
{
	static char path[2048];

	assert_int_equal(strncmp(file, "new/", 4), 0);
	snprintf(path, sizeof(path), "home/Maildir/%s", file);
	return path;
}

static void
message_lies_in_new_with_its_fields_and_lf(void **state)
{
	const struct ipc_delivered *result = fixture_result(*state, ID, TEXT);

	assert_reply(&result->reply, 250, "2.1.5", "delivered");
	assert_false(result->was_there);
	assert_false(result->usage.known);
	assert_int_equal(result->envelope_id, ID);
	assert_string_equal(result->file, "new/" NEW_NAME);
	assert_string_equal(fixture_read(*state, new_file(NEW_NAME)),
	    "Return-Path: <sender@client.test>\nDelivered-To: user@example.test\n"
	    "Subject: hello\n\nline\n");
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
	assert_int_equal(fixture_count(*state, "home/Maildir/cur"), 0);
}

static void
maildir_and_files_are_their_owners_alone(void **state)
{
	static const char *const paths[] = { "home/Maildir", "home/Maildir/tmp", "home/Maildir/new",
		"home/Maildir/cur" };
	struct stat st;
	size_t i;

	fixture_result(*state, ID, TEXT);
	for (i = 0; i < 4; i++) {
		assert_int_equal(stat(fixture_path(*state, paths[i]), &st), 0);
		assert_int_equal(st.st_mode & 0777, 0700);
	}
	assert_int_equal(stat(fixture_path(*state, new_file(NEW_NAME)), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
binary_text_is_kept_to_the_byte(void **state)
{
	static const char text[] = "S: \x00\x80\xff\x1b\r\n\r\n.\r\n..\r\n\xc3\xa9\r\nno end";
	struct delivery *delivery = fixture_delivery_bytes(*state, ID, text, sizeof(text) - 1);
	static const char stored[] = "S: \x00\x80\xff\x1b\n\n.\n..\n\xc3\xa9\nno end";
	char found[256];
	int fd;
	ssize_t length;

	fixture_deliver(*state, delivery);
	fd = open(fixture_path(*state, delivered_file(delivery->result.file)), O_RDONLY);
	length = read(fd, found, sizeof(found));
	close(fd);
	assert_int_equal(length, 66 + sizeof(stored) - 1);
	assert_memory_equal(found + 66, stored, sizeof(stored) - 1);
	delivery_free(delivery);
}

static void
large_message_is_whole(void **state)
{
	const size_t lines = 100000;
	char *text = malloc(lines * 66 + 1);
	struct delivery *delivery;
	struct stat st;
	size_t i;

	assert_non_null(text);
	for (i = 0; i < lines; i++)
		snprintf(text + i * 66, 67, "%064zu\r\n", i);
	delivery = fixture_delivery(*state, ID, text);
	fixture_deliver(*state, delivery);
	assert_reply(&delivery->result.reply, 250, "2.1.5", "");
	assert_int_equal(stat(fixture_path(*state, delivered_file(delivery->result.file)), &st), 0);
	assert_int_equal(st.st_size, 66 + lines * 65);
	delivery_free(delivery);
	free(text);
}

static void
message_cut_short_is_not_delivered(void **state)
{
	struct delivery *delivery = fixture_delivery(*state, ID, TEXT);

	delivery->request.size += 1;
	fixture_deliver(*state, delivery);
	assert_reply(&delivery->result.reply, 451, "4.3.0", "write a message");
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 0);
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
	delivery_free(delivery);
}

static void
second_try_finds_the_first_ones_file(void **state)
{
	const struct ipc_delivered *result;
	int maybe;

	fixture_result(*state, ID, TEXT);
	for (maybe = 0; maybe < 2; maybe++) {
		struct delivery *delivery = fixture_delivery(*state, ID, TEXT);

		delivery->request.maybe_delivered = maybe;
		fixture_deliver(*state, delivery);
		result = &delivery->result;
		assert_reply(&result->reply, 250, "2.1.5", "");
		assert_true(result->was_there);
		assert_string_equal(result->file, "new/" NEW_NAME);
		delivery_free(delivery);
	}
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 1);
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
}

/* Its reader moved it; the host's name and so the rest of the file's name changed meanwhile. */
static void
second_try_finds_what_was_moved_to_cur(void **state)
{
	struct delivery *delivery;
	char old[4096];

	fixture_result(*state, ID, TEXT);
	snprintf(old, sizeof(old), "%s", fixture_path(*state, new_file(NEW_NAME)));
	assert_int_equal(rename(old, fixture_path(*state, "home/Maildir/cur/" NEW_NAME ":2,S")), 0);
	batch_context_set(&((struct fixture *)*state)->context, "other.example.org", "");
	delivery = fixture_delivery(*state, ID, TEXT);
	delivery->request.maybe_delivered = true;
	fixture_deliver(*state, delivery);
	assert_reply(&delivery->result.reply, 250, "2.1.5", "");
	assert_true(delivery->result.was_there);
	assert_string_equal(delivery->result.file, "cur/" NEW_NAME ":2,S");
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 0);
	delivery_free(delivery);
}

/* Half of a batch of second tries was delivered by the first, and half of that is in cur/. Each
 * directory is read once, however many there are. */
static void
second_tries_of_a_batch_are_looked_for_in_one_reading(void **state)
{
	enum {
		COUNT = 41
	};
	struct fixture *fixture = *state;
	struct delivery *deliveries[COUNT];
	char from[4096], to[2048];
	unsigned i;

	for (i = 0; i < COUNT - 1; i += 2) {
		struct ipc_delivered result = *fixture_result(*state, ID + i, TEXT);

		if (i % 4 != 0)
			continue;
		snprintf(
		    from, sizeof(from), "%s", fixture_path(*state, delivered_file(result.file)));
		snprintf(to, sizeof(to), "home/Maildir/cur/%s:2,S", result.file + strlen("new/"));
		assert_int_equal(rename(from, fixture_path(*state, to)), 0);
	}
	for (i = 0; i < COUNT; i++) {
		/* The last is the first once more. */
		deliveries[i] = fixture_delivery(*state, ID + i % (COUNT - 1), TEXT);
		deliveries[i]->request.maybe_delivered = true;
	}
	readings = 0;
	batch_deliver(&fixture->context, deliveries, COUNT, fixture_answered, fixture);
	assert_int_equal(readings, 2);
	for (i = 0; i < COUNT; i++) {
		assert_reply(&deliveries[i]->result.reply, 250, "2.1.5", "");
		assert_int_equal(deliveries[i]->result.was_there, i % 2 == 0);
		delivery_free(deliveries[i]);
	}
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 30);
	assert_int_equal(fixture_count(*state, "home/Maildir/cur"), 10);
}

static void
same_envelope_twice_in_a_batch_is_one_file(void **state)
{
	struct delivery *deliveries[2] = { fixture_delivery(*state, ID, TEXT),
		fixture_delivery(*state, ID, TEXT) };
	struct fixture *fixture = *state;

	batch_deliver(&fixture->context, deliveries, 2, fixture_answered, fixture);
	assert_int_equal(fixture->answers, 1);
	assert_reply(&deliveries[0]->result.reply, 250, "2.1.5", "");
	assert_reply(&deliveries[1]->result.reply, 250, "2.1.5", "");
	assert_true(deliveries[0]->result.was_there != deliveries[1]->result.was_there);
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 1);
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
	delivery_free(deliveries[0]);
	delivery_free(deliveries[1]);
}

/* A killed process's leftovers, and what an old process is still writing. */
static void
others_files_in_tmp_are_left_alone(void **state)
{
	char name[256];

	fixture_make_maildir(*state);
	snprintf(
	    name, sizeof(name), "home/Maildir/tmp/1700000000.M123456P00112233aabbccdd.00000000.1");
	fixture_write(*state, name, "half a mess");
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 250, "2.1.5", "");
	assert_string_equal(fixture_read(*state, name), "half a mess");
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 1);
}

static void
files_in_tmp_are_removed_after_36_hours(void **state)
{
	fixture_make_maildir(*state);
	fixture_write(*state, "home/Maildir/tmp/old", "x");
	ahead = 35 * 3600;
	fixture_result(*state, ID, TEXT);
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 1);
	/* Another process: this one looks once a day. */
	memset(&((struct fixture *)*state)->context.known, 0, sizeof(struct known));
	ahead = 37 * 3600;
	fixture_result(*state, ID + 1, TEXT);
	ahead = 0;
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
}

static void
file_of_another_size_in_place_is_not_taken_for_the_message(void **state)
{
	fixture_make_maildir(*state);
	fixture_write(*state, new_file(NEW_NAME), "something else");
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "remove or rename");
	assert_string_equal(fixture_read(*state, new_file(NEW_NAME)), "something else");
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
}

static void
fifo_or_symlink_in_place_of_the_file_is_not_opened(void **state)
{
	struct delivery *delivery;
	char path[4096];

	fixture_make_maildir(*state);
	snprintf(path, sizeof(path), "%s", fixture_path(*state, new_file(NEW_NAME)));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "remove or rename");
	assert_int_equal(unlink(path), 0);
	fixture_write(*state, "victim", "");
	assert_int_equal(symlink(fixture_path(*state, "victim"), path), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "remove or rename");
	delivery = fixture_delivery(*state, ID, TEXT);
	delivery->request.maybe_delivered = true;
	fixture_deliver(*state, delivery);
	assert_reply(&delivery->result.reply, 451, "4.2.0", "remove or rename");
	delivery_free(delivery);
	assert_string_equal(fixture_read(*state, "victim"), "");
}

static void
symlinks_for_the_maildir_or_its_parts_are_not_followed(void **state)
{
	static const char *const parts[] = { "home/Maildir/tmp", "home/Maildir/new",
		"home/Maildir" };
	size_t i;

	assert_int_equal(mkdir(fixture_path(*state, "outside"), 0700), 0);
	for (i = 0; i < 3; i++) {
		char link[4096], moved[4096];

		if (i == 0)
			fixture_make_maildir(*state);
		snprintf(link, sizeof(link), "%s", fixture_path(*state, parts[i]));
		snprintf(moved, sizeof(moved), "%s", fixture_path(*state, "moved"));
		assert_int_equal(rename(link, moved), 0);
		assert_int_equal(symlink(fixture_path(*state, "outside"), link), 0);
		assert_reply(
		    &fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "symbolic links");
		assert_int_equal(fixture_count(*state, "outside"), 0);
		assert_int_equal(unlink(link), 0);
		assert_int_equal(rename(moved, link), 0);
	}
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 250, "2.1.5", "");
}

static void
fifo_for_the_maildir_or_its_parts_is_a_clear_failure(void **state)
{
	char path[4096];

	assert_int_equal(mkfifo(fixture_path(*state, "home/Maildir"), 0700), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "Maildir: Not a dir");
	assert_int_equal(unlink(fixture_path(*state, "home/Maildir")), 0);
	assert_int_equal(mkdir(fixture_path(*state, "home/Maildir"), 0700), 0);
	snprintf(path, sizeof(path), "%s", fixture_path(*state, "home/Maildir/new"));
	assert_int_equal(mkfifo(path, 0700), 0);
	assert_reply(
	    &fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "Maildir/new: Not a dir");
}

static void
missing_home_is_temporary_and_not_made(void **state)
{
	assert_int_equal(rmdir(fixture_path(*state, "home")), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.3.0", "is missing");
	assert_int_equal(fixture_count(*state, "home"), -1);
	assert_int_equal(mkdir(fixture_path(*state, "home"), 0700), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 250, "2.1.5", "");
}

static void
home_others_can_write_is_refused(void **state)
{
	assert_int_equal(chmod(fixture_path(*state, "home"), 0777), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "written by others");
	assert_int_equal(chmod(fixture_path(*state, "home"), 0770), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "written by others");
	assert_int_equal(fixture_count(*state, "home"), 0);
}

static void
anothers_home_or_maildir_is_refused(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(fixture_path(*state, "home"), STRANGERS, 0), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "change its owner");
	assert_int_equal(fixture_count(*state, "home"), 0);
	assert_int_equal(chown(fixture_path(*state, "home"), 0, 0), 0);
	fixture_make_maildir(*state);
	assert_int_equal(chown(fixture_path(*state, "home/Maildir/new"), STRANGERS, 0), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0",
	    "Maildir/new belongs to uid 12345");
	assert_int_equal(chown(fixture_path(*state, "home/Maildir"), STRANGERS, 0), 0);
	assert_reply(
	    &fixture_result(*state, ID, TEXT)->reply, 451, "4.2.0", "Maildir belongs to uid 12345");
}

/* A passwd line may end its home in slashes. */
static void
home_with_slashes_at_its_end_is_the_same_home(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery = fixture_delivery(fixture, ID, TEXT);

	snprintf(delivery->request.mailbox.home, sizeof(delivery->request.mailbox.home), "%s//",
	    fixture->top);
	snprintf(delivery->request.mailbox.path, sizeof(delivery->request.mailbox.path),
	    "%s/Letters", fixture->top);
	fixture_deliver(fixture, delivery);
	assert_reply(&delivery->result.reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(fixture, "Letters/new"), 1);
	delivery_free(delivery);
}

/* Virtual mailboxes lie below the mail directory, whose folders are made. */
static void
folders_below_the_mail_directory_are_made(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery = fixture_delivery(fixture, ID, TEXT);

	batch_context_set(&fixture->context, "mx.example.org", fixture->top);
	delivery->request.mailbox.home[0] = '\0';
	snprintf(delivery->request.mailbox.path, sizeof(delivery->request.mailbox.path),
	    "%s/example.test/user/", fixture->top);
	fixture_deliver(fixture, delivery);
	assert_reply(&delivery->result.reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(fixture, "example.test/user/new"), 1);
	delivery_free(delivery);
}

static void
symlink_below_the_mail_directory_is_not_followed(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery = fixture_delivery(fixture, ID, TEXT);

	batch_context_set(&fixture->context, "mx.example.org", fixture->top);
	delivery->request.mailbox.home[0] = '\0';
	snprintf(delivery->request.mailbox.path, sizeof(delivery->request.mailbox.path),
	    "%s/example.test/user", fixture->top);
	assert_int_equal(symlink(fixture->home, fixture_path(fixture, "example.test")), 0);
	fixture_deliver(fixture, delivery);
	assert_reply(&delivery->result.reply, 451, "4.2.0", "symbolic links");
	assert_int_equal(fixture_count(fixture, "home"), 0);
	delivery_free(delivery);
}

static void
path_that_leads_up_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery = fixture_delivery(fixture, ID, TEXT);

	snprintf(delivery->request.mailbox.path, sizeof(delivery->request.mailbox.path),
	    "%s/../outside", fixture->home);
	fixture_deliver(fixture, delivery);
	assert_reply(&delivery->result.reply, 451, "4.3.5", "\"..\"");
	assert_int_equal(fixture_count(fixture, "outside"), -1);
	delivery_free(delivery);
}

static void
one_mailbox_by_two_paths_is_locked_once(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[2] = { fixture_delivery(fixture, ID, TEXT),
		fixture_delivery(fixture, ID + 1, TEXT) };

	snprintf(deliveries[1]->request.mailbox.path, sizeof(deliveries[1]->request.mailbox.path),
	    "%s/.//Maildir/", fixture->home);
	batch_deliver(&fixture->context, deliveries, 2, fixture_answered, fixture);
	assert_reply(&deliveries[0]->result.reply, 250, "2.1.5", "");
	assert_reply(&deliveries[1]->result.reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 2);
	delivery_free(deliveries[0]);
	delivery_free(deliveries[1]);
}

static void
bad_mailbox_in_a_batch_harms_no_other(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[3] = { fixture_delivery(fixture, ID, TEXT),
		fixture_delivery(fixture, ID + 1, TEXT), fixture_delivery(fixture, ID + 2, TEXT) };

	strcat(deliveries[1]->request.mailbox.path, "2");
	assert_int_equal(symlink("/", deliveries[1]->request.mailbox.path), 0);
	batch_deliver(&fixture->context, deliveries, 3, fixture_answered, fixture);
	assert_reply(&deliveries[0]->result.reply, 250, "2.1.5", "");
	assert_reply(&deliveries[1]->result.reply, 451, "4.2.0", "Maildir2");
	assert_reply(&deliveries[2]->result.reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 2);
	delivery_free(deliveries[0]);
	delivery_free(deliveries[1]);
	delivery_free(deliveries[2]);
}

static void
read_only_disk_is_temporary(void **state)
{
	const char *home = ((struct fixture *)*state)->home;

	if (geteuid() != 0)
		skip();
	fixture_private_mounts();
	assert_int_equal(mount("tmpfs", home, "tmpfs", 0, "mode=700"), 0);
	fixture_make_maildir(*state);
	assert_int_equal(mount(NULL, home, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 451, "4.3.0",
	    "mount its file system writable");
	assert_int_equal(mount(NULL, home, NULL, MS_REMOUNT, NULL), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 250, "2.1.5", "");
	assert_int_equal(umount(home), 0);
}

static void
full_disk_is_temporary_and_heals(void **state)
{
	const char *home = ((struct fixture *)*state)->home;
	char *text = malloc(100001);

	if (geteuid() != 0)
		skip();
	assert_non_null(text);
	memset(text, 'x', 100000);
	text[100000] = '\0';
	fixture_private_mounts();
	assert_int_equal(mount("tmpfs", home, "tmpfs", 0, "mode=700,size=64k"), 0);
	assert_reply(&fixture_result(*state, ID, text)->reply, 452, "4.3.1", "free some space");
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
	/* No inode left for a file. */
	assert_int_equal(mount(NULL, home, NULL, MS_REMOUNT, "size=1m,nr_inodes=5"), 0);
	assert_reply(&fixture_result(*state, ID, text)->reply, 452, "4.3.1", "free some space");
	assert_int_equal(mount(NULL, home, NULL, MS_REMOUNT, "size=1m,nr_inodes=100"), 0);
	assert_reply(&fixture_result(*state, ID, text)->reply, 250, "2.1.5", "");
	assert_int_equal(umount(home), 0);
	free(text);
}

static void
file_size_limit_is_temporary(void **state)
{
	struct rlimit old, small;
	sighandler_t handler = signal(SIGXFSZ, SIG_IGN);

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	/* The message itself lies in a memfd, which the limit counts too. */
	small.rlim_cur = 40;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 452, "4.3.1", "RLIMIT_FSIZE");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, handler);
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
}

static void
no_descriptors_is_temporary_and_leaks_none(void **state)
{
	struct delivery *delivery;
	struct rlimit old, few;
	int lowest, allowed, after;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	lowest = dup(0);
	close(lowest);
	/* Each step of the way is met by the limit once. */
	for (allowed = 1; allowed < 16; allowed++) {
		delivery = fixture_delivery(*state, ID + (uint64_t)allowed, TEXT);
		few = old;
		few.rlim_cur = (rlim_t)(lowest + 1 + allowed);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		fixture_deliver(*state, delivery);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (delivery->result.reply.code != 250)
			assert_reply(&delivery->result.reply, 451, "4.3.0", "limit of open files");
		delivery_free(delivery);
		after = dup(0);
		close(after);
		assert_int_equal(after, lowest);
	}
	assert_in_range(fixture_count(*state, "home/Maildir/new"), 1, 14);
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
}

static void
mailbox_locked_by_another_mda_is_waited_for(void **state)
{
	int ready[2], status;
	pid_t child;
	char byte;

	fixture_make_maildir(*state);
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		int fd = open(fixture_path(*state, "home/Maildir/tmp"), O_RDONLY | O_DIRECTORY);

		if (fd == -1 || flock(fd, LOCK_EX) == -1 || write(ready[1], "x", 1) != 1)
			_exit(1);
		usleep(100000);
		fixture_write(*state, "released", "");
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_reply(&fixture_result(*state, ID, TEXT)->reply, 250, "2.1.5", "");
	/* Not before it was released. */
	assert_int_equal(access(fixture_path(*state, "released"), F_OK), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
}

/* A mailbox that is removed and made again is a new one: nothing remembered of it holds. */
static void
mailbox_made_anew_is_not_taken_for_the_old_one(void **state)
{
	struct fixture *fixture = *state;

	assert_reply(&fixture_result(fixture, ID, TEXT)->reply, 250, "2.1.5", "");
	nftw(fixture->maildir, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	assert_reply(&fixture_result(fixture, ID, TEXT)->reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/cur"), 0);
}

static void
batches_fit_the_descriptors(void **state)
{
	(void)state;
	assert_int_equal(batch_limit(16), 1);
	assert_in_range(batch_limit(256), 8, 32);
	assert_in_range(batch_limit(1024), 48, 100);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(message_lies_in_new_with_its_fields_and_lf),
		TEST(maildir_and_files_are_their_owners_alone),
		TEST(binary_text_is_kept_to_the_byte),
		TEST(large_message_is_whole),
		TEST(message_cut_short_is_not_delivered),
		TEST(second_try_finds_the_first_ones_file),
		TEST(second_try_finds_what_was_moved_to_cur),
		TEST(second_tries_of_a_batch_are_looked_for_in_one_reading),
		TEST(same_envelope_twice_in_a_batch_is_one_file),
		TEST(others_files_in_tmp_are_left_alone),
		TEST(files_in_tmp_are_removed_after_36_hours),
		TEST(file_of_another_size_in_place_is_not_taken_for_the_message),
		TEST(fifo_or_symlink_in_place_of_the_file_is_not_opened),
		TEST(symlinks_for_the_maildir_or_its_parts_are_not_followed),
		TEST(fifo_for_the_maildir_or_its_parts_is_a_clear_failure),
		TEST(missing_home_is_temporary_and_not_made),
		TEST(home_others_can_write_is_refused),
		TEST(anothers_home_or_maildir_is_refused),
		TEST(home_with_slashes_at_its_end_is_the_same_home),
		TEST(folders_below_the_mail_directory_are_made),
		TEST(symlink_below_the_mail_directory_is_not_followed),
		TEST(path_that_leads_up_is_refused),
		TEST(one_mailbox_by_two_paths_is_locked_once),
		TEST(bad_mailbox_in_a_batch_harms_no_other),
		TEST(read_only_disk_is_temporary),
		TEST(full_disk_is_temporary_and_heals),
		TEST(file_size_limit_is_temporary),
		TEST(no_descriptors_is_temporary_and_leaks_none),
		TEST(mailbox_locked_by_another_mda_is_waited_for),
		TEST(mailbox_made_anew_is_not_taken_for_the_old_one),
		cmocka_unit_test(batches_fit_the_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
