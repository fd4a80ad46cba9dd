/* Any command with any addresses: what a shell reads as its command doesn't depend on what a peer
 * said. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static const struct template_mda mda = { "/libexec/deliver", "postern-1" };
	static struct ipc_deliver request;
	struct template_command hostile, harmless;
	size_t command;
	const char *why;
	bool good;

	if (length < 2)
		return 0;
	memset(&request, 0, sizeof(request));
	command = data[0] < length - 1 ? data[0] : length - 1;
	memcpy(request.mailbox.command, data + 1, command);
	data += 1 + command;
	length -= 1 + command;
	if (length > ADDRESS_LOCAL_MAX)
		length = ADDRESS_LOCAL_MAX;
	memcpy(request.dest.local, data, length);
	strcpy(request.dest.domain, "example.test");
	request.sender = request.rcpt = request.dest;
	strcpy(request.mailbox.user, "alice");
	strcpy(request.mailbox.path, "/home/alice");
	good = template_expand(&request, "+", &mda, &hostile, &why);
	/* As long, so that a substring is there or isn't. */
	memset(request.dest.local, 'x', strlen(request.dest.local));
	request.sender = request.rcpt = request.dest;
	if (template_expand(&request, "", &mda, &harmless, &why) && good &&
	    (hostile.count != harmless.count || hostile.script.length != harmless.script.length ||
	        memcmp(hostile.script.data, harmless.script.data, hostile.script.length) != 0))
		abort();
	template_free(&hostile);
	template_free(&harmless);
	return 0;
}
