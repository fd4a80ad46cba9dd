/*
 * Targets of aliases and the paths made of names. A list of targets ends; an address among them is
 * one that the address parser takes; and no name leads a path out of its template's place.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "lookup/path.h"
#include "lookup/table_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_path(const char *format, const char *name, bool in_base)
{
	char path[PATH_TEXT_MAX + 1];
	const char *why;
	struct path_values values = {
		.dest_user = name,
		.dest_domain = "example.org",
		.user_name = name,
		.user_directory = "/home/user",
		.delimiters = "+",
	};

	if (!path_expand(format, &values, path, sizeof(path), &why))
		return;
	assert(*path == '/');
	assert(strstr(path, "/../") == NULL && strstr(path, "/./") == NULL);
	if (in_base)
		assert(strncmp(path, "/base/", 6) == 0 && path[6] != '/' && path[6] != '\0' &&
		    strchr(path + 6, '/') == strrchr(path, '/'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), address[ADDRESS_TEXT_MAX + 1];
	struct target target;
	struct address parsed;
	const char *at = text;
	size_t count = 0;

	assert(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	while (target_next(&at, &target)) {
		assert(++count <= size);
		assert(at <= text + size);
		if (target.kind != TARGET_ADDRESS)
			continue;
		address_format(&target.address, address, sizeof(address));
		assert(address_parse(address, ADDRESS_ALLOW_UTF8, &parsed) == ADDRESS_OK);
		assert(address_equal(&parsed, &target.address));
	}
	check_path("/base/%{dest.user}/x", text, true);
	check_path("/base/%{dest.user:raw|lowercase}/x", text, true);
	check_path("/base/.%{dest.user[0:1]:raw}/x", text, true);
	check_path("/base/%{dest.user[0]:raw}%{user.username[-1:]:raw}/x", text, true);
	check_path(text, "bob", false);
	free(text);
	return 0;
}
