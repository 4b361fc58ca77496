/* SPDX-License-Identifier: MIT */
#include "tests/unit/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


static enum pop3_err give_password(void *ctx, int cancel_fd, struct secret *secret_r, struct pop3_why *why)
{
	struct peer *peer = ctx;

	(void)cancel_fd;
	if (!peer->password)
		return pop3_fail(why, POP3_E_SECRET, "no password");
	return secret_set(secret_r, peer->password, strlen(peer->password)) ? POP3_OK : POP3_E_MEMORY;
}

static void append(char *text, size_t size, const char *line, size_t len)
{
	size_t used = strlen(text);

	snprintf(text + used, size - used, "%.*s\n", (int)len, line);
}

static void take_note(void *ctx, const char *text)
{
	struct peer *peer = ctx;

	append(peer->notes, sizeof(peer->notes), text, strlen(text));
}

static void take_trace(void *ctx, char direction, const char *line, size_t len)
{
	struct peer *peer = ctx;

	(void)direction;
	append(peer->trace, sizeof(peer->trace), line, len);
}

struct peer *peer_new(void)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	char path[128];

	signal(SIGPIPE, SIG_IGN);
	strcpy(peer->dir, "/tmp/pop3fs-unit-XXXXXX");
	cr_assert(mkdtemp(peer->dir));
	snprintf(path, sizeof(path), "%s/new", peer->dir);
	mkdir(path, 0700);
	snprintf(peer->cert, sizeof(peer->cert), "%s/cert.pem", peer->dir);
	snprintf(peer->key, sizeof(peer->key), "%s/key.pem", peer->dir);
	pthread_mutex_init(&peer->lock, NULL);
	pthread_cond_init(&peer->ended, NULL);
	peer->password = PASSWORD;
	peer->server_config = (struct server_config){ .maildir = peer->dir,
						      .user = USER,
						      .password = PASSWORD,
						      .tls = true,
						      .cert = peer->cert,
						      .key = peer->key };
	peer->tls_config.ca = peer->cert;
	peer->config = (struct link_config){ .account = { .host = "localhost",
							  .security = ACCOUNT_TLS,
							  .user = USER,
							  .timeout_ms = 2000,
							  .lf = true,
							  .secret = give_password,
							  .trace = take_trace,
							  .ctx = peer },
					     .idle_ms = 30000,
					     .note = take_note,
					     .ctx = peer };
	return peer;
}

void peer_message_octets(struct peer *peer, const char *name, const char *octets, size_t len)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/new/%s", peer->dir, name);
	file = fopen(path, "w");
	cr_assert(file && fwrite(octets, 1, len, file) == len);
	fclose(file);
}

void peer_message(struct peer *peer, const char *name, const char *text)
{
	peer_message_octets(peer, name, text, strlen(text));
}

bool peer_has(struct peer *peer, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/new/%s", peer->dir, name);
	return access(path, F_OK) == 0;
}

void peer_start(struct peer *peer, const char *const *faults)
{
	const char *why = NULL;

	peer->server_config.faults = faults;
	peer->server = server_start(&peer->server_config, &why);
	cr_assert(peer->server, "test server: %s", why);
	peer->config.account.port = server_port(peer->server);
	cr_assert_eq(tls_new(&peer->tls_config, &peer->tls, &peer->why), POP3_OK, "%s", peer->why.text);
	peer->config.account.tls = peer->tls;
	cr_assert_eq(link_new(&peer->config, &peer->link, &peer->why), POP3_OK, "%s", peer->why.text);
}

void peer_restart_server(struct peer *peer, const char *const *faults)
{
	const char *why = NULL;

	peer->server_config.port = server_port(peer->server);
	peer->server_config.faults = faults;
	server_stop(peer->server);
	peer->server = server_start(&peer->server_config, &why);
	cr_assert(peer->server, "test server: %s", why);
}

static void forget_listing(struct peer *peer)
{
	for (size_t i = 0; i < peer->count; i++) {
		free(peer->keys[i]);
		buffer_clear(&peer->all[i]);
	}
	peer->count = 0;
}

void peer_free(struct peer *peer)
{
	char command[128];

	link_free(peer->link);
	server_stop(peer->server);
	tls_free(peer->tls);
	forget_listing(peer);
	buffer_clear(&peer->received);
	snprintf(command, sizeof(command), "rm -rf %s", peer->dir);
	cr_expect_eq(system(command), 0);
	free(peer);
}

struct job {
	struct link_job job;
	struct peer *peer;
	const char *key;
};

static struct peer *peer_of(struct link_job *job)
{
	return ((struct job *)job)->peer;
}

static const char *job_key(struct link_job *job, size_t i)
{
	(void)i;
	return ((struct job *)job)->key;
}

static int job_begin(struct link_job *job, size_t i)
{
	(void)i;
	peer_of(job)->received.len = 0;
	return 0;
}

static int job_data(struct link_job *job, size_t i, const char *octets, size_t len)
{
	(void)i;
	buffer_add(&peer_of(job)->received, octets, len);
	return 0;
}

