/*
 * sendmail. smtpctl's group, which would be needed only to keep mail while there is no server, is
 * dropped before a byte of the input is read; for that, the program runs itself anew.
 *
 * The whole input is read before the server is spoken to: a program that produces it slowly holds up
 * nobody, and one that is killed meanwhile has sent nothing.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/config.h"
#include "smtpctl/offline.h"
#include "smtpctl/offline_return.h"
#include "smtpctl/post.h"
#include "smtpctl/privilege.h"
#include "smtpctl/sendmail.h"
#include "smtpctl/sendmail_input.h"
#include "smtpctl/sendmail_pass.h"

#define DEFAULT_SOCKET  RUNSTATEDIR "/postern/" LOCAL_SOCKET
#define DEFAULT_OFFLINE LOCALSTATEDIR "/spool/postern-offline"
#define REPORTS_MAX     (1024 * 1024)
#define STORE_OPTION    "--store" /* DIRECTORY: the part that offline_store() does */

enum mode {
	MODE_MAIL,
	MODE_SMTP,
	MODE_OTHER,
};

/* -q */
enum queue {
	QUEUE_NOTHING,
	QUEUE_NOW,
	QUEUE_EVERY, /* so many minutes */
};

struct order {
	enum mode mode;
	bool dot_ends;
	bool extract; /* -t */
	bool verbose;
	bool mails_errors; /* -oem: who calls may not look at what is said */
	enum queue queue;
	const char *sender; /* NULL: the caller */
	const char *name;
	const char *socket_path;
	const char *offline;
	struct post post;
	struct buf reports; /* what went wrong so far, told only when it matters */
};

static void
collect(void *arg, const char *words)
{
	struct order *order = arg;

	buf_printf(&order->reports, "%s\n", words);
}

/* Each line with the prefix. */
static void
add_reports(struct buf *out, const struct buf *reports, const char *prefix)
{
	const char *at = (const char *)reports->data, *end = at + reports->length, *next;

	for (; at < end; at = next) {
		next = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1; /* each has one */
		buf_add_text(out, prefix);
		buf_add(out, at, (size_t)(next - at));
	}
}

static void
tell(struct order *order)
{
	struct buf text;

	buf_init(&text, 2 * REPORTS_MAX);
	if (order->reports.length > 0)
		add_reports(&text, &order->reports, "sendmail: ");
	if (text.length > 0)
		(void)fwrite(text.data, 1, text.length, stderr);
	buf_free(&text);
	buf_clear(&order->reports);
}

static bool
take_mode(struct order *order, const char *word, enum sendmail_other *other)
{
	if (strlen(word) != 1 || strchr("ampsi", *word) == NULL)
		return false;
	order->mode = *word == 's'         ? MODE_SMTP
	    : *word == 'p' || *word == 'i' ? MODE_OTHER
	                                   : MODE_MAIL;
	if (order->mode == MODE_OTHER)
		*other = *word == 'p' ? SENDMAIL_MAILQ : SENDMAIL_NEWALIASES;
	return true;
}

/* The value of an option that is on or off, as Sendmail reads one: "" is on. */
static bool
is_on(const char *value)
{
	return *value == '\0' || strchr("fFnN0", *value) == NULL;
}

/* -oX and its value, which may follow at once: "-oi", "-oiTrue". */
static void
take_letter_option(struct order *order, const char *word)
{
	if (*word == 'i')
		order->dot_ends = !is_on(word + 1);
	else if (*word == 'e')
		order->mails_errors = word[1] == 'm';
}

/* -O name=value: two of our own; the others are a daemon's. */
static void
take_long_option(struct order *order, const char *word)
{
	static const char socket_word[] = "SmtpSocket=", offline_word[] = "OfflineDirectory=";
	static const char dots_word[] = "IgnoreDots=";

	if (strncasecmp(word, dots_word, sizeof(dots_word) - 1) == 0)
		order->dot_ends = !is_on(word + sizeof(dots_word) - 1);
	else if (strcasecmp(word, "IgnoreDots") == 0)
		order->dot_ends = false;
	if (strncasecmp(word, socket_word, sizeof(socket_word) - 1) == 0)
		order->socket_path = word + sizeof(socket_word) - 1;
	else if (strncasecmp(word, offline_word, sizeof(offline_word) - 1) == 0)
		order->offline = word + sizeof(offline_word) - 1;
}

static bool
take_envid(struct post *post, const char *word)
{
	for (const char *at = word; *at != '\0'; at++)
		if (*at < ' ' || *at > '~')
			return false;
	return strlcpy(post->envid, word, sizeof(post->envid)) < sizeof(post->envid);
}

