/* Questions to web servers, which are threads of the test's own, over TLS on loopback. DNS is played. */
#include "regress/unit/test_tls_fixture.h"

#include <sys/socket.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "common/clock.h"
#include "common/ipc_relay_resolver.h"
#include "common/memory_file.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_https.h"
#include "deliver/relay_tls.h"

#define SERVER_S 5

static struct {
	struct event_base *base;
	struct channel *resolver; /* and its other end */
	struct channel *dns_channel;
	struct relay_dns *dns;
	struct tls_client *tls;
	struct https *https;
	struct pair root, pair;

	/* The server: what it shows and says. */
	SSL_CTX *context;
	pthread_t thread;
	int fd;
	uint16_t port;
	const char *answer;
	unsigned pause_us;   /* between bytes of it */
	bool without_notify; /* it ends without a word of TLS */
	_Atomic unsigned connections;
	char *request;
	size_t request_length;

	uint8_t addresses[2][4];
	uint32_t address_count;
	bool dns_fails;

	unsigned answers;
	enum https_status status;
	unsigned code;
	char why[HTTPS_WORDS_MAX];
	char type[64];
	char content[256];
} w;

/* Reads until the head, and as much content as it announces, is there. */
static void
read_request(SSL *ssl)
{
	char *end, *length;
	size_t wanted = 0, size = 4 * 1024 * 1024;
	int count;

	free(w.request);
	w.request = calloc(1, size);
	w.request_length = 0;
	while ((count = SSL_read(
	            ssl, w.request + w.request_length, (int)(size - w.request_length - 1))) > 0) {
		w.request_length += (size_t)count;
		end = strstr(w.request, "\r\n\r\n");
		if (end == NULL)
			continue;
		length = strstr(w.request, "Content-Length: ");
		if (length != NULL && length < end)
			wanted = strtoul(length + 16, NULL, 10);
		if (w.request_length >= (size_t)(end - w.request) + 4 + wanted)
			return;
	}
}

static void
serve_one(int fd)
{
	const struct timeval limit = { .tv_sec = SERVER_S };
	SSL *ssl = SSL_new(w.context);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1) {
		read_request(ssl);
		for (size_t i = 0; w.pause_us > 0 && w.answer[i] != '\0'; i++) {
			if (SSL_write(ssl, w.answer + i, 1) != 1)
				break;
			usleep(w.pause_us);
		}
		if (w.pause_us == 0 && *w.answer != '\0')
			(void)SSL_write(ssl, w.answer, (int)strlen(w.answer));
		if (!w.without_notify)
			(void)SSL_shutdown(ssl);
	}
	SSL_free(ssl);
	(void)shutdown(fd, SHUT_WR);
	close(fd);
}

static void *
serve(void *arg)
{
	int fd;

	(void)arg;
	while ((fd = accept(w.fd, NULL, NULL)) != -1) {
		w.connections++;
		serve_one(fd);
	}
	return NULL;
}

static void
show(const char *names)
{
	free_pair(&w.pair);
	w.pair = make_pair("ec", names, &w.root);
	assert_int_equal(SSL_CTX_use_certificate(w.context, w.pair.certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(w.context, w.pair.private), 1);
}

static void
on_question(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct ipc_answer answer = { .status = ANSWER_FOUND };
	struct ipc_query query;
	struct buf_reader reader;
	struct buf payload;

	(void)arg;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	assert_true(ipc_query_decode(&reader, &query));
	assert_int_equal(query.kind, QUERY_ADDRESSES);
	answer.count = w.address_count;
	for (uint32_t i = 0; i < w.address_count; i++) {
		answer.records[i].family = CLIENT_INET4;
		answer.records[i].data = w.addresses[i];
		answer.records[i].length = 4;
	}
	if (w.address_count == 0)
		answer.status = w.dns_fails ? ANSWER_FAILED : ANSWER_NO_DATA;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_answer_encode(&payload, &answer);
	channel_send(channel, RESOLVER_RELAY_ANSWER, imsg->id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_dns_answer(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	assert_true(relay_dns_receive(w.dns, imsg));
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)arg;
	fail_msg("channel: %s", why);
}

static void
listen_on_loopback(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);

	w.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(w.fd, 128), 0);
	assert_int_equal(getsockname(w.fd, (struct sockaddr *)&address, &length), 0);
	w.port = ntohs(address.sin_port);
}

