/*
 * Path templates: what they make, and that no name leads out of where its template puts it.
 */
#include "regress/unit/test_directory_fixture.h"

#include "lookup/path.h"

static struct path_values
values(const char *user, const char *domain)
{
	return (struct path_values){
		.dest_user = user,
		.dest_domain = domain,
		.user_name = "vmail",
		.user_directory = "/home/bob",
		.delimiters = "+",
	};
}

static const char *
expand(const char *format, const char *user)
{
	static char path[PATH_TEXT_MAX + 1];
	struct path_values v = values(user, "example.org");
	const char *why;

	return path_expand(format, &v, path, sizeof(path), &why) ? path : NULL;
}

static void
templates_of_smtpd_conf_give_their_paths(void **state)
{
	(void)state;
	assert_string_equal(expand("/var/vmail/%{dest.user:lowercase}", "Bob"), "/var/vmail/bob");
	assert_string_equal(
	    expand("/v/%{dest.domain}/%{dest.user}/Maildir", "bob"), "/v/example.org/bob/Maildir");
	assert_string_equal(expand("~/Maildir", "bob"), "/home/bob/Maildir");
	assert_string_equal(expand("~", "bob"), "/home/bob");
	assert_string_equal(expand("Mail/in", "bob"), "/home/bob/Mail/in");
	assert_string_equal(expand("%{user.directory}/m", "bob"), "/home/bob/m");
	assert_string_equal(expand("/v/%{user.username}", "bob"), "/v/vmail");
	assert_string_equal(expand("/v/%{dest}", "bob"), "/v/bob@example.org");
	assert_string_equal(expand("/v/%{rcpt.user}", "bob"), "/v/bob");
	assert_string_equal(expand("/v/100%%/%{dest.user:uppercase}", "bob"), "/v/100%/BOB");
	assert_string_equal(expand("/v/50%/x", "bob"), "/v/50%/x");
}

static void
substrings_and_strip_cut_names(void **state)
{
	(void)state;
	assert_string_equal(expand("/v/%{dest.user[0]}/%{dest.user}", "bob"), "/v/b/bob");
	assert_string_equal(expand("/v/%{dest.user[0:1]}", "bob"), "/v/bo");
	assert_string_equal(expand("/v/%{dest.user[1:]}", "bob"), "/v/ob");
	assert_string_equal(expand("/v/%{dest.user[:1]}", "bob"), "/v/bo");
	assert_string_equal(expand("/v/%{dest.user[-2:]}", "bob"), "/v/ob");
	assert_string_equal(expand("/v/%{dest.user[0:900]}", "bob"), "/v/bob");
	assert_string_equal(expand("/v/%{dest.user:lowercase|strip}", "Bob+Lists"), "/v/bob");
	assert_string_equal(expand("/v/%{dest:strip}", "bob+lists"), "/v/bob@example.org");
	/* A name that is too short for its template would share a path with others. */
	assert_null(expand("/v/%{dest.user[3:]}", "bob"));
}

static void
wrong_templates_are_refused(void **state)
{
	static const char *const wrong[] = { "/v/%{dest.user", "/v/%{dest.nothing}", "/v/%{}",
		"/v/%{dest.user:sideways}", "/v/%{dest.user[a]}", "/v/%{dest.user[1}",
		"/v/%{dest.user[99999999999999999999]}", "/v/%{sender.user}", "/v/../%{dest.user}",
		"/v/./%{dest.user}", "/v/%{dest.user:}", "../%{dest.user}" };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (expand(wrong[i], "bob") != NULL)
			fail_msg("%s gave %s", wrong[i], expand(wrong[i], "bob"));
	}
}

static void
too_long_a_path_is_refused_not_cut(void **state)
{
	char format[2000], path[64];
	struct path_values v = values("bob", "example.org");
	const char *why;

	(void)state;
	memset(format, 'x', sizeof(format) - 1);
	format[0] = '/';
	format[sizeof(format) - 1] = '\0';
	assert_null(expand(format, "bob"));
	assert_false(path_expand("/0123456789/0123456789/0123456789/0123456789/0123456789/01234567",
	    &v, path, sizeof(path), &why));
	assert_true(path_expand("/0123456789/0123456789/0123456789/0123456789/0123456789/0123456",
	    &v, path, sizeof(path), &why));
	assert_int_equal(strlen(path), sizeof(path) - 1);
}

/* Whatever the name: the path has the template's components, and the one with the name is neither
 * empty nor "." or "..". */
static void
assert_one_component(const char *format, const char *user)
{
	const char *path = expand(format, user), *name;
	size_t slashes = 0;

	if (path == NULL)
		return;
	for (const char *at = path; *at != '\0'; at++) {
		slashes += *at == '/';
		assert_true((unsigned char)*at >= ' ' && *at != 0x7f);
	}
	assert_int_equal(slashes, 3);
	assert_memory_equal(path, "/base/", 6);
	name = path + 6;
	assert_true(*name != '/' && strncmp(name, "./", 2) != 0 && strncmp(name, "../", 3) != 0);
}

static void
no_name_leaves_its_component(void **state)
{
	static const char *const names[] = { "../../x", "..", ".", "...", "/etc/passwd",
		"a/../../b", "/", "//", "./.", "|cmd", "-f", ";sleep 5;", "$(id)", "`id`", "a\nb",
		"\r\n", "\x01", "a\\b", "%{dest.user}", "%2e%2e", "~", "~root", "\"..\"", "..+..",
		".+x", " ", "\x7f", "\xc0\xae\xc0\xae", "..\xe2\x81\x84..", "*", "?" };
	static const char *const formats[] = { "/base/%{dest.user}/m", "/base/%{dest.user:raw}/m",
		"/base/.%{dest.user:raw}/m", "/base/%{dest.user[0]}%{dest.user:raw}/m",
		"/base/%{dest.user:strip}/m", "/base/%{dest.user[0:1]:raw}/m",
		"/base/%{dest.user[0]:raw}%{dest.user[0]:raw}/m", "/base/%{dest:raw}/m" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		for (size_t j = 0; j < sizeof(formats) / sizeof(formats[0]); j++)
			assert_one_component(formats[j], names[i]);
}

static void
unsafe_bytes_become_colons(void **state)
{
	(void)state;
	assert_string_equal(expand("/v/%{dest.user}", "../../x"), "/v/:.:..:x");
	assert_string_equal(expand("/v/%{dest.user}", "o'brien"), "/v/o:brien");
	assert_string_equal(expand("/v/%{dest.user:raw}", "o'brien"), "/v/o'brien");
	assert_string_equal(expand("/v/%{dest.user:raw}", "a/b"), "/v/a:b");
	assert_string_equal(expand("/v/%{dest.user}", "a.b"), "/v/a.b");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates_of_smtpd_conf_give_their_paths),
		cmocka_unit_test(substrings_and_strip_cut_names),
		cmocka_unit_test(wrong_templates_are_refused),
		cmocka_unit_test(too_long_a_path_is_refused_not_cut),
		cmocka_unit_test(no_name_leaves_its_component),
		cmocka_unit_test(unsafe_bytes_become_colons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
