/* Command lines: no line, however odd, is read past its end or comes out with a control character.
 */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_text(const char *text)
{
	for (; *text != '\0'; text++) {
		if (iscntrl((unsigned char)*text))
			abort();
	}
}

static void
check_refusal(const struct reply *reply)
{
	if (reply->code < 500 || reply->code > 599)
		abort();
	check_text(reply->text);
}

static void
parse(const struct command *command)
{
	char name[HELO_MAX + 1];
	struct mail_command mail;
	struct rcpt_command rcpt;
	struct reply reply;
	uint64_t number;
	bool last;

	if (command_parse_greeting(command->argument, command->length, name, sizeof(name), &reply))
		check_text(name);
	else
		check_refusal(&reply);
	if (command_parse_mail(command->argument, command->length,
	        MAIL_OFFERS_DSN | MAIL_OFFERS_AUTH, &mail, &reply)) {
		check_text(mail.sender.local);
		check_text(mail.envid);
	} else
		check_refusal(&reply);
	if (command_parse_rcpt(command->argument, command->length, true, true, &rcpt, &reply)) {
		check_text(rcpt.rcpt.local);
		check_text(rcpt.rcpt.domain);
		check_text(rcpt.orcpt);
	} else
		check_refusal(&reply);
	if (!command_parse_bdat(command->argument, command->length, &number, &last, &reply))
		check_refusal(&reply);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct command command;
	char *line = malloc(size == 0 ? 1 : size);

	if (line == NULL)
		return 0;
	if (size > 0)
		memcpy(line, data, size);
	if (command_parse(line, size, &command))
		parse(&command);
	free(line);
	return 0;
}