/* False after words on stderr. */
static bool
take_option(struct order *order, int option, enum sendmail_other *other)
{
	const char *what = NULL;

	switch (option) {
	case 't':
		order->extract = true;
		break;
	case 'i':
		order->dot_ends = false;
		break;
	case 'f':
	case 'r':
		order->sender = optarg;
		break;
	case 'F':
		order->name = optarg;
		break;
	case 'v':
		order->verbose = true;
		break;
	case 'q':
		order->queue =
		    optarg == NULL || !isdigit((unsigned char)*optarg) ? QUEUE_NOW : QUEUE_EVERY;
		break;
	case 'o':
		take_letter_option(order, optarg);
		break;
	case 'e':
		order->mails_errors = *optarg == 'm';
		break;
	case 'O':
		take_long_option(order, optarg);
		break;
	case 'b':
		if (!take_mode(order, optarg, other))
			what =
			    "-b takes a, m, p, s or i; the server is smtpd(8), and what becomes of "
			    "an address \"smtpctl explain\" tells";
		break;
	case 'I':
		(void)take_mode(order, "i", other);
		break;
	case 'N':
		if (!post_set_notify(&order->post, optarg))
			what = "-N takes never, or some of success,failure,delay";
		break;
	case 'R':
		if (!post_set_return(&order->post, optarg))
			what = "-R takes full or hdrs";
		break;
	case 'V':
		if (!take_envid(&order->post, optarg))
			what = "-V takes up to 100 printable characters";
		break;
	case '?':
		return false; /* getopt() has said it */
	default:
		break; /* of other programs' by this name, without a meaning here */
	}
	if (what != NULL)
		warnx("%s", what);
	return what == NULL;
}

/* What is shown of a name goes into a field: no control characters. */
static void
set_name(struct post *post, const char *name)
{
	size_t length = 0;

	for (; *name != '\0' && length < sizeof(post->name) - 1; name++)
		if ((unsigned char)*name >= ' ' && *name != 0x7f)
			post->name[length++] = *name;
	/* Not in the middle of a character. */
	while (*name != '\0' && length > 0 && (post->name[length - 1] & 0x80) != 0)
		if ((post->name[--length] & 0xc0) == 0xc0)
			break;
	post->name[length] = '\0';
}

/* RFC 1288's form: the name up to a comma, "&" being the login's. */
static void
set_gecos_name(struct post *post, const struct passwd *user)
{
	char name[4 * POST_NAME_MAX];
	size_t length = 0;

	for (const char *at = user->pw_gecos; *at != '\0' && *at != ','; at++) {
		if (*at != '&' && length < sizeof(name) - 1) {
			name[length++] = *at;
			continue;
		}
		for (const char *of = user->pw_name; *of != '\0' && length < sizeof(name) - 1; of++)
			name[length++] =
			    of == user->pw_name ? (char)toupper((unsigned char)*of) : *of;
	}
	name[length] = '\0';
	set_name(post, name);
}

/* Who sends: the caller, unless it is said. */
static int
set_sender(struct order *order)
{
	const struct passwd *user = getpwuid(getuid());
	struct post *post = &order->post;

	if (user == NULL ||
	    address_parse(user->pw_name, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL,
	        &post->author) != ADDRESS_OK) {
		memset(&post->author, 0, sizeof(post->author));
		snprintf(post->author.local, sizeof(post->author.local), "uid%u", getuid());
	}
	post->sender = post->author;
	if (order->sender != NULL) {
		if (!post_parse_sender(order->sender, &post->sender)) {
			warnx("not an address: %.200s", order->sender);
			return EX_DATAERR;
		}
		if (!address_is_null(&post->sender))
			post->author = post->sender;
	}
	if (order->name != NULL && *order->name != '\0')
		set_name(post, order->name);
	else if (user != NULL && (order->sender == NULL || address_is_null(&post->sender)))
		set_gecos_name(post, user);
	return EX_OK;
}

static int
set_recipients(struct order *order, int argc, char **argv)
{
	char why[256];

	for (int i = 0; i < argc; i++) {
		if (post_add_recipients(&order->post, argv[i], strlen(argv[i]), why, sizeof(why)))
			continue;
		warnx("%s", why);
		return EX_DATAERR;
	}
	if (argc == 0 && !order->extract) {
		warnx("no recipients: name them, or -t takes them from the header");
		return EX_USAGE;
	}
	return EX_OK;
}

