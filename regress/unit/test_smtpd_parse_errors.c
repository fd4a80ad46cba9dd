/*
 * smtpd.conf: whatever is wrong in it is reported with file, line and word.
 */
#include <stdlib.h>

#include "regress/unit/test_smtpd_parse_fixture.h"

static void
warns(const char *text, unsigned line, const char *word)
{
	struct reports reports;
	struct config *config = parse(text, &reports);

	assert_non_null(config);
	config_free(config);
	assert_int_equal(reports.errors, 0);
	if (!reported(&reports, line, word))
		fail_msg("%s\nshould warn of %s, but says:\n%s", text, word, reports.text);
}

/* Statements that are right, each alone. */
static const char *const statements[] = {
	"include \"/nonexistent\"",
	"name = value",
	"table t file:/etc/hosts",
	"table t { a, b }",
	"table t { a = b, c = d }",
	"listen on 127.0.0.1 port 25 hostname a.org tag b no-dsn mask-src proxy-v2",
	"listen on ::1 inet6 port 24 lmtp proxy-v2 { 10.0.0.1 }",
	"listen on socket \"/run/s\" lmtp",
	"listen on ::1 port imap imap auth-cleartext hostname a.org tag b",
	"listen on ::1 pop3 auth { a = b } auth-cleartext",
	"listen on ::1 port sieve sieve auth-cleartext tag sieve-users",
	"action a maildir \"/m\" virtual <accounts> user u ttl 4d pipes",
	"action a maildir alias { a = b } userbase { u = 1:1:/h }",
	"action a relay host a.org ttl 1d",
	"action a expand-only alias { a = b }",
	"action a lmtp \"/run/lmtp\" rcpt-to virtual { a = b } user u pipes",
	"action a lmtp \"[::1]:24\" alias { a = b } ttl 1d",
	"match from any for domain <accounts> reject",
	"match ! from src 10.0.0.1 ! for rcpt-to { a@b } ! tag t reject",
	"match ! helo h ! mail-from x@y ! rcpt-to c@d reject",
	"match from auth for local reject",
	"match from auth u for any ! auth { v } reject",
	"match auth from any for any reject",
	("listen on ::1 port 1 auth { a = b } auth-cleartext senders { c = d } masquerade "
	 "received-auth"),
	"listen on ::1 port 1 auth-optional auth-cleartext",
	"match from mail-from @a.org for any reject",
	"match ! from rdns for any tls reject",
	"match from rdns a.org for domain regex \"^a\" ! tls reject",
	"match from src regex \"^10\" for rcpt-to regex b tag regex c reject",
	"match from auth regex a for any helo regex b mail-from regex c reject",
	"match from mail-from regex a rcpt-to regex { b, c } auth regex d reject",
	"match tag { a, b } reject",
	"queue ttl 4d",
	"srs key \"a secret\"",
	"srs key backup key",
	"srs ttl 30d",
	"queue retry-first 400s",
	"queue retry-max 4h",
	"queue free-space 5%",
	"queue segment-size 64M",
	"bounce warn-interval 4h",
	"bounce warn-interval { 1h, 4h }",
	"smtp hostname a.org",
	"smtp max-message-size 35M",
	"smtp sub-addr-delim \"+\"",
	"smtp line-ends strict",
	"smtp ciphers HIGH",
	"smtp limit max-rcpt 10",
	"smtp limit user-mails-per-hour 100 hold",
	"mda limit sessions 3",
	"mda limit processes 3",
	"postmaster a@b.org",
	"directory spool /s",
	"directory state /s",
	"directory run /s",
	"mail user u",
	"mail directory /m",
	"resolver nameserver 127.0.0.1@5353",
	"resolver trust-anchor none",
};
#define STATEMENT_COUNT (sizeof(statements) / sizeof(statements[0]))

