/*
 * What the files of pki and ca statements hold, for `smtpd -n`. They are read here and looked into by
 * a process that has given up root's rights by then: whoever wrote a certificate gains nothing by
 * what OpenSSL makes of it.
 */
#include <sys/prctl.h>
#include <sys/wait.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "smtpd/keeper_pair.h"
#include "smtpd/parse_build.h"
#include "smtpd/supervisor_tls.h"

struct content {
	uint8_t *data; /* NULL: it can't be read, and that was reported */
	size_t length;
};

void
files_note(struct parse *parse, enum parse_file_kind kind, struct place place, const char *name,
    const char *path)
{
	struct parse_file *file;

	parse->files = parse_grow(parse->files, parse->file_count, sizeof(*parse->files));
	file = &parse->files[parse->file_count++];
	*file = (struct parse_file){ kind, place, parse_copy(name), parse_copy(path) };
}

void
files_forget(struct parse *parse)
{
	for (size_t i = 0; i < parse->file_count; i++) {
		free(parse->files[i].name);
		free(parse->files[i].path);
	}
	free(parse->files);
}

static const char *
statement(const struct parse_file *file)
{
	return file->kind == PARSE_FILE_AUTHORITIES ? "ca" : "pki";
}

static void
complain(struct parse *parse, const struct parse_file *file, const char *why)
{
	problem_error(&parse->problems, file->place, "%s \"%.100s\": %.300s: %s", statement(file),
	    file->name, file->path, why);
}

static void
read_one(struct parse *parse, const struct parse_file *file, struct content *content)
{
	bool is_key = file->kind == PARSE_FILE_KEY;
	struct file_stamp stamp;
	char why[512];

	content->data = tls_read_file(file->path, is_key,
	    file->kind == PARSE_FILE_AUTHORITIES ? CA_FILE_MAX : PKI_FILE_MAX, &stamp,
	    &content->length, why, sizeof(why));
	if (content->data != NULL)
		return;
	/* An ordinary user checks what he can. */
	if (geteuid() != 0 && access(file->path, R_OK) == -1 && errno == EACCES)
		problem_warning(&parse->problems, file->place, "%s \"%.100s\": isn't checked: %s",
		    statement(file), file->name, why);
	else
		problem_error(&parse->problems, file->place, "%s \"%.100s\": %s", statement(file),
		    file->name, why);
}

/* For good. */
static bool
give_up_rights(void)
{
	const struct passwd *entry;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return false;
	if (geteuid() != 0)
		return true;
	entry = getpwnam("nobody");
	return entry != NULL && setgroups(0, NULL) == 0 &&
	    setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) == 0 &&
	    setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) == 0;
}

/* The certificate of the key's pki; NULL. */
static const struct parse_file *
find_certificate(const struct parse *parse, const char *name)
{
	for (size_t i = 0; i < parse->file_count; i++)
		if (parse->files[i].kind == PARSE_FILE_CERTIFICATE &&
		    strcmp(parse->files[i].name, name) == 0)
			return &parse->files[i];
	return NULL;
}

static void
check_certificate(struct parse *parse, const struct parse_file *file, const struct content *content)
{
	char words[PAIR_TIME_WORDS];
	const char *why;
	X509 *certificate = pair_read_certificate(content->data, content->length, &why);

	if (certificate == NULL)
		complain(parse, file, "no certificate in PEM is in it");
	else if (!pair_are_certificates(content->data, content->length))
		complain(parse, file, "a certificate in it is malformed");
	else if (file->kind == PARSE_FILE_CERTIFICATE && pair_time_words(certificate, words))
		problem_warning(&parse->problems, file->place,
		    "pki \"%.100s\": the certificate %.300s %s", file->name, file->path, words);
	X509_free(certificate);
}

static void
check_key(struct parse *parse, const struct parse_file *file, const struct content *contents)
{
	const struct content *content = &contents[file - parse->files], *other;
	const struct parse_file *beside = find_certificate(parse, file->name);
	X509 *certificate = NULL;
	const char *why, *ignored;
	EVP_PKEY *key = pair_read_key(content->data, content->length, KEEPER_TLS, &why);

	other = beside == NULL ? NULL : &contents[beside - parse->files];
	if (other != NULL && other->data != NULL)
		certificate = pair_read_certificate(other->data, other->length, &ignored);
	if (key == NULL || (certificate != NULL && !pair_belongs(key, certificate, &why)))
		complain(parse, file, why);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

/* In a process of its own, whose exit status says whether all is well. */
static _Noreturn void
check_all(struct parse *parse)
{
	struct content *contents = calloc(parse->file_count, sizeof(*contents));

	if (contents == NULL)
		fatal("files");
	for (size_t i = 0; i < parse->file_count; i++)
		read_one(parse, &parse->files[i], &contents[i]);
	if (!give_up_rights())
		fatal("giving up root's rights");
	for (size_t i = 0; i < parse->file_count; i++) {
		if (contents[i].data == NULL)
			continue;
		if (parse->files[i].kind == PARSE_FILE_KEY)
			check_key(parse, &parse->files[i], contents);
		else
			check_certificate(parse, &parse->files[i], &contents[i]);
	}
	_exit(parse->problems.errors > 0);
}

void
files_check(struct parse *parse)
{
	int status;
	pid_t pid;

	if (parse->file_count == 0)
		return;
	pid = fork();
	if (pid == 0)
		check_all(parse);
	if (pid == -1 || waitpid(pid, &status, 0) != pid)
		fatal("looking at the files of keys and certificates");
	/* It has said why, if it could. */
	if (status != 0)
		parse->problems.errors++;
}
