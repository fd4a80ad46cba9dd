/*
 * Recipients whose users have a .forward: what is asked for, what comes of the answers, when there
 * are none, and lists in files.
 */
#include <sys/stat.h>
#include <pwd.h>

#include <event2/event.h>

#include "regress/unit/test_directory_fixture.h"

#include "common/clock.h"
#include "lookup/forwards.h"
#include "lookup/include.h"
#include "lookup/table_text.h"

/* Users of the system who aren't root and have a home. */
#define ONE   "games"
#define TWO   "mail"
#define THREE "news"

static struct event_base *base;
static struct forwards *forwards;
static struct config *config;
static struct site *site;
static struct action_config *action;

/* What is asked for, and by whom. */
static struct {
	uint32_t id;
	char user[USER_NAME_MAX + 1];
	char detail[FORWARD_DETAIL_MAX + 1];
} asked[2000];
static size_t asked_count;
static bool nobody_there;
static unsigned ready_count;
/* By user, and detail if it isn't for all; a text that starts with "!" is a failure. */
static const char *texts[40][2];

static bool
on_ask(uint32_t id, const struct ipc_mailbox *mailbox, void *arg)
{
	(void)arg;
	if (nobody_there)
		return false;
	assert_true(asked_count < sizeof(asked) / sizeof(asked[0]));
	asked[asked_count].id = id;
	snprintf(asked[asked_count].user, sizeof(asked[0].user), "%s", mailbox->user);
	snprintf(asked[asked_count++].detail, sizeof(asked[0].detail), "%s", mailbox->detail);
	return true;
}

static void
on_ready(void *owner, void *arg)
{
	(void)owner;
	(void)arg;
	ready_count++;
}

static int
begin(void **state)
{
	if (make_test_directory(state) != 0)
		return -1;
	base = event_base_new();
	forwards = forwards_new(base, on_ask, on_ready, NULL);
	config = new_config();
	add_static_table(config, "aliases", "all", ONE ", " TWO, "copy", "\\" ONE, "loop",
	    "loop2, " ONE, "loop2", "loop", "three", "all, " THREE, "one", ONE ", " THREE, "out",
	    ONE ", x@else.test", "detail", TWO ", " ONE "+x", NULL);
	action = add_action(config, "local", ACTION_MAILDIR);
	set(&action->alias_table, "aliases");
	add_action(config, "out", ACTION_RELAY);
	add_rule(config, MATCH_FROM_ANY, "", "local")->for_ = MATCH_FOR_LOCAL;
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	site = site_new(config, accounts_new(test_path("accounts")), false);
	asked_count = ready_count = 0;
	nobody_there = false;
	memset(texts, 0, sizeof(texts));
	return 0;
}

static int
end(void **state)
{
	struct accounts *accounts = site->accounts;

	site_free(site);
	accounts_free(accounts);
	forwards_free(forwards);
	event_base_free(base);
	return remove_test_directory(state);
}

static void
forward(const char *user, const char *text)
{
	size_t i = 0;

	while (texts[i][0] != NULL && strcmp(texts[i][0], user) != 0)
		i++;
	assert_true(i < sizeof(texts) / sizeof(texts[0]));
	texts[i][0] = user;
	texts[i][1] = text;
}

static void
answer(size_t number)
{
	static struct ipc_forward given;
	const char *text = NULL;
	char name[sizeof(asked[0].user) + sizeof(asked[0].detail)];

	memset(&given, 0, sizeof(given));
	snprintf(name, sizeof(name), "%s%s", asked[number].user, asked[number].detail);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && texts[i][0] != NULL; i++) {
		bool whole = strcmp(texts[i][0], name) == 0;

		if (!given.is_detailed && (whole || strcmp(texts[i][0], asked[number].user) == 0)) {
			text = texts[i][1];
			given.is_detailed = whole && *asked[number].detail != '\0';
		}
	}
	given.state = text == NULL ? FORWARD_NONE : *text == '!' ? FORWARD_FAILED : FORWARD_FOUND;
	snprintf(given.text, sizeof(given.text), "%s", text == NULL ? "" : text);
	forwards_answer(forwards, asked[number].id, &given);
}

static const char *user_action = "";

