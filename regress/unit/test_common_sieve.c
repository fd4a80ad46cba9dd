/*
 * Sieve: each test runs scripts for messages and compares what they come to, written as
 * "fileinto A [\Seen]; keep". A script that doesn't compile gives its error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/sieve.h"

static struct address sender, recipient, owner;
static char seen_id[200];
static bool duplicate_answer;
static char out[20000];

static bool
exists(void *arg, const char *name)
{
	(void)arg;
	return strcmp(name, "There") == 0;
}

static bool
is_duplicate(void *arg, const char *handle, const char *id, uint32_t seconds, bool last)
{
	(void)arg;
	snprintf(seen_id, sizeof(seen_id), "%s/%s/%u/%d", handle, id, seconds, last);
	return duplicate_answer;
}

static void
append(const char *format, ...)
{
	size_t used = strlen(out);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(out + used, sizeof(out) - used, format, arguments);
	va_end(arguments);
}

static void
describe(const struct sieve_action *action)
{
	char text[ADDRESS_TEXT_MAX + 1];

	switch (action->kind) {
	case SIEVE_KEEP:
		append("keep");
		break;
	case SIEVE_FILEINTO:
		append("fileinto %s%s", action->folder, action->create ? " :create" : "");
		break;
	case SIEVE_REDIRECT:
		address_format(&action->to, text, sizeof(text));
		append("redirect %s", text);
		break;
	case SIEVE_REJECT:
		append("reject %s", action->text);
		break;
	case SIEVE_VACATION:
		append("vacation %u (%s) %s%s%s", action->seconds, action->subject, action->from,
		    action->is_mime ? " mime " : " ", action->text);
		break;
	}
	if (action->flags != NULL && *action->flags != '\0')
		append(" [%s]", action->flags);
}

static const char *
run_length(const char *script, size_t script_length, const char *message, size_t length)
{
	struct sieve_message about = {
		.text = message,
		.length = length,
		.size = length,
		.sender = &sender,
		.recipient = &recipient,
		.owner = &owner,
		.delimiters = "+",
		.now = 1700000000, /* Tue, 14 Nov 2023 22:13:20 +0000 */
		.mailbox_exists = exists,
		.is_duplicate = is_duplicate,
	};
	static struct sieve_result result;
	char error[SIEVE_ERROR_MAX];
	struct sieve *sieve = sieve_compile(script, script_length, error, sizeof(error));

	out[0] = '\0';
	if (sieve == NULL) {
		append("%s", error);
		return out;
	}
	sieve_run(sieve, &about, &result);
	if (result.error[0] != '\0')
		append("failed: %s; ", result.error);
	for (size_t i = 0; i < result.count; i++) {
		if (i > 0)
			append("; ");
		describe(&result.actions[i]);
	}
	if (result.count == 0)
		append("discard");
	sieve_result_free(&result);
	sieve_free(sieve);
	return out;
}

static const char *
run(const char *script, const char *message)
{
	return run_length(script, strlen(script), message, strlen(message));
}

#define MAIL                                                     \
	"From: \"A. Person\" <ann@a.test>\r\n"                   \
	"To: bob+news@b.test, Group: carl@c.test, d@d.test;\r\n" \
	"Subject: Re: =?utf-8?q?Caf=C3=A9?=\r\n"                 \
	" and more\r\n"                                          \
	"X-Empty:\r\n"                                           \
	"X-Spam-Score: 7.5\r\n"                                  \
	"Received: one; Tue, 1 Apr 1997 09:06:31 -0800\r\n"      \
	"Received: two\r\n"                                      \
	"Date: Tue, 01 Apr 1997 09:06:31 -0800\r\n"              \
	"Message-ID: <1@a.test>\r\n"                             \
	"\r\n"                                                   \
	"Hello\r\nworld\r\n"

/* Does the test hold? */
static void
holds(const char *require, const char *test, bool expected)
{
	char script[4096];

	snprintf(script, sizeof(script), "require [%s];\nif %s { discard; }", require, test);
	if (strcmp(run(script, MAIL), expected ? "discard" : "keep") != 0)
		fail_msg("%s: %s", test, out);
}

#define YES(require, test) holds(require, test, true)
#define NO(require, test)  holds(require, test, false)
#define B                  "\"fileinto\"" /* require something */

static void
a_script_without_actions_keeps(void **state)
{
	(void)state;
	assert_string_equal(run("", MAIL), "keep");
	assert_string_equal(run("# nothing\r\n/* at all\n */", MAIL), "keep");
	assert_string_equal(run("keep; keep;", MAIL), "keep");
	assert_string_equal(run("discard;", MAIL), "discard");
	assert_string_equal(run("discard; keep;", MAIL), "keep");
	assert_string_equal(run("stop; discard;", MAIL), "keep");
	assert_string_equal(run("\xef\xbb\xbf"
	                        "discard;",
	                        MAIL),
	    "discard");
}

static void
branches_are_taken_once(void **state)
{
	(void)state;
	assert_string_equal(
	    run("if true { discard; } elsif true { keep; } else { keep; }", MAIL), "discard");
	assert_string_equal(
	    run("if false { keep; } elsif true { discard; } else { keep; }", MAIL), "discard");
	assert_string_equal(
	    run("if false { keep; } elsif false { keep; } else { discard; }", MAIL), "discard");
	assert_string_equal(
	    run("if true { if false { stop; } else { discard; stop; } } keep;", MAIL), "discard");
}

#define TEN_UMLAUTS \
	"\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
