/*
 * One table. A key is a day of 8 digits, a blank and the domain; with nothing behind it its value is
 * where reports go and the number of kinds, with a blank and 16 digits behind it one kind and its
 * sessions. The digits are a hash of the kind without its number: the same again finds its sum.
 *
 * Results are kept in memory for some seconds and then added in one transaction, so that their
 * number makes no syncs.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <openssl/evp.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/store.h"
#include "lookup/tls_sums.h"

#define RECORD_VERSION 1 /* of a sum */
#define DOMAIN_VERSION 2
#define DOMAIN_UNTRIED 1 /* from before there were times of tries */
#define RECORD_MAX     16384
#define RETRY_MS       60000
#define WRITE_MS       5000 /* after the first of those that wait */
#define WAITING_MAX    200
#define DAY            86400
#define KEY_MAX        (TLS_SUMS_KEY_MAX + 20)
#define DROP_MAX       1000

struct waiting {
	int64_t day;
	struct ipc_tls_result result;
};

struct tls_sums {
	char *directory;
	struct store *store; /* NULL while it can't be used */
	struct store_table *table;
	int64_t retry_at_ms;
	struct waiting *waiting; /* WAITING_MAX of them */
	size_t waiting_count;
	int64_t write_at_ms;
	int64_t counted_day; /* whose domains are counted here */
	size_t domain_count;
	uint64_t left_out;
};

static bool
give_up(struct tls_sums *sums)
{
	store_close(sums->store);
	sums->store = NULL;
	sums->retry_at_ms = clock_monotonic_ms() + RETRY_MS;
	log_error(
	    "the sums in %s can't be used: TLS reports will lack what comes now", sums->directory);
	return false;
}

static bool
is_open(struct tls_sums *sums)
{
	if (sums->store != NULL)
		return true;
	if (clock_monotonic_ms() < sums->retry_at_ms)
		return false;
	sums->store = store_open(sums->directory);
	sums->counted_day = -1;
	if (sums->store != NULL)
		sums->table = store_table_open(sums->store, "sums");
	return sums->store != NULL && sums->table != NULL ? true : give_up(sums);
}

struct tls_sums *
tls_sums_new(const char *directory)
{
	struct tls_sums *sums = calloc(1, sizeof(*sums));

	if (sums == NULL || (sums->directory = strdup(directory)) == NULL ||
	    (sums->waiting = calloc(WAITING_MAX, sizeof(*sums->waiting))) == NULL)
		fatalx("out of memory");
	return sums;
}

/* Keys and records */

static void
make_key(char key[KEY_MAX + 1], int64_t day, const char *domain)
{
	snprintf(key, KEY_MAX + 1, "%08" PRId64 " %s", day, domain);
}

/* A domain's own record has one blank in its key. */
static bool
is_domain_key(const char *key)
{
	const char *blank = strchr(key, ' ');

	return blank != NULL && strchr(blank + 1, ' ') == NULL;
}

static bool
make_kind_key(char key[KEY_MAX + 1], const struct waiting *one)
{
	static struct ipc_tls_result kind;
	unsigned char digest[EVP_MAX_MD_SIZE];
	struct buf buf;
	size_t length;
	bool good;

	kind = one->result;
	kind.sessions = 0;
	*kind.rua = '\0';
	buf_init(&buf, RECORD_MAX);
	ipc_tls_result_encode(&buf, &kind);
	good =
	    buf_ok(&buf) && EVP_Digest(buf.data, buf.length, digest, NULL, EVP_sha256(), NULL) == 1;
	buf_free(&buf);
	make_key(key, one->day, one->result.domain);
	length = strlen(key);
	key[length++] = ' ';
	for (size_t i = 0; i < 8 && good; i++, length += 2)
		snprintf(key + length, KEY_MAX + 1 - length, "%02x", digest[i]);
	return good;
}

struct domain_record {
	uint32_t kinds;
	char rua[REPORT_RUA_MAX + 1];
	int64_t first_tried, next_try; /* 0: it wasn't */
};

static bool
decode_domain(const void *data, size_t length, struct domain_record *record)
{
	struct buf_reader reader;
	uint8_t version;

	buf_reader_init(&reader, data, length);
	memset(record, 0, sizeof(*record));
	version = buf_get_u8(&reader);
	if (version != DOMAIN_VERSION && version != DOMAIN_UNTRIED)
		return false;
	record->kinds = buf_get_u32(&reader);
	buf_get_string(&reader, record->rua, sizeof(record->rua));
	if (version == DOMAIN_VERSION) {
		record->first_tried = (int64_t)buf_get_u64(&reader);
		record->next_try = (int64_t)buf_get_u64(&reader);
	}
	return buf_reader_done(&reader);
}

