/*
 * A run of a script: its state, and what its modules do for each other. Private to common/sieve_*.c.
 *
 * Every step is paid for with sieve_spend(); whatever fails ends the run with sieve_run_fail(), after
 * which nothing that was gathered counts. Texts are NUL-terminated and lie in the run's arena.
 */
#ifndef COMMON_SIEVE_RUN_H
#define COMMON_SIEVE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/sieve_message.h"
#include "common/sieve_script.h"

#define SIEVE_STEPS_MAX        (20 * 1000 * 1000) /* some tenths of a second */
#define SIEVE_VARIABLES_MAX    128
#define SIEVE_VARIABLES_MEMORY (256 * 1024) /* of all values together */
#define SIEVE_MATCHES_MAX      10           /* ${0} to ${9} */
#define SIEVE_REGEX_VALUE_MAX  4096         /* bytes of a value that an expression sees */
#define SIEVE_REGEXES_MAX      64           /* expressions that are kept for a run */
#define SIEVE_REGEXES_STEPS    (64 * 1024)  /* of them together: some megabytes */

struct sieve_variable {
	char name[SIEVE_IDENTIFIER_MAX + 1]; /* in lower case */
	char *value;
};

/* An expression that was compiled in this run; `key` lies in an arena. */
struct sieve_regex {
	const char *key;
	bool fold_case;
	bool notes_groups; /* what they match is wanted: not of a body */
	struct regular *regular;
};

struct sieve_run {
	const struct sieve *sieve;
	const struct sieve_message *message;
	struct sieve_result *result;
	struct sieve_arena arena;
	struct sieve_view view;
	uint64_t steps_left;
	bool has_failed;
	bool has_stopped;
	bool is_kept; /* the implicit keep stands */
	bool has_vacation;
	size_t redirects;
	struct sieve_variable variables[SIEVE_VARIABLES_MAX];
	size_t variable_count;
	char *matches[SIEVE_MATCHES_MAX]; /* NULL: "" */
	char *flags;                      /* imap4flags' own variable */
	struct buf folded;                /* of the value that is compared */
	struct sieve_regex regexes[SIEVE_REGEXES_MAX];
	size_t regex_count;
	size_t regex_steps; /* of all of them */
};

void sieve_run_fail(struct sieve_run *, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* False when the budget is used up, and the run has failed. */
bool sieve_spend(struct sieve_run *, uint64_t steps);
/* Memory; NULL: the run has failed. */
void *sieve_run_get(struct sieve_run *, size_t size);
char *sieve_run_copy(struct sieve_run *, const char *text, size_t length);

/* --- variables: sieve_variables.c --- */

/* The string with its variables replaced, at most SIEVE_STRING_MAX bytes; NULL: the run failed. */
char *sieve_expand(struct sieve_run *, const struct sieve_string *);
/* The first string of an argument. */
char *sieve_expand_first(struct sieve_run *, const struct sieve_argument *);
/* All of them; NULL: the run failed. */
char **sieve_expand_all(struct sieve_run *, const struct sieve_argument *);
/* "" for one that isn't set; the name in any case. */
const char *sieve_get_variable(const struct sieve_run *, const char *name);
void sieve_set_variable(struct sieve_run *, unsigned line, const char *name, const char *value);
/* The command "set". */
void sieve_do_set(struct sieve_run *, const struct sieve_node *);

/* --- comparisons: sieve_match.c, sieve_regex.c --- */

struct sieve_matcher {
	struct sieve_run *run;
	const struct sieve_node *node;
	enum sieve_tag kind;
	enum sieve_relation relation;
	bool sets_matches;
	char **keys;
	size_t key_count;
	size_t count; /* of values */
	bool is_match;
};
enum sieve_relation sieve_find_relation(const char *name); /* RELATION_COUNT: none */
/* False: the run failed. */
bool sieve_match_begin(struct sieve_matcher *, struct sieve_run *, const struct sieve_node *,
    const struct sieve_argument *keys);
/* One value; false: no more are wanted. `text` need not end in NUL. */
bool sieve_match_value(struct sieve_matcher *, const char *text, size_t length);
bool sieve_match_text(struct sieve_matcher *, const char *text);
/* Whether it matched. */
bool sieve_match_end(struct sieve_matcher *);
void sieve_clear_matches(struct sieve_run *);
void sieve_set_match(struct sieve_run *, size_t number, const char *text, size_t length);

/* False, with the reason, when it is no expression that can be used. */
bool sieve_check_regex(const char *text, char *why, size_t size);
void sieve_free_regexes(struct sieve_run *);
bool sieve_match_regex(struct sieve_matcher *, const char *key, const char *text, size_t length);

/* --- flags: sieve_flags.c --- */

void sieve_do_flags(struct sieve_run *, const struct sieve_node *);
/* Whether it is one that can be set. */
bool sieve_is_flag(const char *text, size_t length);
bool sieve_test_hasflag(struct sieve_run *, const struct sieve_node *);
/* The flags for a file: of :flags, or of imap4flags' variable. NULL: the run failed. */
char *sieve_flags_of(struct sieve_run *, const struct sieve_node *);

/* --- tests and actions --- */

/* sieve_test.c */
bool sieve_test(struct sieve_run *, const struct sieve_node *);
/* sieve_test_date.c */
bool sieve_test_date(struct sieve_run *, const struct sieve_node *);
/* The range of fields of that name that ":index" leaves: only that one, or all. False: none. */
bool sieve_index_fields(
    struct sieve_run *, const struct sieve_node *, const char *name, size_t *first, size_t *last);

/* sieve_action.c: commands that say what becomes of the message. */
void sieve_do_action(struct sieve_run *, const struct sieve_node *);
/* The implicit keep, where it is due. */
void sieve_finish_actions(struct sieve_run *);
/* An address as a person may write it, "A <a@b>" too. */
bool sieve_read_address(const char *text, struct address *);

/* sieve_vacation.c */
void sieve_do_vacation(struct sieve_run *, const struct sieve_node *);
/* How long its reply isn't sent again, within what is allowed. */
uint32_t sieve_vacation_seconds(const struct sieve_node *);
/* A new action, or NULL: the run failed. */
struct sieve_action *sieve_add_action(struct sieve_run *, unsigned line, enum sieve_action_kind);
char *sieve_keep_text(struct sieve_run *, const char *text); /* allocated, the result's */

#endif