#define FORTY_UMLAUTS TEN_UMLAUTS TEN_UMLAUTS TEN_UMLAUTS TEN_UMLAUTS
#define MANY_UMLAUTS  "a" FORTY_UMLAUTS TEN_UMLAUTS
#define MANY_UMLAUTS_CUT \
	FORTY_UMLAUTS "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"

static void
errors_name_their_line(void **state)
{
	(void)state;
	assert_string_equal(run("keep;\nfoo;", MAIL), "line 2: unknown command \"foo\"");
	assert_string_equal(run("if foo { }", MAIL), "line 1: unknown test \"foo\"");
	assert_string_equal(run("keep", MAIL), "line 1: the end instead of \";\"");
	assert_string_equal(
	    run("\n\nrequire \"foo\";", MAIL), "line 3: unsupported extension \"foo\"");
	assert_string_equal(
	    run("fileinto \"A\";", MAIL), "line 1: \"fileinto\" needs require \"fileinto\"");
	assert_string_equal(run("keep; require \"fileinto\";", MAIL),
	    "line 1: \"require\" must stand before all other commands");
	assert_string_equal(run("else { }", MAIL), "line 1: \"else\" without an \"if\" before it");
	assert_string_equal(
	    run("keep :flags \"a\";", MAIL), "line 1: \"flags\" needs require \"imap4flags\"");
	assert_string_equal(run("keep :foo;", MAIL), "line 1: \"keep\" has no \":foo\"");
	assert_string_equal(run("if header :is :contains \"a\" \"b\" {}", MAIL),
	    "line 1: \":contains\" beside another one, or one that excludes it");
	assert_string_equal(run("redirect \"foo\";", MAIL), "line 1: \"foo\" is no address");
	assert_string_equal(run("redirect [\"a@b.test\"];", MAIL),
	    "line 1: argument 1 of \"redirect\" must be a string");
	assert_string_equal(
	    run("if size 3 {}", MAIL), "line 1: \"size\" needs \":over\" or \":under\"");
	assert_string_equal(run("if header :comparator \"i;foo\" \"a\" \"b\" {}", MAIL),
	    "line 1: unknown comparator \"i;foo\"");
	assert_string_equal(
	    run("if header \"a b\" \"b\" {}", MAIL), "line 1: \"a b\" is no header field's name");
	assert_string_equal(run("\"foo", MAIL), "line 1: string without an end");
	assert_string_equal(run("\n/* foo", MAIL), "line 2: comment without an end");
	assert_string_equal(run("\nredirect text:\nfoo\n", MAIL),
	    "line 2: \"text:\" without a line \".\" at its end");
	assert_string_equal(
	    run("if size :over 99999999999999999G {}", MAIL), "line 1: number too large");
	assert_string_equal(run("keep \"a\";", MAIL), "line 1: too many arguments for \"keep\"");
	assert_string_equal(run("%", MAIL), "line 1: unexpected \"%\"");
	assert_string_equal(run_length("keep;\0", 6, MAIL, 10),
	    "line 1: script with bytes that aren't UTF-8, or are NUL");
	assert_string_equal(run("if address \"Subject\" \"x\" {}", MAIL),
	    "line 1: \"Subject\" holds no addresses: use \"header\"");
	assert_string_equal(
	    run("require [\"duplicate\", \"vacation\"]; if duplicate :days 3 {}", MAIL),
	    "line 1: \"duplicate\" has no \":days\"");
	/* What is quoted of it is never cut within a character. */
	assert_string_equal(run("if header :comparator \"" MANY_UMLAUTS "x\" \"a\" \"b\" {}", MAIL),
	    "line 1: unknown comparator \"a" MANY_UMLAUTS_CUT "?\"");
	assert_string_equal(run("require \"fileinto\"; fileinto \"A/B\";", MAIL),
	    "line 1: \"A/B\" can't be a folder: levels are separated by \".\"");
}

static void
headers_are_compared(void **state)
{
	(void)state;
	YES(B, "header \"subject\" \"re: caf\xc3\xa9 and more\"");
	NO(B, "header :comparator \"i;octet\" \"subject\" \"re: caf\xc3\xa9 and more\"");
	YES(B, "header :contains [\"x\", \"subject\"] [\"nothing\", \"CAF\xc3\xa9\"]");
	YES(B, "header :matches \"Subject\" \"re:*m?re\"");
	NO(B, "header :matches \"Subject\" \"re:*m?r\"");
	YES(B, "header :matches \"Subject\" \"*CAF?? *\"");
	YES(B, "header :is \"x-empty\" \"\"");
	YES(B, "header :contains \"x-empty\" \"\"");
	NO(B, "header :contains \"x-none\" \"\"");
	YES(B, "header :matches \"x-spam-score\" \"7.?\"");
	YES(B, "exists [\"from\", \"X-Empty\"]");
	NO(B, "exists [\"from\", \"X-None\"]");
	YES(B, "not exists \"X-None\"");
	YES(B, "allof (true, not false)");
	NO(B, "allof (true, false)");
	YES(B, "anyof (false, true)");
	NO(B, "anyof (false, false)");
	YES(B, "header :matches \"x-spam-score\" \"\\\\7.5\"");
	NO(B, "header :matches \"x-spam-score\" \"\\\\*\"");
}

