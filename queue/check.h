/* The spool looked at offline: `queue check DIRECTORY` and `queue dump DIRECTORY`. */
#ifndef QUEUE_CHECK_H
#define QUEUE_CHECK_H

/* Verifies every segment, record and large file; problems go to stdout as FILE: OFFSET: WHAT.
 * Returns an exit code: 0, EX_DATAERR with problems, EX_TEMPFAIL while a queue runs on it. */
int check_spool(const char *directory);
/* Prints every record, one a line. Exit codes as above. */
int check_dump(const char *directory);

#endif
