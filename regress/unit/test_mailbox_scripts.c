/*
 * Sieve scripts in a Maildir, with the process killed, and the disk failing, at each of its system calls
 * that change the disk: each script is the old or the new one, whole; the active one is always one
 * that is there; and what was acknowledged is so.
 *
 * The test defines those calls itself, so the store's code calls these.
 */
#include "test_mailbox_fixture.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "mailbox/scripts.h"

static unsigned calls;
static unsigned kill_at; /* which call from 1; 0 none */
static int fail_with;    /* instead of being killed, the call fails once with this */

/* True when the call is to fail. */
static bool
step(void)
{
	if (kill_at == 0 || ++calls != kill_at)
		return false;
	if (fail_with == 0)
		raise(SIGKILL);
	errno = fail_with;
	return true;
}

int
fsync(int fd)
{
	return step() ? -1 : (int)syscall(SYS_fsync, fd);
}

int
renameat(int from, const char *old, int to, const char *new)
{
	return step() ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int
unlinkat(int directory, const char *name, int flags)
{
	return step() ? -1 : (int)syscall(SYS_unlinkat, directory, name, flags);
}

int
linkat(int from, const char *old, int to, const char *new, int flags)
{
	return step() ? -1 : (int)syscall(SYS_linkat, from, old, to, new, flags);
}

int
symlinkat(const char *target, int directory, const char *name)
{
	return step() ? -1 : (int)syscall(SYS_symlinkat, target, directory, name);
}

int
mkdirat(int directory, const char *name, mode_t mode)
{
	return step() ? -1 : (int)syscall(SYS_mkdirat, directory, name, mode);
}

ssize_t
write(int fd, const void *data, size_t length)
{
	struct stat st;

	if (kill_at != 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		/* Half of it is there. */
		if (calls + 1 == kill_at && length > 1)
			(void)syscall(SYS_write, fd, data, length / 2);
		if (step())
			return -1;
	}
	return syscall(SYS_write, fd, data, length);
}

/* --- what is there --- */

#define NAMES 3
static const char *const names[NAMES] = { "one", "two", "three" };

/* Which text each script has: 1 is the first that it had; 0: it isn't there. */
struct seen {
	unsigned text[NAMES];
	int active; /* which; -1 none */
	bool others;
};

static void
see(const char *name, bool is_active, void *arg)
{
	struct seen *seen = arg;

	for (int i = 0; i < NAMES; i++) {
		if (strcmp(names[i], name) != 0)
			continue;
		seen->text[i] = 1;
		if (is_active)
			seen->active = i;
		return;
	}
	seen->others = true;
}

static void
text_of(unsigned version, char text[1024])
{
	snprintf(text, 1024, "# %0900u\nkeep;\n", version);
}

static struct seen
look(struct maildir *maildir)
{
	struct seen seen = { .active = -1 };

	assert_int_equal(scripts_list(maildir, see, &seen), MAIL_OK);
	assert_false(seen.others);
	for (int i = 0; i < NAMES; i++) {
		char *text, expected[1024];
		size_t length;

		if (seen.text[i] == 0)
			continue;
		assert_int_equal(scripts_read(maildir, names[i], &text, &length), MAIL_OK);
		seen.text[i] = (unsigned)strtoul(text + 2, NULL, 10);
		text_of(seen.text[i], expected);
		assert_string_equal(text, expected); /* whole */
		free(text);
	}
	return seen;
}

/* --- the work --- */

/* Shared with the child: what has been acknowledged. */
static struct told {
	unsigned steps;
	bool done;
	unsigned calls;
} * told;

static enum mail_result
put(struct maildir *maildir, int name, unsigned version)
{
	char text[1024];

	text_of(version, text);
	return scripts_write(maildir, names[name], text, strlen(text));
}

#define STEPS 8
static enum mail_result
do_step(struct maildir *maildir, unsigned number)
{
	switch (number) {
	case 0:
		return put(maildir, 0, 1);
	case 1:
		return scripts_activate(maildir, "one");
	case 2:
		return put(maildir, 0, 2);
	case 3:
		return put(maildir, 1, 3);
	case 4:
		return scripts_activate(maildir, "two");
	case 5:
		return scripts_rename(maildir, "two", "three");
	case 6:
		return scripts_delete(maildir, "one");
	default:
		return scripts_activate(maildir, NULL);
	}
}

static const struct seen after[STEPS + 1] = {
	{ { 0, 0, 0 }, -1, false },
	{ { 1, 0, 0 }, -1, false },
	{ { 1, 0, 0 }, 0, false },
	{ { 2, 0, 0 }, 0, false },
	{ { 2, 3, 0 }, 0, false },
	{ { 2, 3, 0 }, 1, false },
	{ { 2, 0, 3 }, 2, false },
	{ { 0, 0, 3 }, 2, false },
	{ { 0, 0, 3 }, -1, false },
};

static bool
is_same(const struct seen *a, const struct seen *b)
{
	return memcmp(a->text, b->text, sizeof(a->text)) == 0 && a->active == b->active;
}

/* Of the renaming, and of nothing else, there may be a part. */
static bool
is_half_renamed(const struct seen *seen)
{
	return seen->text[0] == 2 && seen->text[1] == 3 && seen->text[2] == 3 &&
	    (seen->active == 1 || seen->active == 2);
}

static void
work(struct fixture *fixture, unsigned at)
{
	fixture_start(fixture);
	calls = 0;
	kill_at = at;
	for (unsigned i = 0; i < STEPS; i++) {
		if (do_step(fixture->maildir, i) != MAIL_OK)
			break;
		told->steps = i + 1;
	}
	told->done = true;
	told->calls = calls;
}

static void
check(struct fixture *fixture, unsigned at)
{
	struct seen seen;

	kill_at = 0;
	fixture_start(fixture);
	seen = look(fixture->maildir);
	if (!is_same(&seen, &after[told->steps]) &&
	    (told->steps == STEPS || !is_same(&seen, &after[told->steps + 1])) &&
	    !(told->steps == 5 && is_half_renamed(&seen)))
		fail_msg("call %u, after %u steps: %u %u %u, active %d", at, told->steps,
		    seen.text[0], seen.text[1], seen.text[2], seen.active);
	/* And all can be done again. */
	assert_int_equal(put(fixture->maildir, 0, 7), MAIL_OK);
	assert_int_equal(scripts_activate(fixture->maildir, "one"), MAIL_OK);
	seen = look(fixture->maildir);
	assert_true(seen.text[0] == 7 && seen.active == 0);
	fixture_stop(fixture);
}

/* False when the call wasn't reached. */
static bool
run_until(unsigned at, int error)
{
	struct fixture *fixture;
	void *state;
	int status;
	bool reached;
	pid_t pid;

	kill_at = 0;
	assert_int_equal(fixture_setup(&state), 0);
	fixture = state;
	fixture_stop(fixture);
	memset(told, 0, sizeof(*told));
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		fail_with = error;
		work(fixture, at);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(told->done || (error == 0 && WIFSIGNALED(status)));
	reached = error == 0 ? !told->done : told->calls >= at;
	if (!reached)
		assert_int_equal(told->steps, STEPS);
	check(fixture, at);
	fixture_teardown(&state);
	return reached;
}

static void
killed_at_each_call_a_script_is_the_old_or_the_new_one(void **state)
{
	unsigned at = 1;

	(void)state;
	while (run_until(at, 0))
		at++;
	assert_true(at > 25);
}

static void
disk_full_or_broken_at_each_call_a_script_is_the_old_or_the_new_one(void **state)
{
	unsigned at;

	(void)state;
	for (at = 1; run_until(at, at % 2 == 0 ? ENOSPC : EIO); at++)
		;
	assert_true(at > 25);
}

static void
what_cannot_be_done_is_told_and_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct maildir *maildir = fixture->maildir;
	struct seen seen;
	char *text;
	size_t length;

	assert_int_equal(scripts_read(maildir, "one", &text, &length), MAIL_ABSENT);
	assert_int_equal(scripts_activate(maildir, "one"), MAIL_ABSENT);
	assert_int_equal(scripts_activate(maildir, NULL), MAIL_OK);
	assert_int_equal(scripts_have_room(maildir, "one"), MAIL_OK);
	assert_int_equal(put(maildir, 0, 1), MAIL_OK);
	assert_int_equal(put(maildir, 1, 2), MAIL_OK);
	assert_int_equal(scripts_activate(maildir, "one"), MAIL_OK);
	assert_int_equal(scripts_delete(maildir, "one"), MAIL_CANNOT);
	assert_int_equal(scripts_delete(maildir, "three"), MAIL_ABSENT);
	assert_int_equal(scripts_rename(maildir, "one", "two"), MAIL_EXISTS);
	assert_int_equal(scripts_rename(maildir, "one", "one"), MAIL_EXISTS);
	assert_int_equal(scripts_rename(maildir, "three", "two"), MAIL_ABSENT);
	assert_int_equal(scripts_activate(maildir, "three"), MAIL_ABSENT);
	seen = look(maildir);
	assert_true(seen.text[0] == 1 && seen.text[1] == 2 && seen.active == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_each_call_a_script_is_the_old_or_the_new_one),
		cmocka_unit_test(
		    disk_full_or_broken_at_each_call_a_script_is_the_old_or_the_new_one),
		cmocka_unit_test_setup_teardown(what_cannot_be_done_is_told_and_changes_nothing,
		    fixture_setup, fixture_teardown),
	};

	if (access("/dev/shm", W_OK) == 0)
		fixture_base = "/dev/shm";
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return told == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