static void
addresses_are_taken_apart(void **state)
{
	(void)state;
	YES(B, "address \"from\" \"ANN@a.test\"");
	YES(B, "address :localpart \"from\" \"ann\"");
	YES(B, "address :domain :is [\"from\", \"to\"] \"c.test\"");
	NO(B, "address \"from\" \"A. Person\"");
	YES("\"subaddress\"", "address :detail \"to\" \"news\"");
	YES("\"subaddress\"", "address :user \"to\" \"bob\"");
	NO("\"subaddress\"", "address :detail :contains \"from\" \"\"");
	YES("\"relational\", \"comparator-i;ascii-numeric\"",
	    "address :count \"eq\" :comparator \"i;ascii-numeric\" \"to\" \"3\"");
}

static void
the_envelope_is_compared(void **state)
{
	(void)state;
	YES("\"envelope\"", "envelope \"from\" \"sender@s.test\"");
	YES("\"envelope\"", "envelope :domain \"to\" \"b.test\"");
	YES("\"envelope\", \"subaddress\"", "envelope :detail \"to\" \"inbox\"");
	assert_string_equal(run("require \"envelope\"; if envelope \"auth\" \"\" {}", MAIL),
	    "line 1: \"auth\" is no part of the envelope");
	memset(&sender, 0, sizeof(sender));
	YES("\"envelope\"", "envelope \"from\" \"\"");
}

static void
sizes_are_compared(void **state)
{
	(void)state;
	YES(B, "size :under 1K");
	NO(B, "size :over 1k");
	YES(B, "size :over 100");
	NO(B, "size :over 1G");
}

static void
texts_have_dots_and_lines(void **state)
{
	(void)state;
	assert_string_equal(run("require \"reject\";\nreject text: # comment\r\n..one\r\ntwo "
	                        "\"x\"\r\n.\r\n;",
	                        MAIL),
	    "reject .one\ntwo \"x\"\n");
	assert_string_equal(
	    run("require \"reject\"; reject \"a\\\"b\\\\c\r\nd\";", MAIL), "reject a\"b\\c\nd");
}

static void
actions_are_gathered(void **state)
{
	(void)state;
	assert_string_equal(run("require \"fileinto\"; fileinto \"A.B\"; fileinto \"C\"; fileinto "
	                        "\"A.B\";",
	                        MAIL),
	    "fileinto A.B; fileinto C");
	assert_string_equal(
	    run("require \"fileinto\"; fileinto \"inbox\";", MAIL), "fileinto INBOX");
	assert_string_equal(run("redirect \"Carl <c@c.test>\";", MAIL), "redirect c@c.test");
	assert_string_equal(run("redirect \"c@c.test\"; redirect \"c@C.test\"; keep;", MAIL),
	    "redirect c@c.test; keep");
	assert_string_equal(run("require [\"copy\", \"fileinto\"]; fileinto :copy \"A\"; redirect "
	                        ":copy \"c@c.test\";",
	                        MAIL),
	    "fileinto A; redirect c@c.test; keep");
	assert_string_equal(
	    run("require [\"mailbox\", \"fileinto\"]; fileinto :create \"A\";", MAIL),
	    "fileinto A :create");
	assert_string_equal(run("redirect \"1@a.test\"; redirect \"2@a.test\"; redirect "
	                        "\"3@a.test\"; redirect \"4@a.test\"; redirect \"5@a.test\";",
	                        MAIL),
	    "failed: line 1: more than 4 addresses to redirect to; keep");
	assert_string_equal(run("require \"reject\"; reject \"no\";", MAIL), "reject no");
	assert_string_equal(run("require \"ereject\"; ereject \"no\";", MAIL), "reject no");
	assert_string_equal(run("require \"reject\"; keep; reject \"no\";", MAIL),
	    "failed: line 1: reject beside another action; keep");
	assert_string_equal(run("require \"reject\"; reject \"no\"; redirect \"a@a.test\";", MAIL),
	    "failed: line 1: reject beside another action; keep");
}

static void
folders_are_looked_for(void **state)
{
	(void)state;
	YES("\"mailbox\"", "mailboxexists \"There\"");
	YES("\"mailbox\"", "mailboxexists [\"There\", \"INBOX\"]");
	NO("\"mailbox\"", "mailboxexists [\"There\", \"Nowhere\"]");
}

