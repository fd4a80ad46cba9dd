/*
 * Rules in plain English, for whoever wonders what a rule says: one sentence each. A table is named
 * by what stands in it, if that is short.
 */
#include <string.h>

#include "smtpd/parse.h"
#include "smtpd/parse_print.h"

#define ENTRIES_MAX 4  /* more of a table aren't said */
#define ENTRY_MAX   64 /* bytes of one that are */

/* How a kind of things is called before one that is named, several, and those of a table. */
struct noun {
	const char *one;
	const char *many;
	const char *all;
};

static void
put_entries(FILE *file, const struct table_config *table, bool quoted)
{
	const char *quote = quoted ? "\"" : "";
	size_t count = table->entry_count, i;

	for (i = 0; i < count && i < ENTRIES_MAX; i++)
		fprintf(file, "%s%s%.*s%s",
		    i == 0               ? ""
		        : i + 1 == count ? " or "
		                         : ", ",
		    quote, ENTRY_MAX, table->entries[i].key, quote);
	if (count > ENTRIES_MAX)
		fprintf(file, " or %zu more", count - ENTRIES_MAX);
}

static void
put_table(FILE *file, const struct config *config, const char *name, bool regex, struct noun noun)
{
	const struct table_config *table = config_find_table(config, name);

	if (table != NULL && table->backend == TABLE_STATIC && !regex) {
		fputs(table->entry_count == 1 ? noun.one : noun.many, file);
		put_entries(file, table, false);
	} else if (table != NULL && table->backend == TABLE_STATIC) {
		fprintf(file, "%s matching ", noun.all);
		put_entries(file, table, true);
	} else if (table != NULL && table->backend == TABLE_ACCOUNTS)
		fprintf(file, "%s of the accounts database", noun.all);
	else
		fprintf(
		    file, "%s %s table <%s>", noun.all, regex ? "matching what is in" : "in", name);
}

static void
put_from(FILE *file, const struct config *config, const struct rule_config *rule)
{
	bool negated = rule->from_negated;

	switch (rule->from) {
	case MATCH_FROM_LOCAL:
		fputs(negated ? "other machines" : "this machine", file);
		break;
	case MATCH_FROM_ANY:
		fputs(negated ? "nobody" : "anybody", file);
		break;
	case MATCH_FROM_SOCKET:
		fputs(negated ? "anywhere but a Unix socket" : "a Unix socket", file);
		break;
	case MATCH_FROM_SOURCE:
		fputs(negated ? "anywhere but " : "", file);
		put_table(file, config, rule->from_table, rule->from_regex,
		    (struct noun){ "", "", "the addresses" });
		break;
	case MATCH_FROM_AUTH:
		if (*rule->from_table == '\0') {
			fputs(
			    negated ? "clients that haven't logged in" : "users who have logged in",
			    file);
			break;
		}
		fputs(negated ? "anybody who hasn't logged in as "
		              : "clients that have logged in as ",
		    file);
		put_table(file, config, rule->from_table, rule->from_regex,
		    (struct noun){ "", "", "one of the users" });
		break;
	case MATCH_FROM_RDNS:
		if (*rule->from_table == '\0') {
			fputs(negated ? "hosts without a name in DNS" : "hosts with a name in DNS",
			    file);
			break;
		}
		fputs(negated ? "hosts with a name in DNS, but not " : "", file);
		put_table(file, config, rule->from_table, rule->from_regex,
		    (struct noun){ "the host ", "the hosts ", "the hosts" });
		break;
	case MATCH_FROM_COUNT:
		break;
	}
}

