/*
 * DKIM keys on their way from their files to the keeper, and the list of those that sign to the
 * listeners. After each change all files are read again and given to the keeper anew; when it has
 * told of each what it is, the listeners get a new list. Until then they go on with the last one.
 *
 * A change that smtpctl asks for (supervisor_state.h has the verbs) is a change of files: new keys
 * are made by the keeper, one at a time. One change is under way at once.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/base64.h"
#include "common/memory_file.h"
#include "smtpd/supervisor_dkim.h"
#include "smtpd/supervisor_state.h"

#define CHANGE_SECONDS 20 /* less than `control` waits */

enum change_state {
	CHANGE_NONE,
	CHANGE_GENERATES, /* the keeper makes a key */
	CHANGE_SETTLES,   /* the files are as they should be, the keeper is asked about them */
};

struct new_key {
	char selector[DKIM_SELECTOR_MAX + 1];
	enum dkim_algorithm algorithm;
	bool is_active;
};

struct change {
	enum change_state state;
	bool has_caller;
	uint32_t caller_id;
	struct ipc_dkim request;
	struct new_key news[DKIM_ALGORITHM_COUNT];
	size_t new_count;
	size_t made; /* of them */
	uint32_t generate_id;
	struct event *timeout;
};

struct dkim_store {
	struct dkim_files files;
	uint32_t first_id; /* of the requests to the keeper, one for each file */
	size_t unanswered;
	int list; /* what the listeners have; -1: none yet */
	struct change change;
};

static const char *
state_directory(const struct supervisor *supervisor)
{
	return supervisor->config->state_directory;
}

/* Handing out */

static void settle(struct supervisor *);

static void
make_file_name(char name[KEY_NAME_MAX + 1], const struct dkim_file *file)
{
	(void)snprintf(name, KEY_NAME_MAX + 1, "%s.%s", file->domain, file->selector);
}

static bool
send_key(struct channel *keeper, uint32_t id, const struct dkim_file *file)
{
	struct ipc_key key = { .kind = KEEPER_DKIM, .key_length = (uint32_t)file->length };
	int fd = memory_file_make("key", file->text, file->length);
	struct buf payload;

	if (fd == -1) {
		log_error("can't hand out a DKIM key: %m");
		return false;
	}
	make_file_name(key.name, file);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_key_encode(&payload, &key);
	channel_send(keeper, SUPERVISOR_KEEPER_KEY, id, 0, fd, &payload);
	buf_free(&payload);
	return true;
}

static void
send_forget(struct channel *keeper, const struct dkim_file *file)
{
	struct ipc_forget forget = { .kind = KEEPER_DKIM };
	struct buf payload;

	make_file_name(forget.name, file);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_forget_encode(&payload, &forget);
	channel_send(keeper, SUPERVISOR_KEEPER_FORGET, 0, 0, -1, &payload);
	buf_free(&payload);
}

bool
dkim_send_keys(struct child_slot *keeper)
{
	struct supervisor *supervisor = keeper->supervisor;
	struct dkim_store *store = supervisor->dkim;
	size_t i;

	store->first_id = supervisor->key_requests + 1;
	supervisor->key_requests += (uint32_t)store->files.count;
	store->unanswered = store->files.count;
	for (i = 0; i < store->files.count; i++)
		if (!send_key(
		        keeper->channel, store->first_id + (uint32_t)i, &store->files.files[i]))
			return false;
	if (store->files.count == 0)
		settle(supervisor);
	return true;
}

bool
dkim_send_list(struct child_slot *slot)
{
	struct dkim_store *store = slot->supervisor->dkim;
	int fd;

	if (store->list == -1)
		return true;
	fd = fcntl(store->list, F_DUPFD_CLOEXEC, 3);
	if (fd == -1) {
		log_error("can't hand out the list of DKIM keys: %m");
		return false;
	}
	channel_send(slot->channel, SUPERVISOR_CHILD_DKIM_KEYS, 0, 0, fd, NULL);
	return true;
}

