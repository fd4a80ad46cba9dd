/*
 * The store killed at each of its system calls that change the disk, in turn: after a new start no
 * message is lost, none is there twice, and every uid that was told is the same message's.
 *
 * The test defines those calls itself, so the store's code calls these: the child that does the
 * work kills itself before the n-th.
 */
#include "test_mailbox_fixture.h"

#include <sys/mman.h>
#include <sys/syscall.h>

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
fdatasync(int fd)
{
	return step() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int
renameat(int from, const char *old, int to, const char *new)
{
	return step() ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

int
renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
	return step() ? -1 : (int)syscall(SYS_renameat2, from, old, to, new, flags);
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

/* --- what is done --- */

/* Shared with the child: what was told to the client before it died. */
static struct told {
	uint32_t validity[2];
	uint32_t uids[2][64]; /* by message number, in INBOX and in Other; 0 not there */
	bool expunged[64];    /* acknowledged */
	bool done;
	unsigned calls;
} * told;

static void
tell(struct folder *folder, unsigned which)
{
	size_t i;

	told->validity[which] = folder_uid_validity(folder);
	memset(told->uids[which], 0, sizeof(told->uids[which]));
	for (i = 0; i < folder_length(folder); i++) {
		const struct message *message = folder_at(folder, i);
		uint64_t size;
		char text[32];
		ssize_t got;
		uint32_t uid = message->uid;
		int fd;

		if (message->expunged != 0 ||
		    folder_message_open(folder, uid, &fd, &size) != MAIL_OK)
			continue;
		got = read(fd, text, sizeof(text) - 1);
		close(fd);
		if (got <= 0)
			continue;
		text[got] = '\0';
		told->uids[which][strtoul(text, NULL, 10)] = uid;
	}
}

static void
append_number(struct folder *folder, unsigned number)
{
	struct append *append;
	uint32_t uid;
	char text[16];

	snprintf(text, sizeof(text), "%u\r\n", number);
	if (append_begin(folder, strlen(text), &append) != MAIL_OK)
		return;
	append_write(append, text, strlen(text));
	if (folder_append(folder, &append, 1, &uid) == MAIL_OK)
		told->uids[0][number] = uid;
	append_free(append);
}

/* Appends, flags, copies, moves and removes; tells each as soon as it is acknowledged. */
static void
work(struct fixture *fixture)
{
	uint32_t uids[3], from_uids[3], to_uids[3], bit;
	struct folder *inbox, *other;
	enum mail_result why;
	size_t done = 0, i;

	fixture_start(fixture);
	inbox = folder_open(fixture->maildir, "INBOX", &why);
	other = folder_open(fixture->maildir, "Other", &why);
	if (inbox != NULL && other != NULL) {
		tell(inbox, 0);
		tell(other, 1);
		append_number(inbox, 10);
		if (folder_keyword(inbox, "Key", true, &bit) == MAIL_OK)
			(void)fixture_store(inbox, told->uids[0][1], STORE_ADD, MESSAGE_SEEN | bit);
		for (i = 0; i < 3; i++)
			uids[i] = told->uids[0][i + 1];
		/* While a move is under way its messages may be in either. */
		for (i = 1; i <= 3; i++)
			told->uids[0][i] = 0;
		if (folder_move(inbox, uids, 3, other, from_uids, to_uids, &done) == MAIL_OK)
			tell(other, 1);
		tell(inbox, 0);
		uids[0] = told->uids[0][4];
		told->uids[0][4] = 0;
		told->expunged[4] = true;
		if (folder_expunge(inbox, uids, 1) != MAIL_OK)
			told->expunged[4] = false;
		append_number(inbox, 11);
		tell(inbox, 0);
	}
	if (other != NULL)
		folder_release(other);
	if (inbox != NULL)
		folder_release(inbox);
	told->done = true;
	told->calls = calls;
}

static void
prepare(struct fixture *fixture)
{
	unsigned i;

	fixture_start(fixture);
	assert_int_equal(folders_create(fixture->maildir, "Other", 0), MAIL_OK);
	for (i = 1; i <= 6; i++) {
		char name[64], text[16];

		snprintf(name, sizeof(name), "%s/%u.P.host", i > 4 ? "new" : "cur", i);
		snprintf(text, sizeof(text), "%u\n", i);
		fixture_text(fixture, name, text);
	}
	fixture_stop(fixture);
}

/* Each number once over both folders, with the uid that was told. */
static void
check(struct fixture *fixture, unsigned at)
{
	struct told before = *told;
	unsigned found[64] = { 0 }, number, which;
	struct folder *folders[2];

	kill_at = 0;
	fixture_start(fixture);
	folders[0] = fixture_open(fixture, "INBOX");
	folders[1] = fixture_open(fixture, "Other");
	for (which = 0; which < 2; which++) {
		tell(folders[which], which);
		if (before.validity[which] != 0)
			assert_int_equal(before.validity[which], told->validity[which]);
		for (number = 0; number < 64; number++) {
			found[number] += told->uids[which][number] != 0;
			if (before.uids[which][number] != 0 &&
			    before.uids[which][number] != told->uids[which][number])
				fail_msg("call %u: message %u was uid %u, is %u", at, number,
				    before.uids[which][number], told->uids[which][number]);
		}
		/* As many messages as there are different ones: none twice in a folder. */
		for (number = 0, found[63] = 0; number < 63; number++)
			found[63] += told->uids[which][number] != 0;
		assert_int_equal(found[63], fixture_live(folders[which]));
	}
	for (number = 1; number <= 6; number++) {
		if (found[number] != (number == 4 && before.done && before.expunged[4] ? 0 : 1) &&
		    !(number == 4 && found[number] == 0))
			fail_msg(
			    "call %u: message %u is there %u times", at, number, found[number]);
	}
	folder_release(folders[1]);
	folder_release(folders[0]);
	fixture_stop(fixture);
}

/* One run, killed at a call or with that call failing; false when it wasn't reached. */
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
	prepare(fixture);
	memset(told, 0, sizeof(*told));
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		calls = 0;
		kill_at = at;
		fail_with = error;
		work(fixture);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (error == 0 ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL
	               : !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		assert_true(told->done && error == 0);
	reached = error == 0 ? !told->done : told->calls >= at;
	check(fixture, at);
	fixture_teardown(&state);
	return reached;
}

static void
killed_at_each_call_nothing_is_lost(void **state)
{
	unsigned at = 1;

	(void)state;
	while (run_until(at, 0))
		at++;
	/* The work has that many steps at least. */
	assert_true(at > 40);
}

static void
disk_full_or_broken_at_each_call_nothing_is_lost(void **state)
{
	unsigned at;

	(void)state;
	for (at = 1; run_until(at, at % 2 == 0 ? ENOSPC : EIO); at++)
		;
	assert_true(at > 40);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_each_call_nothing_is_lost),
		cmocka_unit_test(disk_full_or_broken_at_each_call_nothing_is_lost),
	};

	if (access("/dev/shm", W_OK) == 0)
		fixture_base = "/dev/shm";
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return told == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
