/*
 * An IMAP session and the parts that work on it:
 *
 *	imap_session.c   from a command's bytes to its tagged answer
 *	imap_tell.c      untagged answers: what changed in the selected folder
 *	imap_select.c    SELECT, EXAMINE, CLOSE, UNSELECT
 *	imap_mailbox.c   LIST, STATUS, CREATE and other commands about folders
 *	imap_fetch.c     FETCH; imap_body.c: sections of messages
 *	imap_store.c     STORE, COPY, MOVE, EXPUNGE
 *	imap_append.c    APPEND, REPLACE
 *	imap_search.c    SEARCH; imap_match.c: does a message match?
 *	imap_sort.c      SORT and THREAD
 *	imap_extra.c     ENABLE, ID, QUOTA, METADATA, COMPRESS
 *	imap_notify.c    NOTIFY
 *
 * A command is either done in its function, or leaves a job: a step function that does some
 * milliseconds' work, again and again, until all is done, while others are served.
 */
#ifndef MAILBOX_IMAP_SESSION_STATE_H
#define MAILBOX_IMAP_SESSION_STATE_H

#include <event2/event_struct.h>

#include "common/buf.h"
#include "mailbox/connection.h"
#include "mailbox/folder.h"
#include "common/folder_name.h"
#include "mailbox/folder_view.h"
#include "mailbox/imap_command.h"
#include "mailbox/imap_input.h"
#include "mailbox/imap_session.h"

struct imap_append_job;
struct imap_notify_state;

enum imap_state {
	IMAP_READING, /* a command comes */
	IMAP_WORKING, /* a job is at work */
	IMAP_IDLING,  /* IDLE: waits for DONE */
	IMAP_ENDING,
};

enum imap_progress {
	IMAP_DONE,
	IMAP_MORE, /* again, when others had their turn */
};

/* What the command, or a job's last step, answers. */
enum imap_outcome {
	IMAP_OK,
	IMAP_NO,
	IMAP_BAD,
};

/* The selected folder. */
struct imap_selected {
	struct folder *folder; /* NULL: none */
	struct folder_view *view;
	bool is_read_only;
	uint32_t recent;       /* the first uid that is recent to this session */
	bool tells_saved;      /* "$" stands for `saved` */
	struct imap_set saved; /* UIDs (RFC 5182); ranges are owned */
};

struct imap_session {
	struct event_base *base;
	struct connection *connection;
	struct maildir *maildir;
	const struct imap_settings *settings;
	uint64_t id;
	void (*ended)(void *);
	void *arg;

	enum imap_state state;
	struct imap_input input;
	struct imap_command command; /* the one at work */
	struct event turn;           /* the next step of the job */
	enum imap_progress (*step)(struct imap_session *);
	bool in_step;
	void *job;
	void (*job_free)(void *job);

	struct imap_selected selected;
	struct imap_append_job *append; /* APPEND, while messages come */
	struct imap_notify_state *notify;
	bool is_rev2;    /* ENABLE IMAP4rev2 */
	bool is_utf8;    /* ENABLE UTF8=ACCEPT; or rev2: names are UTF-8 */
	bool condstore;  /* MODSEQ is told with flags */
	bool qresync;    /* VANISHED instead of EXPUNGE */
	unsigned errors; /* BAD in a row */

	/* The answer that is being made; imap_flush() sends it. Cleared after that. */
	struct buf text;
};

/* --- imap_session.c --- */

#define IMAP_TEXT_MAX (32 * 1024 * 1024) /* of an answer before it is handed on */
/* Hands `text` to the connection. */
void imap_flush(struct imap_session *);
/* Answers the command and goes on with the next one. `code`: "NONEXISTENT", "" none. What changed in
 * the folder is told first, removals too if the command is one that may tell them. */
void imap_answer(struct imap_session *, enum imap_outcome, const char *code, const char *words);
/* The same for what became of an operation; `done` are the words for MAIL_OK. */
void imap_answer_result(struct imap_session *, enum mail_result, const char *done);
/* Goes on with `step` until it says IMAP_DONE, having answered; then the job is freed. */
void imap_work(struct imap_session *, enum imap_progress (*step)(struct imap_session *), void *job,
    void (*job_free)(void *));
/* Whether a step has worked for long enough. Call it once a message. */
bool imap_is_turn_over(struct imap_session *);
/* A folder's name as the client wrote it; false when it can't be one. */
bool imap_name_clean(
    const struct imap_session *, const struct imap_string *, char name[FOLDER_NAME_SIZE]);
/* The same; answers NO then. */
bool imap_name_from_client(
    struct imap_session *, const struct imap_string *, char name[FOLDER_NAME_SIZE]);
/* Writes a folder's name as this client understands it. */
void imap_write_name(struct imap_session *, const char *name);

/* --- imap_tell.c --- */