static bool
decode_sum(const void *data, size_t length, struct tls_sum *sum)
{
	struct buf_reader reader;

	buf_reader_init(&reader, data, length);
	if (buf_get_u8(&reader) != RECORD_VERSION)
		return false;
	sum->sessions = buf_get_u64(&reader);
	return ipc_tls_result_decode(&reader, &sum->result);
}

/* Adding */

static bool
count_domain(const char *key, const void *value, size_t length, void *arg)
{
	size_t *count = arg;

	(void)value;
	(void)length;
	*count += is_domain_key(key);
	return true;
}

/* Before a transaction: a walk can't be in one. */
static bool
count_domains(struct tls_sums *sums, int64_t day)
{
	char prefix[KEY_MAX + 1];

	if (sums->counted_day == day)
		return true;
	make_key(prefix, day, "");
	sums->domain_count = 0;
	if (store_each(sums->table, prefix, count_domain, &sums->domain_count) != STORE_OK)
		return false;
	sums->counted_day = day;
	return true;
}

static bool
put_domain(struct tls_sums *sums, struct store_transaction *transaction, const char *key,
    const struct domain_record *record)
{
	struct buf value;
	bool good;

	buf_init(&value, RECORD_MAX);
	buf_add_u8(&value, DOMAIN_VERSION);
	buf_add_u32(&value, record->kinds);
	buf_add_string(&value, record->rua);
	buf_add_u64(&value, (uint64_t)record->first_tried);
	buf_add_u64(&value, (uint64_t)record->next_try);
	good = buf_ok(&value) &&
	    store_put(sums->table, transaction, key, value.data, value.length, true) == STORE_OK;
	buf_free(&value);
	return good;
}

static bool
put_sum(struct tls_sums *sums, struct store_transaction *transaction, const char *key,
    const struct tls_sum *sum)
{
	struct buf value;
	bool good;

	buf_init(&value, RECORD_MAX);
	buf_add_u8(&value, RECORD_VERSION);
	buf_add_u64(&value, sum->sessions);
	ipc_tls_result_encode(&value, &sum->result);
	good = buf_ok(&value) &&
	    store_put(sums->table, transaction, key, value.data, value.length, true) == STORE_OK;
	buf_free(&value);
	return good;
}

/* Without particulars: of these there are few. */
static void
make_general(struct ipc_tls_result *result)
{
	*result->strings = *result->patterns = '\0';
	*result->mx = *result->sending = *result->receiving = *result->reason = '\0';
	strlcpy(result->policy_domain, result->domain, sizeof(result->policy_domain));
}

/* False when the store fails; what isn't counted because there is too much is no failure. */
static bool
add_one(struct tls_sums *sums, struct store_transaction *transaction, struct waiting *one)
{
	static struct domain_record record;
	static struct tls_sum sum;
	char domain_key[KEY_MAX + 1], key[KEY_MAX + 1];
	enum store_result found;
	bool is_new_domain, is_changed;
	struct buf value;

	make_key(domain_key, one->day, one->result.domain);
	buf_init(&value, RECORD_MAX);
	found = store_get(sums->table, transaction, domain_key, &value);
	if (found == STORE_ERROR)
		goto fail;
	is_new_domain = found != STORE_OK || !decode_domain(value.data, value.length, &record);
	if (is_new_domain && one->day == sums->counted_day &&
	    sums->domain_count >= TLS_SUMS_DOMAINS_MAX) {
		sums->left_out += one->result.sessions;
		buf_free(&value);
		return true;
	}
	if (is_new_domain)
		memset(&record, 0, sizeof(record));
	is_changed = is_new_domain || strcmp(record.rua, one->result.rua) != 0;
	strlcpy(record.rua, one->result.rua, sizeof(record.rua));
	if (!make_kind_key(key, one))
		goto fail;
	found = store_get(sums->table, transaction, key, &value);
	if (found == STORE_NOT_FOUND && record.kinds >= TLS_SUMS_KINDS_MAX) {
		make_general(&one->result);
		if (!make_kind_key(key, one))
			goto fail;
		found = store_get(sums->table, transaction, key, &value);
	}
	if (found == STORE_ERROR)
		goto fail;
	if (found != STORE_OK || !decode_sum(value.data, value.length, &sum)) {
		sum.sessions = 0;
		record.kinds++;
		is_changed = true;
	}
	sum.sessions += one->result.sessions;
	sum.result = one->result;
	sum.result.sessions = 1; /* the number is `sessions` */
	if ((is_changed && !put_domain(sums, transaction, domain_key, &record)) ||
	    !put_sum(sums, transaction, key, &sum))
		goto fail;
	sums->domain_count += is_new_domain && one->day == sums->counted_day;
	buf_free(&value);
	return true;
fail:
	buf_free(&value);
	return false;
}

