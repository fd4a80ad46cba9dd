/*
 * The queue's program alone knows what a spool is made of.
 */
#include <stddef.h>

#include "smtpctl/program.h"
#include "smtpctl/spool.h"

int
spool_exec(const char *what, const char *directory)
{
	const char *spool = directory != NULL ? directory : LOCALSTATEDIR "/spool/postern";
	const char *const arguments[] = { "queue", what, spool, NULL };

	return program_exec("queue", arguments);
}
