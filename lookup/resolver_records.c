/*
 * The C library's parser of DNS messages takes answers apart. The CNAMEs are followed through the
 * answer section, whatever their order in it, and only what belongs to the name at their end counts.
 *
 * Records are read into a list first, of which the best that fit are then copied: servers may send
 * a thousand MXs, in any order.
 */
#include <sys/types.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "lookup/resolver_records.h"

#define RECORDS_MAX 4000 /* looked at in an answer */
#define ALIASES_MAX 16

struct place {
	uint16_t preference;
	uint16_t order; /* as they came */
	const uint8_t *data;
	size_t length;
};

struct reading {
	ns_msg message;
	int count;
	ns_type type;
	char name[NS_MAXDNAME]; /* the one whose records are wanted, without a dot at its end */
	uint32_t ttl;
	struct records *records;
};

static bool
same_name(const char *a, const char *b)
{
	return strcasecmp(a, b) == 0;
}

static void
lower(char *text)
{
	for (; *text != '\0'; text++) {
		if (*text >= 'A' && *text <= 'Z')
			*text += 'a' - 'A';
	}
}

/* Bytes that aren't printable ASCII, dots in labels and the like are escaped by a backslash, which
 * no host's name has. */
static bool
read_name(const struct reading *reading, const uint8_t *data, char *name, size_t size)
{
	if (ns_name_uncompress(
	        ns_msg_base(reading->message), ns_msg_end(reading->message), data, name, size) < 0)
		return false;
	if (strcmp(name, ".") == 0)
		*name = '\0';
	lower(name);
	return true;
}

static void
note_ttl(struct reading *reading, uint32_t ttl)
{
	if (ttl < reading->ttl)
		reading->ttl = ttl;
}

/* Moves on to where a CNAME of the name leads; false when there is none. */
static bool
follow(struct reading *reading, bool *failed)
{
	ns_rr record;

	for (int i = 0; i < reading->count; i++) {
		if (ns_parserr(&reading->message, ns_s_an, i, &record) != 0) {
			*failed = true;
			return false;
		}
		if (ns_rr_type(record) != ns_t_cname || ns_rr_class(record) != ns_c_in ||
		    !same_name(ns_rr_name(record), reading->name))
			continue;
		note_ttl(reading, ns_rr_ttl(record));
		*failed =
		    !read_name(reading, ns_rr_rdata(record), reading->name, sizeof(reading->name));
		return !*failed;
	}
	return false;
}

/* RFC 2308 5: an absence is known for as long as the SOA record and its last field say. */
static uint32_t
absence_ttl(struct reading *reading)
{
	int count = ns_msg_count(reading->message, ns_s_ns);
	ns_rr record;

	for (int i = 0; i < count && i < RECORDS_MAX; i++) {
		uint32_t minimum, ttl;

		if (ns_parserr(&reading->message, ns_s_ns, i, &record) != 0)
			return 0;
		if (ns_rr_type(record) != ns_t_soa || ns_rr_rdlen(record) < 22)
			continue;
		minimum = (uint32_t)ns_get32(ns_rr_rdata(record) + ns_rr_rdlen(record) - 4);
		ttl = ns_rr_ttl(record);
		return ttl < minimum ? ttl : minimum;
	}
	return 0;
}

static int
compare_places(const void *a, const void *b)
{
	const struct place *one = a, *other = b;

	if (one->preference != other->preference)
		return one->preference < other->preference ? -1 : 1;
	return one->order < other->order ? -1 : one->order > other->order;
}

/* The places of the name's records, the most preferred ones first. */
static bool
find(struct reading *reading, struct place *places, size_t *found)
{
	ns_rr record;

	*found = 0;
	for (int i = 0; i < reading->count; i++) {
		struct place *place = &places[*found];

		if (ns_parserr(&reading->message, ns_s_an, i, &record) != 0)
			return false;
		if (ns_rr_type(record) != reading->type || ns_rr_class(record) != ns_c_in ||
		    !same_name(ns_rr_name(record), reading->name))
			continue;
		note_ttl(reading, ns_rr_ttl(record));
		place->data = ns_rr_rdata(record);
		place->length = ns_rr_rdlen(record);
		place->order = (uint16_t)i;
		place->preference = 0;
		if (reading->type == ns_t_mx && place->length >= 2)
			place->preference = (uint16_t)ns_get16(place->data);
		(*found)++;
	}
	if (reading->type == ns_t_mx)
		qsort(places, *found, sizeof(*places), compare_places);
	return true;
}

/* Room for a record's data, or NULL. */
static uint8_t *
take_room(struct records *records, size_t length)
{
	uint8_t *room = records->bytes + records->used;

	if (records->count == IPC_ANSWER_RECORDS_MAX ||
	    length > sizeof(records->bytes) - records->used) {
		records->cut = true;
		return NULL;
	}
	records->used += length;
	return room;
}

