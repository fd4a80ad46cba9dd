/*
 * A line for each: "UNTIL HASH ENVELOPE". The file is read whole when it is first asked for, and written
 * whole, to another one that is renamed over it.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "common/buf.h"
#include "common/log.h"
#include "common/read.h"
#include "common/write.h"
#include "deliver/script_memory.h"

#define FILE_NAME     "sieve/remembered"
#define FILE_NEW      "sieve/remembered.new"
#define LINE_SIZE_MAX 80

void
memory_init(struct script_memory *memory, int root)
{
	*memory = (struct script_memory){ .root = root };
}

void
memory_free(struct script_memory *memory)
{
	free(memory->entries);
	memory->entries = NULL;
}

static void
parse(struct script_memory *memory, const char *text)
{
	while (*text != '\0' && memory->count < MEMORY_MAX) {
		struct memory_entry *entry = &memory->entries[memory->count];
		size_t length = strcspn(text, "\n");
		char line[LINE_SIZE_MAX + 1];

		if (length <= LINE_SIZE_MAX) {
			memcpy(line, text, length);
			line[length] = '\0';
			memory->count += sscanf(line, "%" SCNd64 " %32[0-9a-f] %" SCNx64,
			                     &entry->until, entry->hash, &entry->envelope) == 3 &&
			    strlen(entry->hash) == MEMORY_HASH;
		}
		text += length + (text[length] == '\n');
	}
}

/* False without memory. */
static bool
load(struct script_memory *memory)
{
	const size_t most = MEMORY_MAX * (LINE_SIZE_MAX + 1);
	size_t length = 0;
	struct stat st;
	char *text;
	int fd;

	if (memory->is_loaded)
		return memory->entries != NULL;
	memory->is_loaded = true;
	memory->entries = calloc(MEMORY_MAX, sizeof(*memory->entries));
	text = malloc(most + 1);
	fd = openat(memory->root, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd != -1 && text != NULL && memory->entries != NULL && fstat(fd, &st) == 0 &&
	    S_ISREG(st.st_mode)) {
		ssize_t got = 1;

		while (length < most && got > 0) {
			got = read_some_at(fd, text + length, most - length, (off_t)length);
			length += got > 0 ? (size_t)got : 0;
		}
		text[length] = '\0';
		parse(memory, text);
	}
	if (fd != -1)
		close(fd);
	free(text);
	return memory->entries != NULL;
}

/* False: no hash could be made. */
static bool
make_hash(const char *kind, const char *handle, const char *id, char hash[MEMORY_HASH + 1])
{
	const char *const parts[] = { kind, handle, id };
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	unsigned length = 0;
	bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;

	for (size_t i = 0; good && i < 3; i++)
		good = EVP_DigestUpdate(context, parts[i], strlen(parts[i]) + 1) == 1;
	good = good && EVP_DigestFinal_ex(context, digest, &length) == 1;
	EVP_MD_CTX_free(context);
	for (size_t i = 0; good && i < MEMORY_HASH / 2; i++)
		snprintf(hash + 2 * i, 3, "%02x", digest[i]);
	return good;
}

static struct memory_entry *
find(struct script_memory *memory, const char *hash)
{
	for (size_t i = 0; i < memory->count; i++) {
		if (strcmp(memory->entries[i].hash, hash) == 0)
			return &memory->entries[i];
	}
	return NULL;
}

bool
memory_has(struct script_memory *memory, const char *kind, const char *handle, const char *id,
    int64_t now, uint64_t envelope)
{
	char hash[MEMORY_HASH + 1];
	const struct memory_entry *entry;

	if (!load(memory) || !make_hash(kind, handle, id, hash))
		return false;
	entry = find(memory, hash);
	return entry != NULL && entry->until > now && entry->envelope != envelope;
}

/* Those that are over go, and for lack of room the oldest. */
static void
make_room(struct script_memory *memory, int64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < memory->count; i++) {
		if (memory->entries[i].until > now)
			memory->entries[kept++] = memory->entries[i];
	}
	memory->count = kept;
	if (memory->count < MEMORY_MAX)
		return;
	memory->count = MEMORY_MAX - 1;
	memmove(memory->entries, memory->entries + 1, memory->count * sizeof(*memory->entries));
}

void
memory_add(struct script_memory *memory, const char *kind, const char *handle, const char *id,
    int64_t now, int64_t until, uint64_t envelope)
{
	struct memory_entry entry = { .until = until, .envelope = envelope }, *old;

	if (!load(memory) || !make_hash(kind, handle, id, entry.hash))
		return;
	old = find(memory, entry.hash);
	if (old != NULL)
		old->until = 0;
	make_room(memory, now);
	memory->entries[memory->count++] = entry;
	memory->is_changed = true;
}

void
memory_forget(struct script_memory *memory, uint64_t envelope)
{
	size_t kept = 0;

	for (size_t i = 0; i < memory->count; i++) {
		if (memory->entries[i].envelope != envelope)
			memory->entries[kept++] = memory->entries[i];
	}
	memory->is_changed |= kept < memory->count;
	memory->count = kept;
}

bool
memory_save(struct script_memory *memory, const char *path)
{
	struct buf text;
	bool good;
	int fd;

	if (!memory->is_changed)
		return true;
	memory->is_changed = false;
	buf_init(&text, MEMORY_MAX * (LINE_SIZE_MAX + 1));
	for (size_t i = 0; i < memory->count; i++)
		buf_printf(&text, "%" PRId64 " %s %016" PRIx64 "\n", memory->entries[i].until,
		    memory->entries[i].hash, memory->entries[i].envelope);
	(void)unlinkat(memory->root, FILE_NEW, 0);
	fd = openat(
	    memory->root, FILE_NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	/* Not synced: with the power some of it may go, which costs a second reply. */
	good = fd != -1 && buf_ok(&text) && write_all(fd, text.data, text.length) &&
	    renameat(memory->root, FILE_NEW, memory->root, FILE_NAME) == 0;
	if (!good) {
		log_warning("%s/%s can't be written: %m", path, FILE_NAME);
		(void)unlinkat(memory->root, FILE_NEW, 0);
	}
	if (fd != -1)
		close(fd);
	buf_free(&text);
	return good;
}