/* The report of any damage to a statement names the file, the line and a word. */
static void
check_damage(const char *text)
{
	struct reports reports;
	struct config *config = parse(text, &reports);
	char *line, *next;

	if (config != NULL) {
		config_free(config);
		return;
	}
	assert_true(reports.errors > 0);
	for (line = reports.text; *line != '\0'; line = next) {
		next = strchr(line, '\n');
		*next++ = '\0';
		if (strncmp(line, NAME ":2: ", strlen(NAME ":2: ")) != 0 &&
		    strncmp(line, NAME ":3: ", strlen(NAME ":3: ")) != 0)
			fail_msg("%s\nno place in: %s", text, line);
		if (strpbrk(line, "\"'<") == NULL)
			fail_msg("%s\nno word in: %s", text, line);
	}
}

/* Each word of each statement missing, doubled, and replaced. */
static void
damaged_statements_are_reported_with_line_and_word(void **state)
{
	static const char *const replacements[] = { "junk", "\"\"", "{", "}", "=", "-1",
		"99999999999999999999", "listen", "<x>", "!", "\"a b\"", "tls", "\x01", "\"open" };
	const size_t kinds = 2 + sizeof(replacements) / sizeof(replacements[0]);

	(void)state;
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		for (size_t word = 0;; word++) {
			char copy[256], *words[40], *at, *save;
			size_t count = 0;

			snprintf(copy, sizeof(copy), "%s", statements[i]);
			for (at = strtok_r(copy, " ", &save); at != NULL;
			     at = strtok_r(NULL, " ", &save))
				words[count++] = at;
			if (word == count)
				break;
			for (size_t kind = 0; kind < kinds; kind++) {
				char text[1024] = "#\n";

				for (size_t j = 0; j < count; j++) {
					if (j == word && kind == 0)
						continue;
					strcat(text,
					    j == word && kind > 1 ? replacements[kind - 2]
					                          : words[j]);
					strcat(text, " ");
					if (j == word && kind == 1)
						strcat(strcat(text, words[j]), " ");
				}
				check_damage(strcat(text, "\n"));
			}
		}
	}
}

/* A statement that ends too early says after which word. */
static void
missing_arguments_are_reported(void **state)
{
	(void)state;
	bad("listen\n", 1, "\"listen\"");
	bad("listen on\n", 1, "\"on\"");
	bad("listen on 127.0.0.1 port\n", 1, "\"port\"");
	bad("action\n", 1, "\"action\"");
	bad("action a\n", 1, "\"a\"");
	bad("action a maildir alias\n", 1, "\"alias\"");
	bad("match\n", 1, "\"match\"");
	bad("match from\n", 1, "\"from\"");
	bad("match for domain\n", 1, "\"domain\"");
	bad("match from any\n", 1, "\"any\"");
	bad("table\n", 1, "\"table\"");
	bad("table t\n", 1, "\"t\"");
	bad("smtp\n", 1, "\"smtp\"");
	bad("smtp limit\n", 1, "\"limit\"");
	bad("smtp limit max-rcpt\n", 1, "\"max-rcpt\"");
	bad("queue\n", 1, "\"queue\"");
	bad("bounce\n", 1, "\"bounce\"");
	bad("mda\n", 1, "\"mda\"");
	bad("mail\n", 1, "\"mail\"");
	bad("directory\n", 1, "\"directory\"");
	bad("postmaster\n", 1, "\"postmaster\"");
	bad("include\n", 1, "\"include\"");
	bad("name =\n", 1, "\"=\"");
	bad("name\n", 1, "\"name\"");
	bad("action a relay host\n", 1, "\"host\"");
	bad("table t { a =\n", 1, "\"=\"");
}

