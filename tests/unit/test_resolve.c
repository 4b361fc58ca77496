/* SPDX-License-Identifier: MIT */
/* Addresses, from a name service that does not always answer. */
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pop3/resolve.h"
#include "pop3/transport.h"
#include "tests/unit/support.h"

typedef int getaddrinfo_fn(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list);

static sem_t asked, answers;

/* Takes the place of libc's: one host's name server is silent until it is told to answer. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
	void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
	getaddrinfo_fn *real;

	memcpy(&real, &symbol, sizeof(real));
	if (strcmp(node, "nowhere.example") == 0)
		return EAI_NONAME;
	if (strcmp(node, "silent.example") != 0)
		return real(node, service, hints, list);
	sem_post(&asked);
	sem_wait(&answers);
	return real("127.0.0.1", service, hints, list);
}

static unsigned count_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned count = 0;
	struct dirent *entry;

	while ((entry = readdir(tasks)))
		count += entry->d_name[0] != '.';
	closedir(tasks);
	return count;
}

/* Lets the thread that was left behind end. */
static void let_answer(unsigned threads)
{
	sem_post(&answers);
	while (count_threads() > threads)
		usleep(1000);
}

Test(resolve, finds_addresses_or_says_why_not)
{
	struct addrinfo *list = NULL;
	struct sockaddr_in addr;
	struct pop3_why why;

	cr_assert_eq(resolve("127.0.0.1", 995, 10000, -1, &list, &why), POP3_OK, "%s", why.text);
	memcpy(&addr, list->ai_addr, sizeof(addr));
	cr_assert(addr.sin_family == AF_INET && ntohs(addr.sin_port) == 995);
	freeaddrinfo(list);
	cr_assert_eq(resolve("nowhere.example", 995, 10000, -1, &list, &why), POP3_E_RESOLVE);
	cr_assert(strstr(why.text, "nowhere.example: "), "%s", why.text);
}

Test(resolve, waits_no_longer_than_wanted)
{
	unsigned threads = count_threads();
	struct addrinfo *list = NULL;
	struct pop3_why why;
	int cancel[2];

	sem_init(&asked, 0, 0);
	sem_init(&answers, 0, 0);
	cr_assert_eq(resolve("silent.example", 995, 50, -1, &list, &why), POP3_E_TIMEOUT);
	cr_assert_str_eq(why.text, "silent.example: no answer from the name service within 0.05 s");
	let_answer(threads);
	cr_assert_eq(pipe(cancel), 0);
	cr_assert_eq(write(cancel[1], "", 1), 1);
	cr_assert_eq(resolve("silent.example", 995, 3600 * 1000, cancel[0], &list, &why), POP3_E_STOPPED);
	let_answer(threads);
	sem_post(&answers);
	cr_assert_eq(resolve("silent.example", 995, 10000, -1, &list, &why), POP3_OK, "%s", why.text);
	freeaddrinfo(list);
	close(cancel[0]);
	close(cancel[1]);
}

static void ignore_listing(struct link_job *job, const struct listing *listing)
{
	(void)job, (void)listing;
}

static enum pop3_err outcome;

static void take_outcome(struct link_job *job, enum pop3_err err, const struct pop3_why *why)
{
	(void)job, (void)why;
	outcome = err;
}

/* An unmount in a train, while the server is looked for. */
Test(resolve, a_link_that_ends_does_not_wait_for_it)
{
	struct link_job job = { .kind = LINK_LIST, .listing = ignore_listing, .done = take_outcome };
	unsigned threads = count_threads();
	struct peer *peer = peer_new();

	sem_init(&asked, 0, 0);
	sem_init(&answers, 0, 0);
	peer->config.account.host = "silent.example";
	peer->config.account.timeout_ms = 3600 * 1000;
	peer_start(peer, NULL);
	link_queue(peer->link, &job);
	sem_wait(&asked);
	peer_free(peer);
	cr_assert_eq(outcome, POP3_E_STOPPED);
	let_answer(threads);
}
