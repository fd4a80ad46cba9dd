/*
 * Files of keys and certificates go into memory files, sealed, as they are: root parses none of
 * them. They are kept, so that a process that starts again gets what the others have, whatever has
 * become of the files meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "smtpd/supervisor_tls.h"

static char *
copy(const char *text)
{
	char *string = strdup(text);

	if (string == NULL)
		fatal("tls");
	return string;
}

static void
pair_clear(struct tls_pair *pair)
{
	free(pair->name);
	free(pair->certificate);
	free(pair->key);
	if (pair->chain != -1)
		close(pair->chain);
	if (pair->both != -1)
		close(pair->both);
}

void
tls_set_free(struct tls_set *set)
{
	size_t i;

	if (set == NULL)
		return;
	for (i = 0; i < set->pair_count; i++)
		pair_clear(&set->pairs[i]);
	for (i = 0; i < set->authorities_count; i++) {
		free(set->authorities[i].path);
		if (set->authorities[i].fd != -1)
			close(set->authorities[i].fd);
	}
	free(set->pairs);
	free(set->authorities);
	free(set);
}

static struct file_stamp
stamp_of(const struct stat *status)
{
	struct file_stamp stamp;

	memset(&stamp, 0, sizeof(stamp));
	stamp.device = status->st_dev;
	stamp.inode = status->st_ino;
	stamp.size = status->st_size;
	stamp.modified = status->st_mtim;
	stamp.changed = status->st_ctim;
	return stamp;
}

static bool
same_stamp(const struct file_stamp *a, const struct file_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	    a->modified.tv_sec == b->modified.tv_sec &&
	    a->modified.tv_nsec == b->modified.tv_nsec && a->changed.tv_sec == b->changed.tv_sec &&
	    a->changed.tv_nsec == b->changed.tv_nsec;
}

static bool
is_unchanged(const char *path, const struct file_stamp *stamp)
{
	struct file_stamp now;
	struct stat status;

	if (stat(path, &status) != 0)
		memset(&now, 0, sizeof(now));
	else
		now = stamp_of(&status);
	return same_stamp(&now, stamp);
}

/* A private key must be nobody's but ours. */
static bool
is_private(const char *path, const struct stat *status, char *why, size_t size)
{
	if (status->st_uid != 0 && status->st_uid != geteuid())
		snprintf(why, size,
		    "the private key %s belongs to user %u: \"chown root\" it, or whoever smtpd is "
		    "started as",
		    path, status->st_uid);
	else if ((status->st_mode & 077) != 0)
		snprintf(why, size,
		    "the private key %s may be read or changed by others (mode %03o): \"chmod "
		    "600\" it",
		    path, status->st_mode & 0777);
	else
		return true;
	return false;
}

/* A FIFO in a file's place isn't waited for. */
uint8_t *
tls_read_file(const char *path, bool private, size_t limit, struct file_stamp *stamp,
    size_t *length, char *why, size_t size)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat status;
	uint8_t *data = NULL;

	memset(stamp, 0, sizeof(*stamp));
	if (fd == -1 || fstat(fd, &status) != 0) {
		snprintf(why, size, "%s: %s", path, strerror(errno));
		if (fd != -1)
			close(fd);
		return NULL;
	}
	*stamp = stamp_of(&status);
	if (!S_ISREG(status.st_mode))
		snprintf(why, size, "%s is no file", path);
	else if (!private || is_private(path, &status, why, size)) {
		data = memory_file_read(fd, limit, length);
		if (data == NULL)
			snprintf(why, size, "%s can't be read, or is longer than %zu bytes", path,
			    limit);
	}
	close(fd);
	return data;
}

/* Key and certificate in one, so that the keeper checks them together. */
static void
fill_pair(struct tls_pair *pair, const uint8_t *key, const uint8_t *certificate)
{
	size_t length = (size_t)pair->key_length + pair->certificate_length;
	uint8_t *both = malloc(length + 1);

	if (both == NULL)
		fatal("tls");
	memcpy(both, key, pair->key_length);
	memcpy(both + pair->key_length, certificate, pair->certificate_length);
	pair->both = memory_file_make("key", both, length);
	pair->chain = memory_file_make("certificate", certificate, pair->certificate_length);
	explicit_bzero(both, length);
	free(both);
}

