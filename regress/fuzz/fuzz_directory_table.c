/* Table and alias files: any bytes give a table or are refused, and what is in it can be found. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "lookup/table_file.h"
#include "lookup/table_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_line(const uint8_t *data, size_t size)
{
	char line[1024], key_text[TABLE_KEY_MAX], again[TABLE_KEY_MAX], *key, *value;
	const char *why = NULL;

	if (size >= sizeof(line))
		return;
	memcpy(line, data, size);
	line[size] = '\0';
	switch (table_line_parse(line, &key, &value, &why)) {
	case TABLE_LINE_EMPTY:
		break;
	case TABLE_LINE_ENTRY:
		assert(*key != '\0' || strchr(line, '"') == NULL);
		assert(strlen(key) < TABLE_KEY_MAX);
		/* A normalised key stays as it is. */
		if (table_key_normalise(key, key_text, sizeof(key_text)) &&
		    table_key_normalise(key_text, again, sizeof(again)))
			assert(strcmp(key_text, again) == 0);
		break;
	case TABLE_LINE_BAD:
		assert(why != NULL);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct table_map *map;
	struct netaddr netaddr = { .family = 2, .bits = 32, .address = { 192, 0, 2, 1 } };
	static bool quiet;
	char *text;

	if (!quiet)
		log_open("fuzz", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY));
	quiet = true;
	check_line(data, size);
	text = malloc(size + 1);
	assert(text != NULL);
	for (unsigned use = 0; use <= TABLE_USE_USERBASE; use++) {
		memcpy(text, data, size);
		text[size] = '\0';
		map = table_text_load("fuzz", text, size, use);
		if (map == NULL)
			continue;
		(void)table_map_get(map, "bob@example.org");
		(void)table_map_match_domain(map, "mx1.example.org");
		(void)table_map_match_mailbox(map, "bob", "mx1.example.org");
		(void)table_map_match_network(map, &netaddr);
		table_map_free(map);
	}
	free(text);
	return 0;
}
