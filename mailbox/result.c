/* One table of words for all that can become of an operation on stored mail. */
#include "mailbox/result.h"

static const struct {
	const char *code;
	const char *text;
} results[] = {
	[MAIL_OK] = { "", "Done" },
	[MAIL_ABSENT] = { "NONEXISTENT", "There is no such mailbox" },
	[MAIL_EXISTS] = { "ALREADYEXISTS", "There is a mailbox of that name already" },
	[MAIL_BAD_NAME] = { "CANNOT", "This can't be a name here" },
	[MAIL_CANNOT] = { "CANNOT", "This can't be done with that mailbox" },
	[MAIL_OVER_QUOTA] = { "OVERQUOTA", "The mailbox is full" },
	[MAIL_NO_SPACE] = { "UNAVAILABLE", "The server's disk is full; try again later" },
	[MAIL_READ_ONLY] = { "UNAVAILABLE",
	    "The server can't store anything now; try again later" },
	[MAIL_LIMIT] = { "LIMIT", "There can't be more of these" },
	[MAIL_BUSY] = { "INUSE", "The mailbox is locked by another program; try again" },
	[MAIL_EXPUNGED] = { "EXPUNGEISSUED", "The message has been removed" },
	[MAIL_FAILED] = { "SERVERBUG", "The server can't do this now; its log says why" },
};

const char *
mail_result_code(enum mail_result result)
{
	return results[result].code;
}

const char *
mail_result_text(enum mail_result result)
{
	return results[result].text;
}
