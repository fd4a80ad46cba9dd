/* Files without a name, gone with the process. */
#ifndef SMTPCTL_TEMPORARY_H
#define SMTPCTL_TEMPORARY_H

#include <sys/types.h>

/* On disk where that can be had, else in memory; open for reading and writing, -1 with errno set. No
 * more than `*limit` bytes (may be NULL) should be put into it. */
int temporary_file(off_t *limit);

#endif
