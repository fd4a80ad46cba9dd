/*
 * What SEARCH, SORT and THREAD need of a message's header: made once, kept beside the folder's index.
 * Text is decoded, in UTF-8 and lower case, so that comparing bytes compares without regard to case.
 */
#ifndef MAILBOX_IMAP_SUMMARY_H
#define MAILBOX_IMAP_SUMMARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "mailbox/folder.h"

enum summary_text {
	SUMMARY_SUBJECT,
	SUMMARY_FROM, /* the whole field */
	SUMMARY_TO,
	SUMMARY_CC,
	SUMMARY_BCC,
	SUMMARY_BASE_SUBJECT, /* RFC 5256 2.1 */
	SUMMARY_FROM_MAILBOX, /* the first address's local part (RFC 5256 3) */
	SUMMARY_TO_MAILBOX,
	SUMMARY_CC_MAILBOX,
	SUMMARY_MESSAGE_ID, /* as written; "" none */
	SUMMARY_REFERENCES, /* ids, oldest first, a NUL between them: References or In-Reply-To */
	SUMMARY_TEXT_COUNT,
};
#define SUMMARY_TEXT_MAX (32 * 1024) /* each; what is longer is cut */

struct summary {
	bool has_date;
	int64_t sent;      /* seconds since 1970 */
	int32_t sent_days; /* of the day as written */
	bool is_reply;     /* or forwarded, by its subject */
	struct {
		const char *data; /* lent until the folder's next call */
		size_t length;
	} texts[SUMMARY_TEXT_COUNT];
};

/* MAIL_EXPUNGED when the message is gone. */
enum mail_result summary_load(struct folder *, uint32_t uid, struct summary *);

/* Appends text in lower case; bytes that are no UTF-8 stay. */
void summary_fold(struct buf *, const char *text, size_t length);
/* Appends the base subject of a decoded subject; true when it is a reply's or a forward's. */
bool summary_base_subject(struct buf *, const char *subject, size_t length);

#endif