/* As describe(), with all that is asked for answered. */
static const char *
resolve(const char *rcpt_text)
{
	static const char *const kinds[] = { "maildir", "pipe", "relay", "user-pipe", "user-file",
		"forward" };
	static char text[20000];
	struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", rcpt_text);
	struct forward_set *set = forward_set_new(forwards, NULL);
	struct expanded expanded;
	size_t next = asked_count;

	snprintf(rcpt.user_action, sizeof(rcpt.user_action), "%s", user_action);
	for (unsigned rounds = 0;; rounds++) {
		assert_true(rounds < 100);
		expand_recipient(site, &rcpt, set, &expanded);
		if (!expanded.waits)
			break;
		expanded_free(&expanded);
		if (forward_set_gather(set))
			continue;
		ready_count = 0;
		while (next < asked_count)
			answer(next++);
		assert_int_equal(ready_count, 1);
	}
	forward_set_free(set);
	reply_format(&expanded.reply, text, sizeof(text));
	if (reply_is_success(&expanded.reply))
		text[3] = '\0';
	for (size_t i = 0; reply_is_success(&expanded.reply) && i < expanded.count; i++) {
		size_t length = strlen(text);

		snprintf(text + length, sizeof(text) - length, " %s:%s%s%s",
		    kinds[expanded.targets[i].kind], expanded.targets[i].dest.local,
		    *expanded.targets[i].command == '\0' ? "" : "|", expanded.targets[i].command);
	}
	expanded_free(&expanded);
	return text;
}

static void
without_a_forward_it_is_the_mailbox(void **state)
{
	(void)state;
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE);
	assert_int_equal(asked_count, 1);
	forward(ONE, "");
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE);
	forward(ONE, "# nothing\n\n , ,\n");
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE);
}

static void
mail_that_is_only_forwarded_needs_one(void **state)
{
	(void)state;
	config->actions[0].method = ACTION_FORWARD_ONLY;
	assert_memory_equal(resolve(ONE "@localhost"), "550 5.1.1", 9);
	forward(ONE, "x@far.test");
	assert_string_equal(resolve(ONE "@localhost"), "250 relay:x");
	/* There is no mailbox for the copy. */
	forward(ONE, "\\" ONE ", x@far.test");
	assert_string_equal(resolve(ONE "@localhost"), "250 relay:x");
	forward(ONE, "! can be changed by others");
	assert_int_equal(resolve(ONE "@localhost")[0], '4');
	forward(ONE, "\\" ONE);
	assert_int_equal(resolve(ONE "@localhost")[0], '4');
}

static void
it_leads_on_and_keeps_a_copy_by_name_address_and_backslash(void **state)
{
	(void)state;
	forward(ONE, TWO);
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" TWO);
	assert_string_equal(resolve(ONE "+detail@localhost"), "250 maildir:" TWO);
	forward(ONE, "x@else.test\r\n" ONE "\n");
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE " relay:x");
	assert_string_equal(resolve(ONE "+detail@localhost"), "250 relay:x maildir:" ONE);
	forward(ONE, ONE "@LocalHost, x@else.test");
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE " relay:x");
	assert_string_equal(resolve(ONE "+detail@localhost"), "250 maildir:" ONE " relay:x");
	forward(ONE, "\\" ONE);
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE);
	/* Another's mailbox, whatever that one's .forward says; and by an alias. */
	forward(TWO, "y@else.test");
	forward(ONE, "\\" TWO);
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" TWO);
	assert_string_equal(resolve("copy@localhost"), "250 maildir:" ONE);
	assert_string_equal(resolve("all@localhost"), "250 maildir:" TWO " relay:y");
}

static void
one_for_the_detail_leads_on(void **state)
{
	(void)state;
	forward(ONE "+x", "y@else.test");
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE);
	assert_string_equal(resolve(ONE "+X@localhost"), "250 relay:y");
	assert_string_equal(asked[asked_count - 1].detail, "+x");
	assert_string_equal(resolve(ONE "+z@localhost"), "250 maildir:" ONE);
	forward(ONE, TWO);
	assert_string_equal(resolve(ONE "+z@localhost"), "250 maildir:" TWO);
	assert_string_equal(resolve(ONE "+x@localhost"), "250 relay:y");
	/* With the detail it is the mailbox; without, his .forward. */
	forward(ONE "+x", ONE "+x, y@else.test");
	assert_string_equal(resolve(ONE "+x@localhost"), "250 maildir:" ONE " relay:y");
	forward(ONE "+x", ONE);
	assert_string_equal(resolve(ONE "+x@localhost"), "250 maildir:" TWO);
	forward(ONE, ONE "+x");
	assert_string_equal(resolve(ONE "@localhost"), "550 5.4.6 the alias leads back to itself");
	forward(ONE "+x", "\\" ONE);
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE);
	/* The mailbox that waits for it is named with the detail, by which the mda looks at it again. */
	forward(ONE "+x", "!a FIFO");
	assert_memory_equal(resolve(ONE "+x@localhost"), "451 4.2.0", 9);
	assert_string_equal(resolve("detail@localhost"), "250 maildir:" TWO " forward:" ONE "+x");
}

