/* sendmail -bs: a dialogue of SMTP on standard input and output, passed on to the server. */
#ifndef SMTPCTL_SENDMAIL_PASS_H
#define SMTPCTL_SENDMAIL_PASS_H

/* Takes the connected socket over, until the server closes it. An EX_* status. */
int sendmail_pass(int fd);

#endif
