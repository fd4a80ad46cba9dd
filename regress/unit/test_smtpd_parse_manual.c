/*
 * smtpd.conf(5) and the configs that are installed say what the parser takes.
 */
#include <stdlib.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

/* The text of a file of this tree; tests run at its top. */
static char *
tree_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = calloc(1, 1 << 20);

	if (file == NULL)
		fail_msg("can't open %s", path);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	return text;
}

/* What mdoc escapes in a literal block. */
static void
unescape(char *text)
{
	char *to = text;

	for (; *text != '\0'; text++) {
		*to++ = *text;
		if (text[0] == '\\' && text[1] == 'e')
			text++;
	}
	*to = '\0';
}

static void
examples_of_the_manual_parse(void **state)
{
	char *manual = tree_file("smtpd/smtpd.conf.5"), *at = manual, *end;
	size_t examples = 0;

	(void)state;
	while ((at = strstr(at, "\n.Bd -literal")) != NULL) {
		at = strchr(at + 1, '\n') + 1;
		end = strstr(at, "\n.Ed");
		assert_non_null(end);
		*end = '\0';
		unescape(at);
		config_free(good(at));
		at = end + 1;
		examples++;
	}
	assert_true(examples > 8);
	free(manual);
}

static void
manual_names_every_setting(void **state)
{
	char *manual = tree_file("smtpd/smtpd.conf.5"), *printed = NULL, *line, *save, *end;
	struct config *config = config_new();
	size_t size, settings = 0;
	FILE *file = open_memstream(&printed, &size);

	(void)state;
	parse_print_config(file, config);
	fclose(file);
	for (line = strtok_r(printed, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		char wanted[128], *name;

		/* "smtp limit max-rcpt 1000" is "\n.It Ic smtp limit Cm max-rcpt Ar" there. */
		end = strpbrk(line, "0123456789\"{");
		if (end == NULL)
			end = strrchr(line, ' ') + 1;
		end[-1] = '\0';
		name = strrchr(line, ' ');
		assert_non_null(name);
		*name++ = '\0';
		snprintf(wanted, sizeof(wanted), "\n.It Ic %s Cm %s ", line, name);
		if (strstr(manual, wanted) == NULL)
			fail_msg("not in the manual: %s %s", line, name);
		settings++;
	}
	assert_true(settings > 30);
	config_free(config);
	free(printed);
	free(manual);
}

static void
installed_configs_parse(void **state)
{
	static const char *const paths[] = { "etc/smtpd.conf", "etc/examples/behind-proxy.conf",
		"etc/examples/system-users.conf", "etc/examples/virtual-users.conf" };

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		char *text = tree_file(paths[i]);

		config_free(good(text));
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples_of_the_manual_parse),
		cmocka_unit_test(manual_names_every_setting),
		cmocka_unit_test(installed_configs_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
