/* The payloads of explanations and of the relay's listings: what is encoded is decoded, and nothing
 * else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/imsg.h"
#include "common/ipc_explain.h"

static union {
	struct ipc_explain_step step;
	struct ipc_explain_relay relay;
	struct ipc_explain_route route;
	struct ipc_explain_host host;
	struct ipc_explain_queue queue;
	struct ipc_host known;
	struct ipc_hoststat stat;
	struct ipc_relay_list list;
} value;

/* A kind of payload: fills `value` and encodes it, decodes into it, encodes it again. */
struct kind {
	void (*fill)(struct buf *);
	bool (*decode)(struct buf_reader *);
	void (*encode)(struct buf *);
};

#define KIND(name, member)                                     \
	static bool decode_##member(struct buf_reader *reader) \
	{                                                      \
		return name##_decode(reader, &value.member);   \
	}                                                      \
	static void encode_##member(struct buf *buf)           \
	{                                                      \
		name##_encode(buf, &value.member);             \
	}                                                      \
	static const struct kind member = { fill_##member, decode_##member, encode_##member };

static void
fill_addresses(struct ipc_addresses *addresses)
{
	addresses->count = 2;
	strcpy(addresses->all[0], "192.0.2.1");
	strcpy(addresses->all[1], "2001:db8::1");
}

static void
fill_step(struct buf *buf)
{
	value.step = (struct ipc_explain_step){ .step = EXPLAIN_CUT,
		.line = 7,
		.address = "a@x.test",
		.action = "out",
		.to = "y.test",
		.words = "why",
		.quota_bytes = 1,
		.quota_messages = 2,
		.is_known = true,
		.used_bytes = 3,
		.used_messages = 4 };
	ipc_explain_step_encode(buf, &value.step);
}
KIND(ipc_explain_step, step)

static void
fill_relay(struct buf *buf)
{
	value.relay = (struct ipc_explain_relay){ "out", "y.test", UINT64_MAX };
	ipc_explain_relay_encode(buf, &value.relay);
}
KIND(ipc_explain_relay, relay)

static void
fill_route(struct buf *buf)
{
	value.route = (struct ipc_explain_route){ .origin = EXPLAIN_BY_LITERAL,
		.is_secure = true,
		.count = 3,
		.seconds = 60,
		.canonical = "z.test",
		.sts = EXPLAIN_STS_ENFORCE,
		.sts_mx = "*.z.test" };
	reply_set(&value.route.reply, 250, "2.0.0", "found");
	ipc_explain_route_encode(buf, &value.route);
}
KIND(ipc_explain_route, route)

static void
fill_host(struct buf *buf)
{
	value.host = (struct ipc_explain_host){ .host = "mx.z.test",
		.port = 25,
		.preference = 10,
		.scheme = "smtp",
		.dns = EXPLAIN_DNS_SILENT,
		.is_secure = true,
		.tlsa = EXPLAIN_TLSA_SILENT,
		.tlsa_count = 2,
		.security = EXPLAIN_UNKNOWN,
		.implicit_tls = true,
		.words = "why" };
	fill_addresses(&value.host.addresses);
	ipc_explain_host_encode(buf, &value.host);
}
KIND(ipc_explain_host, host)

static void
fill_queue(struct buf *buf)
{
	value.queue = (struct ipc_explain_queue){ EXPLAIN_STOP_WINDOW, 1, 2, 3, 4, 5, INT64_MAX };
	ipc_explain_queue_encode(buf, &value.queue);
}
KIND(ipc_explain_queue, queue)

static void
fill_known(struct buf *buf)
{
	value.known = (struct ipc_host){ .id = 1,
		.host = "mx.z.test",
		.port = 465,
		.scheme = "smtps",
		.action = "out",
		.source = "ours",
		.domain = "z.test",
		.state = HOST_FAILED,
		.is_stale = true,
		.security = EXPLAIN_DANE,
		.connections = { 1, 2 },
		.connected = 3,
		.failures = 4,
		.penalty = 5,
		.transactions = UINT64_MAX,
		.last_connection = 1700000000,
		.last_failure = 1700000001,
		.tls = "TLSv1.3" };
	fill_addresses(&value.known.addresses);
	reply_set(&value.known.reply, 450, "4.3.2", "not now");
	ipc_host_encode(buf, &value.known);
}
KIND(ipc_host, known)

static void
fill_stat(struct buf *buf)
{
	value.stat = (struct ipc_hoststat){
		.id = 1, .domain = "z.test", .time = 1700000000, .host = "mx.z.test"
	};
	reply_set(&value.stat.reply, 550, "5.1.1", "no such user");
	ipc_hoststat_encode(buf, &value.stat);
}
KIND(ipc_hoststat, stat)

static void
fill_list(struct buf *buf)
{
	value.list = (struct ipc_relay_list){ 7, IPC_RELAY_PORTION_MAX };
	ipc_relay_list_encode(buf, &value.list);
}
KIND(ipc_relay_list, list)

static const struct kind *const kinds[] = { &step, &relay, &route, &host, &queue, &known, &stat,
	&list };
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static bool
decodes(const struct kind *kind, const void *data, size_t length)
{
	struct buf_reader reader;

	memset(&value, 0xa5, sizeof(value));
	buf_reader_init(&reader, data, length);
	return kind->decode(&reader) && buf_reader_done(&reader);
}

static void
test_all_travel_unchanged(void **state)
{
	struct buf first, second;

	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		buf_init(&first, IMSG_PAYLOAD_MAX);
		buf_init(&second, IMSG_PAYLOAD_MAX);
		memset(&value, 0, sizeof(value));
		kinds[i]->fill(&first);
		assert_true(buf_ok(&first));
		assert_true(decodes(kinds[i], first.data, first.length));
		kinds[i]->encode(&second);
		assert_int_equal(first.length, second.length);
		assert_memory_equal(first.data, second.data, first.length);
		buf_free(&first);
		buf_free(&second);
	}
}

