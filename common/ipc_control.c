/*
 * The payloads of the control socket and of control's channels to the queue and the directory.
 *
 * Decoding stops at the first value out of range and leaves the reader failed; the caller checks
 * with buf_reader_done() that nothing is left over, since some frames carry two of these in a row.
 */
#include <stdlib.h>
#include <string.h>

#include "common/ipc_control.h"

void
ipc_filter_encode(struct buf *buf, const struct ipc_filter *filter)
{
	buf_add_u64(buf, filter->id);
	buf_add_string(buf, filter->from);
	buf_add_string(buf, filter->to);
	buf_add_u32(buf, filter->older);
	buf_add_u8(buf, filter->has_state);
	buf_add_u8(buf, filter->state);
	buf_add_u64(buf, filter->cursor);
	buf_add_u32(buf, filter->portion);
}

bool
ipc_filter_decode(struct buf_reader *reader, struct ipc_filter *filter)
{
	memset(filter, 0, sizeof(*filter));
	filter->id = buf_get_u64(reader);
	buf_get_string(reader, filter->from, sizeof(filter->from));
	buf_get_string(reader, filter->to, sizeof(filter->to));
	filter->older = buf_get_u32(reader);
	filter->has_state = buf_get_bool(reader);
	filter->state = buf_get_enum(reader, ENVELOPE_STATE_COUNT);
	filter->cursor = buf_get_u64(reader);
	filter->portion = buf_get_u32(reader);
	return !reader->failed;
}

void
ipc_act_encode(struct buf *buf, const struct ipc_act *act)
{
	buf_add_u8(buf, act->action);
	buf_add_u32(buf, act->caller_uid);
	ipc_filter_encode(buf, &act->filter);
}

bool
ipc_act_decode(struct buf_reader *reader, struct ipc_act *act)
{
	act->action = buf_get_enum(reader, QUEUE_ACTION_COUNT);
	act->caller_uid = buf_get_u32(reader);
	return ipc_filter_decode(reader, &act->filter);
}

void
ipc_pause_encode(struct buf *buf, const struct ipc_pause *pause)
{
	buf_add_u8(buf, pause->mda);
	buf_add_u8(buf, pause->paused);
	buf_add_u32(buf, pause->caller_uid);
	buf_add_string(buf, pause->domain);
}

bool
ipc_pause_decode(struct buf_reader *reader, struct ipc_pause *pause)
{
	memset(pause, 0, sizeof(*pause));
	pause->mda = buf_get_bool(reader);
	pause->paused = buf_get_bool(reader);
	pause->caller_uid = buf_get_u32(reader);
	buf_get_string(reader, pause->domain, sizeof(pause->domain));
	if (pause->mda && *pause->domain != '\0')
		reader->failed = true;
	return !reader->failed;
}

void
ipc_destination_encode(struct buf *buf, const struct ipc_destination *destination)
{
	buf_add_string(buf, destination->to);
	buf_add_string(buf, destination->action);
	buf_add_u8(buf, destination->state);
	buf_add_u32(buf, destination->queued);
	buf_add_u32(buf, destination->waiting);
	buf_add_u32(buf, destination->in_flight);
	buf_add_u32(buf, destination->window);
	buf_add_u32(buf, destination->failures);
	buf_add_u64(buf, (uint64_t)destination->next_try);
	buf_add_u64(buf, (uint64_t)destination->last_failure);
	buf_add_u8(buf, destination->reply.code != 0);
	if (destination->reply.code != 0)
		reply_encode(buf, &destination->reply);
	buf_add_string(buf, destination->host);
}

bool
ipc_destination_decode(struct buf_reader *reader, struct ipc_destination *destination)
{
	memset(destination, 0, sizeof(*destination));
	buf_get_string(reader, destination->to, sizeof(destination->to));
	buf_get_string(reader, destination->action, sizeof(destination->action));
	destination->state = buf_get_enum(reader, DESTINATION_STATE_COUNT);
	destination->queued = buf_get_u32(reader);
	destination->waiting = buf_get_u32(reader);
	destination->in_flight = buf_get_u32(reader);
	destination->window = buf_get_u32(reader);
	destination->failures = buf_get_u32(reader);
	destination->next_try = (int64_t)buf_get_u64(reader);
	destination->last_failure = (int64_t)buf_get_u64(reader);
	if (buf_get_bool(reader))
		reply_decode(reader, &destination->reply);
	buf_get_string(reader, destination->host, sizeof(destination->host));
	if (destination->next_try < 0 || destination->last_failure < 0)
		reader->failed = true;
	return !reader->failed;
}

void
ipc_account_encode(struct buf *buf, const struct ipc_account *account)
{
	buf_add_u8(buf, account->verb);
	buf_add_u32(buf, account->caller_uid);
	buf_add_u32(buf, account->word_count);
	for (uint32_t i = 0; i < account->word_count; i++)
		buf_add_string(buf, account->words[i]);
}

bool
ipc_account_decode(struct buf_reader *reader, struct ipc_account *account)
{
	uint32_t count;
	size_t total = 0;

	memset(account, 0, sizeof(*account));
	account->verb = buf_get_enum(reader, ACCOUNT_VERB_COUNT);
	account->caller_uid = buf_get_u32(reader);
	count = buf_get_u32(reader);
	if (count > ACCOUNT_WORDS_MAX)
		reader->failed = true;
	while (!reader->failed && account->word_count < count) {
		char *word = buf_get_string_alloc(reader, IPC_ACCOUNT_WORD_MAX);

		if (word == NULL) {
			reader->failed = true;
			break;
		}
		account->words[account->word_count++] = word;
		total += strlen(word);
		if (total > IPC_ACCOUNT_TEXT_MAX)
			reader->failed = true;
	}
	if (reader->failed)
		ipc_account_free(account);
	return !reader->failed;
}

void
ipc_scripts_encode(struct buf *buf, const struct ipc_scripts *scripts)
{
	buf_add_u32(buf, scripts->caller_uid);
	buf_add_string(buf, scripts->user);
	buf_add_string(buf, scripts->purpose);
}

bool
ipc_scripts_decode(struct buf_reader *reader, struct ipc_scripts *scripts)
{
	memset(scripts, 0, sizeof(*scripts));
	scripts->caller_uid = buf_get_u32(reader);
	buf_get_string(reader, scripts->user, sizeof(scripts->user));
	buf_get_string(reader, scripts->purpose, sizeof(scripts->purpose));
	return !reader->failed && *scripts->user != '\0';
}

void
ipc_account_free(struct ipc_account *account)
{
	for (uint32_t i = 0; i < account->word_count; i++) {
		/* A word may be a password's hash. */
		if (account->words[i] != NULL)
			explicit_bzero(account->words[i], strlen(account->words[i]));
		free(account->words[i]);
		account->words[i] = NULL;
	}
	account->word_count = 0;
}

void
ipc_result_encode(struct buf *buf, const struct ipc_result *result)
{
	buf_add_u32(buf, result->exit_code);
	buf_add_u64(buf, result->count);
	buf_add_string(buf, result->words);
}

bool
ipc_result_decode(struct buf_reader *reader, struct ipc_result *result)
{
	memset(result, 0, sizeof(*result));
	result->exit_code = buf_get_u32(reader);
	if (result->exit_code > 255)
		reader->failed = true;
	result->count = buf_get_u64(reader);
	buf_get_string(reader, result->words, sizeof(result->words));
	return !reader->failed;
}