static void
make_list(struct dkim_store *store)
{
	struct ipc_dkim_key key;
	struct buf list;
	size_t i;
	int fd;

	buf_init(&list, IPC_DKIM_KEYS_SIZE);
	for (i = 0; i < store->files.count; i++) {
		const struct dkim_file *file = &store->files.files[i];

		if (!file->is_active || !file->is_good)
			continue;
		memset(&key, 0, sizeof(key));
		strlcpy(key.domain, file->domain, sizeof(key.domain));
		strlcpy(key.selector, file->selector, sizeof(key.selector));
		key.algorithm = file->taken.algorithm;
		key.signature_length = file->taken.signature_length;
		memcpy(key.key, file->taken.key, sizeof(key.key));
		ipc_dkim_key_encode(&list, &key);
	}
	fd = buf_ok(&list) ? memory_file_make("dkim", list.data, list.length) : -1;
	if (fd == -1)
		log_error("can't make the list of DKIM keys: the last one stays: %m");
	else {
		if (store->list != -1)
			close(store->list);
		store->list = fd;
	}
	buf_free(&list);
}

/* Answering */

static void
answer(struct supervisor *supervisor, uint32_t id, const char *refusal)
{
	struct channel *control = children_channel(supervisor, PROGRAM_CONTROL);
	struct ipc_done done = { .success = refusal == NULL };
	struct buf payload;

	if (control == NULL)
		return;
	if (refusal != NULL)
		strlcpy(done.words, refusal, sizeof(done.words));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_done_encode(&payload, &done);
	channel_send(control, SUPERVISOR_CONTROL_DONE, id, 0, -1, &payload);
	buf_free(&payload);
}

static void
send_line(struct channel *control, uint32_t id, const struct dkim_file *file)
{
	char public[BASE64_LENGTH(KEEPER_PUBLIC_MAX) + 1];
	char text[DKIM_DOMAIN_MAX + DKIM_SELECTOR_MAX + sizeof(public) + 100];
	const char *algorithm = dkim_algorithm_name(file->taken.algorithm);
	struct buf payload;

	base64_encode(file->taken.public, file->taken.public_length, public);
	if (file->is_good)
		(void)snprintf(text, sizeof(text), "%s\t%s\t%s\t%s\tv=DKIM1; k=%s; p=%s",
		    file->domain, file->selector, algorithm,
		    file->is_active ? "active" : "inactive", algorithm, public);
	else
		(void)snprintf(
		    text, sizeof(text), "%s\t%s\t-\tunusable\t", file->domain, file->selector);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	buf_add_string(&payload, text);
	channel_send(control, SUPERVISOR_CONTROL_LINE, id, 0, -1, &payload);
	buf_free(&payload);
}

static void
log_change(const struct change *change, const struct new_key *new, const char *what)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, what);
	log_text(&line, "domain", change->request.domain);
	log_text(&line, "selector", new == NULL ? change->request.selector : new->selector);
	log_number(&line, "uid", change->request.caller_uid);
	log_end(&line);
}

static void
end_change(struct supervisor *supervisor, const char *refusal)
{
	struct change *change = &supervisor->dkim->change;
	struct channel *control = children_channel(supervisor, PROGRAM_CONTROL);
	const struct dkim_file *file;
	size_t i;

	if (change->state == CHANGE_NONE)
		return;
	change->state = CHANGE_NONE;
	(void)event_del(change->timeout);
	for (i = 0; i < change->new_count && refusal == NULL; i++) {
		file = dkim_files_find(
		    &supervisor->dkim->files, change->request.domain, change->news[i].selector);
		if (file == NULL || !file->is_good)
			refusal = "the new key can't be used; the log says why";
		else if (control != NULL && change->has_caller)
			send_line(control, change->caller_id, file);
	}
	if (change->has_caller)
		answer(supervisor, change->caller_id, refusal);
	change->has_caller = false;
}

static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end_change(arg, "the keeper has not answered in time");
}

/* All that the keeper was asked about is answered. */
static void
settle(struct supervisor *supervisor)
{
	struct child_slot *slot;
	size_t i;

	make_list(supervisor->dkim);
	for (i = 0; i < supervisor->child_count; i++) {
		slot = &supervisor->children[i];
		/* One that hasn't begun gets it when it does. */
		if ((slot->program == PROGRAM_LISTENER || slot->program == PROGRAM_QUEUE) &&
		    slot_is_running(slot) && slot->begun_ms != 0 && !dkim_send_list(slot))
			(void)kill(slot->pid, SIGKILL); /* its next life has the list */
	}
	if (supervisor->dkim->change.state == CHANGE_SETTLES)
		end_change(supervisor, NULL);
}