static void
variables_are_set_and_replaced(void **state)
{
	(void)state;
#define V "\"variables\""
	assert_string_equal(run("require [\"variables\", \"fileinto\"];\n"
	                        "if header :matches \"Subject\" \"re: * and *\" {\n"
	                        "  set \"name\" \"${1}-${2}-${3}-${0}\"; fileinto \"${NAME}\"; }",
	                        MAIL),
	    "fileinto Caf\xc3\xa9-more--Re: Caf\xc3\xa9 and more");
	assert_string_equal(run("require [\"variables\", \"reject\"]; set \"a\" \"b\"; reject "
	                        "\"${a}${none}${a }${ a}$ {a} ${}${\";",
	                        MAIL),
	    "reject b${a }${ a}$ {a} ${}${");
	assert_string_equal(
	    run("require [\"variables\", \"reject\"]; set :upper \"a\" \"bCd\"; set "
	        ":lower :upperfirst \"b\" \"XYZ\"; set :length \"c\" "
	        "\"caf\xc3\xa9\"; set :quotewildcard \"d\" \"a*?\\\\\"; reject "
	        "\"${a} ${b} ${c} ${d}\";",
	        MAIL),
	    "reject BCD Xyz 4 a\\*\\?\\\\");
	YES(V, "string :matches \"a.b.c\" \"*.*\"");
	assert_string_equal(run("require [\"variables\", \"reject\"]; if string :matches \"a.b.c\" "
	                        "\"*.*\" { reject \"${1}|${2}\"; }",
	                        MAIL),
	    "reject a|b.c");
	assert_string_equal(
	    run("require [\"variables\", \"reject\"]; if string :matches \"abcabc\" "
	        "\"*b?*c\" { reject \"${1}|${2}|${3}\"; }",
	        MAIL),
	    "reject a|c|ab");
	/* A failed test leaves what was. */
	assert_string_equal(run("require [\"variables\", \"reject\"]; if string :matches \"x1\" "
	                        "\"x*\" { if string :matches \"y\" \"z*\" {} reject \"${1}\"; }",
	                        MAIL),
	    "reject 1");
	assert_string_equal(run("require \"variables\"; set \"1\" \"a\";", MAIL),
	    "line 1: \"1\" is no variable's name");
	assert_string_equal(run("require \"variables\"; set \"a\" \"${b.c}\";", MAIL),
	    "line 1: a variable of a namespace or number that isn't known");
	assert_string_equal(run("require \"variables\"; set :upper :lower \"a\" \"b\";", MAIL),
	    "line 1: \":lower\" beside another one, or one that excludes it");
	/* Without require they are text. */
	assert_string_equal(run("require \"reject\"; reject \"${a}\";", MAIL), "reject ${a}");
	assert_string_equal(
	    run("require [\"variables\", \"fileinto\"]; set \"a\" \"x/y\"; fileinto "
	        "\"${a}\";",
	        MAIL),
	    "failed: line 1: \"x/y\" can't be a folder; keep");
	YES("\"variables\", \"relational\"", "string :count \"eq\" [\"a\", \"\", \"b\"] \"2\"");
}

static void
variables_that_grow_are_cut(void **state)
{
	char script[4000] = "require [\"variables\", \"reject\"]; set \"a\" \"\xc3\xa9\xc3\xa9\";";

	(void)state;
	for (int i = 0; i < 40; i++)
		strcat(script, "set \"a\" \"${a}${a}x\";");
	strcat(script,
	    "set :length \"l\" \"${a}\"; if string :matches \"${l}\" \"*\" { reject "
	    "\"${1}\"; }");
	run(script, MAIL);
	assert_int_equal(strncmp(out, "reject ", 7), 0);
	assert_in_range(atoi(out + 7), 8000, SIEVE_STRING_MAX);
	script[0] = '\0';
	strcat(script, "require [\"variables\"];");
	for (int i = 0; i < 129; i++)
		sprintf(script + strlen(script), "set \"v%d\" \"a\";", i);
	assert_string_equal(run(script, MAIL), "failed: line 1: too many variables; keep");
}

static void
characters_may_be_encoded(void **state)
{
	(void)state;
#define E "require [\"encoded-character\", \"reject\"]; reject "
	assert_string_equal(run(E "\"${hex:41 62}${unicode:e9}${Unicode: 1F600}\";", MAIL),
	    "reject Ab\xc3\xa9\xf0\x9f\x98\x80");
	assert_string_equal(
	    run(E "\"${hex:4z}${hex:}${hex:414}\";", MAIL), "reject ${hex:4z}${hex:}${hex:414}");
	assert_string_equal(
	    run(E "\"${unicode:d800}\";", MAIL), "line 1: an encoded character that there isn't");
	assert_string_equal(
	    run(E "\"${hex:ff}\";", MAIL), "line 1: encoded characters that aren't UTF-8");
	assert_string_equal(
	    run("require \"reject\"; reject \"${hex:41}\";", MAIL), "reject ${hex:41}");
}

static void
values_have_an_order(void **state)
{
	(void)state;
#define R "\"relational\", \"comparator-i;ascii-numeric\""
#define N ":comparator \"i;ascii-numeric\""
	YES(R, "header :value \"ge\" " N " \"x-spam-score\" \"5\"");
	NO(R, "header :value \"gt\" " N " \"x-spam-score\" \"7\"");
	YES(R, "header :value \"lt\" " N " \"x-spam-score\" \"0010\"");
	YES(R, "header :value \"lt\" \"x-spam-score\" \"71\"");
	YES(R, "header :value \"eq\" " N " \"subject\" \"word\"");
	YES(R, "header :value \"gt\" " N " \"subject\" \"99999999999999999999\"");
	YES(R, "header :count \"ge\" " N " \"received\" \"2\"");
	YES(R, "header :count \"eq\" " N " \"none\" \"0\"");
	YES(R, "header :is " N " \"x-spam-score\" \"07\"");
	assert_string_equal(
	    run("require \"relational\"; if header :count \"xx\" \"a\" \"1\" {}", MAIL),
	    "line 1: relation \"xx\" is none of gt, ge, lt, le, eq, ne");
	assert_string_equal(run("require [" R "]; if header :contains " N " \"a\" \"1\" {}", MAIL),
	    "line 1: \"i;ascii-numeric\" can't look into strings");
}