static void
every_setting_given_twice_is_an_error(void **state)
{
	(void)state;
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		char text[1024], word[64];

		if (strncmp(statements[i], "match", 5) == 0)
			continue; /* the same rule twice does no harm */
		snprintf(text, sizeof(text), "%s\n%s\n", statements[i], statements[i]);
		snprintf(word, sizeof(word), "\"");
		bad(text, 2, word);
	}
	bad("listen on ::1 tag a tag b\n", 1, "\"tag\"");
	bad("listen on ::1 no-dsn no-dsn\n", 1, "\"no-dsn\"");
	bad("listen on ::1 port 24 lmtp lmtp\n", 1, "\"lmtp\"");
	bad("listen on ::1 imap lmtp\n", 1, "\"lmtp\"");
	bad("listen on ::1 imap pop3 auth-cleartext\n", 1, "\"pop3\"");
	bad("listen on ::1 sieve imap auth-cleartext\n", 1, "\"imap\"");
	bad("listen on ::1 sieve\n", 1, "\"auth\" needs");
	bad("pki mx cert \"/c\"\npki mx key \"/k\"\nlisten on ::1 sieve smtps pki mx\n", 3,
	    "\"smtps\"");
	bad("listen on ::1 imap\n", 1, "\"auth\" needs");
	bad("listen on ::1 imap auth-optional auth-cleartext\n", 1, "\"auth-optional\"");
	bad("listen on socket \"/run/s\" imap auth-cleartext\n", 1, "\"socket\"");
	bad("listen on ::1 pop3 auth-cleartext received-auth\n", 1, "\"received-auth\"");
	bad("listen on ::1 imaps\n", 1, "pki");
	bad("listen on ::1 port 25 port 26\n", 1, "\"port\"");
	bad("action a maildir ttl 1d ttl 2d\n", 1, "\"ttl\"");
	bad("action a maildir alias <x> alias <x>\n", 1, "\"alias\"");
	bad("match from any from any for any reject\n", 1, "\"from\"");
	bad("match for any for local reject\n", 1, "\"for\"");
	bad("match tag a tag b reject\n", 1, "\"tag\"");
	bad("match mail-from a@b mail-from c@d reject\n", 1, "\"mail-from\"");
}

