/*
 * Any text as smtpd.conf: parsed, and when it is right, printed and parsed again to the same.
 * Names aren't looked up in DNS: getaddrinfo() here knows addresses only.
 */
#include <netdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include "smtpd/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
getaddrinfo(
    const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **answer)
{
	struct addrinfo *one = calloc(1, sizeof(*one) + sizeof(struct sockaddr_storage));
	struct sockaddr_in *in = (struct sockaddr_in *)(one + 1);
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(one + 1);
	char plain[INET6_ADDRSTRLEN], *scope;

	(void)service;
	(void)hints;
	if (one == NULL)
		return EAI_MEMORY;
	one->ai_addr = (struct sockaddr *)in;
	strncpy(plain, name, sizeof(plain) - 1);
	plain[sizeof(plain) - 1] = '\0';
	scope = strchr(plain, '%'); /* an interface's link has it */
	if (scope != NULL) {
		*scope = '\0';
		in6->sin6_scope_id = if_nametoindex(scope + 1);
	}
	if (inet_pton(AF_INET, name, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		one->ai_addrlen = sizeof(*in);
	} else if (inet_pton(AF_INET6, plain, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		one->ai_addrlen = sizeof(*in6);
	} else {
		free(one);
		return EAI_NONAME;
	}
	*answer = one;
	return 0;
}

void
freeaddrinfo(struct addrinfo *answer)
{
	free(answer);
}

static void
ignore(bool is_error, const char *text, void *arg)
{
	(void)is_error;
	(void)arg;
	for (; *text != '\0'; text++) {
		if (*text < ' ' || *text > '~')
			abort();
	}
}

static char *
print(const struct config *config, size_t *length)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, length);

	if (file == NULL)
		abort();
	parse_print_config(file, config);
	if (fclose(file) != 0)
		abort();
	return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config, *again;
	size_t length, length_again;
	char *text, *text_again;

	config = parse_config_text("fuzz.conf", (const char *)data, size, ignore, NULL);
	if (config == NULL)
		return 0;
	text = print(config, &length);
	again = parse_config_text("again.conf", text, length, ignore, NULL);
	if (again == NULL)
		abort();
	text_again = print(again, &length_again);
	if (length != length_again || memcmp(text, text_again, length) != 0)
		abort();
	free(text);
	free(text_again);
	config_free(config);
	config_free(again);
	return 0;
}
