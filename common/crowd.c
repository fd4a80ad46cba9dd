/*
 * Counters in shared memory, without locks: each process writes only its own column of them and
 * adds up all columns to decide. A process that dies leaves its column behind, which its successor
 * clears.
 *
 * Addresses are not stored. An address counts in two slots, by two keyed hashes, and its number is
 * taken to be the smaller of the two: too high only when others share both slots. The key is
 * random, so nobody can choose addresses that share a victim's. As a process counts itself in
 * before it looks, two that are at the limit at once may both step back; never do both go over it.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/crowd.h"
#include "common/log.h"

#define PROCESSES_MAX 64
#define SLOTS         8192
#define ROWS          2
#define LOG_EVERY_MS  1000

enum kind {
	KIND_ADDRESS,
	KIND_NETWORK,
	KIND_COUNT
};

struct column {
	_Atomic uint32_t sessions;
	_Atomic uint16_t slots[KIND_COUNT][ROWS][SLOTS];
};

struct table {
	_Atomic uint64_t key;
	struct column columns[PROCESSES_MAX];
};

_Static_assert(sizeof(struct table) <= CROWD_BYTES, "the table has room in the shared memory");

struct crowd {
	struct table *table;
	struct column *own;
	unsigned processes;
	uint64_t key;
};

struct crowd *
crowd_new(int fd, unsigned instance, unsigned processes)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	void *memory = MAP_FAILED;
	uint64_t key = 0, none = 0;
	struct stat status;

	if (fd != -1) {
		if (fstat(fd, &status) == 0 &&
		    (status.st_size >= (off_t)sizeof(struct table) ||
		        ftruncate(fd, sizeof(struct table)) == 0))
			memory = mmap(
			    NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		(void)close(fd); /* the mapping stays */
	}
	if (memory == MAP_FAILED)
		memory = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (crowd == NULL || memory == MAP_FAILED) {
		free(crowd);
		return NULL;
	}
	crowd->table = memory;
	crowd->own = &crowd->table->columns[instance % PROCESSES_MAX];
	while (key == 0)
		arc4random_buf(&key, sizeof(key));
	/* Whoever comes first chooses the key for all. */
	if (atomic_compare_exchange_strong(&crowd->table->key, &none, key))
		none = key;
	crowd->key = none;
	memset((void *)crowd->own, 0, sizeof(*crowd->own));
	crowd_set_processes(crowd, processes);
	return crowd;
}

void
crowd_free(struct crowd *crowd)
{
	if (crowd == NULL)
		return;
	(void)munmap(crowd->table, sizeof(struct table));
	free(crowd);
}

void
crowd_set_processes(struct crowd *crowd, unsigned processes)
{
	crowd->processes = processes == 0 ? 1 : processes;
	if (crowd->processes > PROCESSES_MAX)
		crowd->processes = PROCESSES_MAX;
	/* This instance's own column always counts. */
	if ((size_t)(crowd->own - crowd->table->columns) >= crowd->processes)
		crowd->processes = (unsigned)(crowd->own - crowd->table->columns) + 1;
}

/* The finalizer of MurmurHash3: every bit of its input moves about half of its output's. */
static uint64_t
mix(uint64_t value)
{
	value ^= value >> 33;
	value *= 0xff51afd7ed558ccdULL;
	value ^= value >> 33;
	value *= 0xc4ceb9fe1a85ec53ULL;
	return value ^ value >> 33;
}

static void
find_slots(const struct crowd *crowd, enum kind kind, enum client_family family,
    const uint8_t *address, unsigned slots[ROWS])
{
	uint8_t prefix[16] = { 0 };
	uint64_t high, low, hash;
	size_t length;

	if (family == CLIENT_LOCAL)
		length = 4;
	else if (family == CLIENT_INET4)
		length = kind == KIND_ADDRESS ? 4 : 3;
	else
		length = kind == KIND_ADDRESS ? 8 : 6; /* a /64 is one customer's */
	memcpy(prefix, address, length);
	prefix[15] = (uint8_t)family;
	memcpy(&high, prefix, 8);
	memcpy(&low, prefix + 8, 8);
	hash = mix(mix(mix(high ^ crowd->key) + low) ^ (crowd->key + (uint64_t)kind));
	slots[0] = (unsigned)(hash % SLOTS);
	slots[1] = (unsigned)(hash >> 32) % SLOTS;
}