static void
wrong_values_are_reported_with_what_is_wanted(void **state)
{
	(void)state;
	bad("smtp limit max-rcpt many\n", 1, "\"many\"");
	bad("smtp limit max-rcpt 0\n", 1, "\"0\"");
	bad("smtp limit command-line 511\n", 1, "\"511\"");
	bad("smtp limit targets 10001\n", 1, "\"smtp limit targets\"");
	bad("smtp limit colour 3\n", 1, "\"smtp limit colour\"");
	bad("mda limit colour 3\n", 1, "\"mda limit colour\"");
	bad("smtp max-message-size 35X\n", 1, "\"35X\"");
	bad("smtp max-message-size 99999999999999999999\n", 1, "\"99999999999999999999\"");
	bad("smtp max-message-size 18446744073709551615T\n", 1, "\"18446744073709551615T\"");
	bad("smtp line-ends loose\n", 1, "\"loose\"");
	bad("smtp sub-addr-delim a\n", 1, "\"a\"");
	bad("smtp sub-addr-delim \"@\"\n", 1, "\"@\"");
	bad("smtp hostname a..b\n", 1, "\"a..b\"");
	bad("queue ttl 4x\n", 1, "\"4x\"");
	bad("queue ttl 1h1h\n", 1, "\"1h1h\"");
	bad("queue ttl 1h30\n", 1, "\"1h30\"");
	bad("queue ttl 0\n", 1, "\"0\"");
	bad("queue free-space 95%\n", 1, "\"95%\"");
	bad("queue segment-size 1K\n", 1, "\"1K\"");
	bad("bounce warn-interval { 4h, 1h }\n", 1, "\"1h\"");
	bad("bounce warn-interval { 1h 2h 3h 4h 5h 6h 7h 8h 9h }\n", 1, "\"9h\"");
	bad("bounce warn-interval { 1h, none }\n", 1, "\"none\"");
	bad("postmaster nobody\n", 1, "\"nobody\"");
	bad("directory spool relative\n", 1, "\"relative\"");
	bad("directory spool /a/../b\n", 1, "\"/a/../b\"");
	bad("resolver nameserver 127.0.0.1@0\n", 1, "\"127.0.0.1@0\"");
	bad("resolver nameserver localhost\n", 1, "\"localhost\"");
	bad("resolver trust-anchor root.key\n", 1, "\"root.key\"");
	bad("resolver anchor /etc/root.key\n", 1, "\"anchor\"");
	bad("ca default cert /a\nca default cert /b\n", 2, "second time");
	bad("ca default cert own.pem\n", 1, "\"own.pem\"");
	bad("action a relay host { a.org, \"ftp://b.org\" }\n", 1, "\"ftp://b.org\"");
	bad("action a relay host { }\n", 1, "\"}\"");
	bad("mail user \"a b\"\n", 1, "\"a b\"");
	bad("listen on 127.0.0.1 port 65536\n", 1, "\"65536\"");
	bad("listen on 127.0.0.1 port nosuchservice\n", 1, "\"nosuchservice\"");
	bad("listen on nosuchinterface0 port 25\n", 1, "\"nosuchinterface0\"");
	bad("listen on 127.0.0.1 inet6\n", 1, "\"127.0.0.1\"");
	bad("listen on 127.0.0.1 lmtp\n", 1, "\"lmtp\"");
	bad("listen on socket lmtp\n", 1, "\"lmtp\"");
	bad("listen on socket\nlisten on socket\n", 2, "already");
	bad("listen on socket relative\n", 1, "\"relative\"");
	bad("listen on socket \"/s\" port 25\n", 1, "\"port\"");
	bad("listen on ::1 hostname a..b\n", 1, "\"a..b\"");
	bad("listen on ::1 tag \"a b\"\n", 1, "\"a b\"");
	bad("listen on ::1\nlisten on ::1\n", 2, "\"::1\"");
	bad("action \"a b\" maildir\n", 1, "\"a b\"");
	bad("action a maildir host h\n", 1, "\"host\"");
	bad("action a relay alias <accounts>\n", 1, "\"alias\"");
	bad("action a expand-only\n", 1, "\"expand-only\"");
	bad("action a maildir alias { a = b } virtual { a = b }\n", 1, "\"alias\"");
	bad("action a maildir ttl never\n", 1, "\"never\"");
	bad("action a maildir \"/m/%{sender}\"\n", 1, "\"/m/%{sender}\"");
	bad("action a maildir \"/m/%{dest.user\"\n", 1, "\"/m/%{dest.user\"");
	bad("action a maildir \"/m/%{dest.user:upper}\"\n", 1, "\"/m/%{dest.user:upper}\"");
	bad("action a maildir \"/m/%{dest.user[x]}\"\n", 1, "\"/m/%{dest.user[x]}\"");
	bad("action a maildir \"%{\"\n", 1, "\"%{\"");
	bad("action a relay host \"ftp://x\"\n", 1, "\"ftp://x\"");
	bad("table t sqlite:/etc/x\n", 1, "\"sqlite:/etc/x\"");
	bad("table t file:etc/x\n", 1, "\"etc/x\"");
	bad("table \"t x\" { a }\n", 1, "\"t x\"");
	bad("table accounts { a }\n", 1, "\"accounts\"");
	bad("table t { a, b = c }\n", 1, "\"b\"");
	bad("table t { }\n", 1, "\"}\"");
	bad("table t { a,, b }\n", 1, "\",\"");
	bad("match for domain \"a b\" reject\n", 1, "\"a b\"");
	bad("match from src \"10.0.0.0/33\" reject\n", 1, "\"10.0.0.0/33\"");
	bad("match mail-from \"a@b@c\" reject\n", 1, "\"a@b@c\"");
	bad("queue retry-first 5h\n", 1, "\"queue retry-first\"");
}

/* Nobody is surprised by where the mail is. */
static void
paths_that_say_what_they_mean_are_not_warned_of(void **state)
{
	static const char *const fine[] = {
		"maildir \"/m/%{dest.user}\" virtual { x@a.org = x, \"@a.org\" = \"y@b.org\" }",
		"maildir \"/m/%{user.username}\" virtual { \"@\" = vmail }",
		"maildir \"/m/%{dest.domain}\" virtual { \"@\" = vmail }",
		"maildir virtual { \"@\" = vmail }",
		"maildir \"/m/%{dest.user}\" user u virtual { \"@\" = vmail }",
		"maildir \"/m/%{dest.user}\" virtual { \"@\" = \"error:550 no\" }",
		"maildir \"/m/%{dest.user}\" virtual <accounts>",
		"maildir \"/m/%{dest.user}\"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		struct reports reports;
		char text[300];

		snprintf(text, sizeof(text), "action a %s\nmatch for local action a\n", fine[i]);
		config_free(parse(text, &reports));
		if (*reports.text != '\0')
			fail_msg("%s\n%s", text, reports.text);
	}
}

