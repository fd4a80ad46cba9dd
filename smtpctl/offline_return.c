/*
 * The program that sent mail which was kept has long been told so: a refusal must reach its user some
 * other way, and so must one whose program asked for that (-oem). The notice has the null sender, so that
 * it is never answered by another.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/write.h"
#include "smtpctl/offline_return.h"
#include "smtpctl/temporary.h"

#define RETURNED_MAX (1024 * 1024) /* bytes of the refused message's body */

static bool
write_part(void *arg, const void *data, size_t length)
{
	return write_all(*(int *)arg, data, length);
}

/* The body is cut where there is too much of it. */
static bool
write_notice(
    int fd, const struct post *refused, bool was_kept, const char *host, const char *reasons)
{
	struct buf text, header;
	char boundary[24];
	bool good;

	snprintf(boundary, sizeof(boundary), "%08x%08x", arc4random(), arc4random());
	buf_init(&text, 2 * POST_HEADER_MAX);
	buf_init(&header, 9 * POST_HEADER_MAX);
	buf_printf(&text,
	    "From: Mail Delivery System <MAILER-DAEMON@%s>\n"
	    "Subject: Undelivered mail\n"
	    "Auto-Submitted: auto-replied\n"
	    "MIME-Version: 1.0\n"
	    "Content-Type: multipart/mixed; boundary=\"%s\"\n"
	    "\n"
	    "--%s\n"
	    "Content-Type: text/plain; charset=utf-8\n"
	    "\n"
	    "%s %s %s, and sent it to nobody:\n"
	    "\n",
	    host, boundary, boundary,
	    was_kept ? "This message of yours was kept while the mail server" : "The mail server",
	    host,
	    was_kept ? "was not running.\nNow that it runs it has refused it"
	             : "has refused this message of yours");
	buf_add_text(&text, reasons);
	buf_printf(&text, "\n--%s\nContent-Type: message/rfc822\n\n", boundary);
	good = post_compose_header(refused, host, &header) && buf_ok(&text) &&
	    write_all(fd, text.data, text.length);
	if (good && lseek(refused->fd, 0, SEEK_END) - refused->body <= RETURNED_MAX)
		good = post_write(refused, &header, false, write_part, &fd);
	else if (good)
		good = write_all(fd, header.data, header.length);
	buf_clear(&text);
	buf_printf(&text, "\n--%s--\n", boundary);
	good = good && buf_ok(&text) && write_all(fd, text.data, text.length);
	buf_free(&text);
	buf_free(&header);
	return good;
}

enum post_result
offline_return(
    struct dialogue *dialogue, const struct post *refused, bool was_kept, const char *reasons)
{
	const struct address *to =
	    address_is_null(&refused->sender) ? &refused->author : &refused->sender;
	char text[ADDRESS_TEXT_MAX + 1], why[256];
	struct post notice;
	enum post_result result = POST_LATER;
	int status;

	post_init(&notice);
	strlcpy(notice.author.local, "MAILER-DAEMON", sizeof(notice.author.local));
	address_format(to, text, sizeof(text));
	notice.fd = temporary_file(NULL);
	if (notice.fd != -1 && post_add_recipients(&notice, text, strlen(text), why, sizeof(why)) &&
	    write_notice(notice.fd, refused, was_kept, dialogue_host(dialogue), reasons) &&
	    post_load_header(&notice, why, sizeof(why)))
		result = dialogue_post(dialogue, &notice, &status);
	post_free(&notice);
	return result;
}