static uint64_t
count_at(const struct crowd *crowd, enum kind kind, const unsigned slots[ROWS])
{
	uint64_t first = 0, second = 0;
	unsigned i;

	for (i = 0; i < crowd->processes; i++) {
		first += atomic_load(&crowd->table->columns[i].slots[kind][0][slots[0]]);
		second += atomic_load(&crowd->table->columns[i].slots[kind][1][slots[1]]);
	}
	return first < second ? first : second;
}

static void
add(struct crowd *crowd, enum kind kind, const unsigned slots[ROWS], int change)
{
	unsigned row;

	for (row = 0; row < ROWS; row++)
		atomic_fetch_add(&crowd->own->slots[kind][row][slots[row]], (uint16_t)change);
}

static bool
enter_kind(struct crowd *crowd, enum kind kind, uint32_t limit, enum client_family family,
    const uint8_t *address)
{
	unsigned slots[ROWS];

	find_slots(crowd, kind, family, address, slots);
	add(crowd, kind, slots, 1);
	if (count_at(crowd, kind, slots) <= limit)
		return true;
	add(crowd, kind, slots, -1);
	return false;
}

static void
leave_kind(struct crowd *crowd, enum kind kind, enum client_family family, const uint8_t *address)
{
	unsigned slots[ROWS];

	find_slots(crowd, kind, family, address, slots);
	add(crowd, kind, slots, -1);
}

enum crowd_answer
crowd_enter(struct crowd *crowd, const struct limits_config *limits, enum client_family family,
    const uint8_t address[16])
{
	uint64_t sessions = 0;
	unsigned i;

	if (family == CLIENT_INET4 || family == CLIENT_INET6) {
		if (!enter_kind(crowd, KIND_ADDRESS, limits->sessions_per_address, family, address))
			return CROWD_ADDRESS_FULL;
		if (!enter_kind(
		        crowd, KIND_NETWORK, limits->sessions_per_network, family, address)) {
			leave_kind(crowd, KIND_ADDRESS, family, address);
			return CROWD_NETWORK_FULL;
		}
	}
	if (family == CLIENT_LOCAL &&
	    !enter_kind(crowd, KIND_ADDRESS, limits->sessions_per_address, family, address))
		return CROWD_USER_FULL;
	atomic_fetch_add(&crowd->own->sessions, 1);
	for (i = 0; i < crowd->processes; i++)
		sessions += atomic_load(&crowd->table->columns[i].sessions);
	if (sessions <= limits->sessions)
		return CROWD_ENTERED;
	crowd_leave(crowd, family, address);
	return CROWD_FULL;
}

void
crowd_leave(struct crowd *crowd, enum client_family family, const uint8_t address[16])
{
	atomic_fetch_sub(&crowd->own->sessions, 1);
	if (family == CLIENT_INET4 || family == CLIENT_INET6) {
		leave_kind(crowd, KIND_ADDRESS, family, address);
		leave_kind(crowd, KIND_NETWORK, family, address);
	} else if (family == CLIENT_LOCAL)
		leave_kind(crowd, KIND_ADDRESS, family, address);
}

const char *
crowd_words(enum crowd_answer answer)
{
	switch (answer) {
	case CROWD_ENTERED:
		break;
	case CROWD_FULL:
		return "too many sessions, try again later";
	case CROWD_ADDRESS_FULL:
		return "too many sessions from your address";
	case CROWD_NETWORK_FULL:
		return "too many sessions from your network";
	case CROWD_USER_FULL:
		return "too many sessions of yours";
	}
	return "";
}

void
crowd_log_refusal(struct crowd_log *log, const char *client, const char *words)
{
	int64_t now = clock_monotonic_ms();
	struct log_line line;

	if (log->has_logged && now - log->logged_ms < LOG_EVERY_MS) {
		log->unlogged++;
		return;
	}
	log_begin(&line, LOG_LEVEL_WARNING, log->event);
	log_text(&line, "address", client);
	log_text(&line, "reason", words);
	if (log->unlogged > 0)
		log_number(&line, "others", log->unlogged);
	log_end(&line);
	log->unlogged = 0;
	log->has_logged = true;
	log->logged_ms = now;
}
