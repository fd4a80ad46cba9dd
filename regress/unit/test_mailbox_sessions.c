/*
 * IMAP and POP3 sessions on a Maildir: what a client says and is answered, by the bytes on its socket.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>
#include <zlib.h>

#include "common/log.h"
#include "mailbox/imap_session.h"
#include "mailbox/pop3_session.h"

#define HEARD_MAX (1024 * 1024)
#define TURNS_MAX 200000 /* of the event loop without the answer that is waited for */

static struct event_base *base;
static struct maildir *maildir;
static char folder[] = "/tmp/postern-sessions-XXXXXX";
static const struct imap_settings imap_settings = {
	.hostname = "mx.example.org", .user = "alice@example.org", .message_limit = 1000000
};
static const struct pop3_settings pop3_settings = { .hostname = "mx.example.org",
	.user = "alice@example.org" };

struct client {
	int fd;
	struct imap_session *imap;
	struct pop3_session *pop3;
	bool has_ended;
	char heard[HEARD_MAX];
	size_t length;
};

static struct client clients[2];

static void
on_ended(void *arg)
{
	struct client *client = arg;

	client->has_ended = true;
	imap_session_free(client->imap);
	pop3_session_free(client->pop3);
	client->imap = NULL;
	client->pop3 = NULL;
}

static int
open_socket(struct client *client)
{
	int ends[2];

	memset(client, 0, sizeof(*client));
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	client->fd = ends[0];
	return ends[1];
}

static void
start_imap(struct client *client)
{
	struct imap_login login = { .session = 1, .client = "192.0.2.1", .tag = "t", .input = "" };
	int fd = open_socket(client);

	client->imap =
	    imap_session_new(base, fd, maildir, &imap_settings, &login, on_ended, client);
	assert_non_null(client->imap);
}

static void
start_pop3(struct client *client)
{
	struct pop3_login login = { .session = 2, .input = "" };
	int fd = open_socket(client);

	client->pop3 =
	    pop3_session_new(base, fd, maildir, &pop3_settings, &login, on_ended, client);
	assert_non_null(client->pop3);
}

static void
stop(struct client *client)
{
	if (client->fd != -1)
		(void)close(client->fd);
	imap_session_free(client->imap);
	pop3_session_free(client->pop3);
	memset(client, 0, sizeof(*client));
	client->fd = -1;
}

static int
set_up(void **state)
{
	struct quota_limits limits = { .bytes = 450000 };
	int root;

	(void)state;
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	base = event_base_new();
	maildir = maildir_new(root, folder, "mx.example.org", &limits);
	assert_non_null(maildir);
	clients[0].fd = clients[1].fd = -1;
	start_imap(&clients[0]);
	return 0;
}