static void
test_all_cut_short_or_with_more_are_refused(void **state)
{
	struct buf buf;

	(void)state;
	for (size_t i = 0; i < KIND_COUNT; i++) {
		buf_init(&buf, IMSG_PAYLOAD_MAX);
		memset(&value, 0, sizeof(value));
		kinds[i]->fill(&buf);
		for (size_t length = 0; length < buf.length; length++)
			assert_false(decodes(kinds[i], buf.data, length));
		buf_add_u8(&buf, 0);
		assert_false(decodes(kinds[i], buf.data, buf.length));
		buf_free(&buf);
	}
}

/* A payload with the byte at `offset` (from the end when negative) replaced. */
static bool
decodes_with(const struct kind *kind, long offset, uint8_t byte)
{
	struct buf buf;
	bool taken;

	buf_init(&buf, IMSG_PAYLOAD_MAX);
	memset(&value, 0, sizeof(value));
	kind->fill(&buf);
	buf.data[offset < 0 ? (long)buf.length + offset : offset] = byte;
	taken = decodes(kind, buf.data, buf.length);
	buf_free(&buf);
	return taken;
}

static void
test_values_out_of_range_are_refused(void **state)
{
	(void)state;
	assert_false(decodes_with(&step, 0, EXPLAIN_STEP_COUNT));
	assert_false(decodes_with(&queue, 0, EXPLAIN_STOP_COUNT));
	/* A time before 1970. */
	assert_false(decodes_with(&queue, -1, 0xff));
	/* A portion of none, or of too many. */
	assert_false(decodes_with(&list, 9, 0));
	assert_false(decodes_with(&list, 10, 1));
	/* No id. */
	assert_false(decodes_with(&known, 0, 0));
	assert_false(decodes_with(&stat, 0, 0));
	/* More addresses than there is room for: their number stands behind the host's DNS. */
	assert_false(
	    decodes_with(&host, 2 + 9 + 2 + 2 + 2 + 4 + 1 + 1 + 1, IPC_HOST_ADDRESSES_MAX + 1));
	assert_true(decodes_with(&host, 2 + 9 + 2 + 2 + 2 + 4 + 1 + 1 + 1, 2));
	/* Nobody asks about no domain. */
	memset(&value, 0, sizeof(value));
	{
		const uint8_t empty[] = { 3, 0, 'o', 'u', 't', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };

		assert_false(decodes(&relay, empty, sizeof(empty)));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_travel_unchanged),
		cmocka_unit_test(test_all_cut_short_or_with_more_are_refused),
		cmocka_unit_test(test_values_out_of_range_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