static bool
read_pair(struct tls_pair *pair, char *why, size_t size)
{
	size_t key_length = 0, certificate_length = 0;
	uint8_t *certificate, *key;
	char reason[400];

	/* Both are looked at in any case: each fault is told once, not at each look. */
	key =
	    tls_read_file(pair->key, true, PKI_FILE_MAX, &pair->key_stamp, &key_length, why, size);
	certificate = tls_read_file(pair->certificate, false, PKI_FILE_MAX,
	    &pair->certificate_stamp, &certificate_length, reason, sizeof(reason));
	if (certificate == NULL && key != NULL)
		strlcpy(why, reason, size);
	if (key != NULL && certificate != NULL) {
		pair->key_length = (uint32_t)key_length;
		pair->certificate_length = (uint32_t)certificate_length;
		fill_pair(pair, key, certificate);
		if (pair->both == -1 || pair->chain == -1)
			snprintf(why, size, "no memory file for pki %s: %s", pair->name,
			    strerror(errno));
	}
	if (key != NULL)
		explicit_bzero(key, key_length);
	free(key);
	free(certificate);
	pair->is_new = true;
	return pair->both != -1 && pair->chain != -1;
}

const struct tls_pair *
tls_set_find(const struct tls_set *set, const char *name)
{
	size_t i;

	for (i = 0; set != NULL && i < set->pair_count; i++)
		if (strcmp(set->pairs[i].name, name) == 0)
			return &set->pairs[i];
	return NULL;
}

/* The content of the old one. Its stamps are those of the new: what is wrong there is told once. */
static bool
use_old(struct tls_pair *pair, const struct tls_pair *old)
{
	int chain = fcntl(old->chain, F_DUPFD_CLOEXEC, 3),
	    both = fcntl(old->both, F_DUPFD_CLOEXEC, 3);

	if (chain == -1 || both == -1) {
		if (chain != -1)
			close(chain);
		return false;
	}
	if (pair->chain != -1)
		close(pair->chain);
	if (pair->both != -1)
		close(pair->both);
	pair->chain = chain;
	pair->both = both;
	pair->key_length = old->key_length;
	pair->certificate_length = old->certificate_length;
	pair->is_new = false;
	return true;
}

bool
tls_set_put_back(struct tls_set *set, size_t index, const struct tls_set *old)
{
	const struct tls_pair *pair = tls_set_find(old, set->pairs[index].name);

	return pair != NULL && use_old(&set->pairs[index], pair);
}

static bool
load_pair(struct tls_pair *pair, const struct pki_config *config, const struct tls_set *set,
    bool lenient, char *why, size_t size)
{
	const struct tls_pair *old = tls_set_find(set, config->name);

	pair->name = copy(config->name);
	pair->certificate = copy(config->certificate);
	pair->key = copy(config->key);
	pair->chain = pair->both = -1;
	if (old != NULL && strcmp(old->certificate, pair->certificate) == 0 &&
	    strcmp(old->key, pair->key) == 0 &&
	    is_unchanged(pair->certificate, &old->certificate_stamp) &&
	    is_unchanged(pair->key, &old->key_stamp) && lenient) {
		pair->certificate_stamp = old->certificate_stamp;
		pair->key_stamp = old->key_stamp;
		return use_old(pair, old);
	}
	if (read_pair(pair, why, size))
		return true;
	if (!lenient || old == NULL)
		return false;
	log_error("pki %s stays as it was: %s", pair->name, why);
	return use_old(pair, old);
}

bool
tls_verifies_clients_by(const struct config *config, const char *ca)
{
	size_t i;

	for (i = 0; i < config->listener_count; i++)
		if (config->listeners[i].tls_verify && strcmp(config->listeners[i].ca, ca) == 0)
			return true;
	return false;
}