static void
names_that_nothing_defines_are_reported_where_they_are_used(void **state)
{
	struct config *config;

	(void)state;
	bad("match for local action a\n", 1, "\"a\"");
	bad("\nmatch for domain <d> reject\n", 2, "<d>");
	bad("action a maildir alias <x>\n", 1, "<x>");
	bad("listen on ::1 proxy-v2 <p>\n", 1, "<p>");
	bad("table p file:/etc/hosts\nlisten on ::1 port 25 proxy-v2 <p>\n", 2, "<p>");
	bad("table p db:/etc/hosts\nlisten on ::1 port 25 proxy-v2 <p>\n", 2,
	    "stand in the configuration");
	bad("listen on ::1 port 25 proxy-v2 <accounts>\n", 1, "<accounts>");
	bad("table p { a.org }\nlisten on ::1 port 25 proxy-v2 <p>\n", 1, "\"a.org\"");
	bad("listen on $where\n", 1, "\"$where\"");
	bad("table l { a, b }\naction a maildir alias <l>\n", 2, "\"l\"");
	bad("action a maildir alias aliases\n", 1, "\"aliases\"");
	bad("action a maildir alias <accounts>\n", 1, "<accounts>");
	bad("match from src <accounts> reject\n", 1, "<accounts>");
	bad("table d {\n a.org\n b..org }\nmatch for domain <d> reject\n", 3, "\"b..org\"");
	bad("action a maildir userbase { u = nobody }\n", 1, "\"nobody\"");
	/* In any order. */
	config = good("match for domain <d> action a\naction a maildir\ntable d { a.org }\n");
	config_free(config);
}

static void
srs_wants_a_key(void **state)
{
	(void)state;
	bad("action a relay srs\n", 1, "needs a key");
	bad("srs key x\naction a maildir srs\n", 2, "\"srs\" is not an option");
	bad("srs key x\naction a relay srs srs\n", 2, "\"srs\" is given twice");
	bad("srs key \"\"\n", 1, "\"srs key\" wants a secret");
	bad("srs key \"a\tb\"\n", 1, "not \"...\"");
	bad("srs key secret\nsrs key word\n", 2, "to \"...\"");
	bad("srs ttl 0\n", 1, "\"srs ttl\" is from 1s");
	bad("srs ttl 366d\n", 1, "to 365d");
	bad("srs\n", 1, "end of line");
	bad("srs key backup\n", 1, "end of line");
}

static void
lmtp_wants_a_socket_or_host_and_port(void **state)
{
	static const char *const wrong[] = { "/", "run/lmtp", "host", "host:", "host:0",
		"host:65536", "::1:24", "::1", "a@host:24", "/a b", "host :24", ":24",
		"smtp://host:24",
		"/a23456789012345678901234567890123456789012345678901234567890123456789012345678901"
		"2"
		"345678901234567890123456789" };
	char text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), "action a lmtp \"%s\"\n", wrong[i]);
		bad(text, 1, "\"lmtp\" wants");
	}
	bad("action a lmtp \"/x\" host \"smtp://h\"\n", 1, "\"host\" is not an option");
	bad("action a lmtp \"/x\" tls\n", 1, "\"tls\" is not an option");
	bad("action a lmtp rcpt-to\n", 1, "rcpt-to");
	bad("action a maildir rcpt-to\n", 1, "rcpt-to");
}

static void
what_is_not_there_yet_is_not_supported(void **state)
{
	(void)state;
	bad("\n\nfilter f proc-exec \"x\"\n", 3, "\"filter\" is not supported");
	bad("mta max-deferred 100\n", 1, "unknown limit \"mta max-deferred\"");
	bad("listen on ::1 filter f\n", 1, "\"filter\" is not supported");
	bad("action a relay junk\n", 1, "\"junk\" is not an option");
	bad("action a expand-only junk\n", 1, "\"junk\" is not an option");
	bad("action a maildir junk junk\n", 1, "\"junk\"");
	bad("action a relay pki x\n", 1, "no pki \"x\"");
	bad("queue compression\n", 1, "\"compression\" is not supported");
	bad("action a maildir filter f\n", 1, "\"filter\" is not supported");
	bad("smtp ciphers JUNK9\n", 1, "\"JUNK9\"");
	bad("pki = on\n", 1, "\"=\"");
}

