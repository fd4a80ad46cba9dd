/*
 * The filter is a program for the kernel's BPF machine: it compares the call's number with each of a
 * list, some 200 comparisons of a nanosecond or less, those that are made most first. It is written by
 * hand and not with libseccomp, which would cost each process (there is one for every mailbox owner)
 * more memory than all the rest of its libraries' data.
 */
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "common/sanitizer.h"

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define MACHINE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define MACHINE AUDIT_ARCH_RISCV64
#endif

#define FILTER_MAX 1024

/* Numbers that this machine's kernel doesn't have are left out by their absence. */
static const uint32_t allowed[] = {
	/* The event loop, most of all. */
	SYS_read,
	SYS_write,
	SYS_recvmsg,
	SYS_sendmsg,
	SYS_recvfrom,
	SYS_sendto,
	SYS_readv,
	SYS_writev,
	SYS_epoll_pwait,
	SYS_epoll_ctl,
	SYS_close,
	SYS_accept4,
	SYS_fcntl,
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
	SYS_epoll_create,
	SYS_poll,
	SYS_select,
	SYS_pipe,
	SYS_eventfd,
#endif
#ifdef SYS_epoll_pwait2
	SYS_epoll_pwait2,
#endif
	SYS_clock_gettime,
	SYS_futex,
	SYS_fdatasync,
	SYS_fsync,
	SYS_pwritev,
	SYS_pwrite64,
	SYS_pread64,
	SYS_preadv,
	SYS_pwritev2,
	SYS_preadv2,
	SYS_epoll_create1,
	SYS_eventfd2,
	SYS_ppoll,
	SYS_pselect6,
	SYS_pipe2,
	SYS_timerfd_create,
	SYS_timerfd_settime,
	SYS_recvmmsg,
	SYS_sendmmsg,
	SYS_accept,
	SYS_shutdown,
	SYS_getsockopt,
	SYS_setsockopt,
	SYS_getsockname,
	SYS_getpeername,
	SYS_socketpair,
	SYS_listen,
	/* More confinement (landlock.h). */
	SYS_landlock_create_ruleset,
	SYS_landlock_add_rule,
	SYS_landlock_restrict_self,
	/* Files. */
	SYS_openat,
	SYS_fstat,
	SYS_newfstatat,
	SYS_statx,
	SYS_lseek,
	SYS_renameat2,
	SYS_unlinkat,
	SYS_linkat,
	SYS_symlinkat,
	SYS_mkdirat,
	SYS_readlinkat,
	SYS_faccessat,
	SYS_fchmod,
	SYS_fchmodat,
	SYS_fchown,
	SYS_fchownat,
	SYS_utimensat,
	SYS_getdents64,
	SYS_ftruncate,
	SYS_truncate,
	SYS_fallocate,
	SYS_syncfs,
	SYS_sync_file_range,
	SYS_flock,
	SYS_statfs,
	SYS_fstatfs,
	SYS_fadvise64,
	SYS_copy_file_range,
	SYS_sendfile,
	SYS_chdir,
	SYS_fchdir,
	SYS_getcwd,
	SYS_dup,
	SYS_dup3,
	SYS_umask,
	SYS_memfd_create,
	SYS_inotify_init1,
	SYS_inotify_add_watch,
	SYS_inotify_rm_watch,
	SYS_ioctl,
#ifdef SYS_open
	SYS_open,
	SYS_stat,
	SYS_lstat,
	SYS_rename,
	SYS_unlink,
	SYS_link,
	SYS_symlink,
	SYS_mkdir,
	SYS_rmdir,
	SYS_readlink,
	SYS_access,
	SYS_chmod,
	SYS_chown,
	SYS_lchown,
	SYS_getdents,
	SYS_dup2,
	SYS_utime,
	SYS_utimes,
	SYS_futimesat,
	SYS_inotify_init,
#endif
#ifdef SYS_faccessat2
	SYS_faccessat2,
#endif
#ifdef SYS_close_range
	SYS_close_range,
#endif
	/* Memory. */
	SYS_mmap,
	SYS_munmap,
	SYS_mremap,
	SYS_mprotect,
	SYS_madvise,
	SYS_brk,
	SYS_msync,
	SYS_mincore,
	SYS_mlock,
	SYS_munlock,
	SYS_membarrier,
	/* Time, signals, itself. */
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_clock_getres,
	SYS_gettimeofday,
	SYS_getitimer,
	SYS_setitimer,
	SYS_times,
	SYS_getrusage,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_rt_sigtimedwait,
	SYS_rt_sigpending,
	SYS_rt_sigsuspend,
	SYS_sigaltstack,
	SYS_restart_syscall,
	SYS_kill,
	SYS_tgkill,
	SYS_tkill,
	SYS_wait4,
	SYS_waitid,
	SYS_exit,
	SYS_exit_group,
	SYS_getpid,
	SYS_getppid,
	SYS_gettid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_getresuid,
	SYS_getresgid,
	SYS_getgroups,
	SYS_getpgid,
	SYS_getsid,
	SYS_prlimit64,
	SYS_prctl,
	SYS_uname,
	SYS_sysinfo,
	SYS_getrandom,
	SYS_set_robust_list,
	SYS_get_robust_list,
	SYS_set_tid_address,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_getcpu,
	SYS_getpriority,
#ifdef SYS_time
	SYS_time,
	SYS_alarm,
	SYS_pause,
	SYS_getpgrp,
	SYS_arch_prctl,
#endif
#ifdef SYS_renameat
	SYS_renameat,
	SYS_getrlimit,
	SYS_setrlimit,
#endif
#ifdef SYS_rseq
	SYS_rseq,
#endif
};