static void
flags_are_kept_with_files(void **state)
{
	(void)state;
#define F "require [\"imap4flags\", \"fileinto\", \"variables\", \"relational\"];"
	assert_string_equal(run(F "setflag \"\\\\Seen\"; addflag [\"\\\\flagged\", \"Work \\\\seen "
	                          "\\\\Recent (\"]; fileinto \"A\";",
	                        MAIL),
	    "fileinto A [\\Seen \\flagged Work]");
	assert_string_equal(
	    run(F "addflag \"a b c\"; removeflag [\"B\", \"x\"]; keep;", MAIL), "keep [a c]");
	assert_string_equal(run(F "addflag \"a b c\"; removeflag \"c\";", MAIL), "keep [a b]");
	assert_string_equal(
	    run(F "addflag \"a\"; keep :flags [\"b\", \"c d\"];", MAIL), "keep [b c d]");
	assert_string_equal(run(F "setflag \"mine\" \"x\"; addflag \"mine\" \"y\"; keep :flags "
	                          "\"${mine}\";",
	                        MAIL),
	    "keep [x y]");
	assert_string_equal(
	    run(F "setflag \"a b\"; if hasflag :is \"B\" { discard; }", MAIL), "discard");
	assert_string_equal(
	    run(F "setflag \"a b\"; if hasflag :count \"ge\" \"2\" { discard; }", MAIL), "discard");
	assert_string_equal(
	    run(F "setflag \"m\" \"a b\"; if hasflag :contains \"m\" \"x b\" { discard; }", MAIL),
	    "discard");
	assert_string_equal(run(F "if hasflag \"\\\\Seen\" { discard; }", MAIL), "keep");
	assert_string_equal(run("require \"imap4flags\"; setflag \"a\" \"b\";", MAIL),
	    "line 1: a variable's name needs require \"variables\"");
}

static void
expressions_match(void **state)
{
	(void)state;
	YES("\"regex\"", "header :regex \"subject\" \"^re: .*(one|more)$\"");
	NO("\"regex\"", "header :comparator \"i;octet\" :regex \"subject\" \"^re:\"");
	YES("\"regex\"", "header :regex \"x-spam-score\" \"^[0-9]{1,3}\\\\.[0-9]{1,3}$\"");
	assert_string_equal(
	    run("require [\"regex\", \"variables\", \"reject\"]; if header :regex "
	        "\"subject\" \"(and) (more)?(x)?\" { reject \"${1}|${2}|${3}|${0}\"; "
	        "}",
	        MAIL),
	    "reject and|more||and more");
	/* Also when the same expression has looked through the body before, of which nothing is kept. */
	assert_string_equal(
	    run("require [\"regex\", \"variables\", \"reject\", \"body\"]; "
	        "if body :regex \"(and) (more)?\" { discard; } "
	        "if header :regex \"subject\" \"(and) (more)?\" { reject \"${1}|${2}\"; }",
	        MAIL),
	    "reject and|more");
	assert_string_equal(run("require \"regex\"; if header :regex \"a\" \"(\" {}", MAIL),
	    "line 1: regular expression \"(\": a ( is not closed");
	assert_string_equal(run("require \"regex\"; if header :regex \"a\" \"(a)\\\\1\" {}", MAIL),
	    "line 1: regular expression \"(a)\\1\": back-references such as \\1 are not supported");
	assert_string_equal(
	    run("require \"regex\"; if header :regex \"a\" \"((a{99}){99}){99}\" {}", MAIL),
	    "line 1: regular expression \"((a{99}){99}){99}\": it is too large: its repetitions "
	    "come to more than 8192 steps");
	assert_string_equal(
	    run("require \"regex\"; if header :regex \"from\" \"A+++++++++++++\" {discard;}", MAIL),
	    "discard");
}

static void
dates_are_taken_apart(void **state)
{
	(void)state;
#define D "\"date\", \"relational\", \"index\""
	setenv("TZ", "UTC", 1);
	tzset();
	YES(D, "currentdate \"year\" \"2023\"");
	YES(D, "currentdate \"date\" \"2023-11-14\"");
	YES(D, "currentdate :zone \"+0200\" \"date\" \"2023-11-15\"");
	YES(D, "currentdate \"weekday\" \"2\"");
	YES(D, "currentdate :zone \"-0330\" \"iso8601\" \"2023-11-14T18:43:20-03:30\"");
	YES(D, "currentdate :zone \"+0000\" \"std11\" \"Tue, 14 Nov 2023 22:13:20 +0000\"");
	YES(D, "currentdate :value \"ge\" \"hour\" \"22\"");
	YES(D, "currentdate \"julian\" \"60262\"");
	YES(D, "date \"date\" \"time\" \"17:06:31\"");
	YES(D, "date :originalzone \"date\" \"time\" \"09:06:31\"");
	YES(D, "date :originalzone \"date\" \"zone\" \"-0800\"");
	YES(D, "date :zone \"+0100\" \"received\" \"hour\" \"18\"");
	YES(D, "date :index 2 :last \"received\" \"hour\" \"17\"");
	NO(D, "date :index 2 \"received\" \"hour\" \"17\"");
	NO(D, "date \"x-none\" \"year\" \"1997\"");
}

static void
fields_are_counted(void **state)
{
	(void)state;
	NO("\"index\"", "header :index 1 :contains \"received\" \"two\"");
	YES("\"index\"", "header :index 2 \"received\" \"two\"");
	YES("\"index\"", "header :index 1 :last \"received\" \"two\"");
	NO("\"index\"", "header :index 3 :contains \"received\" \"\"");
	assert_string_equal(run("require \"index\"; if header :last \"a\" \"b\" {}", MAIL),
	    "line 1: \":last\" without \":index\"");
}

#define PARTS                                                                               \
	"From: a@a.test\nContent-Type: multipart/mixed; boundary=x\n\npreamble\n"           \
	"--x\nContent-Type: text/plain; charset=iso-8859-1\n"                               \
	"Content-Transfer-Encoding: quoted-printable\n\ncaf=E9\n"                           \
	"--x\nContent-Type: text/html\n\n<b>html</b>\n"                                     \
	"--x\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n" \
	"--x\nContent-Type: message/rfc822\n\nSubject: inner\n\ninner text\n--x--\nepilogue\n"

