/*
 * Files of keys and certificates as the supervisor reads them: whose are refused, how a change is
 * seen, and what stays when one can't be used.
 */
#include <sys/stat.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/memory_file.h"
#include "smtpd/supervisor_tls.h"

static struct {
	char folder[64];
	char certificate[96], key[96], authorities[96];
	struct config *config;
	char why[600];
} world;

static void
write_file(const char *path, const char *text, mode_t mode)
{
	char new[128];
	FILE *file;

	snprintf(new, sizeof(new), "%s.new", path);
	file = fopen(new, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(new, mode), 0);
	assert_int_equal(rename(new, path), 0);
}

static int
set_up(void **state)
{
	struct config *config = config_new();

	(void)state;
	strcpy(world.folder, "/tmp/test-smtpd-tls-XXXXXX");
	assert_non_null(mkdtemp(world.folder));
	snprintf(world.certificate, sizeof(world.certificate), "%s/mx.crt", world.folder);
	snprintf(world.key, sizeof(world.key), "%s/mx.key", world.folder);
	snprintf(world.authorities, sizeof(world.authorities), "%s/ca.crt", world.folder);
	write_file(world.certificate, "the certificate", 0644);
	write_file(world.key, "the key", 0600);
	write_file(world.authorities, "authorities", 0644);
	config->pkis = calloc(1, sizeof(*config->pkis));
	config->pki_count = 1;
	config->pkis[0].name = strdup("mx");
	config->pkis[0].certificate = strdup(world.certificate);
	config->pkis[0].key = strdup(world.key);
	config->cas = calloc(1, sizeof(*config->cas));
	config->ca_count = 1;
	config->cas[0].name = strdup("inside");
	config->cas[0].certificates = strdup(world.authorities);
	world.config = config;
	world.why[0] = '\0';
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	config_free(world.config);
	(void)unlink(world.certificate);
	(void)unlink(world.key);
	(void)unlink(world.authorities);
	return rmdir(world.folder);
}

static struct tls_set *
load(const struct tls_set *old, bool lenient)
{
	return tls_set_load(world.config, old, lenient, world.why, sizeof(world.why));
}

static void
assert_holds(int fd, const char *expected)
{
	size_t length;
	uint8_t *text = memory_file_read(fd, 1000, &length);

	assert_non_null(text);
	assert_int_equal(length, strlen(expected));
	assert_memory_equal(text, expected, length);
	free(text);
}

static void
what_is_read_is_kept_whatever_becomes_of_the_files(void **state)
{
	struct tls_set *set = load(NULL, false);
	const struct tls_pair *pair;

	(void)state;
	assert_non_null(set);
	assert_int_equal(unlink(world.key), 0);
	pair = tls_set_find(set, "mx");
	assert_non_null(pair);
	assert_null(tls_set_find(set, "my"));
	assert_true(pair->is_new);
	assert_holds(pair->chain, "the certificate");
	assert_holds(pair->both, "the keythe certificate");
	assert_int_equal(pair->key_length, strlen("the key"));
	assert_int_equal(set->authorities_count, 2);
	assert_holds(set->authorities[0].fd, "authorities");
	assert_int_equal(set->authorities[1].fd, -1); /* nobody verifies by the system's */
	assert_int_equal(write(pair->both, "x", 1), -1);
	tls_set_free(set);
}

static void
refused(const char *words)
{
	assert_null(load(NULL, false));
	if (strstr(world.why, words) == NULL)
		fail_msg("\"%s\" says nothing of \"%s\"", world.why, words);
	assert_null(load(NULL, true)); /* there is no other */
}

static void
a_key_that_others_may_read_is_refused(void **state)
{
	static const mode_t modes[] = { 0640, 0604, 0660, 0610, 0601 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(chmod(world.key, modes[i]), 0);
		refused("chmod 600");
	}
	assert_int_equal(chmod(world.key, 0400), 0);
	tls_set_free(load(NULL, false));
	if (geteuid() != 0)
		return;
	assert_int_equal(chown(world.key, 12345, 0), 0);
	refused("belongs to user 12345");
}

static void
what_is_no_file_is_refused_and_not_waited_for(void **state)
{
	(void)state;
	assert_int_equal(unlink(world.certificate), 0);
	refused("mx.crt: No such file");
	assert_int_equal(mkfifo(world.certificate, 0600), 0);
	refused("mx.crt is no file");
	assert_int_equal(unlink(world.certificate), 0);
	write_file(world.certificate, "", 0644);
	assert_int_equal(truncate(world.certificate, 2 * 1024 * 1024), 0);
	refused("longer than");
	write_file(world.certificate, "the certificate", 0644);
	assert_int_equal(unlink(world.authorities), 0);
	refused("ca inside");
}

static void
a_change_of_any_file_is_seen_once(void **state)
{
	struct tls_set *set = load(NULL, false), *next;

	(void)state;
	assert_false(tls_set_has_changed(set));
	write_file(world.certificate, "renewed", 0644);
	assert_true(tls_set_has_changed(set));
	next = load(set, true);
	assert_non_null(next);
	assert_false(tls_set_has_changed(next));
	assert_true(next->pairs[0].is_new);
	assert_false(next->authorities[0].is_new);
	assert_holds(next->pairs[0].chain, "renewed");
	tls_set_free(set);
	set = next;
	write_file(world.authorities, "others", 0644);
	assert_true(tls_set_has_changed(set));
	next = load(set, true);
	assert_true(next->authorities[0].is_new);
	assert_false(next->pairs[0].is_new);
	assert_holds(next->pairs[0].chain, "renewed");
	tls_set_free(set);
	tls_set_free(next);
}

static void
a_file_that_cannot_be_used_leaves_the_old_one_and_is_told_once(void **state)
{
	struct tls_set *set = load(NULL, false), *next;

	(void)state;
	write_file(world.certificate, "renewed", 0644);
	assert_int_equal(unlink(world.key), 0);
	assert_null(load(set, false));
	next = load(set, true);
	assert_non_null(next);
	assert_false(next->pairs[0].is_new);
	assert_holds(next->pairs[0].both, "the keythe certificate");
	assert_false(tls_set_has_changed(next));
	tls_set_free(set);
	set = next;
	/* The rest of it has come. */
	write_file(world.key, "new key", 0600);
	assert_true(tls_set_has_changed(set));
	next = load(set, true);
	assert_true(next->pairs[0].is_new);
	assert_holds(next->pairs[0].both, "new keyrenewed");
	/* But the keeper doesn't take it. */
	assert_true(tls_set_put_back(next, 0, set));
	assert_false(next->pairs[0].is_new);
	assert_holds(next->pairs[0].both, "the keythe certificate");
	assert_false(tls_set_has_changed(next));
	tls_set_free(set);
	tls_set_free(next);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(what_is_read_is_kept_whatever_becomes_of_the_files),
		TEST(a_key_that_others_may_read_is_refused),
		TEST(what_is_no_file_is_refused_and_not_waited_for),
		TEST(a_change_of_any_file_is_seen_once),
		TEST(a_file_that_cannot_be_used_leaves_the_old_one_and_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