static const uint32_t for_sockets[] = { SYS_connect, SYS_bind };

static const uint32_t for_threads[] = {
	SYS_clone,
#ifdef SYS_clone3
	SYS_clone3,
#endif
};

/* Who asks for these isn't the program that we wrote. */
static const uint32_t deadly[] = {
	SYS_execve,
	SYS_execveat,
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_unshare,
	SYS_setns,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_reboot,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_setuid,
	SYS_setgid,
	SYS_setreuid,
	SYS_setregid,
	SYS_setresuid,
	SYS_setresgid,
	SYS_setgroups,
	SYS_personality,
	SYS_swapon,
	SYS_swapoff,
	SYS_sethostname,
	SYS_setdomainname,
	SYS_clock_settime,
	SYS_settimeofday,
	SYS_mknodat,
	SYS_open_by_handle_at,
#ifdef SYS_userfaultfd
	SYS_userfaultfd,
#endif
#ifdef SYS_io_uring_setup
	SYS_io_uring_setup,
#endif
#ifdef SYS_kexec_file_load
	SYS_kexec_file_load,
#endif
#ifdef SYS_mknod
	SYS_mknod,
	SYS_iopl,
	SYS_ioperm,
	SYS_fork,
	SYS_vfork,
#endif
};

struct filter {
	struct sock_filter code[FILTER_MAX];
	size_t length;
};

static void
add(struct filter *filter, struct sock_filter instruction)
{
	if (filter->length == FILTER_MAX)
		fatalx("the sandbox's filter is too long");
	filter->code[filter->length++] = instruction;
}

static void
load(struct filter *filter, uint32_t offset)
{
	add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

static void
answer(struct filter *filter, uint32_t what)
{
	add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what));
}

static void
answer_if(struct filter *filter, uint32_t value, uint32_t what)
{
	add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
	answer(filter, what);
}

static void
answer_all(struct filter *filter, const uint32_t *numbers, size_t count, uint32_t what)
{
	for (size_t i = 0; i < count; i++)
		answer_if(filter, numbers[i], what);
}

/* socket(): a family that servers have; so no raw packets, no kernel interfaces by an odd one. */
static void
allow_families(struct filter *filter)
{
	static const uint32_t families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
	const size_t count = sizeof(families) / sizeof(families[0]);

	add(filter,
	    (struct sock_filter)BPF_JUMP(
	        BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, (uint8_t)(2 * count + 2)));
	load(filter,
	    offsetof(struct seccomp_data, args[0])); /* its low half: these are little-endian */
	answer_all(filter, families, count, SECCOMP_RET_ALLOW);
	answer(filter, SECCOMP_RET_ERRNO | EAFNOSUPPORT);
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
make(struct filter *filter, uint32_t machine, unsigned needs)
{
	filter->length = 0;
	load(filter, offsetof(struct seccomp_data, arch));
	add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, machine, 1, 0));
	answer(filter, SECCOMP_RET_KILL_PROCESS);
	load(filter, offsetof(struct seccomp_data, nr));
	answer_all(filter, allowed, COUNT(allowed), SECCOMP_RET_ALLOW);
	if (needs & SANDBOX_PROCESSES)
		answer_all(filter, for_threads, COUNT(for_threads), SECCOMP_RET_ALLOW);
	if (needs & SANDBOX_SOCKETS) {
		answer_all(filter, for_sockets, COUNT(for_sockets), SECCOMP_RET_ALLOW);
		allow_families(filter);
	}
	answer_all(filter, deadly, COUNT(deadly), SECCOMP_RET_KILL_PROCESS);
	answer(filter, SECCOMP_RET_ERRNO | ENOSYS);
}

void
sandbox_enter(unsigned needs)
{
#if defined(MACHINE) && !defined(SANITIZED)
	struct filter filter;
	struct sock_fprog program;

	make(&filter, MACHINE, needs);
	program.filter = filter.code;
	program.len = (unsigned short)filter.length;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0)
		return;
	/* A kernel without it is no reason to take no mail. */
	if (errno != EINVAL)
		fatal("seccomp");
	log_warning("this kernel has no seccomp filters: the process isn't confined by one");
#else
	(void)needs;
	(void)make;
#endif
}
