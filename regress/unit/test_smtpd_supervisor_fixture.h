/*
 * The supervisor with programs that this file stands in for: started by the name of one of them, it
 * does what the test wants of that program and writes down what it hears.
 */
#ifndef TEST_SMTPD_SUPERVISOR_FIXTURE_H
#define TEST_SMTPD_SUPERVISOR_FIXTURE_H

#include <sys/resource.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "common/child.h"
#include "common/clock.h"
#include "smtpd/parse.h"
#include "smtpd/supervisor_state.h"

#define DEADLINE_MS 20000

/*
 * The stand-ins. POSTERN_TEST is the folder where "heard" is written and the test's name: "FOLDER
 * NAME".
 */
static struct {
	struct event_base *base;
	struct channel *supervisor;
	struct child child;
	enum program program;
	char folder[64];
	char test[64];
	bool first; /* no program of this name was started before */
	unsigned configs;
	bool withholds; /* it hasn't confirmed the last */
	bool has_begun;
} stand_in;

static void
hear(const char *words)
{
	char path[128], line[256];
	int length, fd;

	snprintf(path, sizeof(path), "%s/heard", stand_in.folder);
	if (stand_in.program == PROGRAM_LISTENER)
		length =
		    snprintf(line, sizeof(line), "listener%u %s\n", stand_in.child.instance, words);
	else
		length =
		    snprintf(line, sizeof(line), "%s %s\n", program_name(stand_in.program), words);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd == -1 || write(fd, line, (size_t)length) != length)
		_exit(1);
	close(fd);
}

static bool
is(const char *test, enum program program)
{
	return strcmp(stand_in.test, test) == 0 && stand_in.program == program;
}

static void
say(uint16_t type, uint32_t id, const struct buf *payload)
{
	channel_send(stand_in.supervisor, type, id, 0, -1, payload);
}

static void
ask_for_mda(uint32_t id, uint32_t uid)
{
	struct ipc_mda_start start = { .uid = uid, .gid = getegid() };
	struct buf payload;

	buf_init(&payload, 100);
	ipc_mda_start_encode(&payload, &start);
	say(QUEUE_SUPERVISOR_MDA_START, id, &payload);
	buf_free(&payload);
}

static void
ask_for_socket(uint32_t id, const char *path)
{
	struct ipc_connect request;
	struct buf payload;

	snprintf(request.path, sizeof(request.path), "%s", path);
	buf_init(&payload, 200);
	ipc_connect_encode(&payload, &request);
	say(RELAY_SUPERVISOR_CONNECT, id, &payload);
	buf_free(&payload);
}

/* The control socket is one that somebody listens on. */
static void
ask_for_sockets(void)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/socket", stand_in.folder);
	ask_for_socket(51, path);
	snprintf(path, sizeof(path), "%s/nothing", stand_in.folder);
	ask_for_socket(52, path);
	snprintf(path, sizeof(path), "%s/./socket", stand_in.folder);
	ask_for_socket(53, path);
	ask_for_socket(54, "/dev/log");
}

static void
ask_control(uint32_t id, enum control_verb verb)
{
	struct ipc_control control = { .verb = verb, .argument = 0, .caller_uid = 1234 };
	struct buf payload;

	buf_init(&payload, 100);
	ipc_control_encode(&payload, &control);
	say(CONTROL_SUPERVISOR_REQUEST, id, &payload);
	buf_free(&payload);
}

static void
report(enum program program, uint32_t instance)
{
	struct ipc_peer peer = { .program = program, .instance = instance };
	struct buf payload;

	buf_init(&payload, 100);
	ipc_peer_encode(&payload, &peer);
	say(CHILD_SUPERVISOR_REJECTED, 0, &payload);
	buf_free(&payload);
}

