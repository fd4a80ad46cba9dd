/*
 * Runs a Sieve script for a message, as delivery would, and says what it comes to.
 *
 *	sieve_script SENDER RECIPIENT OWNER SCRIPT MESSAGE
 *
 * SENDER may be empty. Each action is a line: its name, then, with tabs between them, its argument and
 * flags. A script that doesn't compile is a line "error", a run that fails a line "failed", with the
 * words behind a tab.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/sieve.h"

static char *
read_file(const char *path, size_t *length)
{
	const size_t most = 8 * 1024 * 1024;
	char *text = malloc(most);
	FILE *file = fopen(path, "r");

	if (text == NULL || file == NULL)
		err(1, "%s", path);
	*length = fread(text, 1, most, file);
	if (ferror(file) != 0)
		err(1, "%s", path);
	(void)fclose(file);
	return text;
}

static void
read_address(const char *text, struct address *address)
{
	memset(address, 0, sizeof(*address));
	if (*text != '\0' && address_parse(text, ADDRESS_ALLOW_UTF8, address) != ADDRESS_OK)
		errx(1, "no address: %s", text);
}

static bool
exists(void *arg, const char *name)
{
	(void)arg;
	return strcasecmp(name, "INBOX") == 0;
}

/* A text in one line. */
static void
put(const char *text)
{
	for (; text != NULL && *text != '\0'; text++) {
		if (*text == '\n')
			(void)fputs("\\n", stdout);
		else
			(void)putchar(*text);
	}
}

static void
show(const struct sieve_action *action)
{
	char to[ADDRESS_TEXT_MAX + 1];

	switch (action->kind) {
	case SIEVE_KEEP:
		(void)printf("keep\t\t");
		put(action->flags);
		break;
	case SIEVE_FILEINTO:
		(void)printf("fileinto%s\t", action->create ? " create" : "");
		put(action->folder);
		(void)putchar('\t');
		put(action->flags);
		break;
	case SIEVE_REDIRECT:
		address_format(&action->to, to, sizeof(to));
		(void)printf("redirect\t%s", to);
		break;
	case SIEVE_REJECT:
		(void)printf("reject\t");
		put(action->text);
		break;
	case SIEVE_VACATION:
		(void)printf("vacation\t%u", action->seconds);
		break;
	}
	(void)putchar('\n');
}

int
main(int argc, char *argv[])
{
	struct address sender, recipient, owner;
	struct sieve_message about = { .sender = &sender,
		.recipient = &recipient,
		.owner = &owner,
		.delimiters = "+",
		.now = clock_wall(),
		.mailbox_exists = exists };
	static struct sieve_result result;
	char error[SIEVE_ERROR_MAX], *script;
	struct sieve *sieve;
	size_t length;

	if (argc != 6)
		errx(1, "sieve_script SENDER RECIPIENT OWNER SCRIPT MESSAGE");
	read_address(argv[1], &sender);
	read_address(argv[2], &recipient);
	read_address(argv[3], &owner);
	script = read_file(argv[4], &length);
	sieve = sieve_compile(script, length, error, sizeof(error));
	free(script);
	if (sieve == NULL) {
		(void)printf("error\t%s\n", error);
		return 0;
	}
	about.text = script = read_file(argv[5], &about.length);
	about.size = about.length;
	sieve_run(sieve, &about, &result);
	if (*result.error != '\0')
		(void)printf("failed\t%s\n", result.error);
	for (size_t i = 0; i < result.count; i++)
		show(&result.actions[i]);
	sieve_result_free(&result);
	sieve_free(sieve);
	free(script);
	return 0;
}