static void job_item(struct link_job *job, size_t i, enum pop3_err err)
{
	(void)i;
	peer_of(job)->err = err;
}

static void job_listing(struct link_job *job, const struct listing *listing)
{
	struct peer *peer = peer_of(job);

	forget_listing(peer);
	for (size_t i = 0; i < listing_count(listing) && i < MAX_LISTED; i++) {
		peer->keys[i] = strdup(listing_at(listing, i)->key);
		peer->octets[i] = listing_at(listing, i)->octets;
		peer->count++;
	}
}

static void job_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct peer *peer = peer_of(job);

	pthread_mutex_lock(&peer->lock);
	if (err) {
		peer->err = err;
		peer->why = *why;
	}
	peer->done = true;
	pthread_cond_signal(&peer->ended);
	pthread_mutex_unlock(&peer->lock);
}

static enum pop3_err run(struct peer *peer, struct job *job)
{
	job->peer = peer;
	job->job.key = job_key;
	job->job.begin = job_begin;
	job->job.data = job_data;
	job->job.item = job_item;
	job->job.listing = job_listing;
	job->job.done = job_done;
	peer->done = false;
	peer->err = POP3_OK;
	link_queue(peer->link, &job->job);
	pthread_mutex_lock(&peer->lock);
	while (!peer->done)
		pthread_cond_wait(&peer->ended, &peer->lock);
	pthread_mutex_unlock(&peer->lock);
	return peer->err;
}

enum pop3_err peer_list(struct peer *peer)
{
	struct job job = { .job = { .kind = LINK_LIST } };

	return run(peer, &job);
}

enum pop3_err peer_fetch(struct peer *peer, const char *key)
{
	struct job job = { .job = { .kind = LINK_FETCH, .count = 1 }, .key = key };

	return run(peer, &job);
}

enum pop3_err peer_headers(struct peer *peer, const char *key)
{
	struct job job = { .job = { .kind = LINK_HEADERS, .count = 1 }, .key = key };

	return run(peer, &job);
}

struct peer *peer_with(const char *const *faults)
{
	struct peer *peer = peer_new();

	peer_message(peer, "a", SHOWN);
	peer_message(peer, "b", "Subject: two\n\n..dots\n.\nend\n");
	peer_start(peer, faults);
	return peer;
}

enum pop3_err peer_fetch_with(const char *const *faults, struct peer **peer_r)
{
	*peer_r = peer_with(faults);
	return peer_fetch(*peer_r, "a");
}

struct many {
	struct link_job job;
	struct peer *peer;
	size_t first; /* of a FETCH: which it is */
};

static struct many *many_of(struct link_job *job)
{
	return (struct many *)job;
}

static const char *many_key(struct link_job *job, size_t i)
{
	return many_of(job)->peer->keys[many_of(job)->first + i];
}

static int many_begin(struct link_job *job, size_t i)
{
	many_of(job)->peer->all[many_of(job)->first + i].len = 0;
	return 0;
}

static int many_data(struct link_job *job, size_t i, const char *octets, size_t len)
{
	buffer_add(&many_of(job)->peer->all[many_of(job)->first + i], octets, len);
	return 0;
}

static void many_item(struct link_job *job, size_t i, enum pop3_err err)
{
	many_of(job)->peer->all_err[i] = err;
}

static void many_done(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	struct peer *peer = many_of(job)->peer;

	pthread_mutex_lock(&peer->lock);
	if (err)
		peer->why = *why;
	if (job->kind == LINK_FETCH)
		peer->all_err[many_of(job)->first] = err;
	else if (err)
		for (size_t i = 0; i < peer->count; i++)
			peer->all_err[i] = err;
	peer->left--;
	pthread_cond_signal(&peer->ended);
	pthread_mutex_unlock(&peer->lock);
}

void peer_all(struct peer *peer, enum link_kind kind)
{
	size_t jobs = kind == LINK_FETCH ? peer->count : 1;
	struct many *many = calloc(jobs, sizeof(*many));

	peer->left = jobs;
	for (size_t i = 0; i < jobs; i++) {
		many[i] = (struct many){ .job = { .kind = kind,
						  .count = kind == LINK_FETCH ? 1 : peer->count,
						  .key = many_key,
						  .begin = many_begin,
						  .data = many_data,
						  .item = many_item,
						  .done = many_done },
					 .peer = peer,
					 .first = i };
		link_queue(peer->link, &many[i].job);
	}
	pthread_mutex_lock(&peer->lock);
	while (peer->left > 0)
		pthread_cond_wait(&peer->ended, &peer->lock);
	pthread_mutex_unlock(&peer->lock);
	free(many);
}

enum pop3_err peer_commit(struct peer *peer, struct commit_item *items, size_t count)
{
	struct job job = { .job = { .kind = LINK_COMMIT, .count = count, .deletions = items } };

	return run(peer, &job);
}

bool file_holds(int fd, const char *text)
{
	char buf[256];
	ssize_t n = pread(fd, buf, sizeof(buf), 0);

	return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}