static void
what_waits_for_a_details_forward_is_found_by_it(void **state)
{
	struct ipc_mailbox_request request = { .action = "local",
		.dest = { ONE "+x", "localhost" } };
	struct ipc_mailbox mailbox;

	(void)state;
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 250);
	assert_string_equal(mailbox.user, ONE);
	assert_string_equal(mailbox.detail, "+x");
	strcpy(request.dest.local, ONE "+a/b");
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 250);
	assert_string_equal(mailbox.detail, "");
	strcpy(request.dest.local, "nobody-here+x");
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 550);
}

/* The alias that led there names whose mail it is, too. */
static void
what_names_its_own_alias_keeps_a_copy(void **state)
{
	(void)state;
	forward(ONE, "all, x@else.test");
	assert_string_equal(
	    resolve("all@localhost"), "250 maildir:" ONE " maildir:" TWO " relay:x");
}

static void
loops_of_several_users_end(void **state)
{
	(void)state;
	forward(ONE, TWO);
	forward(TWO, THREE);
	forward(THREE, ONE);
	assert_string_equal(resolve(ONE "@localhost"), "550 5.4.6 the alias leads back to itself");
	assert_int_equal(asked_count, 3);
	forward(THREE, ONE "\n\\" THREE);
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" THREE);
	assert_string_equal(resolve("loop@localhost"), "250 maildir:" THREE);
}

static void
those_that_lead_on_too_far_are_given_up(void **state)
{
	static char names[31][40];

	(void)state;
	for (unsigned i = 0; i < 31; i++)
		snprintf(names[i], sizeof(names[i]), ONE "+%u", i);
	for (unsigned i = 0; i < 30; i++)
		forward(names[i], names[i + 1]);
	assert_string_equal(resolve(ONE "+15@localhost"), "250 maildir:" ONE);
	assert_memory_equal(resolve(ONE "+0@localhost"), "451 4.2.0", 9);
}

static void
one_that_cant_be_used_delays_its_user_alone(void **state)
{
	(void)state;
	forward(ONE, "!a FIFO");
	assert_string_equal(resolve(ONE "@localhost"),
	    "451 4.2.0 the recipient's .forward can't be used now, try again later");
	assert_string_equal(resolve("all@localhost"), "250 forward:" ONE " maildir:" TWO);
	forward(ONE, "no-such-user, :include:/etc/passwd, a@b@c");
	assert_string_equal(resolve(ONE "@localhost"),
	    "451 4.2.0 the recipient's .forward leads nowhere now, try again later");
	nobody_there = true;
	assert_memory_equal(resolve(ONE "@localhost"), "451 4.2.0", 9);
}

/* Where others get the mail it can't be given back to the client: it is in his mailbox. */
static void
who_forwards_to_nobody_keeps_what_others_get(void **state)
{
	(void)state;
	forward(ONE, "no-such-user, :include:/etc/passwd, a@b@c");
	assert_string_equal(resolve("all@localhost"), "250 maildir:" TWO " maildir:" ONE);
	/* The same dead end by two ways; and both alone. */
	forward(TWO, "no-such-user");
	assert_memory_equal(resolve("all@localhost"), "451 4.2.0", 9);
	assert_string_equal(
	    resolve("three@localhost"), "250 maildir:" THREE " maildir:" ONE " maildir:" TWO);
	/* What another's .forward leads to as well is no dead end. */
	forward(ONE, THREE);
	forward(TWO, THREE);
	assert_string_equal(resolve("all@localhost"), "250 maildir:" THREE);
	assert_string_equal(resolve("three@localhost"), "250 maildir:" THREE);
	/* Of a circle, who was named. */
	forward(ONE, TWO);
	forward(TWO, ONE);
	assert_string_equal(
	    resolve("three@localhost"), "250 maildir:" THREE " maildir:" ONE " maildir:" TWO);
	assert_string_equal(resolve("one@localhost"), "250 maildir:" THREE " maildir:" ONE);
	assert_memory_equal(resolve("all@localhost"), "550 5.", 6);
	/* Who refuses it means it. */
	forward(ONE, "error:550 5.1.6 moved");
	forward(TWO, "\\" TWO);
	assert_string_equal(resolve("all@localhost"), "250 maildir:" TWO);
	assert_string_equal(resolve(ONE "@localhost"), "550 5.1.6 moved");
}

