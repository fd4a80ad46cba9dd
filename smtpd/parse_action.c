/*
 * What stands in an action beside tables: paths and commands with %{...} in them, and the wrappers
 * around commands.
 */
#include <stdlib.h>
#include <string.h>

#include "common/envelope.h"
#include "common/template.h"
#include "smtpd/parse_build.h"

enum template_use {
	TEMPLATE_PATH,
	TEMPLATE_COMMAND,
	TEMPLATE_WRAPPER,
};

static bool
name_is_one_of(const char *name, const char *const *names)
{
	for (; *names != NULL; names++) {
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

/* What is after "%{", up to "}". */
static bool
take_replacement(const char **at, enum template_use use)
{
	static const char *const names[] = { "dest", "dest.user", "dest.domain", "rcpt",
		"rcpt.user", "rcpt.domain", "user.username", "user.directory", NULL };
	static const char *const message_names[] = { "sender", "sender.user", "sender.domain",
		"mbox.from", NULL };
	struct template_token token;

	if (use == TEMPLATE_WRAPPER && strncmp(*at, "mda}", 4) == 0) {
		*at += 4;
		return true;
	}
	return template_parse_token(at, &token) &&
	    (name_is_one_of(token.name, names) ||
	        (use != TEMPLATE_PATH && name_is_one_of(token.name, message_names)));
}

/*
 * Whether every %{...} is one that the directory, or in a command the mda, replaces. What the values
 * make of it, only delivery can know.
 */
static bool
template_fits(const char *path, enum template_use use)
{
	while (*path != '\0') {
		if (path[0] == '%' && path[1] == '{') {
			path += 2;
			if (!take_replacement(&path, use))
				return false;
		} else
			path += path[0] == '%' && path[1] == '%' ? 2 : 1;
	}
	return true;
}

static bool
template_is_known(struct parse *parse, struct place place, const char *text, enum template_use use)
{
	if (template_fits(text, use))
		return true;
	problem_error(&parse->problems, place,
	    "\"%.100s\" holds a %%{...} that smtpd.conf(5) doesn't have", text);
	return false;
}

static bool
command_fits(struct parse *parse, struct place place, const char *what, const char *command,
    enum template_use use)
{
	if (*command == '\0' || strlen(command) > PATH_TEXT_MAX) {
		problem_error(&parse->problems, place,
		    "\"%s\" wants a command of at most %d bytes, not \"%.40s\"", what,
		    PATH_TEXT_MAX, command);
		return false;
	}
	return template_is_known(parse, place, command, use);
}

bool
action_templates_fit(struct parse *parse)
{
	const struct action_config *action = &parse->draft.action;
	struct place place = parse->draft.place;

	if (action->path != NULL &&
	    (*action->path == '\0' || strlen(action->path) > PATH_TEXT_MAX / 2)) {
		problem_error(&parse->problems, place,
		    "\"%s\" wants a path of at most %d bytes, not \"%.40s\"",
		    action->method == ACTION_MBOX ? "mbox" : "maildir", PATH_TEXT_MAX / 2,
		    action->path);
		return false;
	}
	if (action->path != NULL && !template_is_known(parse, place, action->path, TEMPLATE_PATH))
		return false;
	return action->command == NULL ||
	    command_fits(parse, place, "mda", action->command, TEMPLATE_COMMAND);
}

void
wrapper_set(struct parse *parse, struct place place, char *name, char *command)
{
	struct config *config = parse->config;
	struct wrapper_config *wrapper;

	if (config_find_wrapper(config, name) != NULL)
		problem_error(
		    &parse->problems, place, "mda wrapper \"%.40s\" is defined twice", name);
	else if (strlen(name) > ACTION_NAME_MAX || *name == '\0')
		problem_error(&parse->problems, place,
		    "the name of a wrapper has 1 to %d bytes, not \"%.40s\"", ACTION_NAME_MAX,
		    name);
	else if (command_fits(parse, place, "mda wrapper", command, TEMPLATE_WRAPPER)) {
		config->wrappers =
		    parse_grow(config->wrappers, config->wrapper_count, sizeof(*config->wrappers));
		wrapper = &config->wrappers[config->wrapper_count++];
		*wrapper = (struct wrapper_config){ name, command };
		return;
	}
	free(name);
	free(command);
}

/* How long a wrapper's text is with the command in it, each time. */
static size_t
wrapped_length(const char *wrapper, const char *command)
{
	size_t length = strlen(wrapper);

	for (; (wrapper = template_find_mda(wrapper)) != NULL; wrapper += strlen(TEMPLATE_MDA))
		length += strlen(command);
	return length;
}

/* Who writes there is in the group mail, and so runs nothing that has to do with its user. */
static bool
is_mail_spool(const char *path)
{
	return *path == '\0' || strncmp(path, "/var/mail/", 10) == 0 ||
	    strncmp(path, "/var/spool/mail/", 16) == 0;
}

void
wrappers_check(struct parse *parse)
{
	const struct config *config = parse->config;

	for (size_t i = 0; i < config->action_count; i++) {
		const struct action_config *action = &config->actions[i];
		const struct wrapper_config *wrapper;

		if (*action->wrapper == '\0')
			continue;
		wrapper = config_find_wrapper(config, action->wrapper);
		if (wrapper == NULL)
			problem_error(&parse->problems, parse->action_places[i],
			    "there is no mda wrapper \"%.40s\"", action->wrapper);
		else if (action->method != ACTION_MDA &&
		    template_find_mda(wrapper->command) == NULL)
			problem_error(&parse->problems, parse->action_places[i],
			    "mda wrapper \"%.40s\" has no %%{mda}: nothing of action \"%s\" would "
			    "be stored",
			    action->wrapper, action->name);
		else if (action->method == ACTION_MBOX && is_mail_spool(action->path))
			problem_error(&parse->problems, parse->action_places[i],
			    "\"wrapper\" of action \"%s\" wants \"mbox\" with a path, and not in "
			    "/var/mail: who writes there runs no commands",
			    action->name);
		else if (wrapped_length(wrapper->command, action->command) > PATH_TEXT_MAX)
			problem_error(&parse->problems, parse->action_places[i],
			    "the command of action \"%s\" with its wrapper is longer than %d bytes",
			    action->name, PATH_TEXT_MAX);
	}
}

/* Whether the path holds the name of the address, and not the domain alone. */
static bool
path_names_user(const char *path)
{
	while ((path = strstr(path, "%{")) != NULL) {
		path += 2;
		if ((strncmp(path, "rcpt", 4) == 0 || strncmp(path, "dest", 4) == 0) &&
		    strncmp(path + 4, ".domain", 7) != 0)
			return true;
	}
	return false;
}

static bool
is_user_alone(const char *target)
{
	return *target != '\0' && strpbrk(target, "@|/:,\" ") == NULL;
}

void
paths_check(struct parse *parse)
{
	const struct config *config = parse->config;

	for (size_t i = 0; i < config->action_count; i++) {
		const struct action_config *action = &config->actions[i];
		const struct table_config *aliases =
		    config_find_table(config, action->virtual_table);

		/* With "user" each address has its own. */
		if (aliases == NULL || aliases->backend != TABLE_STATIC || *action->user != '\0' ||
		    !path_names_user(action->path))
			continue;
		for (size_t j = 0; j < aliases->entry_count; j++) {
			if (*aliases->entries[j].key == '@' &&
			    is_user_alone(aliases->entries[j].value))
				problem_warning(&parse->problems, parse->action_places[i],
				    "action \"%s\" keeps all mail for \"%.64s\" in one place: "
				    "the user in its path is \"%.64s\", whom the alias leads to",
				    action->name, aliases->entries[j].key,
				    aliases->entries[j].value);
		}
	}
}