/* What the test wants of this program once all have begun (`nudged`). */
static void
act_on_nudge(void)
{
	if (is("judge listener", PROGRAM_RESOLVER))
		report(PROGRAM_LISTENER, 0);
	if (is("judge control", PROGRAM_QUEUE))
		report(PROGRAM_CONTROL, 0);
	if (is("judge relay", PROGRAM_QUEUE))
		report(PROGRAM_RELAY, 0);
	if (is("relay judges", PROGRAM_RELAY))
		report(PROGRAM_QUEUE, 0);
	if (is("judge queue", PROGRAM_DIRECTORY))
		report(PROGRAM_QUEUE, 0);
	if (is("judge directory", PROGRAM_QUEUE))
		report(PROGRAM_DIRECTORY, 0);
	if (is("judge itself", PROGRAM_DIRECTORY))
		report(PROGRAM_DIRECTORY, 0);
	if (is("judge nobody", PROGRAM_QUEUE))
		report(PROGRAM_LISTENER, 4000);
	if (is("judge all", PROGRAM_CONTROL))
		report(PROGRAM_QUEUE, 0);
}

/* What the test wants of this program once it has begun. */
static void
act(void)
{
	struct buf payload;

	channel_flush(stand_in.supervisor);
	if (is("bad type", PROGRAM_QUEUE) && stand_in.first)
		say(SUPERVISOR_CHILD_STOP, 0, NULL);
	if (is("no asker", PROGRAM_DIRECTORY) && stand_in.first)
		ask_for_mda(1, geteuid());
	if (is("bad payload", PROGRAM_CONTROL) && stand_in.first) {
		buf_init(&payload, 100);
		buf_add_u8(&payload, CONTROL_VERB_COUNT);
		buf_add_u64(&payload, 0);
		say(CONTROL_SUPERVISOR_REQUEST, 1, &payload);
		buf_free(&payload);
	}
	if (is("no header", PROGRAM_RESOLVER) && stand_in.first) {
		static const char junk[64] = "this is no frame, whatever it is; it is long enough";

		if (write(stand_in.child.channel_fd, junk, sizeof(junk)) != sizeof(junk))
			_exit(1);
	}
	if (is("crash", PROGRAM_LISTENER) && stand_in.child.instance == 0 && stand_in.first)
		(void)raise(SIGKILL);
	if (is("mda", PROGRAM_QUEUE)) {
		ask_for_mda(7, geteuid() + 1);
		ask_for_mda(9, geteuid());
	}
	if (is("sockets", PROGRAM_RELAY))
		ask_for_sockets();
	if (is("bad socket", PROGRAM_RELAY) && stand_in.first)
		ask_for_socket(51, "socket");
	if (is("no relay", PROGRAM_RESOLVER) && stand_in.first)
		ask_for_socket(51, "/dev/log");
	if (is("older mda", PROGRAM_QUEUE))
		ask_for_mda(9, geteuid());
	if (is("control dies", PROGRAM_CONTROL))
		ask_control(stand_in.first ? 21 : 34, CONTROL_RELOAD);
	if (is("reload", PROGRAM_CONTROL) || is("no confirmation", PROGRAM_CONTROL))
		ask_control(21, CONTROL_RELOAD);
	if (is("pause", PROGRAM_CONTROL)) {
		ask_control(31, CONTROL_PAUSE_SMTP);
		ask_control(32, CONTROL_SMTP_STATUS);
		ask_control(33, CONTROL_RESUME_SMTP);
		ask_control(34, CONTROL_SMTP_STATUS);
	}
	if (is("stop", PROGRAM_CONTROL))
		ask_control(41, CONTROL_STOP);
}

static void
on_mda_ended(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	(void)arg;
	close(fd);
	hear("saw the older mda end");
}

/* True when the config isn't to be confirmed, or not yet. */
static bool
withhold(void)
{
	if (++stand_in.configs != 2 || !stand_in.first)
		return false;
	if (is("control dies", PROGRAM_CONTROL))
		(void)raise(SIGKILL);
	stand_in.withholds =
	    is("no confirmation", PROGRAM_DIRECTORY) || is("control dies", PROGRAM_DIRECTORY);
	return stand_in.withholds;
}

static void
on_answer(struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_done done;
	char words[600];

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_done_decode(&reader, &done))
		_exit(1);
	if (!done.success &&
	    (strstr(done.words, "isn't running yet") != NULL ||
	        strstr(done.words, "under way") != NULL)) {
		ask_control(imsg->id, CONTROL_RELOAD); /* until the others have started */
		return;
	}
	snprintf(words, sizeof(words), "answer %u %s %s: %s", imsg->id, done.success ? "yes" : "no",
	    imsg->fd != -1 ? "socket" : "nothing", done.words);
	hear(words);
	if (is("older mda", PROGRAM_QUEUE) && imsg->id == 9 && imsg->fd != -1) {
		if (event_base_once(stand_in.base, imsg->fd, EV_READ, on_mda_ended, NULL, NULL) !=
		    0)
			_exit(1);
		imsg->fd = -1;
		ask_for_mda(10, geteuid());
	}
}