static void
add_record(struct records *records, struct answer_record record, const void *data, size_t length)
{
	uint8_t *room = take_room(records, length);

	if (room == NULL)
		return;
	memcpy(room, data, length);
	record.data = room;
	record.length = (uint16_t)length;
	records->records[records->count++] = record;
}

/* RFC 1035 3.3.9 */
static void
add_mx(const struct reading *reading, const struct place *place)
{
	struct answer_record record = { .preference = place->preference };
	char name[NS_MAXDNAME];

	if (place->length < 3)
		return;
	/* Longer than any name is a text with escapes. */
	if (!read_name(reading, place->data + 2, name, sizeof(name)) || strlen(name) > HOSTNAME_MAX)
		strlcpy(name, "\\", sizeof(name));
	add_record(reading->records, record, name, strlen(name));
}

static void
add_address(const struct reading *reading, const struct place *place)
{
	bool is_inet4 = reading->type == ns_t_a;
	struct answer_record record = { .family = is_inet4 ? CLIENT_INET4 : CLIENT_INET6 };

	if (place->length == (is_inet4 ? 4 : 16))
		add_record(reading->records, record, place->data, place->length);
}

/* RFC 6698 2.1 */
static void
add_tlsa(const struct reading *reading, const struct place *place)
{
	struct answer_record record = { 0 };

	if (place->length < 4)
		return;
	record.usage = place->data[0];
	record.selector = place->data[1];
	record.matching = place->data[2];
	add_record(reading->records, record, place->data + 3, place->length - 3);
}

/* RFC 1035 3.3.14: strings of a length and as many bytes, which belong together without anything
 * between them (RFC 7208 3.3). */
static void
add_txt(const struct reading *reading, const struct place *place)
{
	struct answer_record record = { 0 };
	struct records *records = reading->records;
	const uint8_t *at = place->data, *end = at + place->length;
	size_t length = 0;
	uint8_t *room;

	while (at < end && *at < end - at) {
		length += *at;
		at += 1 + *at;
	}
	if (at != end)
		return;
	room = take_room(records, length);
	if (room == NULL)
		return;
	record.data = room;
	record.length = (uint16_t)length;
	for (at = place->data; at < end; at += 1 + *at) {
		memcpy(room, at + 1, *at);
		room += *at;
	}
	records->records[records->count++] = record;
}

static void
add(const struct reading *reading, enum dns_type type, const struct place *place)
{
	switch (type) {
	case DNS_MX:
		add_mx(reading, place);
		break;
	case DNS_A:
	case DNS_AAAA:
		add_address(reading, place);
		break;
	case DNS_TLSA:
		add_tlsa(reading, place);
		break;
	case DNS_TXT:
		add_txt(reading, place);
		break;
	case DNS_PTR:
	case DNS_CNAME:
	case DNS_TYPE_COUNT:
		break;
	}
}

static bool
read_all(struct reading *reading, enum dns_type type)
{
	struct records *records = reading->records;
	struct place *places;
	bool failed = false;
	size_t found = 0, aliases = 0;

	while (follow(reading, &failed)) {
		/* A chain that goes in circles, or might as well. */
		if (++aliases > ALIASES_MAX)
			return false;
		if (type == DNS_CNAME)
			break;
	}
	if (failed)
		return false;
	if (aliases > 0 &&
	    strlcpy(records->canonical, reading->name, sizeof(records->canonical)) >=
	        sizeof(records->canonical))
		return false;
	if (type == DNS_CNAME)
		return true;
	places = reallocarray(NULL, (size_t)reading->count + 1, sizeof(*places));
	if (places == NULL)
		return false;
	failed = !find(reading, places, &found);
	for (size_t i = 0; !failed && i < found; i++)
		add(reading, type, &places[i]);
	free(places);
	/* Records of which none makes sense are not the same as none. */
	return !failed && (found == 0 || records->count > 0);
}

bool
records_read(struct records *records, const uint8_t *packet, size_t length, const char *name,
    enum dns_type type)
{
	struct reading reading = {
		.type = (ns_type)dns_type_number(type), .ttl = UINT32_MAX, .records = records
	};
	size_t name_length = strlcpy(reading.name, name, sizeof(reading.name));

	records->canonical[0] = '\0';
	records->ttl = 0;
	records->cut = false;
	records->count = 0;
	records->used = 0;
	if (name_length == 0 || name_length >= sizeof(reading.name) || length > UINT16_MAX ||
	    ns_initparse(packet, (int)length, &reading.message) != 0)
		return false;
	if (reading.name[name_length - 1] == '.')
		reading.name[name_length - 1] = '\0';
	reading.count = ns_msg_count(reading.message, ns_s_an);
	if (reading.count > RECORDS_MAX)
		reading.count = RECORDS_MAX;
	if (!read_all(&reading, type))
		return false;
	if (records->count == 0 && type != DNS_CNAME)
		note_ttl(&reading, absence_ttl(&reading));
	records->ttl = reading.ttl == UINT32_MAX ? 0 : reading.ttl;
	return true;
}