static void
put_for(FILE *file, const struct config *config, const struct rule_config *rule)
{
	bool negated = rule->for_negated;

	switch (rule->for_) {
	case MATCH_FOR_LOCAL:
		fputs(negated ? "anybody but users of this host" : "users of this host", file);
		break;
	case MATCH_FOR_ANY:
		fputs(negated ? "nobody" : "anybody", file);
		break;
	case MATCH_FOR_DOMAIN:
		fputs(negated ? "anywhere but " : "", file);
		put_table(file, config, rule->for_table, rule->for_regex,
		    (struct noun){ "the domain ", "the domains ", "the domains" });
		break;
	case MATCH_FOR_RCPT:
		fputs(negated ? "anybody but " : "", file);
		put_table(file, config, rule->for_table, rule->for_regex,
		    (struct noun){ "", "", "the addresses" });
		break;
	case MATCH_FOR_COUNT:
		break;
	}
}

/* Conditions of their own, behind the verdict: " if …", " and …". */
static void
put_if(FILE *file, bool *first, const char *words)
{
	fprintf(file, "%s %s", *first ? " if" : " and", words);
	*first = false;
}

static void
put_other(FILE *file, const struct config *config, bool *first, const char *words, bool negated,
    bool regex, const char *name)
{
	const struct table_config *table = config_find_table(config, name);

	if (*name == '\0')
		return;
	put_if(file, first, words);
	if (regex)
		fputs(negated ? " doesn't match " : " matches ", file);
	else
		fputs(negated ? " isn't " : " is ", file);
	if (table != NULL && table->backend == TABLE_STATIC)
		put_entries(file, table, regex);
	else if (table != NULL && table->backend == TABLE_ACCOUNTS)
		fputs("in the accounts database", file);
	else
		fprintf(file, "%s table <%s>", regex ? "what is in" : "in", name);
}

static void
put_others(FILE *file, const struct config *config, const struct rule_config *rule)
{
	bool first = true;

	put_other(file, config, &first, "the listener's tag", rule->tag_negated, rule->tag_regex,
	    rule->tag_table);
	put_other(file, config, &first, "the client's HELO", rule->helo_negated, rule->helo_regex,
	    rule->helo_table);
	put_other(file, config, &first, "the sender", rule->mail_from_negated,
	    rule->mail_from_regex, rule->mail_from_table);
	put_other(file, config, &first, "the recipient", rule->rcpt_to_negated, rule->rcpt_to_regex,
	    rule->rcpt_to_table);
	if (rule->auth && *rule->auth_table == '\0')
		put_if(file, &first,
		    rule->auth_negated ? "nobody has logged in" : "a user has logged in");
	put_other(file, config, &first, "who has logged in", rule->auth_negated, rule->auth_regex,
	    rule->auth_table);
	if (rule->tls)
		put_if(
		    file, &first, rule->tls_negated ? "it comes without TLS" : "it comes by TLS");
}

static void
put_verdict(FILE *file, const struct config *config, const struct rule_config *rule)
{
	static const char *const methods[ACTION_METHOD_COUNT] = {
		[ACTION_MAILDIR] = "is delivered into Maildirs",
		[ACTION_RELAY] = "is sent to other hosts",
		[ACTION_EXPAND_ONLY] = "goes where its aliases lead",
		[ACTION_LMTP] = "is delivered by LMTP",
		[ACTION_MBOX] = "is delivered into mbox files",
		[ACTION_MDA] = "is given to a command",
		[ACTION_FORWARD_ONLY] = "goes where users forward it",
	};
	const struct action_config *action = config_find_action(config, rule->action);

	if (*rule->action == '\0')
		fputs(" is refused", file);
	else
		fprintf(file, " %s by action \"%s\"",
		    action == NULL || methods[action->method] == NULL ? "is taken"
		                                                      : methods[action->method],
		    rule->action);
}

void
parse_print_words(
    FILE *file, const struct config *config, const struct rule_config *rule, size_t number)
{
	fprintf(file, "# %zu. Mail from ", number);
	put_from(file, config, rule);
	fputs(" for ", file);
	put_for(file, config, rule);
	put_verdict(file, config, rule);
	put_others(file, config, rule);
	fputs(".\n", file);
}