static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct buf_reader reader;
	struct ipc_peer peer;
	struct config *config;
	char words[64];

	(void)channel;
	(void)arg;
	switch ((enum ipc_supervisor_type)imsg->type) {
	case SUPERVISOR_CHILD_CONFIG:
		config = config_from_fd(imsg->fd);
		snprintf(words, sizeof(words), "config of %s",
		    config == NULL ? "nobody" : config->hostname);
		hear(words);
		config_free(config);
		if (!withhold())
			say(CHILD_SUPERVISOR_CONFIGURED, imsg->id, NULL);
		break;
	case SUPERVISOR_CHILD_PEER:
		buf_reader_init(&reader, imsg->payload, imsg->length);
		if (!ipc_peer_decode(&reader, &peer) || imsg->fd == -1)
			_exit(1);
		snprintf(
		    words, sizeof(words), "peer %s %u", program_name(peer.program), peer.instance);
		hear(words);
		imsg->fd = -1;
		if (is("control dies", PROGRAM_DIRECTORY) && stand_in.withholds &&
		    peer.program == PROGRAM_CONTROL) {
			stand_in.withholds = false;
			say(CHILD_SUPERVISOR_CONFIGURED, 0, NULL);
		}
		break;
	case SUPERVISOR_CHILD_START:
		hear("start");
		say(CHILD_SUPERVISOR_READY, imsg->id, NULL);
		/* A reload comes with another. */
		if (stand_in.program != PROGRAM_CONTROL || !stand_in.has_begun)
			act();
		stand_in.has_begun = true;
		break;
	case SUPERVISOR_CHILD_PAUSE:
		hear("pause");
		break;
	case SUPERVISOR_CHILD_RESUME:
		hear("resume");
		act_on_nudge();
		break;
	case SUPERVISOR_CHILD_STOP:
		hear("stop");
		exit(0);
	case SUPERVISOR_QUEUE_MDA_STARTED:
	case SUPERVISOR_RELAY_CONNECTED:
	case SUPERVISOR_CONTROL_DONE:
		on_answer(imsg);
		break;
	case SUPERVISOR_CHILD_STATS:
	case SUPERVISOR_CHILD_LISTEN:
	case SUPERVISOR_CHILD_LOG:
	case SUPERVISOR_RESOLVER_HOSTS:
	case SUPERVISOR_RESOLVER_NAMESERVERS:
	case SUPERVISOR_RESOLVER_ANCHORS:
	case SUPERVISOR_CHILD_CERTIFICATE:
	case SUPERVISOR_CHILD_AUTHORITIES:
	case SUPERVISOR_CHILD_TICKET_KEYS:
	case SUPERVISOR_CHILD_DKIM_KEYS:
	case SUPERVISOR_KEEPER_GENERATE:
	case SUPERVISOR_KEEPER_FORGET:
	case SUPERVISOR_CONTROL_LINE:
	case KEEPER_SUPERVISOR_GENERATED:
	case CONTROL_SUPERVISOR_DKIM:
	case SUPERVISOR_KEEPER_KEY:
	case SUPERVISOR_ACCESS_MAILBOX:
	case SUPERVISOR_MAILBOX_OPEN:
	case SUPERVISOR_MAILBOX_SESSION:
	case SUPERVISOR_CONTROL_SESSION:
		break;
	case DIRECTORY_SUPERVISOR_LOGIN:
	case DIRECTORY_SUPERVISOR_SCRIPTS:
	case MAILBOX_SUPERVISOR_ENDED:
	case RELAY_SUPERVISOR_CONNECT:
	case CHILD_SUPERVISOR_CONFIGURED:
	case CHILD_SUPERVISOR_READY:
	case CHILD_SUPERVISOR_LOG_LOST:
	case CHILD_SUPERVISOR_REJECTED:
	case QUEUE_SUPERVISOR_MDA_START:
	case CONTROL_SUPERVISOR_REQUEST:
	case KEEPER_SUPERVISOR_KEY_TAKEN:
		_exit(1);
	}
}

