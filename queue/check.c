/*
 * The offline tools read what recovery reads, by the same walk, and change nothing. The lock is
 * taken shared, so that none of this happens beside a running queue.
 */
#include <sys/stat.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/crc32c.h"
#include "common/log.h"
#include "queue/segment.h"
#include "queue/spool.h"

#include "queue/check.h"

struct check {
	struct spool spool;
	bool dump;
	const char *name; /* of the segment at hand */
	unsigned problems;
	unsigned segments;
	unsigned long records;
};

static void problem(struct check *, const char *file, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void
problem(struct check *check, const char *file, uint64_t offset, const char *format, ...)
{
	va_list arguments;

	printf("%s: %" PRIu64 ": ", file, offset);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	check->problems++;
}

/* Recorded addresses and replies hold no control characters; ESC sequences in UTF-8 neither. */
static void
print_address(const char *key, const struct address *address)
{
	char text[ADDRESS_TEXT_MAX + 1];

	address_format(address, text, sizeof(text));
	printf(" %s=<%s>", key, text);
}

static void
print_state(const struct state *state)
{
	char text[REPLY_TEXT_MAX + 32];

	printf(" envelope=%016" PRIx64 " change=%s target=%" PRIu64, state->envelope_id,
	    state_change_name(state->change), state->target);
	if (state->change != STATE_UPDATE)
		return;
	printf(" held=%d tries=%" PRIu32 " warned=%" PRIu32 " last_try=%" PRId64
	       " next_try=%" PRId64 " expires=%" PRId64,
	    state->held, state->tries, state->warned & WARNED_COUNT, state->last_try,
	    state->next_try, state->expires);
	if ((state->warned & WARNED_LIMIT) != 0)
		printf(" limit=%s", (state->warned & WARNED_LIMIT_TOLD) != 0 ? "told" : "untold");
	if (state->reply.code != 0) {
		reply_format(&state->reply, text, sizeof(text));
		printf(" reply=\"%s\"", text);
		if (*state->host != '\0')
			printf(" host=%s", state->host);
	}
}

/* A large message's file must be there with the size and checksum recorded. */
static void
check_file(struct check *check, const struct transaction *transaction)
{
	char name[32];
	uint8_t *data = malloc(65536);
	int fd = spool_large_open(&check->spool, transaction->message_id);
	uint64_t size = 0;
	ssize_t length = 0;
	uint32_t crc = 0;

	snprintf(name, sizeof(name), "large/%08" PRIx32, transaction->message_id);
	/* A message that is done has its record for a while, and no file. */
	while (fd != -1 && data != NULL && (length = read(fd, data, 65536)) > 0) {
		crc = crc32c(crc, data, (size_t)length);
		size += (uint64_t)length;
	}
	if (fd != -1 &&
	    (length < 0 || size != transaction->size || crc != transaction->body_crc32c))
		problem(check, name, size, "%s",
		    length < 0 ? strerror(errno) : "not the bytes that were recorded");
	if (fd != -1)
		close(fd);
	free(data);
}

static void
look_at_message(struct check *check, const struct record *record, const uint8_t *payload)
{
	struct message_head head;
	struct envelope envelope;
	struct state state;
	uint32_t warned, offset, count, i;
	char segment[SPOOL_NAME_MAX];

	snprintf(segment, sizeof(segment), "segments/%s", check->name);
	if (!message_decode(payload, record->length, &head)) {
		problem(check, segment, record->offset, "a message that can't be decoded");
		return;
	}
	if (check->dump) {
		printf(" message=%08" PRIx32 " size=%" PRIu64 "%s", head.transaction.message_id,
		    head.transaction.size, head.is_large ? " large" : "");
		print_address("from", &head.transaction.sender);
	}
	for (i = 0; i < head.envelope_count; i++) {
		if (!message_next_envelope(&head, &envelope, &warned, &offset)) {
			problem(
			    check, segment, record->offset, "an envelope that can't be decoded");
			return;
		}
		if (check->dump) {
			printf(" envelope=%016" PRIx64, envelope.id);
			print_address("to", &envelope.dest);
		}
	}
	count = message_effect_count(&head);
	for (i = 0; i < count && message_next_effect(&head, &state); i++) {
		if (check->dump)
			print_state(&state);
	}
	if (i != count || !buf_reader_done(&head.rest))
		problem(check, segment, record->offset, "effects that can't be decoded");
	else if (!head.is_large && head.transaction.size != record->length - head.length)
		problem(check, segment, record->offset, "not as long as it says");
	else if (!head.is_large && head.transaction.body_crc32c != 0 &&
	    crc32c(0, payload + head.length, record->length - head.length) !=
	        head.transaction.body_crc32c)
		problem(check, segment, record->offset, "not the bytes that were received");
	if (head.is_large && !check->dump)
		check_file(check, &head.transaction);
}

static void
look_at_record(void *arg, const struct record *record, const uint8_t *payload)
{
	static const char *const types[] = { "?", "message", "state", "void", "batch" };
	struct check *check = arg;
	struct void_range range;
	struct buf_reader reader;
	struct state state;
	struct batch_end end;
	bool ok = true;

	check->records++;
	if (check->dump)
		printf("%s %" PRIu32 " %s batch=%" PRIu64, check->name, record->offset,
		    types[record->type], record->batch);
	buf_reader_init(&reader, payload, record->length);
	switch (record->type) {
	case RECORD_MESSAGE:
		look_at_message(check, record, payload);
		break;
	case RECORD_STATE:
		ok = state_decode(&reader, &state) && buf_reader_done(&reader);
		if (ok && check->dump)
			print_state(&state);
		break;
	case RECORD_VOID:
		ok = void_decode(&reader, &range);
		if (ok && check->dump)
			printf(" segment=%" PRIu64 " from=%" PRIu32, range.sequence, range.offset);
		break;
	case RECORD_BATCH:
		ok = batch_end_decode(&reader, &end);
		if (ok && check->dump)
			printf(" from=%" PRIu32 " written=%" PRId64, end.start, end.wall);
		break;
	case RECORD_TYPE_END:
		break;
	}
	if (check->dump)
		putchar('\n');
	if (!ok)
		problem(check, check->name, record->offset, "a record that can't be decoded");
}

static void
look_at_damage(void *arg, uint32_t offset, uint32_t length, const char *why)
{
	struct check *check = arg;
	char segment[SPOOL_NAME_MAX];

	snprintf(segment, sizeof(segment), "segments/%s", check->name);
	problem(check, segment, offset, "%s, %" PRIu32 " bytes", why, length);
}

static void
look_at_segment(struct check *check, const uint8_t *data, uint32_t length)
{
	static const char *const uses[SEGMENT_USE_COUNT] = { "free", "first", "second",
		"first-done", "second-done" };
	struct segment_walk walk = { look_at_record, look_at_damage, check };
	struct segment_header header;
	char segment[SPOOL_NAME_MAX];
	uint32_t end;

	snprintf(segment, sizeof(segment), "segments/%s", check->name);
	switch (segment_header_decode(data, &header)) {
	case SEGMENT_HEADER_COPY:
		problem(check, segment, 0, "the first header is damaged, the second isn't");
		break;
	case SEGMENT_HEADER_NEWER:
		problem(check, segment, 0, "version %" PRIu32 " is newer than this program's %d",
		    header.version, SEGMENT_VERSION);
		return;
	case SEGMENT_HEADER_BLANK:
		memset(&header, 0, sizeof(header));
		break;
	case SEGMENT_HEADER_BAD:
		header.use = SEGMENT_FIRST;
		problem(check, segment, 0, "both headers are damaged");
		if (!segment_guess_key(data, length, &header.key))
			return;
		break;
	case SEGMENT_HEADER_OK:
		break;
	}
	if (check->dump)
		printf("%s 0 segment use=%s sequence=%" PRIu64 "\n", check->name, uses[header.use],
		    header.key.sequence);
	if (header.use == SEGMENT_FREE)
		return;
	if (header.size > length)
		problem(
		    check, segment, length, "cut off: it was %" PRIu64 " bytes long", header.size);
	end = segment_walk(data, length, &header.key, &walk);
	if (check->dump)
		printf("%s %" PRIu32 " end\n", check->name, end);
}

static void
read_segment(struct check *check, const char *name)
{
	char file[SPOOL_NAME_MAX];
	struct stat status;
	struct segment *segment;
	uint8_t *data;
	int fd;

	snprintf(file, sizeof(file), "segments/%.40s", name);
	fd = strlen(name) == 8 && strspn(name, "0123456789") == 8
	    ? openat(check->spool.segments_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
	    : -1;
	if (fd == -1 || fstat(fd, &status) == -1 || !S_ISREG(status.st_mode) ||
	    status.st_size > SEGMENT_SIZE_MAX) {
		problem(check, file, 0, "not a segment");
		if (fd != -1)
			close(fd);
		return;
	}
	segment = segment_new(name, fd);
	data = calloc(1, (size_t)status.st_size + SEGMENT_DATA);
	if (segment == NULL || data == NULL)
		fatalx("out of memory");
	check->name = name;
	check->segments++;
	if (segment_read(segment, data, (size_t)status.st_size, 0))
		look_at_segment(check, data, (uint32_t)status.st_size);
	else
		problem(check, file, 0, "can't be read: %s", strerror(errno));
	free(data);
	segment_free(segment);
}

static int
compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
run(const char *directory, bool dump)
{
	struct check check = { .dump = dump };
	struct dirent **entries;
	int count;

	log_open("smtpctl", LOG_TARGET_USER, STDERR_FILENO);
	switch (spool_open_read(&check.spool, directory)) {
	case SPOOL_OK:
		break;
	case SPOOL_BUSY:
		log_error(
		    "a server is at work on %s: stop it first, by \"smtpctl stop\"", directory);
		return EX_TEMPFAIL;
	case SPOOL_ERROR:
		return EX_NOINPUT;
	}
	count = scandirat(check.spool.fd, "segments", &entries, NULL, compare_names);
	if (count == -1) {
		log_error("can't read %s/segments: %s", directory, strerror(errno));
		spool_close(&check.spool);
		return EX_NOINPUT;
	}
	for (int i = 0; i < count; i++) {
		if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
			read_segment(&check, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	if (!dump)
		printf("%u segments, %lu records, %u problems\n", check.segments, check.records,
		    check.problems);
	spool_close(&check.spool);
	if (fflush(stdout) != 0)
		return EX_IOERR;
	return check.problems == 0 ? EX_OK : EX_DATAERR;
}

int
check_spool(const char *directory)
{
	return run(directory, false);
}

int
check_dump(const char *directory)
{
	return run(directory, true);
}
