/*
 * What the harness's aliases pipe mail to: keep DIRECTORY [NAME]
 *
 * The message becomes a file in DIRECTORY/kept that is durable before this ends. With NAME, only
 * once DIRECTORY/NAME exists; until then the delivery fails for now.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static char data[65536];

int
main(int argc, char *argv[])
{
	char name[64], temporary[80];
	ssize_t length;
	int directory, fd;

	if (argc < 2 || chdir(argv[1]) == -1)
		err(EX_TEMPFAIL, "keep");
	if (argc > 2 && access(argv[2], F_OK) == -1)
		return EX_TEMPFAIL;
	if (chdir("kept") == -1 || (directory = open(".", O_RDONLY | O_DIRECTORY)) == -1)
		err(EX_TEMPFAIL, "kept");
	for (unsigned i = 0;; i++) {
		snprintf(name, sizeof(name), "%d.%u", getpid(), i);
		snprintf(temporary, sizeof(temporary), ".%s", name);
		fd = access(name, F_OK) == 0 ? -1
		                             : open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (fd != -1)
			break;
		if (i > 10000)
			err(EX_TEMPFAIL, "%s", temporary);
	}
	while ((length = read(STDIN_FILENO, data, sizeof(data))) > 0) {
		if (write(fd, data, (size_t)length) != length)
			err(EX_TEMPFAIL, "write");
	}
	if (length == -1 || fsync(fd) == -1 || rename(temporary, name) == -1 ||
	    fsync(directory) == -1)
		err(EX_TEMPFAIL, "%s", name);
	return EX_OK;
}
