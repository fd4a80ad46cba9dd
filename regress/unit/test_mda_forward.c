/*
 * The .forward as the user's process finds it: what may be used, and what is named as the reason when
 * it may not.
 */
#include "regress/unit/test_mda_fixture.h"

#include <sys/sysmacros.h>

#include "deliver/forward.h"

static struct ipc_forward forward;

static enum ipc_forward_state
look(struct fixture *fixture)
{
	struct reply why;

	memset(&why, 0, sizeof(why));
	forward_read(fixture->home, "", &forward);
	assert_int_equal(forward.state == FORWARD_FAILED,
	    *forward.text != '\0' && forward.state != FORWARD_FOUND);
	return forward.state;
}

static void
assert_unusable(struct fixture *fixture, const char *words)
{
	struct reply why;

	assert_int_equal(look(fixture), FORWARD_FAILED);
	if (strstr(forward.text, words) == NULL)
		fail_msg("no \"%s\" in \"%s\"", words, forward.text);
	assert_false(forward_is_usable(fixture->home, "", &why));
	assert_int_equal(why.code, 451);
	assert_non_null(strstr(why.text, words));
}

static void
a_file_is_read_whole(void **state)
{
	static char text[FORWARD_TEXT_MAX + 2];
	struct reply why;

	assert_int_equal(look(*state), FORWARD_NONE);
	fixture_write(*state, "home/.forward", "bob\n|cmd\n");
	assert_int_equal(look(*state), FORWARD_FOUND);
	assert_string_equal(forward.text, "bob\n|cmd\n");
	assert_true(forward_is_usable(((struct fixture *)*state)->home, "", &why));
	fixture_write(*state, "home/.forward", "");
	assert_int_equal(look(*state), FORWARD_FOUND);
	memset(text, 'a', FORWARD_TEXT_MAX);
	fixture_write(*state, "home/.forward", text);
	assert_int_equal(look(*state), FORWARD_FOUND);
	assert_string_equal(forward.text, text);
	text[FORWARD_TEXT_MAX] = 'a';
	fixture_write(*state, "home/.forward", text);
	assert_unusable(*state, "larger than 12288 bytes");
}

static void
what_others_can_write_is_unusable(void **state)
{
	struct fixture *fixture = *state;

	fixture_write(fixture, "home/.forward", "bob");
	assert_int_equal(chmod(fixture_path(fixture, "home/.forward"), 0664), 0);
	assert_unusable(fixture, ".forward can be written by others (mode 0664)");
	assert_int_equal(chmod(fixture_path(fixture, "home/.forward"), 0646), 0);
	assert_unusable(fixture, "mode 0646");
	assert_int_equal(chmod(fixture_path(fixture, "home/.forward"), 0644), 0);
	assert_int_equal(look(fixture), FORWARD_FOUND);
	assert_int_equal(chmod(fixture->home, 0777), 0);
	assert_unusable(fixture, "home can be written by others (mode 0777)");
	assert_int_equal(chmod(fixture->home, 0755), 0);
	assert_int_equal(look(fixture), FORWARD_FOUND);
	if (geteuid() != 0)
		return;
	assert_int_equal(chown(fixture_path(fixture, "home/.forward"), 5000, 5000), 0);
	assert_unusable(fixture, "belongs to uid 5000 instead of 0");
	assert_int_equal(chown(fixture->home, 5001, 5001), 0);
	assert_unusable(fixture, "home belongs to uid 5001 instead of 0");
}

static void
what_is_no_file_isnt_opened(void **state)
{
	struct fixture *fixture = *state;
	char path[4096];

	snprintf(path, sizeof(path), "%s", fixture_path(fixture, "home/.forward"));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_unusable(fixture, "a pipe");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/shadow", path), 0);
	assert_unusable(fixture, "a symbolic link");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_unusable(fixture, "a directory");
	assert_int_equal(rmdir(path), 0);
	if (geteuid() == 0 && mknod(path, S_IFCHR | 0600, makedev(1, 5)) == 0) {
		assert_unusable(fixture, "a device");
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(look(fixture), FORWARD_NONE);
}

static void
what_is_no_text_is_unusable(void **state)
{
	int fd = open(fixture_path(*state, "home/.forward"), O_WRONLY | O_CREAT, 0600);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, "bob\0|id", 7), 7);
	close(fd);
	assert_unusable(*state, "not a text");
}