bool
dkim_key_taken(struct supervisor *supervisor, uint32_t id, const struct ipc_key_taken *taken)
{
	struct dkim_store *store = supervisor->dkim;
	struct dkim_file *file;

	if (id - store->first_id >= store->files.count)
		return false;
	file = &store->files.files[id - store->first_id];
	if (store->unanswered == 0)
		return true;
	file->is_good = taken->success && taken->signature_length > 0;
	file->taken = *taken;
	if (!file->is_good)
		log_error("the DKIM key of %s, selector %s, doesn't sign: %s", file->domain,
		    file->selector, taken->words);
	if (--store->unanswered == 0)
		settle(supervisor);
	return true;
}

void
dkim_read_again(struct supervisor *supervisor)
{
	struct dkim_store *store = supervisor->dkim;
	struct child_slot *keeper = NULL;
	struct dkim_files old = store->files;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (supervisor->children[i].program == PROGRAM_KEEPER)
			keeper = &supervisor->children[i];
	dkim_files_read(&store->files, state_directory(supervisor));
	store->unanswered = store->files.count;
	if (keeper != NULL && slot_is_running(keeper)) {
		for (i = 0; i < old.count; i++)
			if (dkim_files_find(
			        &store->files, old.files[i].domain, old.files[i].selector) == NULL)
				send_forget(keeper->channel, &old.files[i]);
		if (!dkim_send_keys(keeper))
			log_error("the keeper has not all DKIM keys: \"smtpctl reload\" tries "
			          "again");
	}
	dkim_files_free(&old);
}

/* Changing */

static void
ask_for_next(struct supervisor *supervisor)
{
	struct change *change = &supervisor->dkim->change;
	struct channel *keeper = children_channel(supervisor, PROGRAM_KEEPER);
	struct ipc_generate generate = { change->news[change->made].algorithm };
	struct buf payload;

	if (keeper == NULL) {
		end_change(supervisor, "the keeper isn't there to make a key");
		return;
	}
	change->state = CHANGE_GENERATES;
	change->generate_id = ++supervisor->key_requests;
	buf_init(&payload, 64);
	ipc_generate_encode(&payload, &generate);
	channel_send(keeper, SUPERVISOR_KEEPER_GENERATE, change->generate_id, 0, -1, &payload);
	buf_free(&payload);
}

static bool
write_key(struct supervisor *supervisor, int fd, char *why, size_t size)
{
	struct change *change = &supervisor->dkim->change;
	const struct new_key *new = &change->news[change->made];
	size_t length;
	uint8_t *text = memory_file_read(fd, DKIM_FILE_MAX, &length);
	bool written;

	if (text == NULL) {
		strlcpy(why, "the keeper's key can't be read", size);
		return false;
	}
	written = dkim_file_write(state_directory(supervisor), change->request.domain,
	    new->selector, new->is_active, text, length, why, size);
	explicit_bzero(text, length);
	free(text);
	if (written)
		log_change(change, new, "dkim-key-added");
	return written;
}

bool
dkim_generated(struct supervisor *supervisor, const struct imsg *imsg)
{
	struct change *change = &supervisor->dkim->change;
	struct buf_reader reader;
	struct ipc_done done;
	char why[WHY_MAX];

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_done_decode(&reader, &done) || done.success != (imsg->fd != -1))
		return false;
	if (change->state != CHANGE_GENERATES || imsg->id != change->generate_id)
		return true; /* too late */
	if (!done.success)
		strlcpy(why, done.words, sizeof(why));
	if (!done.success || !write_key(supervisor, imsg->fd, why, sizeof(why))) {
		end_change(supervisor, why);
		if (change->made > 0)
			dkim_read_again(supervisor); /* of two keys one was written */
	} else if (++change->made < change->new_count)
		ask_for_next(supervisor);
	else {
		change->state = CHANGE_SETTLES;
		dkim_read_again(supervisor);
	}
	return true;
}

