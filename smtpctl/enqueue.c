/*
 * enqueue: sends a message that was kept while there was no server. The supervisor starts one for
 * each file, to run as the file's owner, who may have written anything into it, and removes the file
 * when this ends with 0. Another way to get rid of it is a notice to the owner.
 *
 *	enqueue -t stderr|syslog NAME [UID GID]    whom it becomes, when it begins as root
 *
 * Descriptors: 0 the file, 1 a socket connected to the listener, 3 the log.
 */
#include <sys/prctl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/log.h"
#include "common/sandbox.h"
#include "smtpctl/offline.h"
#include "smtpctl/offline_return.h"
#include "smtpctl/post.h"

#define LOG_FD       3
#define TIME_SECONDS 900
#define REASONS_MAX  65536

static void
log_failure(const char *event, const char *name, const char *words)
{
	struct log_line line;

	/* The first of them; a notice has them all. */
	words += strspn(words, " ");
	log_begin(&line, LOG_LEVEL_WARNING, event);
	log_text(&line, "file", name);
	log_bytes(&line, "reason", words, strcspn(words, "\n"));
	log_end(&line);
}

/* As many as there is room for, and for the end. */
static void
collect(void *arg, const char *words)
{
	struct buf *reasons = arg;

	if (strlen(words) + sizeof("    \n") < REASONS_MAX - reasons->length)
		buf_printf(reasons, "    %s\n", words);
}

static const char *
words_of(struct buf *reasons)
{
	buf_add_u8(reasons, '\0');
	return buf_ok(reasons) ? (const char *)reasons->data : "    for lack of memory\n";
}

static int
send_kept(const char *name)
{
	enum post_result result = POST_LATER;
	struct dialogue *dialogue;
	struct buf reasons;
	struct post post;
	const char *words;
	char why[512];
	int status = EX_TEMPFAIL;

	post_init(&post);
	buf_init(&reasons, REASONS_MAX);
	if (!offline_read(&post, STDIN_FILENO, why, sizeof(why))) {
		log_failure("offline-unreadable", name, why);
		return EX_DATAERR;
	}
	dialogue = dialogue_new(STDOUT_FILENO, false, collect, &reasons);
	if (dialogue != NULL)
		result = dialogue_post(dialogue, &post, &status);
	switch (result) {
	case POST_SENT:
		break;
	case POST_LATER:
		log_failure("offline-delayed", name, words_of(&reasons));
		status = EX_TEMPFAIL;
		break;
	case POST_REFUSED:
		words = words_of(&reasons);
		log_failure("offline-refused", name, words);
		/* What comes now is about the notice. */
		result = offline_return(dialogue, &post, true, words);
		if (result != POST_REFUSED)
			status = result == POST_SENT ? EX_OK : EX_TEMPFAIL;
		break;
	}
	dialogue_free(dialogue);
	buf_free(&reasons);
	post_free(&post);
	return status;
}

/* For good. The kernel then keeps the process out of its user's reach. */
static bool
become(const char *uid_word, const char *gid_word)
{
	const char *uid_bad, *gid_bad;
	uid_t uid = (uid_t)strtonum(uid_word, 1, UINT_MAX - 1, &uid_bad);
	gid_t gid = (gid_t)strtonum(gid_word, 0, UINT_MAX - 1, &gid_bad);

	return uid_bad == NULL && gid_bad == NULL && setgroups(0, NULL) == 0 &&
	    setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 && getuid() == uid &&
	    geteuid() == uid && getgid() == gid && getegid() == gid && setuid(0) == -1;
}

int
main(int argc, char **argv)
{
	sigset_t none;

	if ((argc != 4 && argc != 6) || strcmp(argv[1], "-t") != 0)
		return EX_USAGE;
	if (argc == 6 ? !become(argv[4], argv[5]) : geteuid() == 0)
		return EX_OSERR;
	/* Its user is not to get at its descriptors. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return EX_OSERR;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGALRM, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)alarm(TIME_SECONDS);
	log_open("enqueue", strcmp(argv[2], "syslog") == 0 ? LOG_TARGET_SYSLOG : LOG_TARGET_STDERR,
	    LOG_FD);
	sandbox_enter(0);
	return send_kept(argv[3]);
}