static void
a_home_that_is_missing_is_unusable(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(rmdir(fixture->home), 0);
	assert_unusable(fixture, "No such file or directory");
	fixture_write(fixture, "home", "");
	assert_unusable(fixture, "Not a directory");
}

static void
one_for_the_detail_comes_before_it(void **state)
{
	struct fixture *fixture = *state;
	struct reply why;

	fixture_write(fixture, "home/.forward", "bob");
	forward_read(fixture->home, "+list", &forward);
	assert_int_equal(forward.state, FORWARD_FOUND);
	assert_false(forward.is_detailed);
	assert_string_equal(forward.text, "bob");
	fixture_write(fixture, "home/.forward+list", "");
	forward_read(fixture->home, "+list", &forward);
	assert_int_equal(forward.state, FORWARD_FOUND);
	assert_true(forward.is_detailed);
	assert_string_equal(forward.text, "");
	/* The same checks hold for it, and .forward isn't what it leaves over. */
	assert_int_equal(chmod(fixture_path(fixture, "home/.forward+list"), 0662), 0);
	forward_read(fixture->home, "+list", &forward);
	assert_int_equal(forward.state, FORWARD_FAILED);
	assert_string_equal(forward.text, ".forward+list can be written by others (mode 0662)");
	assert_false(forward_is_usable(fixture->home, "+list", &why));
	assert_true(forward_is_usable(fixture->home, "+other", &why));
	assert_int_equal(unlink(fixture_path(fixture, "home/.forward")), 0);
	forward_read(fixture->home, "+other", &forward);
	assert_int_equal(forward.state, FORWARD_NONE);
}

/* What a client says is never a path. */
static void
a_detail_leads_to_no_other_directory(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(mkdir(fixture_path(fixture, "home/.forward+"), 0700), 0);
	fixture_write(fixture, "home/.forward+/x", "evil");
	fixture_write(fixture, "home/.forward", "bob");
	for (const char *const *detail =
	         (const char *const[]){ "+/x", "+", "", "+a/../../x", NULL };
	     *detail != NULL; detail++) {
		forward_read(fixture->home, *detail, &forward);
		assert_int_equal(forward.state, FORWARD_FOUND);
		assert_string_equal(forward.text, "bob");
	}
}

/* What is to become of it can't be known: it isn't put where its owner may not want it. */
static void
nothing_is_delivered_while_it_is_unusable(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery = fixture_delivery(fixture, 1, "S: x\n\n");

	assert_int_equal(symlink("/etc/shadow", fixture_path(fixture, "home/.forward")), 0);
	delivery->request.mailbox.forwards = true;
	fixture_deliver(fixture, delivery);
	assert_int_equal(delivery->result.reply.code, 451);
	assert_non_null(strstr(delivery->result.reply.text, "a symbolic link"));
	assert_int_equal(fixture_count(fixture, "home/Maildir"), -1);
	delivery_free(delivery);
	/* Nor while that is so of the one for its detail. */
	assert_int_equal(unlink(fixture_path(fixture, "home/.forward")), 0);
	assert_int_equal(symlink("/etc/shadow", fixture_path(fixture, "home/.forward+x")), 0);
	delivery = fixture_delivery(fixture, 1, "S: x\n\n");
	delivery->request.mailbox.forwards = true;
	strcpy(delivery->request.mailbox.detail, "+x");
	fixture_deliver(fixture, delivery);
	assert_int_equal(delivery->result.reply.code, 451);
	delivery_free(delivery);
	delivery = fixture_delivery(fixture, 1, "S: x\n\n");
	delivery->request.mailbox.forwards = true;
	fixture_deliver(fixture, delivery);
	assert_int_equal(delivery->result.reply.code, 250);
	delivery_free(delivery);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_file_is_read_whole),
		TEST(what_others_can_write_is_unusable),
		TEST(what_is_no_file_isnt_opened),
		TEST(what_is_no_text_is_unusable),
		TEST(a_home_that_is_missing_is_unusable),
		TEST(one_for_the_detail_comes_before_it),
		TEST(a_detail_leads_to_no_other_directory),
		TEST(nothing_is_delivered_while_it_is_unusable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
