/*
 * A post is an exchange of relay_https.h and the id of who wants it. Only the code of the answer
 * counts: a server that has said 2xx has the report, however its words on that end.
 */
#include <sys/queue.h>
#include <stdio.h>
#include <stdlib.h>

#include <bsd/string.h>

#include "common/ipc_relay_directory.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "deliver/relay_https.h"
#include "deliver/relay_post.h"

#define POSTS_MAX  16    /* at once */
#define POST_MS    30000 /* for all of it */
#define ANSWER_MAX 65536 /* bytes of content; nobody reads them */

_Static_assert(IPC_POST_SIZE <= HTTPS_POST_MAX && IPC_POST_PATH_MAX <= HTTPS_PATH_MAX &&
        IPC_POST_WORDS_MAX >= HTTPS_WORDS_MAX,
    "what may be posted can be");

struct post {
	LIST_ENTRY(post) entry;
	struct posts *posts;
	uint32_t id;
	char host[HOSTNAME_MAX + 1];
	struct https_exchange *exchange;
};

struct posts {
	struct https *https;
	struct channel *channel;
	LIST_HEAD(, post) open;
	size_t count;
};

static void
forget(struct post *post)
{
	LIST_REMOVE(post, entry);
	post->posts->count--;
	free(post);
}

static void
answer(struct posts *posts, uint32_t id, enum post_result result, const char *words)
{
	struct ipc_posted posted = { .result = result };
	struct buf payload;

	if (posts->channel == NULL)
		return;
	strlcpy(posted.words, words, sizeof(posted.words));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_posted_encode(&payload, &posted);
	channel_send(posts->channel, RELAY_DIRECTORY_POSTED, id, 0, -1, &payload);
	buf_free(&payload);
}

static void
on_answer(const struct https_answer *got, void *arg)
{
	struct post *post = arg;
	char words[IPC_POST_WORDS_MAX + 1];

	if (got->code >= 200 && got->code < 300) {
		answer(post->posts, post->id, POST_TAKEN, "");
	} else if (got->status == HTTPS_ANSWERED) {
		/* A redirect isn't followed: the record may name the other place. */
		snprintf(words, sizeof(words), "%s answers %u", post->host, got->code);
		answer(post->posts, post->id, POST_FAILED, words);
	} else {
		answer(post->posts, post->id,
		    got->status == HTTPS_OURS ? POST_NOT_TRIED : POST_FAILED, got->why);
	}
	forget(post);
}

bool
posts_receive(struct posts *posts, const struct imsg *imsg)
{
	struct https_request request = { .ca = "",
		.content_type = "application/tlsrpt+gzip", /* RFC 8460 6.4 */
		.answer_max = ANSWER_MAX,
		.time_ms = POST_MS };
	struct buf_reader reader;
	struct ipc_post wanted;
	struct post *post;
	uint8_t *content;
	size_t length;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_post_decode(&reader, &wanted) || (imsg->fd == -1 && !imsg->descriptor_lost))
		return false;
	if (imsg->fd == -1 || posts->count == POSTS_MAX) {
		answer(posts, imsg->id, POST_NOT_TRIED,
		    imsg->fd == -1 ? "the relay has too many open files"
		                   : "too many reports are being posted");
		return true;
	}
	content = memory_file_read(imsg->fd, IPC_POST_SIZE, &length);
	if (content == NULL)
		return false;
	post = calloc(1, sizeof(*post));
	if (post == NULL)
		fatal("post");
	post->posts = posts;
	post->id = imsg->id;
	strlcpy(post->host, wanted.host, sizeof(post->host));
	request.host = wanted.host;
	request.port = wanted.port;
	request.path = wanted.path;
	request.content = content;
	request.content_length = length;
	post->exchange = https_ask(posts->https, &request, on_answer, post);
	LIST_INSERT_HEAD(&posts->open, post, entry);
	posts->count++;
	free(content);
	return true;
}

static void
forget_all(struct posts *posts)
{
	struct post *post;

	while ((post = LIST_FIRST(&posts->open)) != NULL) {
		https_forget(post->exchange);
		forget(post);
	}
}

void
posts_set_channel(struct posts *posts, struct channel *channel)
{
	forget_all(posts);
	posts->channel = channel;
}

struct posts *
posts_new(struct https *https)
{
	struct posts *posts = calloc(1, sizeof(*posts));

	if (posts == NULL)
		fatal("posts");
	posts->https = https;
	LIST_INIT(&posts->open);
	return posts;
}

void
posts_free(struct posts *posts)
{
	if (posts == NULL)
		return;
	forget_all(posts);
	free(posts);
}
