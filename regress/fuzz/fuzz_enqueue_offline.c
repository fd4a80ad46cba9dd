/*
 * A file of kept mail, whose owner may have written anything into it: what is read from it can be
 * written again, and read as the same.
 */
#include <sys/mman.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpctl/offline.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct post post, again;
	char why[256];
	int fd;

	post_init(&post);
	post_init(&again);
	if (offline_parse(&post, (const char *)data, size, why, sizeof(why))) {
		post.start = 0;
		post.fd = memfd_create("text", MFD_CLOEXEC);
		fd = offline_write(&post, why, sizeof(why));
		if (post.fd == -1 || fd == -1 || !offline_read(&again, fd, why, sizeof(why)) ||
		    again.recipient_count != post.recipient_count ||
		    memcmp(again.recipients, post.recipients,
		        post.recipient_count * sizeof(*post.recipients)) != 0 ||
		    memcmp(&again.sender, &post.sender, sizeof(post.sender)) != 0 ||
		    strcmp(again.name, post.name) != 0 || again.notify != post.notify ||
		    strcmp(again.envid, post.envid) != 0)
			abort();
	}
	post_free(&post);
	post_free(&again);
	return 0;
}