static void
regular_expressions_are_checked(void **state)
{
	(void)state;
	bad("match for domain regex \"a(\" reject\n", 1, "\"a(\" is no regular expression");
	bad("table t {\n\"^a\",\n\"[b\" }\nmatch helo regex <t> reject\n", 3, "\"[b\"");
	bad("match for domain regex <accounts> reject\n", 1, "a file or a list");
	bad("table t db:/etc/hosts\nmatch helo regex <t> reject\n", 2, "a file or a list");
	bad("table t { a = b }\nmatch helo regex <t> reject\n", 2, "wants a list");
	bad("table t { a }\nmatch helo regex <t> for domain <t> reject\n", 2, "both with and");
	bad("match helo regex reject\n", 1, "\"reject\"");
	bad("match regex a reject\n", 1, "\"regex\"");
	bad("match from local regex a reject\n", 1, "\"regex\"");
	bad("match tls regex a reject\n", 1, "\"regex\"");
	bad("match tls !tls reject\n", 1, "\"tls\" is given twice");
	bad("match from rdns from rdns reject\n", 1, "\"from\" is given twice");
	bad("match from rdns \"a..b\" reject\n", 1, "\"a..b\"");
	bad("match tag \"a b\" reject\n", 1, "\"a b\"");
	bad("match for domain regex { \"((a{255}){7})\", \"((b{255}){7})\", \"((c{255}){7})\", "
	    "\"((d{255}){7})\", \"((e{255}){7})\", \"((f{255}){7})\", \"((g{255}){7})\", "
	    "\"((h{255}){7})\", \"((i{255}){7})\", \"((j{255}){7})\", \"((k{255}){7})\", "
	    "\"((l{255}){7})\", \"((m{255}){7})\", \"((n{255}){7})\", \"((o{255}){7})\", "
	    "\"((p{255}){7})\", \"((q{255}){7})\", \"((r{255}){7})\", \"((s{255}){7})\", "
	    "\"((t{255}){7})\", \"((u{255}){7})\", \"((v{255}){7})\", \"((w{255}){7})\", "
	    "\"((x{255}){7})\", \"((y{255}){7})\", \"((z{255}){7})\", \"((0{255}){7})\", "
	    "\"((1{255}){7})\", \"((2{255}){7})\" } reject\n",
	    1, "too large together");
}

static void
commands_and_their_wrappers_are_checked(void **state)
{
	(void)state;
	bad("action a mda\n", 1, "unexpected end of line");
	bad("action a mda \"\"\n", 1, "wants a command");
	bad("action a mda \"x %{nobody}\"\n", 1, "%{...}");
	bad("action a mda \"x %{mda}\"\n", 1, "%{...}");
	bad("action a mda \"x %{dest.user:shout}\"\n", 1, "%{...}");
	bad("action a mbox \"/x/%{sender}\"\n", 1, "%{...}");
	bad("action a mbox \"\"\n", 1, "\"mbox\" wants a path");
	bad("action a mda \"x\" wrapper w\n", 1, "no mda wrapper \"w\"");
	bad("action a maildir wrapper w\n", 1, "no mda wrapper \"w\"");
	bad("action a maildir wrapper w\nmda wrapper w \"x %%{mda}\"\n", 1, "has no %{mda}");
	bad("action a mbox wrapper w\nmda wrapper w \"%{mda}\"\n", 1, "not in /var/mail");
	bad("action a mbox \"/var/mail/%{user.username}\" wrapper w\nmda wrapper w \"%{mda}\"\n", 1,
	    "not in /var/mail");
	bad("action a lmtp \"/run/x\" wrapper w\nmda wrapper w \"%{mda}\"\n", 1,
	    "\"wrapper\" is not an option");
	bad("mda wrapper w \"%{mda\"\n", 1, "%{...}");
	bad("mda wrapper w \"x\"\nmda wrapper w \"y\"\n", 2, "defined twice");
	bad("mda wrapper w\n", 1, "unexpected end of line");
	bad("action a forward-only user x\n", 1, "\"user\" is not an option");
}

