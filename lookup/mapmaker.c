/*
 * makemap, as smtpctl runs it after giving up its group: makes a Berkeley DB file of a table's text,
 * read as a table that is a file is. The new file takes the old one's place at once, so that nobody
 * ever sees half of it. See makemap(8).
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/log.h"
#include "common/store.h"
#include "lookup/table_file.h"

enum map_type {
	MAP_PLAIN,
	MAP_ALIASES,
	MAP_SET,
};

struct order {
	enum map_type type;
	bool hashed;
	const char *source;
	struct file_state state; /* of the source */
	char target[PATH_MAX];
	char fresh[PATH_MAX + 8]; /* what becomes the target */
	struct store_map *map;
	size_t entries;
	bool failed;
};

static int
usage(void)
{
	fprintf(
	    stderr, "usage: makemap [-U] [-d hash|btree] [-o FILE] [-t plain|aliases|set] FILE\n");
	return EX_USAGE;
}

static void
add_entry(void *arg, size_t line, const char *key, const char *value)
{
	struct order *order = arg;
	char normal[TABLE_KEY_MAX];

	if (order->failed)
		return;
	if (!table_key_normalise(key, normal, sizeof(normal))) {
		log_error("%s:%zu: the key is too long", order->source, line);
		order->failed = true;
		return;
	}
	switch (store_map_put(order->map, normal, order->type == MAP_SET ? "<set>" : value)) {
	case STORE_OK:
		order->entries++;
		break;
	case STORE_EXISTS:
		log_warning("%s:%zu: the key \"%s\" is there already; its first line counts",
		    order->source, line, key);
		break;
	case STORE_NOT_FOUND:
	case STORE_ERROR:
		order->failed = true;
		break;
	}
}

/* Who may read the text, which may hold passwords, may read what is made of it. */
static bool
let_the_same_read(int fd, const struct order *order)
{
	struct stat text, made;
	mode_t mode;

	if (stat(order->source, &text) != 0 || fstat(fd, &made) != 0)
		return false;
	if (text.st_dev != order->state.device || text.st_ino != order->state.inode) {
		errno = ESTALE; /* another took the place of what was read */
		return false;
	}
	mode = S_IRUSR | S_IWUSR | (text.st_mode & (S_IRGRP | S_IROTH));
	/* Only root may give it away; another keeps it from a group that isn't the text's. */
	if ((text.st_uid != made.st_uid && fchown(fd, text.st_uid, text.st_gid) != 0) ||
	    (text.st_gid != made.st_gid && fchown(fd, (uid_t)-1, text.st_gid) != 0))
		mode &= ~(mode_t)S_IRGRP;
	return fchmod(fd, mode) == 0;
}

/* On stable storage under its name. False with errno set. */
static bool
put_in_place(const struct order *order, int made)
{
	char folder[PATH_MAX];
	char *slash;
	bool good;
	int fd;

	if (!let_the_same_read(made, order) || fsync(made) != 0 ||
	    rename(order->fresh, order->target) != 0)
		return false;
	snprintf(folder, sizeof(folder), "%s", order->target);
	slash = strrchr(folder, '/');
	if (slash == NULL)
		snprintf(folder, sizeof(folder), ".");
	else
		slash[slash == folder ? 1 : 0] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	good = fd != -1 && fsync(fd) == 0;
	if (fd != -1)
		close(fd);
	return good;
}

static int
make_map(struct order *order)
{
	size_t length;
	char *text = table_file_read(order->source, &length, &order->state);
	char opened[32];
	int fd;

	if (text == NULL)
		return EX_NOINPUT;
	snprintf(order->fresh, sizeof(order->fresh), "%s.XXXXXX", order->target);
	fd = mkstemp(order->fresh);
	if (fd == -1) {
		log_error("%s: %s", order->fresh, strerror(errno));
		free(text);
		return EX_CANTCREAT;
	}
	/* By its descriptor: who may write in the folder could put another file under the name. */
	snprintf(opened, sizeof(opened), "/proc/self/fd/%d", fd);
	order->map = store_map_make(opened, order->hashed);
	order->failed = order->map == NULL ||
	    !table_text_each(order->source, text, length,
	        order->type == MAP_ALIASES ? TABLE_USE_TARGETS : 0, add_entry, order) ||
	    order->failed;
	free(text);
	if (order->map != NULL)
		order->failed = !store_map_finish(order->map) || order->failed;
	store_map_close(order->map);
	if (!order->failed && put_in_place(order, fd)) {
		close(fd);
		printf("%s: %zu %s\n", order->target, order->entries,
		    order->entries == 1 ? "entry" : "entries");
		return EX_OK;
	}
	if (!order->failed)
		log_error("%s: %s", order->target, strerror(errno));
	close(fd);
	(void)unlink(order->fresh);
	return order->failed ? EX_DATAERR : EX_CANTCREAT;
}

static bool
show_entry(const char *key, const void *value, size_t length, void *arg)
{
	(void)arg;
	printf("%s\t%.*s\n", key, (int)length, (const char *)value);
	return true;
}

static int
show_map(const char *path)
{
	struct store_map *map = store_map_open(path);
	enum store_result result;

	if (map == NULL)
		return EX_NOINPUT;
	result = store_map_each(map, show_entry, NULL);
	store_map_close(map);
	return result == STORE_OK && fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static bool
take_type(struct order *order, const char *word)
{
	static const char *const words[] = {
		[MAP_PLAIN] = "plain",
		[MAP_ALIASES] = "aliases",
		[MAP_SET] = "set",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i], word) == 0) {
			order->type = (enum map_type)i;
			return true;
		}
	return false;
}

int
main(int argc, char **argv)
{
	struct order order = { .type = MAP_PLAIN, .hashed = true };
	const char *target = NULL;
	bool shows = false;
	int option;

	log_open("makemap", LOG_TARGET_USER, STDERR_FILENO);
	while ((option = getopt(argc, argv, "Ud:o:t:")) != -1) {
		if (option == 'U')
			shows = true;
		else if (option == 'o')
			target = optarg;
		else if (option == 'd' &&
		    (strcmp(optarg, "hash") == 0 || strcmp(optarg, "btree") == 0))
			order.hashed = *optarg == 'h';
		else if (option != 't' || !take_type(&order, optarg))
			return usage();
	}
	if (argc - optind != 1)
		return usage();
	order.source = argv[optind];
	if (shows)
		return show_map(order.source);
	if (snprintf(order.target, sizeof(order.target), target == NULL ? "%s.db" : "%s",
	        target == NULL ? order.source : target) >= (int)sizeof(order.target)) {
		fprintf(stderr, "makemap: the path is too long\n");
		return EX_USAGE;
	}
	return make_map(&order);
}
