/*
 * One Maildir, two programs: what Dovecot wrote is read here with the same uids, flags, keywords and
 * subscriptions, what is written here Dovecot reads the same, and both at once lose nothing.
 */
#include "test_mailbox_fixture.h"

#include "mailbox/subscriptions.h"

#define TOOL  "build/tools/bin/dovecot"
#define OWNER 12345 /* Dovecot opens no mailbox as root */

static char tool[4096];
static char configuration[128];
static char complaints[128]; /* what Dovecot says on its standard error */

static void
become(uid_t id)
{
	if (getuid() != 0)
		return;
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(id), 0);
	assert_int_equal(seteuid(id), 0);
}

static int
setup(void **state)
{
	struct fixture *fixture;
	uid_t owner = getuid() == 0 ? OWNER : getuid();
	FILE *file;

	if (tool[0] == '\0' && realpath(TOOL, tool) == NULL)
		tool[0] = '\0';
	assert_int_equal(fixture_setup(state), 0);
	fixture = *state;
	fixture_stop(fixture);
	nftw(fixture->root, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	snprintf(configuration, sizeof(configuration), "%s/dovecot.conf", fixture->top);
	snprintf(complaints, sizeof(complaints), "%s/complaints", fixture->top);
	file = fopen(configuration, "w");
	assert_non_null(file);
	fprintf(file,
	    "base_dir=%s/run\nmail_location=maildir:%s\nssl=no\n"
	    "mail_uid=%u\nmail_gid=%u\nfirst_valid_uid=0\nfirst_valid_gid=0\n"
	    "default_internal_user=root\ndefault_login_user=root\nstats_writer_socket_path=\n",
	    fixture->top, fixture->root, owner, owner);
	fclose(file);
	if (getuid() == 0)
		assert_int_equal(chown(fixture->top, owner, owner), 0);
	become(OWNER);
	assert_int_equal(mkdir(fixture->root, 0700), 0);
	fixture_start(fixture);
	return 0;
}

static int
teardown(void **state)
{
	become(0);
	return fixture_teardown(state);
}

static void
need_dovecot(void)
{
	if (tool[0] == '\0')
		skip();
}

/* A Dovecot program, with pipes to it. */
static pid_t
start(const char *const *arguments, int *to, int *from)
{
	const char *argv[16] = { tool, configuration };
	int in[2], out[2];
	size_t i = 0;
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	for (; arguments[i] != NULL; i++)
		argv[i + 2] = arguments[i];
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (getuid() == 0 && (seteuid(0) == -1 || setegid(0) == -1))
			_exit(126);
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(open(complaints, O_WRONLY | O_CREAT | O_APPEND, 0644), 2);
		setenv("HOME", "/nonexistent", 1);
		setenv("USER", "owner", 1);
		execv(tool, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	*to = in[1];
	*from = out[0];
	return pid;
}

/* What a program says, given some input; static. */
static const char *
run(const char *input, const char *const *arguments)
{
	static char output[262144];
	size_t length = 0;
	int to, from, status;
	ssize_t got;
	pid_t pid = start(arguments, &to, &from);

	assert_int_equal(write(to, input, strlen(input)), strlen(input));
	close(to);
	while ((got = read(from, output + length, sizeof(output) - 1 - length)) > 0)
		length += (size_t)got;
	output[length] = '\0';
	close(from);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("%s %s ended with %d: %s", arguments[0], arguments[1], status, output);
	return output;
}
#define DOVEADM(...) run("", (const char *const[]){ "doveadm", __VA_ARGS__, NULL })
#define IMAP(input)  run(input, (const char *const[]){ "imap", NULL })

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "\Seen Foo" with its words in order, "\Recent" left out. */
static void
sort_words(char *text, char *sorted, size_t size)
{
	char *words[64], *word, *rest = NULL;
	size_t count = 0, length = 0, i;

	for (word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		if (strcmp(word, "\\Recent") != 0)
			words[count++] = word;
	}
	qsort(words, count, sizeof(*words), compare_texts);
	sorted[0] = '\0';
	for (i = 0; i < count; i++)
		length += (size_t)snprintf(sorted + length, size - length, " %s", words[i]);
}

/* A line "uid size flag flag" a message, as Dovecot sees it. */
static const char *
theirs(const char *folder)
{
	static char text[262144];
	char *line, *rest = NULL, *output;
	size_t length = 0;

	output = strdup(DOVEADM("-f", "tab", "fetch", "uid size.virtual flags", "mailbox", folder));
	text[0] = '\0';
	for (line = strtok_r(output, "\n", &rest); line != NULL;
	     line = strtok_r(NULL, "\n", &rest)) {
		char *size = strchr(line, '\t'), *flags, sorted[4096];

		assert_non_null(size);
		*size++ = '\0';
		if (strcmp(line, "uid") == 0)
			continue;
		flags = strchr(size, '\t');
		assert_non_null(flags);
		*flags++ = '\0';
		sort_words(flags, sorted, sizeof(sorted));
		length += (size_t)snprintf(
		    text + length, sizeof(text) - length, "%s %s%s\n", line, size, sorted);
	}
	free(output);
	return text;
}

static const char *
ours(struct folder *folder)
{
	static char text[262144];
	static const struct {
		uint32_t bit;
		const char *name;
	} flags[] = { { MESSAGE_ANSWERED, "\\Answered" }, { MESSAGE_DELETED, "\\Deleted" },
		{ MESSAGE_DRAFT, "\\Draft" }, { MESSAGE_FLAGGED, "\\Flagged" },
		{ MESSAGE_SEEN, "\\Seen" } };
	size_t length = 0, i, j;

	text[0] = '\0';
	for (i = 0; i < folder_length(folder); i++) {
		struct message *message = folder_at(folder, i);
		char words[4096] = "", sorted[4096];
		uint64_t size;

		if (message->expunged != 0)
			continue;
		assert_int_equal(folder_message_size(folder, message, &size), MAIL_OK);
		for (j = 0; j < 5; j++) {
			if ((message->bits & flags[j].bit) != 0)
				strcat(strcat(words, flags[j].name), " ");
		}
		for (j = 0; j < KEYWORDS_COUNT; j++) {
			if ((message->bits & 1u << j) != 0 &&
			    folder_keywords(folder)->names[j] != NULL)
				strcat(strcat(words, folder_keywords(folder)->names[j]), " ");
		}
		sort_words(words, sorted, sizeof(sorted));
		length += (size_t)snprintf(text + length, sizeof(text) - length,
		    "%" PRIu32 " %" PRIu64 "%s\n", message->uid, size, sorted);
	}
	return text;
}

/* The number after "uidvalidity=" of its status. */
static uint32_t
their_number(const char *folder, const char *field)
{
	const char *text = DOVEADM("-f", "flow", "mailbox", "status", field, folder);
	const char *at = strchr(text, '=');

	assert_non_null(at);
	return (uint32_t)strtoul(at + 1, NULL, 10);
}

static void
assert_same(struct folder *folder)
{
	char id[34];

	assert_string_equal(ours(folder), theirs(folder_name(folder)));
	assert_int_equal(
	    folder_uid_validity(folder), their_number(folder_name(folder), "uidvalidity"));
	assert_int_equal(folder_uid_next(folder), their_number(folder_name(folder), "uidnext"));
	folder_mailbox_id(folder, id);
	assert_non_null(strstr(
	    DOVEADM("-f", "flow", "mailbox", "status", "guid", folder_name(folder)), id + 1));
}

static void
assert_no_complaints(void)
{
	FILE *log = fopen(complaints, "r");
	char line[1024];

	assert_non_null(log);
	while (fgets(line, sizeof(line), log) != NULL) {
		if (strstr(line, "Info: ") == NULL)
			fail_msg("%s", line);
	}
	fclose(log);
}

static void
what_dovecot_wrote_is_read_the_same(void **state)
{
	struct fixture *fixture = *state;
	struct folders_list list;
	struct folder *folder;
	size_t i, subscribed = 0;

	need_dovecot();
	DOVEADM("mailbox", "create", "Archive.2026", "Entw\xc3\xbcrfe", "Sent");
	DOVEADM("mailbox", "subscribe", "Archive.2026", "Entw\xc3\xbcrfe", "Gone");
	IMAP(
	    "1 APPEND INBOX (\\Seen) {5+}\r\na\r\nb\n\r\n"
	    "2 APPEND INBOX (Foo $Forwarded \\Flagged) \"01-Feb-2020 10:00:00 +0000\" "
	    "{3+}\r\nc\r\n\r\n"
	    "3 APPEND INBOX {3+}\r\nd\r\n\r\n4 SELECT INBOX\r\n5 STORE 3 +FLAGS (\\Deleted Bar)\r\n"
	    "6 APPEND INBOX {3+}\r\ne\r\n\r\n7 EXPUNGE\r\n8 STORE 1 +FLAGS (\\Answered Bar)\r\n"
	    "9 COPY 1:2 Entw&APw-rfe\r\n10 MOVE 3 Sent\r\n11 LOGOUT\r\n");
	folder = fixture_open(fixture, "INBOX");
	assert_string_equal(
	    ours(folder), "1 6 Bar \\Answered \\Seen\n2 3 $Forwarded Foo \\Flagged\n");
	assert_same(folder);
	folder_release(folder);
	folder = fixture_open(fixture, "Entw\xc3\xbcrfe");
	assert_int_equal(fixture_live(folder), 2);
	assert_same(folder);
	folder_release(folder);
	folder = fixture_open(fixture, "Sent");
	assert_same(folder);
	folder_release(folder);
	assert_int_equal(folders_list(fixture->maildir, &list), MAIL_OK);
	for (i = 0; i < list.count; i++)
		subscribed += list.entries[i].subscribed;
	assert_int_equal(subscribed, 3);
	folders_list_free(&list);
}

static void
what_is_written_here_dovecot_reads_the_same(void **state)
{
	struct fixture *fixture = *state;
	uint32_t uids[] = { 1, 2 }, from_uids[2], to_uids[2], bit;
	struct folder *inbox, *other;
	const char *text;
	size_t done;

	need_dovecot();
	assert_int_equal(folders_create(fixture->maildir, "Stra\xc3\x9f\x65.Neu", 0), MAIL_OK);
	assert_int_equal(folders_create(fixture->maildir, "Weg", 0), MAIL_OK);
	assert_int_equal(folders_rename(fixture->maildir, "Weg", "Stra\xc3\x9f\x65.Alt"), MAIL_OK);
	assert_int_equal(
	    folders_subscribe(fixture->maildir, "Stra\xc3\x9f\x65.Neu", true), MAIL_OK);
	inbox = fixture_open(fixture, "INBOX");
	other = fixture_open(fixture, "Stra\xc3\x9f\x65.Neu");
	assert_int_equal(folder_keyword(inbox, "Work", true, &bit), MAIL_OK);
	fixture_append(inbox, "one\r\n", MESSAGE_SEEN | bit);
	fixture_append(inbox, "two\r\n", 0);
	fixture_append(inbox, "three\r\n", MESSAGE_FLAGGED);
	assert_int_equal(folder_copy(inbox, uids, 2, other, from_uids, to_uids, &done), MAIL_OK);
	assert_int_equal(folder_move(inbox, uids, 1, other, from_uids, to_uids, &done), MAIL_OK);
	assert_int_equal(fixture_store(other, 2, STORE_ADD, MESSAGE_ANSWERED), MAIL_OK);
	assert_same(inbox);
	assert_same(other);
	text = DOVEADM("mailbox", "list");
	assert_non_null(strstr(text, "Stra\xc3\x9f\x65.Neu\n"));
	assert_non_null(strstr(text, "Stra\xc3\x9f\x65.Alt\n"));
	assert_null(strstr(text, "Weg"));
	assert_non_null(strstr(DOVEADM("mailbox", "list", "-s"), "Stra\xc3\x9f\x65.Neu\n"));
	assert_int_equal(
	    folders_subscribe(fixture->maildir, "Stra\xc3\x9f\x65.Neu", false), MAIL_OK);
	assert_null(strstr(DOVEADM("mailbox", "list", "-s"), "Stra\xc3\x9f\x65.Neu"));
	/* Dovecot goes on, and so do we, with the folders open all the while. */
	IMAP("1 SELECT INBOX\r\n2 STORE 1:* +FLAGS (\\Deleted New)\r\n3 UID EXPUNGE 2\r\n"
	     "4 APPEND INBOX (\\Draft) {3+}\r\nd\r\n\r\n5 LOGOUT\r\n");
	fixture_sync(inbox);
	assert_same(inbox);
	assert_string_equal(ours(inbox), "3 7 New \\Deleted \\Flagged\n4 3 \\Draft\n");
	fixture_append(inbox, "five\r\n", bit);
	assert_int_equal(fixture_store(inbox, 4, STORE_ADD, bit), MAIL_OK);
	assert_same(inbox);
	assert_no_complaints();
	folder_release(other);
	folder_release(inbox);
}

/* --- both at once --- */

#define STEPS 150
#define KNOWN 4096

/* What each uid is, as any of the two ever saw it. */
static uint32_t token_of[2][KNOWN];

static void
note_tokens(struct folder *folder, unsigned which)
{
	size_t i;

	for (i = 0; i < folder_length(folder); i++) {
		const struct message *message = folder_at(folder, i);
		uint64_t size;
		char text[64];
		uint32_t token;
		ssize_t got;
		int fd;

		assert_true(message->uid < KNOWN);
		if (message->expunged != 0)
			continue;
		token = message->uid;
		if (folder_message_open(folder, token, &fd, &size) != MAIL_OK)
			return;
		got = read(fd, text, sizeof(text) - 1);
		close(fd);
		assert_true(got > 0);
		text[got] = '\0';
		assert_memory_equal(text, "token ", 6);
		/* The array may have changed while the file was looked for. */
		if (token_of[which][token] == 0)
			token_of[which][token] = (uint32_t)strtoul(text + 6, NULL, 10);
		assert_int_equal(token_of[which][token], strtoul(text + 6, NULL, 10));
	}
}

/* Dovecot may hold the lock, then what is known stays. */
static void
settle(struct folder *folder)
{
	enum mail_result result = folder_sync(folder);

	assert_true(result == MAIL_OK || result == MAIL_BUSY);
}

static void
our_step(struct folder *inbox, struct folder *other, unsigned random, uint32_t token)
{
	struct folder *folder = random % 2 == 0 ? inbox : other;
	struct folder *target = random % 2 == 0 ? other : inbox;
	uint32_t uid = 0, from_uid, to_uid;
	char text[64];
	size_t done, at;

	settle(folder);
	if (folder_length(folder) > 0) {
		at = random / 64 % folder_length(folder);
		uid = folder_at(folder, at)->expunged != 0 ? 0 : folder_at(folder, at)->uid;
	}
	switch (uid == 0 ? 0 : random / 2 % 8) {
	case 0:
	case 1:
		snprintf(text, sizeof(text), "token %u\r\n", token);
		fixture_append(folder, text, random % 3 == 0 ? MESSAGE_SEEN : 0);
		break;
	case 2:
	case 3:
		assert_int_equal(fixture_store(folder, uid, STORE_ADD, MESSAGE_FLAGGED), MAIL_OK);
		break;
	case 4:
		assert_int_equal(
		    fixture_store(folder, uid, STORE_REMOVE, MESSAGE_FLAGGED | MESSAGE_SEEN),
		    MAIL_OK);
		break;
	case 5:
		assert_int_equal(
		    folder_copy(folder, &uid, 1, target, &from_uid, &to_uid, &done), MAIL_OK);
		break;
	case 6:
		assert_int_equal(
		    folder_move(folder, &uid, 1, target, &from_uid, &to_uid, &done), MAIL_OK);
		break;
	default:
		assert_int_equal(folder_expunge(folder, &uid, 1), MAIL_OK);
		break;
	}
}

/* What Dovecot is told to do: one command a step, all in one pipe. */
static void
their_steps(int to, unsigned seed)
{
	unsigned i;

	dprintf(to, "s SELECT INBOX\r\n");
	for (i = 0; i < STEPS; i++) {
		unsigned random = (unsigned)rand_r(&seed);
		unsigned one = 1 + random / 64 % 9;
		char text[32];

		switch (random % 8) {
		case 0:
		case 1:
			snprintf(text, sizeof(text), "token %u\r\n", 100000 + i);
			dprintf(to, "a%u APPEND %s {%zu+}\r\n%s\r\n", i,
			    random / 8 % 2 == 0 ? "INBOX" : "Other", strlen(text), text);
			break;
		case 2:
		case 3:
			dprintf(to, "a%u STORE %u +FLAGS (\\Answered Key%u)\r\n", i, one,
			    random / 8 % 3);
			break;
		case 4:
			dprintf(to, "a%u STORE %u -FLAGS (\\Seen)\r\n", i, one);
			break;
		case 5:
			dprintf(to, "a%u COPY %u Other\r\n", i, one);
			break;
		case 6:
			dprintf(to, "a%u MOVE %u Other\r\n", i, one);
			break;
		default:
			dprintf(
			    to, "a%u STORE %u +FLAGS (\\Deleted)\r\nb%u EXPUNGE\r\n", i, one, i);
			break;
		}
	}
	dprintf(to, "z LOGOUT\r\n");
}

static void
both_at_once_end_in_the_same_state(void **state)
{
	struct fixture *fixture = *state;
	unsigned seed = 20261129, i;
	struct folder *inbox, *other;
	struct folder_view *view;
	char output[65536];
	int to, from, status;
	pid_t imap, feeder;

	need_dovecot();
	memset(token_of, 0, sizeof(token_of));
	assert_int_equal(folders_create(fixture->maildir, "Other", 0), MAIL_OK);
	inbox = fixture_open(fixture, "INBOX");
	other = fixture_open(fixture, "Other");
	view = folder_view_new(inbox);
	for (i = 0; i < 12; i++)
		our_step(inbox, other, 0, i + 1);
	imap = start((const char *const[]){ "imap", NULL }, &to, &from);
	feeder = fork();
	assert_int_not_equal(feeder, -1);
	if (feeder == 0) {
		their_steps(to, seed);
		_exit(0);
	}
	close(to);
	assert_int_not_equal(fcntl(from, F_SETFL, O_NONBLOCK), -1);
	for (i = 0; waitpid(imap, &status, WNOHANG) == 0; i++) {
		uint32_t uid;
		size_t sequence;

		while (read(from, output, sizeof(output)) > 0)
			;
		if (i < STEPS)
			our_step(inbox, other, (unsigned)rand_r(&seed), 1000 + i);
		else
			settle(i % 2 == 0 ? inbox : other);
		note_tokens(inbox, 0);
		note_tokens(other, 1);
		while (folder_view_take_expunged(view, &uid, &sequence))
			assert_true(sequence > 0);
		folder_view_take_arrivals(view);
		folder_view_told(view);
	}
	assert_true(WIFEXITED(status));
	waitpid(feeder, &status, 0);
	close(from);
	for (; i < STEPS; i++)
		our_step(inbox, other, (unsigned)rand_r(&seed), 1000 + i);
	/* What Dovecot did last may be in the last tick of our last reading. */
	fixture_sync(inbox);
	fixture_sync(other);
	note_tokens(inbox, 0);
	note_tokens(other, 1);
	assert_true(fixture_live(inbox) + fixture_live(other) > 10);
	assert_same(inbox);
	assert_same(other);
	folder_view_free(view);
	folder_release(inbox);
	folder_release(other);
	/* And from the files alone. */
	unlink(fixture_path(fixture, "postern.index"));
	inbox = fixture_open(fixture, "INBOX");
	assert_same(inbox);
	note_tokens(inbox, 0);
	folder_release(inbox);
	assert_no_complaints();
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_dovecot_wrote_is_read_the_same),
		TEST(what_is_written_here_dovecot_reads_the_same),
		TEST(both_at_once_end_in_the_same_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