/* More than an alias may lead to. */
static const char *
too_many(void)
{
	static char many[FORWARD_TEXT_MAX];

	*many = '\0';
	for (unsigned i = 0; i < 1100; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "a%u@x.t\n", i);
	return many;
}

/* Nobody's .forward takes their mail from the others. */
static void
one_that_leads_to_too_many_costs_the_others_nothing(void **state)
{
	(void)state;
	forward(ONE, too_many());
	assert_memory_equal(resolve(ONE "@localhost"), "451 4.2.0", 9);
	assert_string_equal(resolve("all@localhost"), "250 maildir:" ONE " maildir:" TWO);
	forward(ONE, "x@far.test");
	assert_string_equal(resolve("all@localhost"), "250 maildir:" TWO " relay:x");
}

static void
count_steps(const struct ipc_explain_step *step, void *arg)
{
	unsigned *counts = arg;

	counts[step->step]++;
}

static void
only_what_is_decided_is_explained(void **state)
{
	struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", "out@localhost");
	struct forward_set *set = forward_set_new(forwards, NULL);
	unsigned counts[EXPLAIN_STEP_COUNT] = { 0 };
	struct expanded expanded;
	size_t next = asked_count;

	(void)state;
	forward(ONE, too_many());
	while (!explain_recipient(site, &rcpt, set, count_steps, counts, &expanded)) {
		expanded_free(&expanded);
		if (!forward_set_gather(set))
			answer(next++);
	}
	assert_int_equal(expanded.reply.code, 250);
	assert_int_equal(counts[EXPLAIN_FORWARD], 0);
	assert_int_equal(counts[EXPLAIN_MAILBOX], 1);
	assert_int_equal(counts[EXPLAIN_RELAY], 1);
	assert_int_equal(counts[EXPLAIN_DEAD], 1);
	assert_int_equal(counts[EXPLAIN_RULE], 2);
	expanded_free(&expanded);
	forward_set_free(set);
}

static void
who_has_no_mailbox_costs_the_others_nothing(void **state)
{
	struct ipc_mailbox_request request = { .action = "local", .dest = { ONE, "localhost" } };
	struct ipc_mailbox mailbox;

	(void)state;
	config->actions[0].method = ACTION_FORWARD_ONLY;
	forward(ONE, "!a FIFO");
	forward(TWO, "x@far.test");
	assert_string_equal(resolve("all@localhost"), "250 forward:" ONE " relay:x");
	/* Nor can it be kept for him. */
	forward(ONE, "no-such-user");
	assert_string_equal(resolve("all@localhost"), "250 relay:x forward:" ONE);
	forward(ONE, too_many());
	assert_string_equal(resolve("out@localhost"), "250 forward:" ONE " relay:x");
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 451);
	/* His process looks again, and puts nothing anywhere. */
	request.kind = ENVELOPE_FORWARD;
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 250);
	assert_true(mailbox.forwards);
	assert_string_equal(mailbox.path, "");
}

static void
of_an_actions_user_no_rules_and_aliases_are_asked(void **state)
{
	(void)state;
	forward(ONE, TWO ", \\" ONE ", x@else.test");
	assert_memory_equal(resolve(ONE "@else.test"), "550", 3);
	user_action = "local";
	assert_string_equal(
	    resolve(ONE "@else.test"), "250 maildir:" TWO " maildir:" ONE " relay:x");
	assert_memory_equal(resolve("all@localhost"), "550 5.1.1", 9);
	forward(ONE, "!a FIFO");
	assert_memory_equal(resolve(ONE "@else.test"), "451 4.2.0", 9);
	user_action = "gone";
	assert_memory_equal(resolve(ONE "@else.test"), "451 4.3.0", 9);
	user_action = "";
}

