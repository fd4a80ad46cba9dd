/*
 * What an IMAP client sends: cut into commands the same way however the bytes come, within its bounds,
 * and parsed without reading past an end; what comes out keeps what its headers promise.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/imap_command.h"
#include "mailbox/imap_input.h"

#define LIMIT       4096
#define COMMANDS    64
#define SIZE_LIMIT  65536
#define CHECKSUM(x) (sum = sum * 31 + (uint64_t)(x))

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_search(const struct imap_search *search)
{
	if (search->count == 0 || search->keys[0].parent != 0)
		abort();
	for (size_t i = 1; i < search->count; i++) {
		if (search->keys[i].parent >= i)
			abort();
	}
	for (size_t i = 0; i < search->count; i++) {
		enum imap_key key = search->keys[i].key;

		if ((key == IMAP_KEY_NOT && search->keys[i].children != 1) ||
		    (key == IMAP_KEY_OR && search->keys[i].children != 2) ||
		    (key == IMAP_KEY_AND && search->keys[i].children == 0) ||
		    (key != IMAP_KEY_NOT && key != IMAP_KEY_OR && key != IMAP_KEY_AND &&
		        search->keys[i].children != 0))
			abort();
	}
}

static void
check_set(struct imap_set *set)
{
	imap_set_resolve(set, 1000);
	for (size_t i = 0; i < set->count; i++) {
		if (set->ranges[i].first == 0 || set->ranges[i].first > set->ranges[i].last ||
		    (i > 0 && set->ranges[i].first <= set->ranges[i - 1].last + 1) ||
		    !imap_set_has(set, set->ranges[i].last))
			abort();
	}
}

static void
check_command(const struct imap_input *input, bool is_whole)
{
	struct imap_command command;
	/* A copy of its very size, so that a byte read past it is seen. */
	char *text = malloc(input->command.length + 1);

	if (text == NULL)
		abort();
	if (input->command.length > 0)
		memcpy(text, input->command.data, input->command.length);
	text = realloc(text, input->command.length > 0 ? input->command.length : 1);
	if (is_whole)
		imap_command_parse(&command, text, input->command.length);
	else
		imap_command_parse_so_far(&command, text, input->command.length);
	if (command.tag.length == 0)
		abort();
	if (command.why == NULL) {
		if (command.verb == IMAP_SEARCH || command.verb == IMAP_SORT ||
		    command.verb == IMAP_THREAD)
			check_search(&command.search);
		if (command.verb == IMAP_FETCH) {
			if (command.fetch.items.count == 0)
				abort();
			check_set(&command.fetch.set);
		}
		if (command.verb == IMAP_STORE)
			check_set(&command.store.set);
		if (command.verb == IMAP_APPEND && command.append.message_count == 0)
			abort();
	}
	imap_command_free(&command);
	free(text);
}

/* A number made of all that was told. */
static uint64_t
run(const uint8_t *data, size_t size, size_t step)
{
	struct imap_input input;
	uint64_t sum = 0, text = 0;
	size_t at = 0, commands = 0, used;

	imap_input_init(&input, LIMIT);
	while (commands < COMMANDS) {
		size_t count = size - at < step ? size - at : step;
		enum imap_input_event event =
		    imap_input_take(&input, (const char *)data + at, count, &used);

		if (used > count || input.command.length > LIMIT)
			abort();
		at += used;
		switch (event) {
		case IMAP_INPUT_MORE:
			if (used != count)
				abort();
			if (at == size) {
				imap_input_free(&input);
				return sum;
			}
			break;
		case IMAP_INPUT_CONTINUE:
			CHECKSUM(1);
			break;
		case IMAP_INPUT_MESSAGE:
			CHECKSUM(input.size);
			check_command(&input, false);
			text = 0;
			if (input.size > SIZE_LIMIT)
				imap_input_refuse(&input);
			break;
		case IMAP_INPUT_TEXT:
			text += input.text_length;
			if (text > input.size)
				abort();
			break;
		case IMAP_INPUT_MESSAGE_END:
			if (text != input.size)
				abort();
			CHECKSUM(2);
			break;
		case IMAP_INPUT_COMMAND:
		case IMAP_INPUT_REFUSED:
			commands++;
			CHECKSUM(event);
			if (event == IMAP_INPUT_COMMAND) {
				CHECKSUM(input.command.length);
				check_command(&input, true);
			}
			imap_input_next(&input);
			break;
		case IMAP_INPUT_CLOSE:
			imap_input_free(&input);
			return CHECKSUM(3);
		}
	}
	imap_input_free(&input);
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (run(data, size, SIZE_MAX) != run(data, size, 1))
		abort();
	return 0;
}
