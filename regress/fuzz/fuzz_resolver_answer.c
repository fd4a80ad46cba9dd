/* Any bytes as a DNS answer: what comes out are host names, or nothing; and for a relay, records that
 * fit in a frame. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lookup/resolver_answer.h"
#include "lookup/resolver_name.h"
#include "lookup/resolver_records.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_records(const struct records *records, enum dns_type type)
{
	const uint8_t *end = records->bytes + records->used;

	if (records->count > IPC_ANSWER_RECORDS_MAX || records->used > RECORDS_BYTES_MAX ||
	    strlen(records->canonical) > HOSTNAME_MAX)
		abort();
	for (uint32_t i = 0; i < records->count; i++) {
		const struct answer_record *record = &records->records[i];

		if (record->data < records->bytes || record->data + record->length > end)
			abort();
		if (type == DNS_MX &&
		    (record->length > HOSTNAME_MAX ||
		        memchr(record->data, '\0', record->length) != NULL))
			abort();
		if ((type == DNS_A && record->length != 4) ||
		    (type == DNS_AAAA && record->length != 16))
			abort();
	}
}

static void
check_answer(const struct records *records)
{
	static struct ipc_answer answer, back;
	struct buf_reader reader;
	struct buf payload;

	memset(&answer, 0, sizeof(answer));
	answer.status = records->count > 0 ? ANSWER_FOUND : ANSWER_NO_DATA;
	memset(answer.why, 'w', IPC_ANSWER_WHY_MAX);
	memcpy(answer.canonical, records->canonical, sizeof(answer.canonical));
	answer.count = records->count;
	memcpy(answer.records, records->records, sizeof(answer.records));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_answer_encode(&payload, &answer);
	if (!buf_ok(&payload))
		abort();
	buf_reader_init(&reader, payload.data, payload.length);
	if (!ipc_answer_decode(&reader, &back))
		abort();
	buf_free(&payload);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ipc_resolve inet4 = { CLIENT_INET4, { 192, 0, 2, 1 } },
	                                inet6 = { CLIENT_INET6, { 0x20, 1, 0xd, 0xb8 } };
	char names[ANSWER_NAMES_MAX][HOSTNAME_MAX + 1];
	size_t count = answer_names(data, size, names);

	if (count > ANSWER_NAMES_MAX)
		abort();
	for (size_t i = 0; i < count; i++) {
		if (!host_name_is_valid(names[i]))
			abort();
	}
	(void)answer_has_address(data, size, &inet4);
	(void)answer_has_address(data, size, &inet6);
	for (enum dns_type type = 0; type < DNS_TYPE_COUNT; type++) {
		static struct records records;

		if (!records_read(&records, data, size, "example.org.", type))
			continue;
		check_records(&records, type);
		check_answer(&records);
	}
	return 0;
}
