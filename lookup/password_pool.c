/*
 * Jobs wait in a queue for each order, and lie in a list when they are done, from which the event
 * loop takes them when the eventfd says so. All of it is behind one mutex; a thread holds it only to
 * take a job and to lay it down.
 */
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/log.h"
#include "lookup/password.h"
#include "lookup/password_pool.h"
#include "lookup/sasl.h"

#define THREADS_MAX 8
#define WAITING_MAX 4096

struct job {
	TAILQ_ENTRY(job) next;
	void *owner; /* NULL: cancelled. The event loop's alone */
	bool right;
	char stored[PASSWORD_STORED_MAX + 1];
	char password[SASL_PASSWORD_MAX + 1];
};
TAILQ_HEAD(jobs, job);

struct password_pool {
	password_checked_fn checked;
	void *arg;
	int fd;
	struct event *event;
	pthread_t threads[THREADS_MAX];
	size_t thread_count;
	pthread_mutex_t mutex;
	pthread_cond_t more;
	struct jobs waiting[PASSWORD_ORDER_COUNT];
	struct jobs working;
	struct jobs done;
	size_t waiting_count;
	bool ending;
};

static void
free_job(struct job *job)
{
	explicit_bzero(job, sizeof(*job));
	free(job);
}

static struct job *
next_job(struct password_pool *pool)
{
	for (size_t order = 0; order < PASSWORD_ORDER_COUNT; order++) {
		struct job *job = TAILQ_FIRST(&pool->waiting[order]);

		if (job != NULL) {
			TAILQ_REMOVE(&pool->waiting[order], job, next);
			pool->waiting_count--;
			return job;
		}
	}
	return NULL;
}

static void *
work(void *arg)
{
	struct password_pool *pool = arg;
	const uint64_t one = 1;
	struct job *job;

	(void)pthread_mutex_lock(&pool->mutex);
	while (!pool->ending) {
		job = next_job(pool);
		if (job == NULL) {
			(void)pthread_cond_wait(&pool->more, &pool->mutex);
			continue;
		}
		TAILQ_INSERT_TAIL(&pool->working, job, next);
		(void)pthread_mutex_unlock(&pool->mutex);
		job->right = password_check(job->stored, job->password);
		(void)pthread_mutex_lock(&pool->mutex);
		TAILQ_REMOVE(&pool->working, job, next);
		TAILQ_INSERT_TAIL(&pool->done, job, next);
		/* Fails only when there is so much to be read already. */
		if (write(pool->fd, &one, sizeof(one)) == -1)
			continue;
	}
	(void)pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

static void
take_results(evutil_socket_t fd, short what, void *arg)
{
	struct password_pool *pool = arg;
	struct job *job;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) == -1 && errno != EAGAIN)
		log_warning("the eventfd of the password checks: %s", strerror(errno));
	for (;;) {
		(void)pthread_mutex_lock(&pool->mutex);
		job = TAILQ_FIRST(&pool->done);
		if (job != NULL)
			TAILQ_REMOVE(&pool->done, job, next);
		(void)pthread_mutex_unlock(&pool->mutex);
		if (job == NULL)
			return;
		if (job->owner != NULL)
			pool->checked(job->owner, job->right, pool->arg);
		free_job(job);
	}
}

struct password_pool *
password_pool_new(struct event_base *base, password_checked_fn checked, void *arg)
{
	struct password_pool *pool = calloc(1, sizeof(*pool));

	if (pool == NULL)
		fatal("out of memory");
	pool->checked = checked;
	pool->arg = arg;
	for (size_t order = 0; order < PASSWORD_ORDER_COUNT; order++)
		TAILQ_INIT(&pool->waiting[order]);
	TAILQ_INIT(&pool->working);
	TAILQ_INIT(&pool->done);
	pool->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->fd == -1)
		fatal("eventfd");
	pool->event = event_new(base, pool->fd, EV_READ | EV_PERSIST, take_results, pool);
	if (pool->event == NULL || event_add(pool->event, NULL) == -1)
		fatalx("cannot watch an eventfd");
	if (pthread_mutex_init(&pool->mutex, NULL) != 0 ||
	    pthread_cond_init(&pool->more, NULL) != 0)
		fatalx("cannot make a mutex");
	return pool;
}