static void
bodies_are_searched(void **state)
{
	static const struct {
		const char *test;
		bool expected;
	} tests[] = {
		{ "body :contains \"CAF\xc3\xa9\"", true },
		{ "body :raw :contains \"caf=e9\"", true },
		{ "body :contains \"caf=e9\"", false },
		{ "body :contains \"hello\"", false },
		{ "body :content \"application\" :is \"hello\"", true },
		{ "body :content \"application/x\" :is \"hello\"", true },
		{ "body :content \"application/y\" :is \"hello\"", false },
		{ "body :content \"\" :contains \"hello\"", true },
		{ "body :contains \"inner text\"", true },
		{ "body :content \"message\" :contains \"subject: inner\"", true },
		{ "body :content \"multipart\" :contains \"preamble\"", true },
		{ "body :content \"multipart\" :contains \"epilogue\"", true },
		{ "body :content \"text/html\" :matches \"*<b>*\"", true },
		{ "body :raw :contains \"subject: inner\"", true },
		{ "body :raw :contains \"boundary\"", false },
	};
	char script[300];

	(void)state;
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		snprintf(
		    script, sizeof(script), "require \"body\"; if %s { discard; }", tests[i].test);
		if (strcmp(run(script, PARTS), tests[i].expected ? "discard" : "keep") != 0)
			fail_msg("%s: %s", tests[i].test, out);
	}
}

static void
duplicates_are_asked_for(void **state)
{
	(void)state;
	duplicate_answer = true;
	YES("\"duplicate\"", "duplicate");
	assert_string_equal(seen_id, "/<1@a.test>/604800/0");
	YES("\"duplicate\"", "duplicate :handle \"h\" :header \"x-spam-score\" :seconds 60 :last");
	assert_string_equal(seen_id, "h/7.5/60/1");
	YES("\"duplicate\"", "duplicate :uniqueid \"u\"");
	NO("\"duplicate\"", "duplicate :header \"x-none\"");
	duplicate_answer = false;
	NO("\"duplicate\"", "duplicate");
}

#define V_MAIL   "To: Bob <bob@b.test>\nFrom: sender@s.test\nSubject: =?utf-8?q?H=C3=A9?=\n"
#define V_SCRIPT "require [\"vacation\", \"vacation-seconds\"]; vacation "

static void
vacations_answer_whom_they_may(void **state)
{
	static const char *const no[] = {
		"List-Id: x\n" V_MAIL,
		"Auto-Submitted: auto-replied\n" V_MAIL,
		"Precedence: bulk\n" V_MAIL,
		"Auto-Submitted: no\nAuto-Submitted: auto-generated\n" V_MAIL,
		"Precedence: first-class\nPrecedence: LIST\n" V_MAIL,
		"X-Auto-Response-Suppress: DR, OOF\n" V_MAIL,
		"To: other@b.test\nSubject: x\n",
		"Subject: no recipient\n",
	};

	(void)state;
	assert_string_equal(run(V_SCRIPT "\"Away.\";", V_MAIL "\n"),
	    "vacation 604800 (Auto: H\xc3\xa9)  Away.; keep");
	assert_string_equal(run(V_SCRIPT ":days 2 :subject \"S\" :from \"Bob <bob@b.test>\" :mime "
	                                 "\"Away.\"; discard;",
	                        V_MAIL "\n"),
	    "vacation 172800 (S) Bob <bob@b.test> mime Away.");
	assert_string_equal(
	    run(V_SCRIPT ":seconds 1800 \"Away.\";", V_MAIL "Auto-Submitted: no\n\n"),
	    "vacation 1800 (Auto: H\xc3\xa9)  Away.; keep");
	assert_string_equal(
	    run(V_SCRIPT ":addresses [\"x@b.test\", \"other@b.test\"] \"Away.\"; discard;",
	        "Cc: other@b.test\n\n"),
	    "vacation 604800 (Automated reply)  Away.");
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_string_equal(run(V_SCRIPT "\"Away.\";", no[i]), "keep");
	assert_string_equal(run(V_SCRIPT "\"a\"; vacation \"b\";", V_MAIL "\n"),
	    "failed: line 1: vacation twice; keep");
	assert_string_equal(
	    run(V_SCRIPT ":addresses \"sender@s.test\" \"a\";", V_MAIL "\n"), "keep");
	strcpy(sender.local, "owner-list");
	assert_string_equal(run(V_SCRIPT "\"a\";", V_MAIL "\n"), "keep");
	strcpy(sender.local, "list-request");
	assert_string_equal(run(V_SCRIPT "\"a\";", V_MAIL "\n"), "keep");
	memset(&sender, 0, sizeof(sender));
	assert_string_equal(run(V_SCRIPT "\"a\";", V_MAIL "\n"), "keep");
}