static int
tear_down(void **state)
{
	char command[100];

	(void)state;
	stop(&clients[0]);
	stop(&clients[1]);
	maildir_free(maildir);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* Lets the sessions work until the client has heard the words; everything since the last time. */
static const char *
hear(struct client *client, const char *words)
{
	for (int turn = 0; turn < TURNS_MAX; turn++) {
		ssize_t count = recv(client->fd, client->heard + client->length,
		    HEARD_MAX - client->length - 1, MSG_DONTWAIT);

		if (count > 0)
			client->length += (size_t)count;
		client->heard[client->length] = '\0';
		if (client->length > 0 && strstr(client->heard, words) != NULL) {
			client->length = 0;
			return client->heard;
		}
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	}
	fail_msg("\"%s\" isn't in: %s", words, client->heard);
	return NULL;
}

static void
say(struct client *client, const char *text)
{
	assert_int_equal(send(client->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Says a command, whose tag is "a"; what is answered. */
static const char *
ask(struct client *client, const char *text)
{
	say(client, text);
	return hear(client, "\r\na ");
}

/* The same for a command whose whole answer is its tagged line. */
static const char *
ask_short(struct client *client, const char *text)
{
	say(client, text);
	return hear(client, "\r\n");
}

static void
assert_has(const char *heard, const char *words)
{
	if (strstr(heard, words) == NULL)
		fail_msg("\"%s\" isn't in: %s", words, heard);
}

static void
assert_lacks(const char *heard, const char *words)
{
	if (strstr(heard, words) != NULL)
		fail_msg("\"%s\" is in: %s", words, heard);
}

static void
append(struct client *client, const char *options, const char *message)
{
	char begin[200];

	snprintf(begin, sizeof(begin), "a APPEND INBOX %s{%zu+}\r\n", options, strlen(message));
	say(client, begin);
	say(client, message);
	say(client, "\r\n");
	assert_has(hear(client, "\r\n"), "a OK [APPENDUID ");
}

/* Two messages in the INBOX, of 59 and 66 bytes. */
static void
fill(struct client *client)
{
	hear(client, "t OK [CAPABILITY");
	append(client, "(\\Seen) \" 1-Feb-2024 10:00:00 +0000\" ",
	    "Subject: one\r\nMessage-ID: <1@x>\r\n\r\n.dot\r\nline three\r\nfour\r\n");
	append(client, "",
	    "Subject: Re: one\r\nIn-Reply-To: <1@x>\r\nMessage-ID: <2@x>\r\n\r\nhello\r\n");
	assert_has(ask(client, "a SELECT INBOX\r\n"), "* 2 EXISTS");
}

static void
messages_are_appended_and_fetched(void **state)
{
	struct client *client = &clients[0];
	const char *heard;

	(void)state;
	fill(client);
	heard = ask(client, "a FETCH 1:* (UID FLAGS RFC822.SIZE INTERNALDATE)\r\n");
	assert_has(heard, "* 1 FETCH (UID 1 RFC822.SIZE 59 INTERNALDATE \" 1-Feb-2024 ");
	assert_has(heard, "FLAGS (\\Seen \\Recent))");
	assert_has(heard, "* 2 FETCH (UID 2 RFC822.SIZE 66");
	heard = ask(client, "a FETCH 1 (BODY.PEEK[TEXT]<1.5> BODY[HEADER.FIELDS (subject)])\r\n");
	assert_has(heard,
	    "BODY[TEXT]<1> {5}\r\ndot\r\n BODY[HEADER.FIELDS (\"subject\")] {16}\r\n"
	    "Subject: one\r\n\r\n)");
	/* What BODY shows has been seen. */
	assert_has(ask(client, "a UID FETCH 2 BODY[1]\r\n"),
	    "* 2 FETCH (UID 2 BODY[1] {7}\r\nhello\r\n FLAGS (\\Seen \\Recent))");
	assert_has(ask(client, "a FETCH 1 PREVIEW\r\n"), "PREVIEW \".dot line three four\")");
	assert_has(ask_short(client, "a FETCH 3 FLAGS\r\n"), "a BAD");
	assert_has(ask_short(client, "a UID FETCH 3 FLAGS\r\n"), "a OK");
}

static void
what_cannot_be_appended_is_refused_before_it_comes(void **state)
{
	struct client *client = &clients[0];

	(void)state;
	hear(client, "t OK");
	assert_has(ask_short(client, "a APPEND Nowhere {10}\r\n"), "a NO [TRYCREATE]");
	assert_has(ask_short(client, "a APPEND INBOX {1000001}\r\n"), "a NO [TOOBIG]");
	assert_has(ask_short(client, "a APPEND INBOX {1000000}\r\n"), "a NO [OVERQUOTA]");
	assert_has(ask_short(client, "a APPEND INBOX (\\Recent) {10}\r\n"), "a BAD");
	/* What comes all the same is read past. */
	assert_has(ask_short(client, "a APPEND Nowhere {10+}\r\n0123456789\r\nb NOOP\r\n"), "a NO");
	assert_has(ask(client, "a STATUS INBOX (MESSAGES)\r\n"), "(MESSAGES 0)");
}

static void
several_messages_are_appended_together_or_not_at_all(void **state)
{
	struct client *client = &clients[0];

	(void)state;
	hear(client, "t OK");
	assert_has(
	    ask_short(client, "a APPEND INBOX {6+}\r\nA: b\r\n (\\Draft) {8+}\r\nA: c\r\n\r\n\r\n"),
	    " 1:2] Stored");
	assert_has(ask_short(client, "a APPEND INBOX {6+}\r\nA: b\r\n {6+}\r\nA: c\r\n junk\r\n"),
	    "a BAD");
	assert_has(ask(client, "a STATUS INBOX (MESSAGES)\r\n"), "(MESSAGES 2)");
}

static void
flags_are_stored_and_told_to_others(void **state)
{
	struct client *client = &clients[0], *other = &clients[1];
	const char *heard;

	(void)state;
	fill(client);
	start_imap(other);
	hear(other, "t OK");
	ask(other, "a EXAMINE INBOX\r\n");
	heard = ask(client, "a STORE 2 +FLAGS (\\Flagged $Work)\r\n");
	assert_has(heard, "* 2 FETCH (FLAGS (\\Flagged $Work \\Recent))");
	assert_has(ask(other, "a NOOP\r\n"), "* 2 FETCH (FLAGS (\\Flagged $Work");
	assert_has(ask_short(client, "a STORE 2 FLAGS.SILENT ()\r\n"), "a OK");
	assert_has(ask(other, "a NOOP\r\n"), "* 2 FETCH (FLAGS (");
	assert_has(ask_short(other, "a STORE 1 +FLAGS (\\Deleted)\r\n"), "a NO");
	/* RFC 7162 3.1.3 */
	say(client, "a STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Answered)\r\n");
	hear(client, "a OK [MODIFIED 1]");
}

static void
removals_are_told_only_where_they_may_be(void **state)
{
	struct client *client = &clients[0], *other = &clients[1];
	const char *heard;

	(void)state;
	fill(client);
	start_imap(other);
	hear(other, "t OK");
	ask(other, "a SELECT INBOX\r\n");
	ask(client, "a STORE 1 +FLAGS (\\Deleted)\r\n");
	assert_has(ask(client, "a EXPUNGE\r\n"), "* 1 EXPUNGE");
	heard = ask(other, "a FETCH 2 UID\r\n"); /* by number: not now */
	assert_has(heard, "* 2 FETCH (UID 2)");
	assert_lacks(heard, "EXPUNGE\r\n");
	assert_has(ask_short(other, "a FETCH 1 UID\r\n"), "[EXPUNGEISSUED]");
	assert_has(ask(other, "a NOOP\r\n"), "* 1 EXPUNGE");
	assert_has(ask(other, "a FETCH 1 UID\r\n"), "* 1 FETCH (UID 2)");
}

static void
idle_hears_of_a_delivery(void **state)
{
	struct client *client = &clients[0];
	char path[200];
	FILE *file;

	(void)state;
	fill(client);
	say(client, "a IDLE\r\n");
	hear(client, "+ ");
	snprintf(path, sizeof(path), "%s/new/1700000000.M1P1.host,S=6", folder);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("A: b\n\n", file);
	fclose(file);
	maildir_watch_read(maildir);
	imap_session_look(client->imap);
	assert_has(hear(client, "* 3 EXISTS"), "RECENT");
	say(client, "done\r\n");
	hear(client, "a OK");
	say(client, "a IDLE\r\n");
	hear(client, "+ ");
	say(client, "NOOP\r\n");
	hear(client, "a BAD");
}

/* Whatever line ends it is stored with, it is sent with CRLF, and its size is right. */
static void
a_stored_message_is_sent_whole_with_crlf(void **state)
{
	static const struct {
		const char *stored;
		const char *sent;
	} examples[] = {
		{ "\nA: b\r\n\nx", "{11}\r\n\r\nA: b\r\n\r\nx" },
		{ "A: b\n\nx\r\r\n\n", "{14}\r\nA: b\r\n\r\nx\r\r\n\r\n" },
		{ "A", "{1}\r\nA" },
		{ "", "{0}\r\n" },
	};
	struct client *client = &clients[0];
	char path[200], expected[100];
	const char *heard;
	FILE *file;

	(void)state;
	hear(client, "t OK");
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		/* Its name lies. */
		snprintf(path, sizeof(path), "%s/cur/170000000%zu.M1P1.host,S=3,W=4:2,", folder, i);
		file = fopen(path, "w");
		assert_non_null(file);
		fputs(examples[i].stored, file);
		fclose(file);
	}
	ask(client, "a SELECT INBOX\r\n");
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		snprintf(
		    path, sizeof(path), "a FETCH %zu (BODY.PEEK[] RFC822.SIZE UID)\r\n", i + 1);
		snprintf(expected, sizeof(expected), "BODY[] %s RFC822.SIZE %d)\r\na OK",
		    examples[i].sent, atoi(examples[i].sent + 1));
		heard = ask(client, path);
		assert_has(heard, expected);
		snprintf(path, sizeof(path), "a FETCH %zu (RFC822 BODY[TEXT])\r\n", i + 1);
		snprintf(expected, sizeof(expected), "(RFC822 %s BODY[TEXT] {", examples[i].sent);
		assert_has(ask(client, path), expected);
	}
}

static void
messages_are_copied_and_moved(void **state)
{
	struct client *client = &clients[0];
	const char *heard;

	(void)state;
	fill(client);
	assert_has(ask_short(client, "a COPY 1:2 Sent\r\n"), "a NO [TRYCREATE]");
	assert_has(ask_short(client, "a CREATE Sent\r\n"), "a OK");
	assert_has(ask_short(client, "a COPY 1:2 Sent\r\n"), "1:2 1:2] Copied");
	heard = ask(client, "a MOVE 1 Sent\r\n");
	assert_has(heard, "* OK [COPYUID ");
	assert_has(heard, "* 1 EXPUNGE\r\na OK");
	assert_has(ask(client, "a STATUS Sent (MESSAGES UIDNEXT)\r\n"), "(MESSAGES 3 UIDNEXT 4)");
	/* RFC 8508 */
	heard = ask(client, "a UID REPLACE 2 Sent {6+}\r\nA: b\r\n\r\n");
	assert_has(heard, "* OK [APPENDUID ");
	assert_has(heard, "* 1 EXPUNGE");
}

static void
searches_find(void **state)
{
	static const struct {
		const char *search;
		const char *answer;
	} examples[] = {
		{ "ALL", "* SEARCH 1 2\r\n" },
		{ "UNSEEN", "* SEARCH 2\r\n" },
		{ "SUBJECT ONE", "* SEARCH 1 2\r\n" },
		{ "NOT HEADER In-Reply-To \"\"", "* SEARCH 1\r\n" },
		{ "BODY \"line three\"", "* SEARCH 1\r\n" },
		{ "TEXT \"subject: re:\"", "* SEARCH 2\r\n" },
		{ "OR (SEEN SMALLER 5) BODY hello", "* SEARCH 2\r\n" },
		{ "BEFORE 2-Feb-2024", "* SEARCH 1\r\n" },
		{ "UID 2:*", "* SEARCH 2\r\n" },
		{ "SUBJECT nothing", "* SEARCH\r\n" },
		{ "RETURN (MIN MAX COUNT) ALL", "* ESEARCH (TAG \"a\") MIN 1 MAX 2 COUNT 2\r\n" },
	};
	struct client *client = &clients[0];
	char text[200];

	(void)state;
	fill(client);
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		snprintf(text, sizeof(text), "a SEARCH %s\r\n", examples[i].search);
		assert_has(ask(client, text), examples[i].answer);
	}
	assert_has(
	    ask_short(client, "a SEARCH CHARSET nowhere ALL BODY x\r\n"), "a NO [BADCHARSET");
	/* RFC 5182 */
	assert_has(ask_short(client, "a SEARCH RETURN (SAVE) SEEN\r\n"), "a OK");
	assert_has(ask(client, "a FETCH $ UID\r\n"), "* 1 FETCH (UID 1)\r\na OK");
	assert_has(ask(client, "a SORT (REVERSE ARRIVAL) UTF-8 ALL\r\n"), "* SORT 2 1\r\n");
	assert_has(ask(client, "a THREAD REFERENCES UTF-8 ALL\r\n"), "* THREAD (1 2)\r\n");
}

static void
folders_are_listed_by_patterns(void **state)
{
	struct client *client = &clients[0];
	const char *heard;

	(void)state;
	hear(client, "t OK");
	ask_short(client, "a CREATE Work.2026\r\n");
	ask_short(client, "a CREATE \"Entw&APw-rfe\" (USE (\\Drafts))\r\n");
	ask_short(client, "a SUBSCRIBE Work.2026\r\n");
	heard = ask(client, "a LIST \"\" %\r\n");
	assert_has(heard, "* LIST (\\HasNoChildren \\Drafts) \".\" \"Entw&APw-rfe\"\r\n");
	assert_has(heard, "* LIST (\\Noselect \\HasChildren) \".\" \"Work\"\r\n");
	assert_lacks(heard, "2026");
	heard = ask(client, "a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %\r\n");
	assert_has(heard, "\"Work\" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
	assert_has(ask(client, "a LSUB \"\" *\r\n"), "* LSUB () \".\" \"Work.2026\"");
	assert_has(ask(client, "a LIST \"\" (\"w*\" inbox) RETURN (STATUS (MESSAGES))\r\n"),
	    "* STATUS \"INBOX\" (MESSAGES 0)");
	ask(client, "a ENABLE IMAP4rev2\r\n");
	assert_has(ask(client, "a LIST \"\" Ent*\r\n"), "\"Entw\xc3\xbcrfe\"");
	assert_has(ask_short(client, "a CREATE ../x\r\n"), "a NO [CANNOT]");
	assert_has(ask_short(client, "a DELETE INBOX\r\n"), "a NO [CANNOT]");
}

static void
a_session_outlives_its_folder(void **state)
{
	struct client *client = &clients[0], *other = &clients[1];

	(void)state;
	hear(client, "t OK");
	ask_short(client, "a CREATE Old\r\n");
	ask(client, "a SELECT Old\r\n");
	start_imap(other);
	hear(other, "t OK");
	assert_has(ask_short(other, "a DELETE Old\r\n"), "a OK");
	assert_has(ask_short(client, "a NOOP\r\n"), "a OK");
	assert_has(ask_short(client, "a SEARCH ALL\r\n"), "a NO [NONEXISTENT]");
	assert_has(ask_short(client, "a IDLE\r\n"), "a NO [NONEXISTENT]");
	assert_has(ask_short(client, "a CLOSE\r\n"), "a OK");
	assert_has(ask(client, "a SELECT INBOX\r\n"), "a OK");
}

static void
idle_ends_with_its_folder(void **state)
{
	struct client *client = &clients[0], *other = &clients[1];

	(void)state;
	hear(client, "t OK");
	ask_short(client, "a CREATE Old\r\n");
	ask(client, "a SELECT Old\r\n");
	say(client, "a IDLE\r\n");
	hear(client, "+ ");
	start_imap(other);
	hear(other, "t OK");
	assert_has(ask_short(other, "a DELETE Old\r\n"), "a OK");
	imap_session_look(client->imap);
	hear(client, "* BYE The selected mailbox is gone");
}

static void
a_client_that_was_away_is_told_what_changed(void **state)
{
	struct client *client = &clients[0];
	unsigned long long modseq;
	unsigned validity;
	const char *heard;
	char text[200];

	(void)state;
	fill(client);
	heard = ask(client, "a SELECT INBOX\r\n");
	assert_int_equal(sscanf(strstr(heard, "HIGHESTMODSEQ"), "HIGHESTMODSEQ %llu", &modseq), 1);
	assert_int_equal(sscanf(strstr(heard, "UIDVALIDITY"), "UIDVALIDITY %u", &validity), 1);
	ask(client, "a STORE 1 +FLAGS (\\Deleted)\r\n");
	ask(client, "a EXPUNGE\r\n");
	ask(client, "a STORE 1 +FLAGS (\\Answered)\r\n");
	ask_short(client, "a UNSELECT\r\n");
	snprintf(text, sizeof(text), "a SELECT INBOX (QRESYNC (%u %llu))\r\n", validity, modseq);
	assert_has(ask_short(client, text), "a BAD");
	ask(client, "a ENABLE QRESYNC\r\n");
	heard = ask(client, text);
	assert_has(heard, "* VANISHED (EARLIER) 1\r\n");
	assert_has(heard, "* 1 FETCH (UID 2 FLAGS (\\Answered");
	ask(client, "a STORE 1 +FLAGS.SILENT (\\Deleted)\r\n");
	assert_has(ask(client, "a UID EXPUNGE 2\r\n"), "* VANISHED 2\r\n");
}

static void
an_answer_larger_than_the_socket_holds_arrives_whole(void **state)
{
	struct client *client = &clients[0];
	static char message[200100];
	char begin[100];
	const char *heard;

	(void)state;
	hear(client, "t OK");
	memset(message, 'x', sizeof(message));
	for (size_t i = 99; i < 200000; i += 100)
		message[i] = '\n';
	memcpy(message, "A: b\n\n", 6);
	message[200000] = '\0';
	snprintf(begin, sizeof(begin), "a APPEND INBOX {200000+}\r\n");
	say(client, begin);
	for (size_t sent = 0; sent < 200000;) {
		ssize_t count = send(client->fd, message + sent, 200000 - sent, MSG_NOSIGNAL);

		if (count > 0)
			sent += (size_t)count;
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	}
	say(client, "\r\n");
	hear(client, "a OK");
	ask(client, "a SELECT INBOX\r\n");
	heard = ask(client, "a FETCH 1 (RFC822.SIZE BODY.PEEK[])\r\n");
	assert_has(heard, "RFC822.SIZE 202002 BODY[] {202002}\r\nA: b\r\n\r\n");
	assert_has(heard, "x\r\n)\r\na OK");
}

static void
junk_is_answered_and_ends_the_session_at_last(void **state)
{
	struct client *client = &clients[0];

	(void)state;
	hear(client, "t OK");
	assert_has(ask_short(client, "\r\n"), "* BAD");
	assert_has(ask_short(client, "a\r\n"), "a BAD");
	assert_has(ask_short(client, "a LOGIN x y\r\n"), "a BAD");
	assert_has(ask_short(client, "a FETCH 1 FLAGS\r\n"), "a BAD");
	for (int i = 0; i < 20 && !client->has_ended; i++)
		say(client, "a XYZZY\r\n");
	hear(client, "* BYE");
	for (int turn = 0; turn < 1000 && !client->has_ended; turn++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	assert_true(client->has_ended);
}

/* Inflates what comes until the words are in it. */
static void
hear_packed(struct client *client, z_stream *stream, const char *words)
{
	unsigned char bytes[4096];
	size_t length = 0;

	for (int turn = 0; turn < TURNS_MAX; turn++) {
		ssize_t count = recv(client->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (count > 0) {
			stream->next_in = bytes;
			stream->avail_in = (unsigned)count;
			stream->next_out = (unsigned char *)client->heard + length;
			stream->avail_out = (unsigned)(HEARD_MAX - 1 - length);
			assert_int_equal(inflate(stream, Z_SYNC_FLUSH), Z_OK);
			length = HEARD_MAX - 1 - stream->avail_out;
			client->heard[length] = '\0';
			if (strstr(client->heard, words) != NULL)
				return;
		}
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	}
	fail_msg("\"%s\" didn't come", words);
}

static void
a_session_can_be_compressed(void **state)
{
	static char command[] = "a STATUS INBOX (MESSAGES)\r\n";
	struct client *client = &clients[0];
	z_stream in = { 0 }, out = { 0 };
	unsigned char packed[200];

	(void)state;
	hear(client, "t OK");
	assert_has(ask_short(client, "a COMPRESS DEFLATE\r\n"), "a OK");
	assert_int_equal(inflateInit2(&in, -15), Z_OK);
	assert_int_equal(deflateInit2(&out, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	out.next_in = (unsigned char *)command;
	out.avail_in = sizeof(command) - 1;
	out.next_out = packed;
	out.avail_out = sizeof(packed);
	assert_int_equal(deflate(&out, Z_SYNC_FLUSH), Z_OK);
	assert_true(send(client->fd, packed, sizeof(packed) - out.avail_out, MSG_NOSIGNAL) > 0);
	hear_packed(client, &in, "(MESSAGES 0)\r\na OK");
	(void)inflateEnd(&in);
	(void)deflateEnd(&out);
}

static void
pop3_reads_and_removes(void **state)
{
	struct client *client = &clients[0], *pop = &clients[1];
	const char *heard;

	(void)state;
	fill(client);
	start_pop3(pop);
	assert_has(hear(pop, "\r\n"), "+OK 2 messages");
	say(pop, "STAT\r\n");
	assert_has(hear(pop, "\r\n"), "+OK 2 125");
	say(pop, "LIST\r\n");
	assert_has(hear(pop, "\r\n.\r\n"), "+OK\r\n1 59\r\n2 66\r\n");
	say(pop, "UIDL 2\r\n");
	assert_has(hear(pop, "\r\n"), "+OK 2 00000002");
	say(pop, "RETR 1\r\n");
	heard = hear(pop, "\r\n.\r\n");
	assert_has(heard, "+OK 59 octets\r\nSubject: one\r\n");
	assert_has(heard, "\r\n\r\n..dot\r\nline three\r\nfour\r\n.\r\n");
	say(pop, "TOP 1 1\r\n");
	heard = hear(pop, "\r\n.\r\n");
	assert_has(heard, "\r\n\r\n..dot\r\n.\r\n");
	say(pop, "DELE 1\r\n");
	hear(pop, "+OK");
	say(pop, "RETR 1\r\n");
	assert_has(hear(pop, "\r\n"), "-ERR there is no such message");
	say(pop, "RSET\r\nDELE 2\r\n");
	hear(pop, "+OK marked");
	say(pop, "QUIT\r\n");
	assert_has(hear(pop, "\r\n"), "+OK 1 removed");
	assert_has(ask(client, "a NOOP\r\n"), "* 2 EXPUNGE");
}

static void
pop3_removes_nothing_without_quit_and_has_the_maildrop_alone(void **state)
{
	struct client *first = &clients[0], *second = &clients[1];

	(void)state;
	fill(first);
	stop(first);
	start_pop3(first);
	hear(first, "+OK");
	start_pop3(second);
	assert_has(hear(second, "\r\n"), "-ERR [IN-USE]");
	for (int turn = 0; turn < 1000 && !second->has_ended; turn++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	assert_true(second->has_ended);
	say(first, "DELE 1\r\n");
	hear(first, "+OK marked");
	stop(first);
	stop(second);
	start_pop3(second);
	assert_has(hear(second, "\r\n"), "+OK 2 messages");
}

/* Closes the INBOX when a change of its directories would show, so that its index holds. */
static void
settle(struct client *client)
{
	const struct timespec tick = { .tv_nsec = 30000000 };

	ask_short(client, "a UNSELECT\r\n");
	nanosleep(&tick, NULL);
	ask(client, "a SELECT INBOX\r\n");
	ask(client, "a STORE 1 +FLAGS (\\Flagged)\r\n");
	nanosleep(&tick, NULL);
	ask_short(client, "a UNSELECT\r\n");
}

static void
a_damaged_index_is_noticed_by_who_was_told_of_it(void **state)
{
	struct client *client = &clients[0], *other = &clients[1];
	char path[100];
	FILE *file;

	(void)state;
	fill(client);
	settle(client);
	snprintf(path, sizeof(path), "%s/postern.index", folder);
	file = fopen(path, "r+");
	assert_non_null(file);
	assert_int_equal(fseek(file, -9, SEEK_END), 0);
	assert_int_equal(fputc('?', file), '?');
	assert_int_equal(fclose(file), 0);
	assert_has(ask(client, "a SELECT INBOX\r\n"), "* 2 EXISTS");
	start_imap(other);
	hear(other, "t OK");
	assert_has(ask(other, "a EXAMINE INBOX\r\n"), "* 2 EXISTS");
	/* The files still say the same. */
	assert_has(ask(other, "a FETCH 1:* (UID FLAGS)\r\n"),
	    "* 1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))\r\n* 2 FETCH (UID 2 FLAGS ())\r\n");
	assert_has(ask(client, "a NOOP\r\n"), "a OK");
	assert_has(ask(client, "a UID FETCH 2 BODY.PEEK[TEXT]\r\n"), "{7}\r\nhello\r\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    messages_are_appended_and_fetched, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    what_cannot_be_appended_is_refused_before_it_comes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    several_messages_are_appended_together_or_not_at_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    flags_are_stored_and_told_to_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    removals_are_told_only_where_they_may_be, set_up, tear_down),
		cmocka_unit_test_setup_teardown(idle_hears_of_a_delivery, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_stored_message_is_sent_whole_with_crlf, set_up, tear_down),
		cmocka_unit_test_setup_teardown(messages_are_copied_and_moved, set_up, tear_down),
		cmocka_unit_test_setup_teardown(searches_find, set_up, tear_down),
		cmocka_unit_test_setup_teardown(folders_are_listed_by_patterns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_damaged_index_is_noticed_by_who_was_told_of_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_session_outlives_its_folder, set_up, tear_down),
		cmocka_unit_test_setup_teardown(idle_ends_with_its_folder, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_client_that_was_away_is_told_what_changed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    an_answer_larger_than_the_socket_holds_arrives_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    junk_is_answered_and_ends_the_session_at_last, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_session_can_be_compressed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pop3_reads_and_removes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    pop3_removes_nothing_without_quit_and_has_the_maildrop_alone, set_up,
		    tear_down),
	};

	(void)setlocale(LC_CTYPE, "C.UTF-8");
	log_open("test", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY | O_CLOEXEC));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