static int
set_up(void **state)
{
	static const uint8_t loopback[4] = { 127, 0, 0, 1 };
	int ends[2];

	(void)state;
	memset(&w, 0, sizeof(w));
	(void)signal(SIGPIPE, SIG_IGN);
	w.base = event_base_new();
	assert_int_equal(event_base_priority_init(w.base, 2), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	w.resolver = channel_new(w.base, "relay", ends[0], on_question, on_closed, NULL);
	w.dns_channel = channel_new(w.base, "resolver", ends[1], on_dns_answer, on_closed, NULL);
	w.dns = relay_dns_new(w.base, 5000);
	relay_dns_set_channel(w.dns, w.dns_channel);
	w.tls = tls_client_new();
	w.https = https_new(w.base, w.dns, w.tls);
	w.root = make_pair("ec", "DNS:root.test", NULL);
	assert_true(tls_client_set_authorities(w.tls, "",
	    memory_file_make("root", w.root.certificate_text, strlen(w.root.certificate_text))));
	w.context = SSL_CTX_new(TLS_server_method());
	show("DNS:web.test");
	w.answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
	memcpy(w.addresses[0], loopback, 4);
	w.address_count = 1;
	listen_on_loopback();
	assert_int_equal(pthread_create(&w.thread, NULL, serve, NULL), 0);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	https_free(w.https);
	tls_client_free(w.tls);
	relay_dns_free(w.dns);
	channel_free(w.resolver);
	channel_free(w.dns_channel);
	event_base_free(w.base);
	(void)shutdown(w.fd, SHUT_RDWR);
	pthread_join(w.thread, NULL);
	close(w.fd);
	SSL_CTX_free(w.context);
	free_pair(&w.root);
	free_pair(&w.pair);
	free(w.request);
	return 0;
}

static void
on_done(const struct https_answer *answer, void *arg)
{
	(void)arg;
	w.answers++;
	w.status = answer->status;
	strlcpy(w.why, answer->why, sizeof(w.why));
	assert_true((*w.why == '\0') == (answer->status == HTTPS_ANSWERED));
	w.code = answer->code;
	if (answer->status != HTTPS_ANSWERED)
		return;
	strlcpy(w.type, answer->type, sizeof(w.type));
	snprintf(w.content, sizeof(w.content), "%.*s", (int)answer->content_length,
	    answer->content == NULL ? "" : (const char *)answer->content);
}

static struct https_exchange *
ask(const void *content, size_t length, unsigned time_ms)
{
	const struct https_request request = { .host = "web.test",
		.port = w.port,
		.path = "/there?x=y",
		.ca = "",
		.content = content,
		.content_length = length,
		.content_type = "application/tlsrpt+gzip",
		.answer_max = 100,
		.time_ms = time_ms };

	return https_ask(w.https, &request, on_done, NULL);
}

static void
wait_answers(unsigned count)
{
	int64_t until = clock_monotonic_ms() + 20000;

	while (w.answers < count) {
		assert_int_equal(event_base_loop(w.base, EVLOOP_ONCE), 0);
		assert_true(clock_monotonic_ms() < until);
	}
}

static enum https_status
get(void)
{
	unsigned before = w.answers;

	ask(NULL, 0, SERVER_S * 1000);
	wait_answers(before + 1);
	return w.status;
}

static void
test_get(void **state)
{
	char head[200];

	(void)state;
	assert_int_equal(get(), HTTPS_ANSWERED);
	assert_int_equal(w.code, 200);
	assert_string_equal(w.type, "text/plain");
	assert_string_equal(w.content, "hello");
	snprintf(head, sizeof(head),
	    "GET /there?x=y HTTP/1.1\r\nHost: web.test:%u\r\nConnection: close\r\n", w.port);
	assert_memory_equal(w.request, head, strlen(head));
	assert_string_equal(w.request + w.request_length - 4, "\r\n\r\n");
}

static void
test_post_of_much_arrives_whole(void **state)
{
	size_t size = 1500000;
	char *content = malloc(size), *body;

	(void)state;
	assert_non_null(content);
	for (size_t i = 0; i < size; i++)
		content[i] = (char)('a' + i % 26);
	ask(content, size, SERVER_S * 1000);
	wait_answers(1);
	assert_int_equal(w.status, HTTPS_ANSWERED);
	assert_memory_equal(w.request, "POST /there?x=y HTTP/1.1\r\n", 26);
	assert_non_null(strstr(w.request, "\r\nContent-Type: application/tlsrpt+gzip\r\n"));
	body = strstr(w.request, "\r\n\r\n");
	assert_non_null(body);
	assert_int_equal(w.request_length - (size_t)(body + 4 - w.request), size);
	assert_memory_equal(body + 4, content, size);
	free(content);
}

static void
test_redirect_is_an_answer(void **state)
{
	(void)state;
	w.answer = "HTTP/1.1 301 Moved\r\nLocation: https://web.test/\r\n\r\n";
	assert_int_equal(get(), HTTPS_ANSWERED);
	assert_int_equal(w.code, 301);
	assert_int_equal(w.connections, 1);
}

static void
test_certificate_must_be_good_for_the_name(void **state)
{
	static const char *const names[] = { "DNS:other.test", "DNS:sub.web.test", "DNS:*.web.test",
		"DNS:w*.test", "email:x@web.test" };
	struct pair stranger = make_pair("ec", "DNS:web.test", NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		show(names[i]);
		assert_int_equal(get(), HTTPS_BAD_CERTIFICATE);
		assert_non_null(strstr(w.why, "certificate"));
		assert_null(w.request);
	}
	show("DNS:other.test,DNS:web.test");
	assert_int_equal(get(), HTTPS_ANSWERED);
	assert_int_equal(SSL_CTX_use_certificate(w.context, stranger.certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(w.context, stranger.private), 1);
	assert_int_equal(get(), HTTPS_BAD_CERTIFICATE);
	free_pair(&stranger);
}

static void
test_common_name_is_no_name(void **state)
{
	(void)state;
	/* make_pair() makes the first one the common name as well. */
	show("URI:web.test");
	assert_int_equal(get(), HTTPS_BAD_CERTIFICATE);
}

static void
test_slow_answer_ends_with_the_time(void **state)
{
	int64_t begin = clock_monotonic_ms();

	(void)state;
	w.pause_us = 20000;
	ask(NULL, 0, 300);
	wait_answers(1);
	assert_int_equal(w.status, HTTPS_TOO_SLOW);
	assert_in_range(clock_monotonic_ms() - begin, 200, 3000);
}

static void
test_answer_that_is_too_long(void **state)
{
	(void)state;
	w.answer = "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n";
	assert_int_equal(get(), HTTPS_TOO_LARGE);
}

/* Who posts is served by the code alone. */
static void
test_code_is_known_once_the_head_is_whole(void **state)
{
	static const struct {
		const char *answer;
		enum https_status status;
		unsigned code;
	} cases[] = {
		{ "HTTP/1.1 201 Created\r\nContent-Length: 101\r\n\r\n", HTTPS_TOO_LARGE, 201 },
		{ "HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nhe", HTTPS_BROKEN, 202 },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx", HTTPS_BROKEN, 200 },
		{ "HTTP/1.1 204 None\r\n\r\n", HTTPS_ANSWERED, 204 },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\n\r\n", HTTPS_ANSWERED, 500 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", HTTPS_BROKEN, 0 },
		{ "HTTP/1.1 100 Continue\r\n\r\n", HTTPS_BROKEN, 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", HTTPS_BROKEN, 0 },
		{ "junk\r\n", HTTPS_BROKEN, 0 },
		{ "", HTTPS_BROKEN, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		w.answer = cases[i].answer;
		w.answers = 0;
		ask("x", 1, SERVER_S * 1000);
		wait_answers(1);
		assert_int_equal(w.status, cases[i].status);
		assert_int_equal(w.code, cases[i].code);
	}
}

static void
test_answer_that_is_cut_off(void **state)
{
	(void)state;
	w.answer = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";
	assert_int_equal(get(), HTTPS_BROKEN);
	/* Up to the end of the connection: when TLS says so, and not when just anybody does. */
	w.answer = "HTTP/1.1 200 OK\r\n\r\nhello";
	assert_int_equal(get(), HTTPS_ANSWERED);
	assert_string_equal(w.content, "hello");
	w.without_notify = true;
	assert_int_equal(get(), HTTPS_BROKEN);
	assert_non_null(strstr(w.why, "cut off"));
}

static void
test_what_is_no_http(void **state)
{
	(void)state;
	w.answer = "220 mx.test ESMTP\r\n";
	assert_int_equal(get(), HTTPS_BROKEN);
}

static void
test_next_address_is_tried(void **state)
{
	static const uint8_t loopback[4] = { 127, 0, 0, 1 }, nobody[4] = { 127, 0, 0, 2 };

	(void)state;
	memcpy(w.addresses[0], nobody, 4);
	memcpy(w.addresses[1], loopback, 4);
	w.address_count = 2;
	assert_int_equal(get(), HTTPS_ANSWERED);
	w.address_count = 1;
	assert_int_equal(get(), HTTPS_NO_CONNECTION);
	assert_non_null(strstr(w.why, "can't connect to web.test: Connection refused"));
}

static void
test_host_without_an_address(void **state)
{
	(void)state;
	w.address_count = 0;
	assert_int_equal(get(), HTTPS_NO_ADDRESS);
	w.dns_fails = true;
	assert_int_equal(get(), HTTPS_NO_ADDRESS);
	relay_dns_set_channel(w.dns, NULL);
	assert_int_equal(get(), HTTPS_OURS);
}

static void
test_more_than_go_at_once_wait_in_line(void **state)
{
	struct https_exchange *last = NULL;

	(void)state;
	for (unsigned i = 0; i < HTTPS_AT_ONCE + 20; i++)
		last = ask(NULL, 0, 15000);
	https_forget(last);
	wait_answers(HTTPS_AT_ONCE + 19);
	assert_int_equal(w.connections, HTTPS_AT_ONCE + 19);
	assert_int_equal(w.status, HTTPS_ANSWERED);
}

static void
test_forgotten_at_any_time(void **state)
{
	struct https_exchange *exchange;

	(void)state;
	w.pause_us = 1000;
	for (int turns = 0; turns < 12; turns++) {
		exchange = ask(NULL, 0, 5000);
		for (int turn = 0; turn < turns; turn++)
			assert_int_equal(event_base_loop(w.base, EVLOOP_ONCE), 0);
		if (w.answers == 0)
			https_forget(exchange);
		w.answers = 0;
	}
	ask(NULL, 0, 5000); /* which https_free() ends */
	assert_int_equal(event_base_loop(w.base, EVLOOP_ONCE), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(get),
		TEST(post_of_much_arrives_whole),
		TEST(redirect_is_an_answer),
		TEST(certificate_must_be_good_for_the_name),
		TEST(common_name_is_no_name),
		TEST(slow_answer_ends_with_the_time),
		TEST(answer_that_is_too_long),
		TEST(code_is_known_once_the_head_is_whole),
		TEST(answer_that_is_cut_off),
		TEST(what_is_no_http),
		TEST(next_address_is_tried),
		TEST(host_without_an_address),
		TEST(more_than_go_at_once_wait_in_line),
		TEST(forgotten_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