/* "rsa202611", and then "rsa202611b" and so on. */
static bool
choose_selector(const struct supervisor *supervisor, const char *domain, struct new_key *new)
{
	time_t now = time(NULL);
	struct tm local;
	char letter;

	if (localtime_r(&now, &local) == NULL)
		return false;
	for (letter = 'a'; letter <= 'z'; letter++) {
		(void)snprintf(new->selector, sizeof(new->selector), "%s%04d%02d%.1s",
		    new->algorithm == DKIM_ED25519_SHA256 ? "ed" : "rsa",
		    (local.tm_year + 1900) % 10000, local.tm_mon + 1, letter == 'a' ? "" : &letter);
		if (dkim_files_find(&supervisor->dkim->files, domain, new->selector) == NULL)
			return true;
	}
	return false;
}

/* A key to be made; NULL or why not. The first one of its algorithm signs at once; another waits
 * until its record is in DNS and it is activated. */
static const char *
add_new(struct supervisor *supervisor, enum dkim_algorithm algorithm, const char *selector)
{
	struct dkim_store *store = supervisor->dkim;
	struct change *change = &store->change;
	const char *domain = change->request.domain;
	struct new_key *new = &change->news[change->new_count];

	memset(new, 0, sizeof(*new));
	new->algorithm = algorithm;
	new->is_active = dkim_files_active(&store->files, domain, algorithm) == NULL;
	if (store->files.count + change->new_count >= DKIM_KEYS_MAX)
		return "there are too many keys";
	if (*selector != '\0') {
		if (dkim_files_find(&store->files, domain, selector) != NULL)
			return "there is a key with that selector: \"smtpctl dkim show\" shows it";
		strlcpy(new->selector, selector, sizeof(new->selector));
	} else if (!choose_selector(supervisor, domain, new))
		return "there are too many keys of this month: name a selector";
	change->new_count++;
	return NULL;
}

static const char *
begin_rotation(struct supervisor *supervisor)
{
	struct change *change = &supervisor->dkim->change;
	const char *refusal = NULL;
	int algorithm;

	for (algorithm = 0; algorithm < DKIM_ALGORITHM_COUNT && refusal == NULL; algorithm++)
		if (dkim_files_active(&supervisor->dkim->files, change->request.domain,
		        (enum dkim_algorithm)algorithm) != NULL)
			refusal = add_new(supervisor, (enum dkim_algorithm)algorithm, "");
	if (refusal == NULL && change->new_count == 0)
		return "no key signs for this domain: \"smtpctl dkim add\" makes one";
	return refusal;
}

/* The new one first: the domain is never without. */
static const char *
activate(struct supervisor *supervisor, struct dkim_file *file, char *why, size_t size)
{
	struct dkim_files *files = &supervisor->dkim->files;
	struct dkim_file *other;
	size_t i;

	if (!file->is_good)
		return "that key is unusable; the log says why";
	if (!file->is_active &&
	    !dkim_file_set_active(state_directory(supervisor), file, true, why, size))
		return why;
	for (i = 0; i < files->count; i++) {
		other = &files->files[i];
		if (other != file && other->is_active && other->is_good &&
		    other->taken.algorithm == file->taken.algorithm &&
		    strcmp(other->domain, file->domain) == 0 &&
		    !dkim_file_set_active(state_directory(supervisor), other, false, why, size))
			return why;
	}
	return NULL;
}

/* What changes files at once. */
static const char *
change_file(struct supervisor *supervisor, char *why, size_t size)
{
	struct change *change = &supervisor->dkim->change;
	const struct ipc_dkim *request = &change->request;
	struct dkim_file *file =
	    dkim_files_find(&supervisor->dkim->files, request->domain, request->selector);
	const char *refusal = NULL;

	if (file == NULL)
		return "there is no such key: \"smtpctl dkim list\" shows them";
	if (request->verb == DKIM_ACTIVATE)
		refusal = activate(supervisor, file, why, size);
	else if (!dkim_file_remove(state_directory(supervisor), file, why, size))
		refusal = why;
	/* Half a change is one too. */
	change->state = CHANGE_SETTLES;
	if (refusal == NULL)
		log_change(change, NULL,
		    request->verb == DKIM_ACTIVATE ? "dkim-key-activated" : "dkim-key-deleted");
	return refusal;
}