static void
a_command_needs_a_login_shell(void **state)
{
	const struct passwd *passwd = getpwnam(ONE);

	(void)state;
	assert_non_null(passwd);
	if (strcmp(passwd->pw_shell, "/usr/sbin/nologin") != 0)
		skip();
	forward(ONE, "|/bin/cat\n" TWO);
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" TWO);
	forward(ONE, "|/bin/cat");
	assert_memory_equal(resolve(ONE "@localhost"), "451 4.2.0", 9);
}

static void
a_file_is_his_own(void **state)
{
	struct ipc_mailbox_request request = {
		.action = "local", .kind = ENVELOPE_USER_FILE, .dest = { ONE, "localhost" }
	};
	struct ipc_mailbox mailbox;

	(void)state;
	forward(ONE, "/usr/games/archive\n\\" ONE "\n/usr/games/archive");
	assert_string_equal(
	    resolve(ONE "@localhost"), "250 user-file:" ONE "|/usr/games/archive maildir:" ONE);
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 250);
	assert_int_equal(mailbox.form, MAILBOX_MBOX);
	assert_int_equal(mailbox.uid, getpwnam(ONE)->pw_uid);
	assert_string_equal(mailbox.path, "");
	/* Of one that isn't a user of the system's there is none. */
	set(&config->actions[0].user, TWO);
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 550);
}

static void
userbase_users_and_an_actions_user_have_none(void **state)
{
	(void)state;
	forward(ONE, TWO);
	set(&config->actions[0].user, TWO);
	assert_string_equal(resolve(ONE "@localhost"), "250 maildir:" ONE);
	assert_int_equal(asked_count, 0);
}

/* An answer that comes twice, late, or wasn't asked for. */
static void
strange_answers_are_ignored(void **state)
{
	static const struct ipc_forward none;
	struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", ONE "@localhost");
	struct forward_set *set = forward_set_new(forwards, NULL);
	struct expanded expanded;

	(void)state;
	expand_recipient(site, &rcpt, set, &expanded);
	assert_true(expanded.waits);
	expanded_free(&expanded);
	assert_false(forward_set_gather(set));
	forwards_answer(forwards, asked[0].id + 1, &none);
	assert_int_equal(ready_count, 0);
	forwards_answer(forwards, asked[0].id, &none);
	forwards_answer(forwards, asked[0].id, &none);
	assert_int_equal(ready_count, 1);
	forward_set_free(set);
	/* Its owner is gone before the answer. */
	set = forward_set_new(forwards, NULL);
	expand_recipient(site, &rcpt, set, &expanded);
	expanded_free(&expanded);
	assert_false(forward_set_gather(set));
	forward_set_free(set);
	forwards_answer(forwards, asked[1].id, &none);
	assert_int_equal(ready_count, 1);
	/* The queue goes. */
	set = forward_set_new(forwards, NULL);
	expand_recipient(site, &rcpt, set, &expanded);
	expanded_free(&expanded);
	assert_false(forward_set_gather(set));
	forwards_fail_all(forwards, "gone");
	assert_int_equal(ready_count, 2);
	expand_recipient(site, &rcpt, set, &expanded);
	assert_int_equal(expanded.reply.code, 451);
	assert_false(expanded.waits);
	expanded_free(&expanded);
	forward_set_free(set);
}

/* However much mail there is for him, a user's file is asked for once at a time. */
static void
those_who_want_the_same_wait_together(void **state)
{
	static const struct ipc_forward none;
	struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", "all@localhost");
	struct forward_set *sets[10];
	struct expanded expanded;

	(void)state;
	for (size_t i = 0; i < 10; i++) {
		sets[i] = forward_set_new(forwards, NULL);
		expand_recipient(site, &rcpt, sets[i], &expanded);
		assert_true(expanded.waits);
		expanded_free(&expanded);
		assert_false(forward_set_gather(sets[i]));
	}
	assert_int_equal(asked_count, 2);
	forward_set_free(sets[0]);
	forward_set_free(sets[5]);
	forwards_answer(forwards, asked[0].id, &none);
	assert_int_equal(ready_count, 0);
	forwards_answer(forwards, asked[1].id, &none);
	assert_int_equal(ready_count, 8);
	for (size_t i = 0; i < 10; i++) {
		if (i != 0 && i != 5)
			forward_set_free(sets[i]);
	}
}