/* Looks at the disk and tells what changed; with `removals` EXPUNGE or VANISHED too. */
void imap_tell(struct imap_session *, bool removals);
/* "FLAGS (\Seen …)" of a message. */
void imap_write_flags(struct imap_session *, const struct message *);
void imap_write_date_time(struct buf *, int64_t when);
/* Positions of the client's set in the view: numbers or UIDs as `uid` says; "$" too. False, having
 * answered BAD, when numbers are out of range. The ranges become sequence numbers. */
bool imap_resolve(struct imap_session *, struct imap_set *, bool uid);

/* --- imap_select.c --- */

void imap_select(struct imap_session *);
void imap_close(struct imap_session *, bool expunge);
/* Whether the selected folder was deleted, or begun anew, so that its UIDs are valid no more: the client
 * is told that its messages are expunged, and commands about them are answered NO. */
bool imap_is_gone(const struct imap_session *);
/* The answer to such a command. */
void imap_answer_gone(struct imap_session *);
/* Nothing is selected any more; without telling. */
void imap_unselect(struct imap_session *);
/* The keyword's bits of these flags, new keywords being made; answers and gives false when one can't be
 * had. */
bool imap_flag_bits(struct imap_session *, struct folder *, const struct imap_flags *, uint32_t *);

/* --- the commands --- */

void imap_fetch(struct imap_session *);
void imap_store(struct imap_session *);
void imap_copy(struct imap_session *); /* MOVE too */
void imap_expunge(struct imap_session *);
void imap_search(struct imap_session *);
void imap_sort(struct imap_session *);
void imap_thread(struct imap_session *);
void imap_list(struct imap_session *); /* LSUB too */
void imap_status(struct imap_session *);
void imap_create(struct imap_session *);
void imap_delete(struct imap_session *);
void imap_rename(struct imap_session *);
void imap_subscribe(struct imap_session *); /* UNSUBSCRIBE too */
void imap_namespace(struct imap_session *);
void imap_enable(struct imap_session *);
void imap_id(struct imap_session *);
void imap_quota(struct imap_session *); /* all three */
void imap_metadata(struct imap_session *);
void imap_compress(struct imap_session *);
void imap_notify(struct imap_session *);
void imap_notify_free(struct imap_session *);
/* Tells what NOTIFY wants told of folders that aren't selected. */
void imap_notify_look(struct imap_session *);

/* APPEND and REPLACE, as their messages come. */
void imap_append_message(struct imap_session *); /* one was announced */
void imap_append_text(struct imap_session *, const char *bytes, size_t length);
void imap_append_end(struct imap_session *); /* the message is complete */
void imap_append(struct imap_session *);     /* the command is */
void imap_append_free(struct imap_session *);

/* --- imap_body.c --- */

struct mime;
struct mime_decoder;

/* A window of a text: `skip` bytes of it aren't wanted, then `left` are. */
struct imap_window {
	struct imap_session *session; /* NULL: nobody, it is only counted */
	uint64_t skip;
	uint64_t left;
	uint64_t seen; /* all, wanted or not */
};

/* What FETCH needs of a message's file, opened and parsed at most once; and the text that is being
 * sent of it. */
struct imap_body {
	struct folder *folder;
	uint32_t uid;
	int fd; /* -1: not open */
	uint64_t size;
	struct mime *mime;
	char *text; /* of a message that isn't large and is wanted whole; `size` bytes */

	bool is_sending; /* imap_body_step() goes on with it */
	struct imap_window window;
	uint64_t at;
	uint64_t end;
	bool after_return;
	struct mime_decoder *decoder; /* BINARY of an encoded part */
};
void imap_body_init(struct imap_body *, struct folder *, uint32_t uid);
void imap_body_free(struct imap_body *);
enum mail_result imap_body_open(struct imap_body *);
enum mail_result imap_body_parse(struct imap_body *);
/* Opens it and, where that item needs it, parses it. */
enum mail_result imap_body_prepare(struct imap_body *, const struct imap_fetch_item *);
/* Writes a BODY[…], BINARY[…] or RFC822 item: its name, and its value or, when that is long, as much as
 * says how long it is; `is_sending` is then set. MAIL_EXPUNGED when the file has gone; nothing is
 * written then. `*unknown_encoding`: BINARY of an encoding that isn't known, nothing written. */
enum mail_result imap_body_write(struct imap_session *, struct imap_body *,
    const struct imap_fetch_item *, bool *unknown_encoding);
/* Writes the next some KiB. */
void imap_body_step(struct imap_body *);
/* "BINARY.SIZE[1] 42" */
void imap_body_write_size(struct imap_session *, const struct imap_fetch_item *, uint64_t size);
enum mail_result imap_body_binary_size(
    struct imap_body *, const struct imap_fetch_item *, uint64_t *size, bool *unknown_encoding);

#endif