static void
on_supervisor_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
	exit(0);
}

static int
stand_in_for(enum program program, int argc, char **argv)
{
	const char *setting = getenv("POSTERN_TEST"), *blank;
	char mark[128];
	int fd;

	blank = setting == NULL ? NULL : strchr(setting, ' ');
	if (blank == NULL)
		return 1;
	snprintf(stand_in.folder, sizeof(stand_in.folder), "%.*s", (int)(blank - setting), setting);
	snprintf(stand_in.test, sizeof(stand_in.test), "%s", blank + 1);
	stand_in.program = program;
	if (is("dead start", PROGRAM_RESOLVER))
		return 3;
	child_start(&stand_in.child, program_name(program), argc, argv);
	snprintf(mark, sizeof(mark), "%s/was-%s-%u", stand_in.folder, program_name(program),
	    stand_in.child.instance);
	fd = open(mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	stand_in.first = fd != -1;
	stand_in.base = child_event_base();
	stand_in.supervisor = channel_new(stand_in.base, "smtpd", stand_in.child.channel_fd,
	    on_supervisor, on_supervisor_closed, NULL);
	event_base_dispatch(stand_in.base);
	return 0;
}

/* The exit status of whoever was started by a program's name; -1: it is the test itself. */
static int
stand_in_by_name(int argc, char **argv)
{
	char name[64];
	int program;

	snprintf(name, sizeof(name), "%s", basename(argv[0]));
	for (program = PROGRAM_LISTENER; program < PROGRAM_COUNT; program++)
		if (strcmp(name, program_name((enum program)program)) == 0)
			return stand_in_for((enum program)program, argc, argv);
	return -1;
}

/*
 * The tests.
 */
struct fixture {
	char folder[64];
	char config_file[96];
	struct supervisor supervisor;
	struct event *poll;
	struct {
		const char *line;
		unsigned times;
	} awaited[4]; /* in "heard"; when all are there the test is over */
	size_t awaited_count;
	int64_t deadline;
	const char *config_later; /* written once the first has been read */
	enum program nudged;      /* told to resume, though it hadn't paused; smtpd: nobody */
	bool was_started;
	bool was_late;
	char heard[65536];
};

/* With the test's directories, unless the text begins with its own. */
static void
write_config(struct fixture *f, const char *text)
{
	FILE *file = fopen(f->config_file, "w");

	assert_non_null(file);
	if (strncmp(text, "directory", 9) != 0)
		fprintf(file,
		    "directory spool \"%s/spool\"\ndirectory state \"%s/state\"\n"
		    "directory run \"%s/run\"\nmail directory \"%s\"\n",
		    f->folder, f->folder, f->folder, f->folder);
	fprintf(file, "%s\n", text);
	assert_int_equal(fclose(file), 0);
}

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char self[PATH_MAX], path[128];
	int program;
	ssize_t length;

	assert_non_null(f);
	strcpy(f->folder, "/tmp/test-supervisor-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	assert_true(length > 0);
	self[length] = '\0';
	for (program = PROGRAM_LISTENER; program < PROGRAM_COUNT; program++) {
		snprintf(
		    path, sizeof(path), "%s/%s", f->folder, program_name((enum program)program));
		assert_int_equal(symlink(self, path), 0);
	}
	/* Where the socket of this machine's programs is. */
	snprintf(path, sizeof(path), "%s/run", f->folder);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(f->config_file, sizeof(f->config_file), "%s/smtpd.conf", f->folder);
	write_config(f, "smtp hostname first.example.test");
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void
read_heard(struct fixture *f)
{
	char path[128];
	size_t length;
	FILE *file;

	snprintf(path, sizeof(path), "%s/heard", f->folder);
	file = fopen(path, "r");
	length = file == NULL ? 0 : fread(f->heard, 1, sizeof(f->heard) - 1, file);
	f->heard[length] = '\0';
	if (file != NULL)
		fclose(file);
}

static unsigned
count(const struct fixture *f, const char *line)
{
	const char *at = f->heard;
	unsigned found = 0;

	while ((at = strstr(at, line)) != NULL) {
		if (at == f->heard || at[-1] == '\n')
			found++;
		at++;
	}
	return found;
}

/* The test goes on until this line was heard so often. */
static void
await(struct fixture *f, const char *line, unsigned times)
{
	assert_true(f->awaited_count < 4);
	f->awaited[f->awaited_count].line = line;
	f->awaited[f->awaited_count++].times = times;
}

static void
on_poll(evutil_socket_t fd, short what, void *arg)
{
	struct fixture *f = arg;
	size_t i;

	(void)fd;
	(void)what;
	read_heard(f);
	for (i = 0; i < f->awaited_count; i++)
		if (count(f, f->awaited[i].line) < f->awaited[i].times)
			break;
	f->was_late = clock_monotonic_ms() > f->deadline;
	if (f->was_late || (i == f->awaited_count && i > 0))
		supervisor_stop(&f->supervisor, "the test is over");
}

static void
on_started(void *arg)
{
	struct fixture *f = arg;
	struct timeval delay = { .tv_usec = 20000 };

	f->was_started = true;
	if (f->nudged != PROGRAM_SUPERVISOR)
		channel_send(children_channel(&f->supervisor, f->nudged), SUPERVISOR_CHILD_RESUME,
		    0, 0, -1, NULL);
	f->deadline = clock_monotonic_ms() + DEADLINE_MS;
	f->poll = event_new(f->supervisor.base, -1, EV_PERSIST, on_poll, f);
	assert_int_equal(event_add(f->poll, &delay), 0);
}

/* Runs a whole life of the suite; it is stopped when all awaited lines were heard. */
static int
run(struct fixture *f, const char *test)
{
	struct supervisor *supervisor = &f->supervisor;
	char setting[160], why[200];
	int status, i;

	snprintf(setting, sizeof(setting), "%s %s", f->folder, test);
	assert_int_equal(setenv("POSTERN_TEST", setting, 1), 0);
	supervisor->config_path = f->config_file;
	supervisor->config = parse_config_file(f->config_file, parse_report_to_file, stderr);
	assert_non_null(supervisor->config);
	supervisor->tls = tls_set_load(supervisor->config, NULL, false, why, sizeof(why));
	assert_non_null(supervisor->tls);
	if (f->config_later != NULL)
		write_config(f, f->config_later);
	for (i = 0; i < PROGRAM_COUNT; i++)
		supervisor->accounts.programs[i] = (struct account){ geteuid(), getegid() };
	snprintf(supervisor->programs, sizeof(supervisor->programs), "%s", f->folder);
	assert_true(
	    listen_set_open(&supervisor->sockets, supervisor->config, NULL, 0, why, sizeof(why)));
	snprintf(
	    supervisor->control_path, sizeof(supervisor->control_path), "%s/socket", f->folder);
	supervisor->control_socket =
	    listen_unix(supervisor->control_path, geteuid(), getegid(), 0600, why, sizeof(why));
	assert_true(supervisor->control_socket != -1);
	supervisor->log_target = LOG_TARGET_STDERR;
	supervisor->log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	supervisor->started = on_started;
	supervisor->started_arg = f;
	status = supervisor_run(supervisor);
	if (f->poll != NULL)
		event_free(f->poll);
	close(supervisor->control_socket);
	close(supervisor->log_fd);
	config_free(supervisor->config);
	read_heard(f);
	if (f->was_late)
		print_error("%s", f->heard);
	assert_false(f->was_late);
	return status;
}

__attribute__((unused)) static size_t
position(const struct fixture *f, const char *line)
{
	const char *at = strstr(f->heard, line);

	assert_non_null(at);
	return (size_t)(at - f->heard);
}

/* `program` has broken a rule: it alone is started anew, those that talk to it are told. */
static void
assert_started_again(struct fixture *f, const char *test, const char *program)
{
	static const char *const all[] = { "listener0", "queue", "directory", "resolver", "keeper",
		"relay", "control" };
	char line[64];
	size_t i;

	assert_int_equal(run(f, test), 0);
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		snprintf(line, sizeof(line), "%s start", all[i]);
		assert_int_equal(count(f, line), strcmp(all[i], program) == 0 ? 2 : 1);
	}
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