/* Whatever details a client thinks of, a user whose home hangs takes few of the queue's places. */
static void
few_of_a_users_are_asked_for_at_once(void **state)
{
	static const struct ipc_forward none;
	struct forward_set *sets[20];
	struct expanded expanded;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		char text[100];
		struct ipc_rcpt rcpt;

		snprintf(text, sizeof(text), "%s+%u@localhost", ONE, i);
		rcpt = make_rcpt("192.0.2.1", text);
		sets[i] = forward_set_new(forwards, NULL);
		expand_recipient(site, &rcpt, sets[i], &expanded);
		expanded_free(&expanded);
		assert_false(forward_set_gather(sets[i]));
	}
	assert_int_equal(asked_count, 4);
	for (unsigned i = 0; i < 19; i++) {
		forwards_answer(forwards, asked[i].id, &none);
		assert_int_equal(ready_count, i + 1);
		assert_int_equal(asked_count, i + 5 < 20 ? i + 5 : 20);
	}
	forwards_fail_all(forwards, "gone");
	assert_int_equal(ready_count, 20);
	for (unsigned i = 0; i < 20; i++)
		forward_set_free(sets[i]);
}

static void
time_passes(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static void
an_answer_that_doesnt_come_is_a_failure(void **state)
{
	const struct timeval limit = { .tv_sec = 2 * FORWARD_DEADLINE_MS / 1000 };
	struct event *timer = event_new(base, -1, 0, time_passes, base);
	struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", ONE "@localhost");
	struct forward_set *set = forward_set_new(forwards, NULL);
	struct expanded expanded;

	(void)state;
	expand_recipient(site, &rcpt, set, &expanded);
	expanded_free(&expanded);
	assert_false(forward_set_gather(set));
	assert_int_equal(event_add(timer, &limit), 0);
	while (ready_count == 0 && !event_base_got_break(base))
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(ready_count, 1);
	forward_set_free(set);
	event_free(timer);
}

static void
targets_stand_in_lines(void **state)
{
	char text[] =
	    "# a comment, with a comma\n  a, b\n\t# another\n\"|x, y\"\n\"|open\nc\r\n\\D";
	static const struct {
		enum target_kind kind;
		const char *text;
		bool direct;
	} wanted[] = { { TARGET_USER, "a", false }, { TARGET_USER, "b", false },
		{ TARGET_PIPE, "x, y", false }, { TARGET_INVALID, "\"|open", false },
		{ TARGET_USER, "c", false }, { TARGET_USER, "d", true } };
	struct target_lines lines;
	struct target target;

	(void)state;
	target_lines_begin(&lines, text);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		assert_true(target_lines_next(&lines, &target));
		assert_int_equal(target.kind, wanted[i].kind);
		assert_string_equal(target.text, wanted[i].text);
		assert_int_equal(target.direct, wanted[i].direct);
	}
	assert_false(target_lines_next(&lines, &target));
	assert_false(target_lines_next(&lines, &target));
}

static enum include_result
include_by(uint32_t by, const char *path, uint32_t *owner)
{
	const char *why = NULL;
	struct buf text;
	enum include_result result;

	buf_init(&text, 1000);
	result = include_read(path, by, false, 100, &text, owner, &why);
	assert_true(result == INCLUDE_READ || why != NULL);
	buf_free(&text);
	return result;
}

static enum include_result
include(const char *path, uint32_t *owner)
{
	return include_by(INCLUDE_OF_ADMIN, path, owner);
}

