/*
 * smtpctl called by the name sendmail: submits what standard input has. See sendmail(8).
 */
#ifndef SMTPCTL_SENDMAIL_H
#define SMTPCTL_SENDMAIL_H

/* Another of smtpctl's names that was asked for by an option, to be gone on with. */
enum sendmail_other {
	SENDMAIL_NOTHING,
	SENDMAIL_MAILQ,      /* -bp */
	SENDMAIL_NEWALIASES, /* -bi */
	SENDMAIL_SCHEDULE,   /* -q: "smtpctl schedule all" */
};

/* After privilege_start(), which it goes on from; `name` is $NAME as it was. An EX_* status. */
int sendmail(int argc, char **argv, const char *name, enum sendmail_other *);

#endif
