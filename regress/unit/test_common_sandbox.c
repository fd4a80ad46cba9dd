/* The filter: what a program does goes on, what an intruder would do ends it. */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "common/sanitizer.h"

/* A child that has entered the sandbox does it; its wait status. */
static int
confined(unsigned needs, int (*what)(void))
{
	int status;
	pid_t pid = fork();

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
			_exit(99);
		sandbox_enter(needs);
		_exit(what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static bool
is_confining(void)
{
#if defined(SANITIZED)
	return false;
#else
	return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != -1;
#endif
}

static int
work(void)
{
	char text[] = "/tmp/test-sandbox-XXXXXX";
	int fd = mkstemp(text), ends[2];
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return fd != -1 && write(fd, "x", 1) == 1 && fsync(fd) == 0 && close(fd) == 0 &&
	        unlink(text) == 0 && memory != MAP_FAILED &&
	        socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && memfd_create("x", 0) != -1
	    ? 0
	    : 1;
}

static int
run_a_shell(void)
{
	char *argv[] = { (char[]){ "sh" }, NULL }, *environment[] = { NULL };

	return execve("/bin/sh", argv, environment);
}

static int
trace_the_parent(void)
{
	return (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static int
enter_a_namespace(void)
{
	return (int)syscall(SYS_unshare, 0x10000000);
}

static int
become_root(void)
{
	return setuid(0);
}

static int
connect_inet(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) == -1 ? (errno == ENOSYS ? 10 : 11) : 0;
}

static int
open_packets(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0) == -1 && errno == EAFNOSUPPORT ? 0 : 1;
}

static int
call_the_unknown(void)
{
	return syscall(100000) == -1 && errno == ENOSYS ? 0 : 1;
}

static void *
nothing(void *arg)
{
	return arg;
}

static int
start_a_thread(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0
	    ? 0
	    : 12;
}

static void
what_a_program_does_goes_on(void **state)
{
	(void)state;
	assert_int_equal(confined(0, work), 0);
	assert_int_equal(confined(SANDBOX_SOCKETS, connect_inet), 0);
	assert_int_equal(confined(SANDBOX_PROCESSES, start_a_thread), 0);
	assert_int_equal(confined(0, call_the_unknown), 0);
}

static void
an_intruders_call_ends_the_process(void **state)
{
	int (*const calls[])(
	    void) = { run_a_shell, trace_the_parent, enter_a_namespace, become_root };

	(void)state;
	if (!is_confining())
		skip();
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int status = confined(SANDBOX_SOCKETS | SANDBOX_PROCESSES, calls[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

static void
sockets_and_threads_are_for_those_who_need_them(void **state)
{
	(void)state;
	if (!is_confining())
		skip();
	assert_int_equal(WEXITSTATUS(confined(0, connect_inet)), 10);
	assert_int_equal(WEXITSTATUS(confined(0, start_a_thread)), 12);
	assert_int_equal(confined(SANDBOX_SOCKETS, open_packets), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_program_does_goes_on),
		cmocka_unit_test(an_intruders_call_ends_the_process),
		cmocka_unit_test(sockets_and_threads_are_for_those_who_need_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