static void
handles_tell_replies_apart(void **state)
{
	struct sieve_message about = { .text = V_MAIL "\n",
		.length = sizeof(V_MAIL "\n") - 1,
		.sender = &sender,
		.recipient = &recipient,
		.owner = &owner };
	static const char *const scripts[] = { V_SCRIPT "\"a\";", V_SCRIPT "\"b\";",
		V_SCRIPT ":handle \"a\" \"b\";", V_SCRIPT ":handle \"a\" :subject \"x\" \"c\";" };
	static struct sieve_result results[4];
	char error[SIEVE_ERROR_MAX];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct sieve *sieve =
		    sieve_compile(scripts[i], strlen(scripts[i]), error, sizeof(error));

		assert_non_null(sieve);
		sieve_run(sieve, &about, &results[i]);
		assert_int_equal(results[i].actions[0].kind, SIEVE_VACATION);
		sieve_free(sieve);
	}
	assert_string_not_equal(results[0].actions[0].handle, results[1].actions[0].handle);
	assert_string_equal(results[2].actions[0].handle, results[3].actions[0].handle);
	for (size_t i = 0; i < 4; i++)
		sieve_result_free(&results[i]);
}

static void
hostile_scripts_come_to_an_end(void **state)
{
	size_t length = 300000;
	char *script = malloc(SIEVE_SCRIPT_MAX + 10), *mail = malloc(length + 400000);
	struct timespec begin, end;
	char one[600];

	(void)state;
	assert_non_null(script);
	assert_non_null(mail);
	/* Nested too deeply. */
	strcpy(script, "if ");
	for (int i = 0; i < 5000; i++)
		strcat(script, "not ");
	assert_string_equal(run(script, MAIL), "line 1: nested too deeply");
	script[0] = '\0';
	for (int i = 0; i < 5000; i++)
		strcat(script, "if true{");
	assert_string_equal(run(script, MAIL), "line 1: nested too deeply");
	/* Too large. */
	memset(script, ' ', SIEVE_SCRIPT_MAX + 1);
	script[SIEVE_SCRIPT_MAX + 1] = '\0';
	assert_string_equal(run(script, MAIL), "line 1: script larger than 65536 bytes");
	/* Wildcards and expressions that have to look everywhere. */
	strcpy(mail, "X: ");
	memset(mail + 3, 'a', length);
	strcpy(mail + 3 + length, "\n\n");
	strcpy(script, "if anyof (false");
	snprintf(one, sizeof(one), ", header :matches \"x\" [\"*%.60sb\", \"*a*a*a*a*a*a*ab\"]",
	    mail + 10);
	while (strlen(script) < 60000)
		strcat(script, one);
	strcat(script, ") { discard; }");
	assert_string_equal(run(script, mail), "failed: too much to do for one message; keep");
	strcpy(script, "require \"regex\"; if anyof (false");
	while (strlen(script) < 60000)
		strcat(script, ", header :regex \"x\" \"(a*)*(a|aa)+(.*)*b$\"");
	strcat(script, ") { discard; }");
	assert_string_equal(run(script, mail), "failed: too much to do for one message; keep");
	/* A field without an address, looked through for one many times. */
	memcpy(mail, "X: (", 4);
	strcpy(script, "if address [");
	while (strlen(script) < 60000)
		strcat(script, "\"x\",");
	strcat(script, "\"x\"] \"x\" { discard; }");
	assert_string_equal(run(script, mail), "failed: too much to do for one message; keep");
	/* Nor a date. */
	strcpy(script, "require \"date\"; if anyof (false");
	while (strlen(script) < 60000)
		strcat(script, ",date\"x\"\"year\"\"1\"");
	strcat(script, ") { discard; }");
	assert_string_equal(run(script, mail), "failed: too much to do for one message; keep");
	/* The C library's search with groups takes minutes for this. */
	assert_string_equal(run("require [\"regex\", \"variables\"]; if header :regex \"x\" "
	                        "\"((\\\\w\\\\w{0,2}){2})*(([[:upper:]]*|\\\\s){0,2}|B)*B[[:upper:]"
	                        "]*\" { discard; }",
	                        "X: bd BBcdb\n\n"),
	    "discard");
	/* A large one is made once for all values. */
	mail[0] = '\0';
	for (int i = 0; i < 1900; i++)
		sprintf(mail + strlen(mail), "X: aaaaaaaaa%d\n", i);
	strcpy(script, "require [\"regex\", \"variables\"]; ");
	for (int i = 0; i < 10; i++)
		strcat(script, "if header :regex \"x\" \"((a{60}){60})b\" { discard; }");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	assert_string_equal(run(script, mail), "keep");
	/* A header that is looked at again and again is read once. */
	mail[0] = '\0';
	for (int i = 0; i < 1000; i++)
		sprintf(mail + strlen(mail), "To: a%d@%0200d.test\nX: %0100d\n", i, 0, 1);
	strcpy(script, "if false { discard; } ");
	for (int i = 0; i < 60; i++)
		strcat(script,
		    "elsif header \"x\" \"b\" { discard; }"
		    "elsif address :all \"to\" \"b\" { discard; }");
	assert_string_equal(run(script, mail), "keep");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(end.tv_sec - begin.tv_sec < 3);
	/* Many actions. */
	strcpy(script, "require \"fileinto\";");
	for (int i = 0; i < 40; i++)
		sprintf(script + strlen(script), "fileinto \"F%d\";", i);
	assert_string_equal(run(script, mail), "failed: line 1: more than 32 actions; keep");
	free(script);
	free(mail);
}