/* -1 with errno set. */
static int
connect_to_server(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, error;

	if (strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1 || connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* What was refused, back to its sender by mail; what can't be is told as all else is. */
static void
send_back(struct order *order, struct dialogue *dialogue)
{
	enum post_result result = POST_LATER;
	struct buf reasons;

	buf_init(&reasons, 2 * REPORTS_MAX);
	add_reports(&reasons, &order->reports, "    ");
	buf_add_u8(&reasons, '\0');
	if (buf_ok(&reasons))
		result = offline_return(dialogue, &order->post, false, (const char *)reasons.data);
	buf_free(&reasons);
	if (result != POST_SENT)
		collect(order, "the message can't be returned to its sender by mail either");
}

static enum post_result
submit(struct order *order, int *status)
{
	enum post_result result = POST_LATER;
	struct dialogue *dialogue;
	char words[256];
	int fd = connect_to_server(order->socket_path);

	*status = EX_TEMPFAIL;
	if (fd == -1) {
		snprintf(words, sizeof(words), "%s: %s", order->socket_path, strerror(errno));
		collect(order, words);
		return POST_LATER;
	}
	dialogue = dialogue_new(fd, order->verbose, collect, order);
	if (dialogue != NULL)
		result = dialogue_post(dialogue, &order->post, status);
	if (result == POST_REFUSED && order->mails_errors)
		send_back(order, dialogue);
	dialogue_free(dialogue);
	return result;
}

/* Goes on as the program that may keep it. Returns when that can't be. */
static int
keep(struct order *order)
{
	char why[256];
	char *const arguments[] = { (char[]){ "sendmail" }, (char[]){ STORE_OPTION },
		(char *)(uintptr_t)order->offline, NULL };
	char *const environment[] = { NULL };
	int fd = offline_write(&order->post, why, sizeof(why));

	if (order->verbose)
		tell(order);
	if (fd == -1) {
		tell(order);
		warnx("%s", why);
		return EX_TEMPFAIL;
	}
	if (dup2(fd, STDIN_FILENO) != -1)
		(void)execve("/proc/self/exe", arguments, environment);
	tell(order);
	warn("the mail can't be kept");
	return EX_TEMPFAIL;
}

static int
send_mail(struct order *order, int argc, char **argv)
{
	struct post *post = &order->post;
	char why[512];
	int status;

	if ((status = set_sender(order)) != EX_OK ||
	    (status = set_recipients(order, argc, argv)) != EX_OK ||
	    (status = sendmail_read_input(order->dot_ends, &post->fd)) != EX_OK)
		return status;
	if (!post_load_header(post, why, sizeof(why)) ||
	    (order->extract && !post_add_named_recipients(post, why, sizeof(why)))) {
		warnx("%s", why);
		return EX_DATAERR;
	}
	if (post->recipient_count == 0) {
		warnx("the header names no recipients");
		return EX_DATAERR;
	}
	switch (submit(order, &status)) {
	case POST_SENT:
		break;
	case POST_LATER:
		return keep(order);
	case POST_REFUSED:
		tell(order);
		break;
	}
	return status;
}

static int
pass_dialogue(const struct order *order)
{
	int fd = connect_to_server(order->socket_path);

	if (fd == -1) {
		printf("421 4.3.2 there is no mail server now, try again later\r\n");
		(void)fflush(stdout);
		return EX_TEMPFAIL;
	}
	return sendmail_pass(fd);
}

int
sendmail(int argc, char **argv, const char *name, enum sendmail_other *other)
{
	struct order order = { .dot_ends = true,
		.name = name,
		.socket_path = DEFAULT_SOCKET,
		.offline = DEFAULT_OFFLINE };
	int option, status = EX_OK;

	program_invocation_short_name = (char[]){ "sendmail" };
	if (argc == 3 && strcmp(argv[1], STORE_OPTION) == 0)
		return offline_store(argv[2]);
	post_init(&order.post);
	buf_init(&order.reports, REPORTS_MAX);
	*other = SENDMAIL_NOTHING;
	/* "+": options end at the first recipient. */
	while (status == EX_OK &&
	    (option = getopt(argc, argv,
	         "+A:B:b:C:cD:d::E::e:F:f:Gh:IiJ::L:M:mN:nO:o:p:q::R:r:sTtUV:vX:x")) != -1)
		if (!take_option(&order, option, other))
			status = EX_USAGE;
	if (status == EX_OK && *other == SENDMAIL_NOTHING && order.mode == MODE_MAIL &&
	    order.queue != QUEUE_NOTHING && optind == argc && !order.extract) {
		if (order.queue == QUEUE_EVERY)
			return EX_OK; /* smtpd(8) does so by itself */
		*other = SENDMAIL_SCHEDULE;
	}
	if (status != EX_OK || *other != SENDMAIL_NOTHING)
		return status;
	privilege_drop();
	(void)signal(SIGXFSZ, SIG_IGN);
	if (order.mode == MODE_SMTP)
		return pass_dialogue(&order);
	status = send_mail(&order, argc - optind, argv + optind);
	buf_free(&order.reports);
	post_free(&order.post);
	return status;
}