static void
slips_are_explained(void **state)
{
	(void)state;
	bad("listen on ::1 auth\n", 1, "\"auth\" needs \"tls\"");
	bad("listen on ::1 auth auth-optional\n", 1, "is given twice");
	bad("listen on ::1 senders { a = b }\n", 1, "\"senders\" needs \"auth\"");
	bad("listen on ::1 auth-cleartext\n", 1, "\"auth-cleartext\" needs \"auth\"");
	bad("listen on ::1 auth { a } auth-cleartext\n", 1, "auth");
	bad("lisen on ::1\n", 1, "\"lisen\"");
	bad("match for any reject reject\n", 1, "\"reject\"");
	bad("match from any for domain local reject\n", 1, "\"local\" is a keyword: quote it");
	bad("smtp hostname \"a.org\n", 1, "\"a.org\"");
	bad("smtp hostname 'a.org\n", 1, "\"a.org\"");
	bad("a = b\na = c\n", 2, "\"a\"");
	bad("\"a b\" = c\n", 1, "\"a b\"");
	bad("a = '$b'\nlisten on $a\n", 2, "\"$b\"");
	bad("smtp hostname a\x01\n", 1, "\\x01");
	bad("smtp hostname \"a\x7f\"\n", 1, "\\x7f");
	/* The line after one in error is read again. */
	bad("lisen\nqeue\nmacth\n", 3, "\"macth\"");
	bad("listen\nqueue ttl x\n", 2, "\"x\"");
}

static void
unused_and_unreachable_things_are_warned_of(void **state)
{
	(void)state;
	warns("table t { a }\n", 1, "\"t\"");
	warns("\naction a maildir \"/m/%{dest.domain}/%{rcpt.user:lowercase}\" virtual { "
	      "\"@\" = vmail }\nmatch for local action a\n",
	    2, "all mail for \"@\" in one place: the user in its path is \"vmail\"");
	warns("action a mbox \"/m/%{dest}\" virtual { x@a.org = y, \"@a.org\" = vmail }\n", 1,
	    "all mail for \"@a.org\"");
	warns("a = b\n", 1, "\"a\"");
	warns("action a maildir\n", 1, "\"a\"");
	warns("match from any for any reject\nmatch for local reject\n", 2, "line 1");
	warns("action a maildir virtual { a@b = c }\nmatch for domain <accounts> action a\n", 2,
	    "<accounts>");
	warns("table t file:/nonexistent/x\nmatch for domain <t> reject\n", 1, "/nonexistent/x");
}

static void
many_errors_are_cut_short(void **state)
{
	static char text[200000];
	struct reports reports;

	(void)state;
	for (size_t i = 0; i < 20000; i++)
		strcpy(text + 8 * i, "a b c d\n");
	assert_null(parse(text, &reports));
	assert_int_equal(reports.errors, 101);
	assert_non_null(strstr(reports.text, "too many errors"));
}

static void
reports_go_to_a_stream(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	(void)state;
	assert_null(parse_config_text("x", "nonsense", 8, parse_report_to_file, file));
	fclose(file);
	assert_int_equal(strncmp(text, "x:1: \"nonsense\"", 15), 0);
	assert_int_equal(text[size - 1], '\n');
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_statements_are_reported_with_line_and_word),
		cmocka_unit_test(missing_arguments_are_reported),
		cmocka_unit_test(every_setting_given_twice_is_an_error),
		cmocka_unit_test(wrong_values_are_reported_with_what_is_wanted),
		cmocka_unit_test(paths_that_say_what_they_mean_are_not_warned_of),
		cmocka_unit_test(names_that_nothing_defines_are_reported_where_they_are_used),
		cmocka_unit_test(lmtp_wants_a_socket_or_host_and_port),
		cmocka_unit_test(srs_wants_a_key),
		cmocka_unit_test(what_is_not_there_yet_is_not_supported),
		cmocka_unit_test(regular_expressions_are_checked),
		cmocka_unit_test(commands_and_their_wrappers_are_checked),
		cmocka_unit_test(slips_are_explained),
		cmocka_unit_test(unused_and_unreachable_things_are_warned_of),
		cmocka_unit_test(many_errors_are_cut_short),
		cmocka_unit_test(reports_go_to_a_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