static void
what_is_hardly_meant_is_told(void **state)
{
	static const struct {
		const char *script, *warnings;
	} cases[] = {
		{ "keep; stop;", "" },
		{ "if true { stop; } keep;", "" },
		{ "stop;\nkeep; keep;", "line 2: what is behind \"stop\" is never reached" },
		{ "require \"regex\";\nif header :regex \"a\" [\"\\\\w\\\\.\", \"\\\\\\\\d\"] {}",
		    "" },
		{ "require \"regex\";\nif header :regex \"a\" \"[0-9]\\\\d\\\\e\" {}",
		    "line 2: \"\\d\" of a regular expression stands for \"d\" alone" },
		{ "require \"imap4flags\"; addflag \"\\\\Seen $x\"; keep :flags [\"\\\\Foo a\", "
		  "\"b(\"];",
		    "line 1: \"\\Foo\" is no flag that can be set\n"
		    "line 1: \"b(\" is no flag that can be set" },
		{ "require \"imap4flags\"; addflag \"\\\\Recent\";",
		    "line 1: \"\\Recent\" is no flag that can be set" },
		{ "require [\"imap4flags\", \"variables\"]; addflag \"${x}(\";", "" },
		{ "require \"vacation\"; vacation :days 365 \"x\";", "" },
		{ "require \"vacation\"; vacation :days 400 \"x\";",
		    "line 1: \":days\" is taken as 365" },
		{ "require \"vacation\"; vacation :days 0 \"x\";",
		    "line 1: \":days\" is taken as 1" },
		{ "require \"vacation-seconds\"; vacation :seconds 1 \"x\";",
		    "line 1: \":seconds\" is taken as 60" },
	};
	char error[SIEVE_ERROR_MAX], script[20000] = "require \"imap4flags\";";
	struct sieve *sieve;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sieve =
		    sieve_compile(cases[i].script, strlen(cases[i].script), error, sizeof(error));
		if (sieve == NULL)
			fail_msg("%s: %s", cases[i].script, error);
		assert_string_equal(sieve_warnings(sieve), cases[i].warnings);
		sieve_free(sieve);
	}
	/* As many as there is room for, and whole ones. */
	for (int i = 0; i < 300; i++)
		strcat(script, "addflag \"\\\\Foo\xc3\xa4 a\";");
	sieve = sieve_compile(script, strlen(script), error, sizeof(error));
	assert_non_null(sieve);
	assert_true(strlen(sieve_warnings(sieve)) < SIEVE_WARNINGS_MAX);
	assert_string_equal(strrchr(sieve_warnings(sieve), '\n'),
	    "\nline 1: \"\\Foo\xc3\xa4\" is no flag that can be set");
	sieve_free(sieve);
}

static void
names_of_scripts_are_names_of_files(void **state)
{
	char name[200];

	(void)state;
	assert_true(sieve_name_is_valid("main script"));
	assert_true(sieve_name_is_valid("caf\xc3\xa9"));
	assert_false(sieve_name_is_valid(""));
	assert_false(sieve_name_is_valid(".hidden"));
	assert_false(sieve_name_is_valid("a/b"));
	assert_false(sieve_name_is_valid("a\nb"));
	assert_false(sieve_name_is_valid("\xff"));
	assert_false(sieve_name_is_valid("\xe2\x80\xa8"));
	memset(name, 'a', sizeof(name));
	name[SIEVE_NAME_MAX] = '\0';
	assert_true(sieve_name_is_valid(name));
	name[SIEVE_NAME_MAX] = 'a';
	name[SIEVE_NAME_MAX + 1] = '\0';
	assert_false(sieve_name_is_valid(name));
}

static int
setup(void **state)
{
	(void)state;
	assert_int_equal(address_parse("sender@s.test", 0, &sender), ADDRESS_OK);
	assert_int_equal(address_parse("bob+inbox@b.test", 0, &recipient), ADDRESS_OK);
	assert_int_equal(address_parse("bob@b.test", 0, &owner), ADDRESS_OK);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_script_without_actions_keeps, setup),
		cmocka_unit_test_setup(branches_are_taken_once, setup),
		cmocka_unit_test_setup(errors_name_their_line, setup),
		cmocka_unit_test_setup(headers_are_compared, setup),
		cmocka_unit_test_setup(addresses_are_taken_apart, setup),
		cmocka_unit_test_setup(the_envelope_is_compared, setup),
		cmocka_unit_test_setup(sizes_are_compared, setup),
		cmocka_unit_test_setup(texts_have_dots_and_lines, setup),
		cmocka_unit_test_setup(actions_are_gathered, setup),
		cmocka_unit_test_setup(folders_are_looked_for, setup),
		cmocka_unit_test_setup(variables_are_set_and_replaced, setup),
		cmocka_unit_test_setup(variables_that_grow_are_cut, setup),
		cmocka_unit_test_setup(characters_may_be_encoded, setup),
		cmocka_unit_test_setup(values_have_an_order, setup),
		cmocka_unit_test_setup(flags_are_kept_with_files, setup),
		cmocka_unit_test_setup(expressions_match, setup),
		cmocka_unit_test_setup(dates_are_taken_apart, setup),
		cmocka_unit_test_setup(fields_are_counted, setup),
		cmocka_unit_test_setup(bodies_are_searched, setup),
		cmocka_unit_test_setup(duplicates_are_asked_for, setup),
		cmocka_unit_test_setup(vacations_answer_whom_they_may, setup),
		cmocka_unit_test_setup(handles_tell_replies_apart, setup),
		cmocka_unit_test_setup(hostile_scripts_come_to_an_end, setup),
		cmocka_unit_test_setup(what_is_hardly_meant_is_told, setup),
		cmocka_unit_test_setup(names_of_scripts_are_names_of_files, setup),
	};

	return cmocka_run_group_tests_name("sieve", tests, NULL, NULL);
}