void
tls_sums_write(struct tls_sums *sums)
{
	struct store_transaction *transaction;
	bool good = true;

	sums->write_at_ms = clock_monotonic_ms() + WRITE_MS;
	if (sums->waiting_count == 0 || !is_open(sums))
		return;
	if (!count_domains(sums, sums->waiting[sums->waiting_count - 1].day)) {
		(void)give_up(sums);
		return;
	}
	transaction = store_begin(sums->store);
	if (transaction == NULL)
		return; /* the log says why; it may do later */
	for (size_t i = 0; i < sums->waiting_count && good; i++)
		good = add_one(sums, transaction, &sums->waiting[i]);
	if (!good)
		store_abort(transaction);
	else
		good = store_commit(transaction);
	if (!good)
		(void)give_up(sums);
	else
		sums->waiting_count = 0;
}

void
tls_sums_add(struct tls_sums *sums, const struct ipc_tls_result *result, int64_t now)
{
	if (sums->waiting_count == WAITING_MAX)
		tls_sums_write(sums);
	if (sums->waiting_count == WAITING_MAX) {
		sums->left_out += result->sessions;
		return;
	}
	if (sums->waiting_count == 0)
		sums->write_at_ms = clock_monotonic_ms() + WRITE_MS;
	sums->waiting[sums->waiting_count++] =
	    (struct waiting){ .day = now / DAY, .result = *result };
}

void
tls_sums_tick(struct tls_sums *sums, int64_t now)
{
	(void)now;
	if (sums->waiting_count == 0 || clock_monotonic_ms() < sums->write_at_ms)
		return;
	tls_sums_write(sums);
	if (sums->left_out > 0)
		log_warning("%" PRIu64 " sessions are left out of TLS reports: there are too many "
		            "domains",
		    sums->left_out);
	sums->left_out = 0;
}

void
tls_sums_free(struct tls_sums *sums)
{
	if (sums == NULL)
		return;
	tls_sums_write(sums);
	store_close(sums->store);
	free(sums->waiting);
	free(sums->directory);
	free(sums);
}

/* Reading */

struct search {
	int64_t before;
	char found[TLS_SUMS_KEY_MAX + 1];
	struct domain_record record;
};

static bool
find_domain(const char *key, const void *value, size_t length, void *arg)
{
	struct search *search = arg;
	char *end;
	int64_t day = strtoll(key, &end, 10);

	if (day >= search->before)
		return false;
	if (*end != ' ' || !is_domain_key(key) || !decode_domain(value, length, &search->record))
		return true;
	strlcpy(search->found, key, sizeof(search->found));
	return false;
}

static bool
take_sum(const char *key, const void *value, size_t length, void *arg)
{
	struct tls_day *day = arg;
	struct tls_sum *more;

	if ((day->count & (day->count - 1)) == 0) {
		more = reallocarray(day->sums, day->count == 0 ? 1 : 2 * day->count, sizeof(*more));
		if (more == NULL)
			fatalx("out of memory");
		day->sums = more;
	}
	if (decode_sum(value, length, &day->sums[day->count]))
		day->count++;
	else
		log_error("the TLS result kept as %s can't be understood: it is left out", key);
	return true;
}

static int
compare_sums(const void *a, const void *b)
{
	const struct ipc_tls_result *one = &((const struct tls_sum *)a)->result;
	const struct ipc_tls_result *other = &((const struct tls_sum *)b)->result;
	int order = (int)one->policy - (int)other->policy;

	if (order == 0)
		order = strcmp(one->policy_domain, other->policy_domain);
	if (order == 0)
		order = strcmp(one->strings, other->strings);
	if (order == 0)
		order = strcmp(one->patterns, other->patterns);
	if (order == 0)
		order = (int)one->result - (int)other->result;
	return order != 0 ? order : strcmp(one->mx, other->mx);
}