static void
free_jobs(struct jobs *jobs)
{
	struct job *job;

	while ((job = TAILQ_FIRST(jobs)) != NULL) {
		TAILQ_REMOVE(jobs, job, next);
		free_job(job);
	}
}

void
password_pool_free(struct password_pool *pool)
{
	if (pool == NULL)
		return;
	(void)pthread_mutex_lock(&pool->mutex);
	pool->ending = true;
	(void)pthread_cond_broadcast(&pool->more);
	(void)pthread_mutex_unlock(&pool->mutex);
	for (size_t i = 0; i < pool->thread_count; i++)
		(void)pthread_join(pool->threads[i], NULL);
	for (size_t order = 0; order < PASSWORD_ORDER_COUNT; order++)
		free_jobs(&pool->waiting[order]);
	free_jobs(&pool->done);
	(void)pthread_mutex_destroy(&pool->mutex);
	(void)pthread_cond_destroy(&pool->more);
	event_free(pool->event);
	(void)close(pool->fd); /* nothing is kept in it */
	free(pool);
}

/* Signals are for the event loop's thread. */
static void
start_threads(struct password_pool *pool)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t wanted = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (size_t)cores;
	sigset_t all, before;

	(void)sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
		fatalx("cannot block signals");
	while (pool->thread_count < wanted &&
	    pthread_create(&pool->threads[pool->thread_count], NULL, work, pool) == 0)
		pool->thread_count++;
	if (pthread_sigmask(SIG_SETMASK, &before, NULL) != 0)
		fatalx("cannot unblock signals");
	if (pool->thread_count == 0)
		log_error("no thread can be started to check passwords: logins are put off");
}

bool
password_pool_check(struct password_pool *pool, enum password_order order, const char *stored,
    const char *password, void *owner)
{
	struct job *job;

	if (pool->thread_count == 0)
		start_threads(pool);
	if (pool->thread_count == 0 || password_pool_waiting(pool) >= WAITING_MAX)
		return false;
	job = calloc(1, sizeof(*job));
	if (job == NULL)
		return false;
	job->owner = owner;
	if (strlcpy(job->stored, stored, sizeof(job->stored)) >= sizeof(job->stored) ||
	    strlcpy(job->password, password, sizeof(job->password)) >= sizeof(job->password)) {
		free_job(job);
		return false;
	}
	(void)pthread_mutex_lock(&pool->mutex);
	TAILQ_INSERT_TAIL(&pool->waiting[order], job, next);
	pool->waiting_count++;
	(void)pthread_cond_signal(&pool->more);
	(void)pthread_mutex_unlock(&pool->mutex);
	return true;
}

static void
disown(struct jobs *jobs, const void *owner)
{
	struct job *job;

	TAILQ_FOREACH(job, jobs, next)
	{
		if (job->owner == owner)
			job->owner = NULL;
	}
}

void
password_pool_cancel(struct password_pool *pool, void *owner)
{
	struct job *job, *after;

	(void)pthread_mutex_lock(&pool->mutex);
	for (size_t order = 0; order < PASSWORD_ORDER_COUNT; order++) {
		for (job = TAILQ_FIRST(&pool->waiting[order]); job != NULL; job = after) {
			after = TAILQ_NEXT(job, next);
			if (job->owner != owner)
				continue;
			TAILQ_REMOVE(&pool->waiting[order], job, next);
			pool->waiting_count--;
			free_job(job);
		}
	}
	disown(&pool->working, owner);
	disown(&pool->done, owner);
	(void)pthread_mutex_unlock(&pool->mutex);
}

size_t
password_pool_waiting(struct password_pool *pool)
{
	size_t count;

	(void)pthread_mutex_lock(&pool->mutex);
	count = pool->waiting_count;
	(void)pthread_mutex_unlock(&pool->mutex);
	return count;
}