static void
begin_change(struct supervisor *supervisor, uint32_t id, const struct ipc_dkim *request)
{
	const struct timeval patience = { .tv_sec = CHANGE_SECONDS };
	struct change *change = &supervisor->dkim->change;
	const char *refusal = NULL;
	char why[WHY_MAX];

	change->has_caller = true;
	change->caller_id = id;
	change->request = *request;
	change->new_count = change->made = 0;
	change->state = CHANGE_GENERATES;
	if (event_add(change->timeout, &patience) != 0)
		fatalx("no timer");
	if (request->verb == DKIM_ADD)
		refusal = add_new(supervisor,
		    request->has_algorithm ? request->algorithm : DKIM_RSA_SHA256,
		    request->selector);
	else if (request->verb == DKIM_ROTATE)
		refusal = begin_rotation(supervisor);
	else
		refusal = change_file(supervisor, why, sizeof(why));
	if (refusal == NULL && change->new_count > 0) {
		ask_for_next(supervisor);
		return;
	}
	if (refusal != NULL) {
		bool is_changed = change->state == CHANGE_SETTLES;

		change->new_count = 0;
		end_change(supervisor, refusal);
		if (!is_changed)
			return;
	}
	dkim_read_again(supervisor);
}

static void
show(struct supervisor *supervisor, struct channel *control, uint32_t id,
    const struct ipc_dkim *request)
{
	const struct dkim_files *files = &supervisor->dkim->files;
	size_t i, shown = 0;

	for (i = 0; i < files->count; i++) {
		const struct dkim_file *file = &files->files[i];

		if ((*request->domain != '\0' && strcmp(file->domain, request->domain) != 0) ||
		    (*request->selector != '\0' && strcmp(file->selector, request->selector) != 0))
			continue;
		send_line(control, id, file);
		shown++;
	}
	answer(
	    supervisor, id, shown == 0 && *request->domain != '\0' ? "there is no such key" : NULL);
}

bool
dkim_requested(struct supervisor *supervisor, struct channel *control, const struct imsg *imsg)
{
	struct ipc_dkim request;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_dkim_decode(&reader, &request) || imsg->fd != -1)
		return false;
	if (supervisor->state != SUPERVISOR_RUNNING)
		answer(supervisor, imsg->id, "smtpd isn't running yet, or no longer");
	else if (request.verb == DKIM_LIST || request.verb == DKIM_SHOW)
		show(supervisor, control, imsg->id, &request);
	else if (supervisor->dkim->change.state != CHANGE_NONE || supervisor->dkim->unanswered > 0)
		answer(supervisor, imsg->id, "another change of the DKIM keys is under way");
	else
		begin_change(supervisor, imsg->id, &request);
	return true;
}

/* The rest */

void
dkim_begin(struct supervisor *supervisor)
{
	struct dkim_store *store = calloc(1, sizeof(*store));

	if (store == NULL)
		fatal("DKIM");
	supervisor->dkim = store;
	store->list = -1;
	store->change.timeout = evtimer_new(supervisor->base, on_timeout, supervisor);
	if (store->change.timeout == NULL)
		fatalx("no timer");
	dkim_files_read(&store->files, state_directory(supervisor));
}

void
dkim_end(struct supervisor *supervisor)
{
	struct dkim_store *store = supervisor->dkim;

	event_free(store->change.timeout);
	dkim_files_free(&store->files);
	if (store->list != -1)
		close(store->list);
	free(store);
	supervisor->dkim = NULL;
}

void
dkim_child_ended(struct supervisor *supervisor, enum program program)
{
	struct change *change = &supervisor->dkim->change;

	/* The next keeper is given the files as they are by then, and answers for them. */
	if (program == PROGRAM_KEEPER && change->state == CHANGE_GENERATES)
		end_change(supervisor, "the keeper ended while it made a key");
	/* The next one numbers its requests anew. */
	if (program == PROGRAM_CONTROL)
		change->has_caller = false;
}
