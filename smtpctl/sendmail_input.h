/* sendmail's input, whatever its length, in a file of its own. */
#ifndef SMTPCTL_SENDMAIL_INPUT_H
#define SMTPCTL_SENDMAIL_INPUT_H

#include <stdbool.h>

/* Reads standard input up to its end, or with `dot_ends` up to a line that is a lone dot. An EX_*
 * status, which was explained on stderr; 0 with the file, the caller's, in `*fd`. */
int sendmail_read_input(bool dot_ends, int *fd);

#endif
