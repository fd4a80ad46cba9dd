/* The suite's other programs, which smtpctl runs for what it doesn't do itself. */
#ifndef SMTPCTL_PROGRAM_H
#define SMTPCTL_PROGRAM_H

/* Becomes the program `name`, beside this one or where the suite is installed, without any
 * environment. Returns only when that can't be, with an EX_* status, after saying so. */
int program_exec(const char *name, const char *const *arguments);

#endif