bool
tls_sums_next(
    struct tls_sums *sums, int64_t before, char after[TLS_SUMS_KEY_MAX + 1], struct tls_day *day)
{
	static struct search search;
	char prefix[KEY_MAX + 1];

	memset(day, 0, sizeof(*day));
	if (!is_open(sums))
		return false;
	search = (struct search){ .before = before };
	if (store_each_after(sums->table, "", after, find_domain, &search) != STORE_OK) {
		(void)give_up(sums);
		return false;
	}
	if (*search.found == '\0')
		return false;
	strlcpy(after, search.found, TLS_SUMS_KEY_MAX + 1);
	day->day = strtoll(search.found, NULL, 10);
	strlcpy(day->domain, strchr(search.found, ' ') + 1, sizeof(day->domain));
	strlcpy(day->rua, search.record.rua, sizeof(day->rua));
	day->first_tried = search.record.first_tried;
	day->next_try = search.record.next_try;
	snprintf(prefix, sizeof(prefix), "%s ", search.found);
	if (store_each(sums->table, prefix, take_sum, day) != STORE_OK) {
		tls_day_clear(day);
		(void)give_up(sums);
		return false;
	}
	if (day->count > 0)
		qsort(day->sums, day->count, sizeof(*day->sums), compare_sums);
	return true;
}

void
tls_day_clear(struct tls_day *day)
{
	free(day->sums);
	memset(day, 0, sizeof(*day));
}

void
tls_sums_note_try(struct tls_sums *sums, const struct tls_day *day, int64_t first, int64_t next)
{
	static struct domain_record record;
	struct store_transaction *transaction;
	char key[KEY_MAX + 1];
	struct buf value;
	bool good;

	make_key(key, day->day, day->domain);
	if (!is_open(sums) || (transaction = store_begin(sums->store)) == NULL)
		return;
	buf_init(&value, RECORD_MAX);
	good = store_get(sums->table, transaction, key, &value) == STORE_OK &&
	    decode_domain(value.data, value.length, &record);
	buf_free(&value);
	if (good) {
		record.first_tried = first;
		record.next_try = next;
		good = put_domain(sums, transaction, key, &record);
	}
	if (!good)
		store_abort(transaction);
	else
		good = store_commit(transaction);
	if (!good)
		log_error("when the report on %s is tried again can't be kept: that is soon",
		    day->domain);
}

struct dropping {
	char (*keys)[KEY_MAX + 1];
	size_t count;
};

static bool
note_key(const char *key, const void *value, size_t length, void *arg)
{
	struct dropping *dropping = arg;

	(void)value;
	(void)length;
	strlcpy(dropping->keys[dropping->count++], key, KEY_MAX + 1);
	return dropping->count < DROP_MAX;
}

void
tls_sums_drop(struct tls_sums *sums, const struct tls_day *day)
{
	struct dropping dropping = { .keys = calloc(DROP_MAX, sizeof(*dropping.keys)) };
	struct store_transaction *transaction;
	char key[KEY_MAX + 1], prefix[KEY_MAX + 2];
	bool good;

	if (dropping.keys == NULL)
		fatalx("out of memory");
	make_key(key, day->day, day->domain);
	snprintf(prefix, sizeof(prefix), "%s ", key);
	if (!is_open(sums)) {
		free(dropping.keys);
		return;
	}
	good = store_each(sums->table, prefix, note_key, &dropping) == STORE_OK;
	transaction = good ? store_begin(sums->store) : NULL;
	for (size_t i = 0; i < dropping.count && transaction != NULL && good; i++)
		good = store_delete(sums->table, transaction, dropping.keys[i]) != STORE_ERROR;
	good = good && transaction != NULL &&
	    store_delete(sums->table, transaction, key) != STORE_ERROR;
	if (transaction != NULL && !good)
		store_abort(transaction);
	else if (transaction != NULL)
		good = store_commit(transaction);
	if (!good)
		log_error("the reported TLS results of %s can't be dropped", day->domain);
	else if (day->day == sums->counted_day && sums->domain_count > 0)
		sums->domain_count--;
	free(dropping.keys);
}
