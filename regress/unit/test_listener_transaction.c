/*
 * A transaction's destinations: each once, as many as the queue takes, and found without going
 * through all of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/ipc_listener_queue.h"
#include "smtpd/transaction.h"

static struct mail *
begin(void)
{
	struct mail_command command;
	struct mail *mail;

	memset(&command, 0, sizeof(command));
	mail = mail_new(&command);
	assert_non_null(mail);
	strcpy(mail->rcpt.rcpt.local, "list");
	strcpy(mail->rcpt.rcpt.domain, "example.org");
	return mail;
}

static struct ipc_target
make_target(unsigned name, uint64_t mailbox)
{
	struct ipc_target target = { .kind = ENVELOPE_MAILDIR, .action = "in", .mailbox = mailbox };

	snprintf(target.dest.local, sizeof(target.dest.local), "user%u", name);
	strcpy(target.dest.domain, "example.org");
	return target;
}

static void
fill(char *text, size_t size)
{
	memset(text, 'x', size - 1);
	text[size - 1] = '\0';
}

static void
add(struct mail *mail, unsigned first, unsigned count)
{
	struct ipc_target target;
	struct reply reply;

	for (unsigned i = first; i < first + count; i++) {
		target = make_target(i, i % 2 == 0 ? 0 : 1000000 + i);
		assert_true(mail_add_target(mail, &target, &reply));
	}
}

static void
more_than_the_queue_takes_come_again_or_are_refused(void **state)
{
	struct mail *mail = begin();
	struct ipc_target target;
	struct reply reply;

	(void)state;
	/* One recipient alone. */
	add(mail, 0, IPC_ENVELOPES_MAX);
	add(mail, 0, IPC_ENVELOPES_MAX); /* the same ones again are no more */
	assert_int_equal(mail->target_count, IPC_ENVELOPES_MAX);
	target = make_target(IPC_ENVELOPES_MAX, 0);
	assert_false(mail_add_target(mail, &target, &reply));
	assert_int_equal(reply.code, 550);
	assert_string_equal(reply.enhanced, "5.5.3");
	mail_drop_rcpt(mail);
	assert_int_equal(mail->target_count, 0);
	/* With others before it. */
	add(mail, 0, 4000);
	assert_true(mail_accept_rcpt(mail));
	add(mail, 4000, IPC_ENVELOPES_MAX - 4000);
	assert_false(mail_add_target(mail, &target, &reply));
	assert_int_equal(reply.code, 452);
	assert_string_equal(reply.enhanced, "4.5.3");
	mail_drop_rcpt(mail);
	assert_int_equal(mail->target_count, 4000);
	/* What was dropped has left room. */
	add(mail, 20000, IPC_ENVELOPES_MAX - 4000);
	assert_true(mail_accept_rcpt(mail));
	assert_int_equal(mail->target_count, IPC_ENVELOPES_MAX);
	mail_free(mail);
}

static void
long_addresses_count_by_their_bytes(void **state)
{
	struct mail *mail = begin();
	struct ipc_target target;
	struct envelope envelope;
	struct reply reply;
	struct buf buf;
	unsigned i, most;
	size_t each;

	(void)state;
	fill(mail->rcpt.rcpt.local, sizeof(mail->rcpt.rcpt.local));
	fill(mail->rcpt.rcpt.domain, sizeof(mail->rcpt.rcpt.domain));
	fill(mail->rcpt.orcpt, sizeof(mail->rcpt.orcpt));
	for (i = 0;; i++) {
		target = make_target(i, 0);
		target.kind = ENVELOPE_PIPE;
		fill(target.dest.domain, sizeof(target.dest.domain));
		fill(target.action, sizeof(target.action));
		fill(target.command, sizeof(target.command));
		if (!mail_add_target(mail, &target, &reply))
			break;
	}
	assert_int_equal(reply.code, 550);
	assert_true(i < IPC_ENVELOPES_MAX);
	assert_true(mail_accept_rcpt(mail));
	/* The queue, which has 6 bytes of its own beside each, takes all of these. */
	buf_init(&buf, IPC_ENVELOPES_BYTES);
	for (most = 0; most < i; most++) {
		mail_make_envelope(mail, most, &envelope);
		envelope.id = most + 1;
		envelope_encode(&buf, &envelope);
		buf_add(&buf, "record", 6);
	}
	assert_true(buf_ok(&buf));
	each = buf.length / i;
	assert_in_range(IPC_ENVELOPES_BYTES - buf.length, 0, each + 10 * (size_t)i);
	buf_free(&buf);
	/* And its reply when others were there before. */
	assert_false(mail_add_target(mail, &target, &reply));
	assert_int_equal(reply.code, 452);
	mail_free(mail);
}

static bool
is_one(const struct ipc_target *a, const struct ipc_target *b)
{
	if (a->mailbox != 0 && b->mailbox != 0)
		return a->mailbox == b->mailbox;
	return strcmp(a->dest.local, b->dest.local) == 0;
}

static void
a_destination_is_found_again_however_targets_come_and_go(void **state)
{
	enum {
		MOST = 600
	};
	struct ipc_target known[MOST];
	struct mail *mail = begin();
	size_t count = 0, settled = 0, i;
	struct reply reply;
	uint32_t random = 12345;

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		struct ipc_target target;

		random = random * 1664525 + 1013904223;
		target = make_target(
		    random >> 16 & 511, (random >> 25 & 3) == 0 ? 0 : 1 + (random >> 8 & 255));
		for (i = 0; i < count && !is_one(&known[i], &target); i++)
			;
		if (i == count && count < MOST)
			known[count++] = target;
		else if (i == count)
			continue;
		assert_true(mail_add_target(mail, &target, &reply));
		assert_int_equal(mail->target_count, count);
		if (step % 50 == 49) {
			mail_drop_rcpt(mail);
			count = settled;
		} else if (step % 20 == 19) {
			assert_true(mail_accept_rcpt(mail));
			settled = count;
		}
	}
	assert_true(count > 300);
	for (i = 0; i < count; i++)
		assert_string_equal(mail->targets[i].dest.local, known[i].dest.local);
	mail_free(mail);
}

/* Processor time for so many targets, without names in common. */
static double
seconds_for(unsigned count)
{
	double least = 1e9;

	for (unsigned round = 0; round < 5; round++) {
		struct mail *mail = begin();
		clock_t start = clock();
		double taken;

		add(mail, 0, count);
		taken = (double)(clock() - start) / CLOCKS_PER_SEC;
		if (taken < least)
			least = taken;
		mail_free(mail);
	}
	return least;
}

static void
the_next_target_costs_as_much_as_the_first(void **state)
{
	double few = seconds_for(IPC_ENVELOPES_MAX / 10), many = seconds_for(IPC_ENVELOPES_MAX);

	(void)state;
	/* Ten times as many: about ten times the work, not a hundred times. */
	print_message("%.2f ms, %.2f ms\n", 1000 * few, 1000 * many);
	assert_true(many < 40 * few);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_than_the_queue_takes_come_again_or_are_refused),
		cmocka_unit_test(long_addresses_count_by_their_bytes),
		cmocka_unit_test(a_destination_is_found_again_however_targets_come_and_go),
		cmocka_unit_test(the_next_target_costs_as_much_as_the_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
