/*
 * The Linux interface itself: the C library has no functions for it. Each version of the kernel's knows
 * more rights; all that it knows are taken away, and given back below the directories that are needed.
 */
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <linux/landlock.h>

#include "common/log.h"
#include "common/sanitizer.h"
#include "common/landlock.h"

#define VERSION_NEEDED 2 /* with it, rename() between directories can be allowed */
#define RIGHT_REFER    (1ULL << 13)
#define RIGHT_TRUNCATE (1ULL << 14) /* version 3 */
#define RIGHT_IOCTL    (1ULL << 15) /* version 5: of devices */
#define RIGHTS_BEFORE  (RIGHT_REFER - 1)
#define RIGHTS_TCP     3ULL /* version 4: bind and connect */
#define SCOPES         3ULL /* version 6: abstract Unix sockets, signals */

/* As version 6 has it; older headers know only its beginning. */
struct ruleset {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

static bool
allow(int rules, int directory, uint64_t rights)
{
	struct landlock_path_beneath_attr beneath = { .allowed_access = rights,
		.parent_fd = directory };

	return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0;
}

/* iconv() loads a charset's module when it is first met. */
static bool
allow_charsets(int rules)
{
	static const char *const patterns[] = { "/usr/lib/*/gconv", "/usr/lib/gconv",
		"/usr/lib64/gconv" };
	bool done = true;
	size_t i, j;
	glob_t found;
	int fd;

	for (i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		if (glob(patterns[i], GLOB_NOSORT, NULL, &found) != 0)
			continue;
		for (j = 0; j < found.gl_pathc; j++) {
			fd = open(found.gl_pathv[j], O_PATH | O_DIRECTORY | O_CLOEXEC);
			if (fd == -1)
				continue;
			done = done &&
			    allow(rules, fd,
			        LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
			            LANDLOCK_ACCESS_FS_EXECUTE);
			(void)close(fd);
		}
		globfree(&found);
	}
	return done;
}

static bool
allow_reading(int rules)
{
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool done;

	if (fd == -1)
		return false;
	done = allow(rules, fd, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR);
	(void)close(fd);
	return done;
}

/* All that this version knows, but what is needed; the size is how much of it the kernel takes. */
static size_t
take_away(struct ruleset *ruleset, long version, unsigned needs)
{
	*ruleset = (struct ruleset){ .handled_access_fs = RIGHTS_BEFORE | RIGHT_REFER };
	if (version >= 3)
		ruleset->handled_access_fs |= RIGHT_TRUNCATE;
	if (version < 4)
		return offsetof(struct ruleset, handled_access_net);
	if ((needs & LANDLOCK_TCP) == 0)
		ruleset->handled_access_net = RIGHTS_TCP;
	if (version >= 5)
		ruleset->handled_access_fs |= RIGHT_IOCTL;
	if (version < 6)
		return offsetof(struct ruleset, scoped);
	ruleset->scoped = SCOPES;
	return sizeof(*ruleset);
}

/* 0 where a sanitizer is built in: it looks for leaks by way of /proc. */
static long
kernel_version(void)
{
#if defined(SANITIZED)
	return 0;
#else
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
#endif
}

bool
landlock_confine(unsigned needs, int below)
{
	struct ruleset ruleset;
	long version = kernel_version();
	size_t size;
	int rules;

	if (version < VERSION_NEEDED) {
		log_debug("not confined by Landlock: the kernel has it not, or an old one");
		return false;
	}
	size = take_away(&ruleset, version, needs);
	rules = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
	if (rules == -1)
		fatal("landlock");
	if (below != -1 &&
	    !allow(rules, below, ruleset.handled_access_fs & ~LANDLOCK_ACCESS_FS_EXECUTE))
		fatal("landlock");
	if (((needs & LANDLOCK_CHARSETS) && !allow_charsets(rules)) ||
	    ((needs & LANDLOCK_READ) && !allow_reading(rules)) ||
	    syscall(SYS_landlock_restrict_self, rules, 0) != 0)
		fatal("landlock");
	(void)close(rules);
	log_debug("confined by Landlock");
	return true;
}
