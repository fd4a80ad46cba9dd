/*
 * Tasks only keep account of their recipients; where they are sent is the destination's to say, and
 * how it goes the session's. What failed at one host is noted and becomes the answer when there is
 * no other host to try.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "deliver/relay_route.h"
#include "deliver/relay_task.h"

struct task *
task_new(
    const struct task_owner *owner, uint32_t id, const struct ipc_relay_message *message, int fd)
{
	struct task *task = calloc(1, sizeof(*task));
	char sender[ADDRESS_TEXT_MAX + 1];

	if (task == NULL) {
		close(fd);
		return NULL;
	}
	task->owner = owner;
	task->id = id;
	task->message = *message;
	task->fd = fd;
	address_format(&message->sender, sender, sizeof(sender));
	task->sender = strdup(sender);
	task->rcpts = calloc(message->recipients, sizeof(*task->rcpts));
	if (task->sender == NULL || task->rcpts == NULL) {
		task_free(task);
		return NULL;
	}
	return task;
}

void
task_free(struct task *task)
{
	if (task == NULL)
		return;
	for (uint32_t i = 0; task->rcpts != NULL && i < task->rcpt_count; i++) {
		free(task->rcpts[i].dest);
		free(task->rcpts[i].dsn_orcpt);
	}
	free(task->rcpts);
	free(task->sender);
	free(task->fields);
	free(task->dialogue);
	route_drop(task->route);
	relay_lines_free(&task->lines);
	if (task->fd != -1)
		close(task->fd);
	free(task);
}

bool
task_add_rcpt(struct task *task, const struct ipc_relay_rcpt *rcpt)
{
	struct task_rcpt *new = &task->rcpts[task->rcpt_count];
	char dest[ADDRESS_TEXT_MAX + 1];

	address_format(&rcpt->dest, dest, sizeof(dest));
	*new = (struct task_rcpt){ .envelope_id = rcpt->envelope_id,
		.state = RCPT_WAITING,
		.dsn_notify = rcpt->dsn_notify };
	new->dest = strdup(dest);
	if (*rcpt->dsn_orcpt != '\0')
		new->dsn_orcpt = strdup(rcpt->dsn_orcpt);
	task->rcpt_count++;
	task->left++;
	return new->dest != NULL && (new->dsn_orcpt != NULL || *rcpt->dsn_orcpt == '\0');
}

bool
task_is_complete(const struct task *task)
{
	return task->rcpt_count == task->message.recipients;
}

void
task_wait(struct task *task, struct task_list *list, size_t *count, bool first)
{
	if (first)
		TAILQ_INSERT_HEAD(list, task, entry);
	else
		TAILQ_INSERT_TAIL(list, task, entry);
	task->list = list;
	task->list_count = count;
	(*count)++;
}

void
task_wait_no_more(struct task *task)
{
	if (task->list == NULL)
		return;
	TAILQ_REMOVE(task->list, task, entry);
	(*task->list_count)--;
	task->list = NULL;
	task->list_count = NULL;
}

void
task_answer(struct task *task, struct task_rcpt *rcpt, const struct reply *reply,
    enum relay_fault fault, bool remote, bool dsn_taken, const struct server_words *server)
{
	static const struct server_words nobody;
	struct ipc_relay_result result = { .envelope_id = rcpt->envelope_id,
		.reply = *reply,
		.fault = fault,
		.remote = remote,
		.dsn_taken = dsn_taken };

	if (rcpt->state == RCPT_DONE)
		return;
	if (server == NULL)
		server = &nobody;
	strlcpy(result.host, server->host, sizeof(result.host));
	strlcpy(result.address, server->address, sizeof(result.address));
	strlcpy(result.tls, server->tls, sizeof(result.tls));
	rcpt->state = RCPT_DONE;
	task->left--;
	if (!task->is_silent)
		task->owner->result(task, &result, task->owner->arg);
}

void
task_fail_rcpts(struct task *task, enum rcpt_state state, const struct failure *failure)
{
	for (uint32_t i = 0; i < task->rcpt_count; i++)
		if (task->rcpts[i].state == state)
			task_answer(task, &task->rcpts[i], &failure->reply, failure->fault,
			    failure->remote, false, &failure->server);
}

void
task_take_back(struct task *task)
{
	for (uint32_t i = 0; i < task->rcpt_count; i++)
		if (task->rcpts[i].state == RCPT_OFFERED || task->rcpts[i].state == RCPT_TAKEN)
			task->rcpts[i].state = RCPT_WAITING;
}

void
task_note_failure(struct task *task, const struct failure *failure)
{
	bool is_temporary = !reply_is_permanent(&failure->reply);

	if (task->has_temporary && !is_temporary)
		return;
	task->has_failure = true;
	task->has_temporary |= is_temporary;
	task->failure = *failure;
}

void
task_note_dialogue(struct task *task, const char *text)
{
	free(task->dialogue);
	task->dialogue = strdup(text); /* without memory it goes without */
}

void
task_finish(struct task *task, const struct failure *otherwise)
{
	struct ipc_relay_done done;
	const struct failure *failure = task->has_failure ? &task->failure : otherwise;

	memset(&done, 0, sizeof(done));
	if (failure != NULL) {
		task_take_back(task);
		task_fail_rcpts(task, RCPT_WAITING, failure);
		done.fault = failure->fault;
	}
	if (task->dialogue != NULL)
		strlcpy(done.dialogue, task->dialogue, sizeof(done.dialogue));
	task->state = TASK_DONE;
	task->owner->done(task, &done, task->owner->arg);
}

void
failure_set(struct failure *failure, enum relay_fault fault, unsigned code, const char *enhanced,
    const char *format, ...)
{
	char text[REPLY_TEXT_MAX + 1];
	va_list arguments;

	memset(failure, 0, sizeof(*failure));
	failure->fault = fault;
	va_start(arguments, format);
	if (vsnprintf(text, sizeof(text), format, arguments) < 0)
		*text = '\0';
	va_end(arguments);
	reply_set(&failure->reply, code, enhanced, "%s", text);
}