static void
a_list_is_whose_file_and_directories_it_is_in(void **state)
{
	char path[300];
	uint32_t owner;

	(void)state;
	write_file("list", "a\nb\n");
	assert_int_equal(chmod(test_path("list"), 0644), 0);
	assert_int_equal(include(test_path("list"), &owner), INCLUDE_READ);
	assert_int_equal(owner, INCLUDE_OF_ADMIN);
	assert_int_equal(chmod(test_path("list"), 0666), 0);
	assert_int_equal(include(test_path("list"), &owner), INCLUDE_READ);
	assert_int_equal(owner, INCLUDE_OF_ANYONE);
	/* So it is where a group may write: an access control list's users are in its bits. */
	assert_int_equal(chmod(test_path("list"), 0664), 0);
	assert_int_equal(include(test_path("list"), &owner), INCLUDE_READ);
	assert_int_equal(owner, INCLUDE_OF_ANYONE);
	assert_int_equal(chmod(test_path("list"), 0644), 0);
	assert_int_equal(chmod(test_directory, 0777), 0);
	assert_int_equal(include(test_path("list"), &owner), INCLUDE_READ);
	assert_int_equal(owner, INCLUDE_OF_ANYONE);
	assert_int_equal(chmod(test_directory, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(test_path("list"), 5000, 5000), 0);
		assert_int_equal(include(test_path("list"), &owner), INCLUDE_READ);
		assert_int_equal(owner, 5000);
		/* His file in another's directory could be either's. */
		assert_int_equal(chown(test_directory, 5001, 5001), 0);
		assert_int_equal(include(test_path("list"), &owner), INCLUDE_READ);
		assert_int_equal(owner, INCLUDE_OF_ANYONE);
		assert_int_equal(chown(test_directory, 0, 0), 0);
	}
	/* A user's list leads to no file that is closed to him. */
	assert_int_equal(include_by(4999, test_path("list"), &owner), INCLUDE_REFUSED);
	assert_int_equal(chmod(test_directory, 0755), 0);
	assert_int_equal(include_by(4999, test_path("list"), &owner), INCLUDE_READ);
	assert_int_equal(chmod(test_path("list"), 0600), 0);
	assert_int_equal(include_by(INCLUDE_OF_ANYONE, test_path("list"), &owner), INCLUDE_REFUSED);
	assert_int_equal(include(test_path("list"), &owner), INCLUDE_READ);
	snprintf(path, sizeof(path), "%s/link", test_directory);
	assert_int_equal(symlink(test_path("list"), path), 0);
	assert_int_equal(include(path, &owner), INCLUDE_REFUSED);
	assert_int_equal(include(test_directory, &owner), INCLUDE_REFUSED);
	snprintf(path, sizeof(path), "%s/../x", test_directory);
	assert_int_equal(include(path, &owner), INCLUDE_REFUSED);
	snprintf(path, sizeof(path), "%s/fifo", test_directory);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(include(path, &owner), INCLUDE_REFUSED);
	/* More is in it than there was when it was opened. */
	snprintf(path, sizeof(path), "/proc/%d/comm", getpid());
	assert_int_equal(include(path, &owner), INCLUDE_BROKEN);
	assert_int_equal(include("/", &owner), INCLUDE_REFUSED);
	assert_int_equal(include("/dev/zero", &owner), INCLUDE_REFUSED);
	assert_int_equal(include(test_path("missing"), &owner), INCLUDE_BROKEN);
	write_file("large",
	    "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg"
	    "hhhhhhhhhhiiiiiiiiiijjjjjjjjjjk");
	assert_int_equal(include(test_path("large"), &owner), INCLUDE_REFUSED);
}

int
main(void)
{
#define FORWARDS(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		FORWARDS(without_a_forward_it_is_the_mailbox),
		FORWARDS(mail_that_is_only_forwarded_needs_one),
		FORWARDS(it_leads_on_and_keeps_a_copy_by_name_address_and_backslash),
		FORWARDS(one_for_the_detail_leads_on),
		FORWARDS(what_waits_for_a_details_forward_is_found_by_it),
		FORWARDS(few_of_a_users_are_asked_for_at_once),
		FORWARDS(what_names_its_own_alias_keeps_a_copy),
		FORWARDS(loops_of_several_users_end),
		FORWARDS(of_an_actions_user_no_rules_and_aliases_are_asked),
		FORWARDS(those_that_lead_on_too_far_are_given_up),
		FORWARDS(one_that_cant_be_used_delays_its_user_alone),
		FORWARDS(who_forwards_to_nobody_keeps_what_others_get),
		FORWARDS(one_that_leads_to_too_many_costs_the_others_nothing),
		FORWARDS(only_what_is_decided_is_explained),
		FORWARDS(who_has_no_mailbox_costs_the_others_nothing),
		FORWARDS(a_command_needs_a_login_shell),
		FORWARDS(a_file_is_his_own),
		FORWARDS(userbase_users_and_an_actions_user_have_none),
		FORWARDS(strange_answers_are_ignored),
		FORWARDS(those_who_want_the_same_wait_together),
		FORWARDS(an_answer_that_doesnt_come_is_a_failure),
		FORWARDS(targets_stand_in_lines),
		TEST(a_list_is_whose_file_and_directories_it_is_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
