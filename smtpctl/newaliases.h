/*
 * smtpctl called by the names newaliases and makemap: see newaliases(8) and makemap(8). Both run
 * other programs of the suite, and have given up smtpctl's group before.
 */
#ifndef SMTPCTL_NEWALIASES_H
#define SMTPCTL_NEWALIASES_H

/* An EX_* status. */
int newaliases(int argc, char **argv);
int makemap(int argc, char **argv);

#endif