/* The system's authorities are read only for those who need them. */
static bool
wants_default(const struct config *config)
{
	size_t i;

	if (tls_verifies_clients_by(config, ""))
		return true;
	for (i = 0; i < config->action_count; i++)
		if (config->actions[i].method == ACTION_RELAY)
			return true;
	return false;
}

static bool
load_authorities(struct tls_authorities *authorities, const char *path,
    const struct tls_authorities *old, bool lenient, char *why, size_t size)
{
	size_t length;
	uint8_t *data;

	authorities->path = copy(path);
	authorities->fd = -1;
	data = tls_read_file(path, false, CA_FILE_MAX, &authorities->stamp, &length, why, size);
	if (data != NULL) {
		authorities->fd = memory_file_make("authorities", data, length);
		free(data);
		authorities->is_new = old == NULL || !same_stamp(&old->stamp, &authorities->stamp);
		if (authorities->fd != -1)
			return true;
		snprintf(why, size, "no memory file for %s: %s", path, strerror(errno));
	}
	if (!lenient || old == NULL || old->fd == -1)
		return false;
	if (!same_stamp(&old->stamp, &authorities->stamp))
		log_error("the authorities stay as they were: %s", why);
	authorities->fd = fcntl(old->fd, F_DUPFD_CLOEXEC, 3);
	return authorities->fd != -1;
}

static const struct tls_authorities *
find_authorities(const struct tls_set *set, const char *path)
{
	size_t i;

	for (i = 0; set != NULL && i < set->authorities_count; i++)
		if (set->authorities[i].path != NULL && strcmp(set->authorities[i].path, path) == 0)
			return &set->authorities[i];
	return NULL;
}

/* The default ones may be missing on a small system: only who verifies by them needs them. */
static void
load_default(struct tls_set *set, const struct config *config, const struct tls_set *old)
{
	struct tls_authorities *authorities = &set->authorities[config->ca_count];
	char why[512];

	if (!wants_default(config)) {
		authorities->fd = -1;
		return;
	}
	if (!load_authorities(authorities, config->default_ca,
	        find_authorities(old, config->default_ca), true, why, sizeof(why)) &&
	    find_authorities(old, config->default_ca) == NULL)
		log_warning("no certificate can be verified by the system's authorities: %s", why);
}

struct tls_set *
tls_set_load(
    const struct config *config, const struct tls_set *old, bool lenient, char *why, size_t size)
{
	struct tls_set *set = calloc(1, sizeof(*set));
	char reason[400];
	bool good = true;
	size_t i;

	if (set == NULL)
		fatal("tls");
	set->pairs = calloc(config->pki_count + 1, sizeof(*set->pairs));
	set->authorities = calloc(config->ca_count + 1, sizeof(*set->authorities));
	if (set->pairs == NULL || set->authorities == NULL)
		fatal("tls");
	for (i = 0; i < config->pki_count && good; i++) {
		good = load_pair(
		    &set->pairs[i], &config->pkis[i], old, lenient, reason, sizeof(reason));
		set->pair_count++;
		if (!good)
			snprintf(why, size, "pki %s: %s", config->pkis[i].name, reason);
	}
	for (i = 0; i < config->ca_count && good; i++) {
		good = load_authorities(&set->authorities[i], config->cas[i].certificates,
		    find_authorities(old, config->cas[i].certificates), lenient, reason,
		    sizeof(reason));
		set->authorities_count++;
		if (!good)
			snprintf(why, size, "ca %s: %s", config->cas[i].name, reason);
	}
	if (!good) {
		tls_set_free(set);
		return NULL;
	}
	set->authorities_count++;
	load_default(set, config, old);
	return set;
}

bool
tls_set_has_changed(const struct tls_set *set)
{
	size_t i;

	for (i = 0; i < set->pair_count; i++)
		if (!is_unchanged(set->pairs[i].certificate, &set->pairs[i].certificate_stamp) ||
		    !is_unchanged(set->pairs[i].key, &set->pairs[i].key_stamp))
			return true;
	for (i = 0; i < set->authorities_count; i++)
		if (set->authorities[i].path != NULL &&
		    !is_unchanged(set->authorities[i].path, &set->authorities[i].stamp))
			return true;
	return false;
}
