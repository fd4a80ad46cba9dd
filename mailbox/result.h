/*
 * How an operation on the stored mail ended. What an administrator can act on has been logged by
 * then, with path and reason; this is what a client can be told.
 */
#ifndef MAILBOX_RESULT_H
#define MAILBOX_RESULT_H

enum mail_result {
	MAIL_OK,
	MAIL_ABSENT,     /* no such folder */
	MAIL_EXISTS,     /* a folder of that name is there already */
	MAIL_BAD_NAME,   /* not a name that a folder can have */
	MAIL_CANNOT,     /* not with this folder: INBOX deleted, a folder into itself */
	MAIL_OVER_QUOTA, /* the owner's quota */
	MAIL_NO_SPACE,   /* the disk's */
	MAIL_READ_ONLY,  /* the file system */
	MAIL_LIMIT,      /* of keywords, folders, annotations */
	MAIL_BUSY,       /* somebody else holds the folder's lock; worth another try */
	MAIL_EXPUNGED,   /* the message is gone */
	MAIL_FAILED,     /* an error of the system's, logged */
};

/* The IMAP response code for it (RFC 5530 3, RFC 9051 7.1), "NONEXISTENT"; "" for none. */
const char *mail_result_code(enum mail_result);
/* A sentence for the client. */
const char *mail_result_text(enum mail_result);

#endif
