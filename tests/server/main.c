/* SPDX-License-Identifier: MIT */
/* pop3-server: the test server as a program, for make demo and the end-to-end tests. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/server/server.h"

#define FAULTS_MAX 64

static int usage(void)
{
	fprintf(stderr, "usage: pop3-server --maildir DIR --user NAME --password TEXT [--port N] [--tls] [--plain] [--lock]\n"
			"       [--cert FILE --key FILE] [--capa LINES] [--no VERBS] [--log FILE] [--fault FAULT]...\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "maildir", required_argument, NULL, 'm' }, { "user", required_argument, NULL, 'u' },
		{ "password", required_argument, NULL, 'p' }, { "port", required_argument, NULL, 'P' },
		{ "tls", no_argument, NULL, 't' }, { "plain", no_argument, NULL, 'x' },
		{ "lock", no_argument, NULL, 'l' }, { "cert", required_argument, NULL, 'c' },
		{ "key", required_argument, NULL, 'k' }, { "capa", required_argument, NULL, 'C' },
		{ "no", required_argument, NULL, 'n' }, { "log", required_argument, NULL, 'L' },
		{ "fault", required_argument, NULL, 'f' }, { 0 },
	};
	struct server_config config = { 0 };
	const char *faults[FAULTS_MAX + 1] = { NULL }, *why = NULL;
	struct server *server;
	size_t n_faults = 0;
	sigset_t signals;
	int c, number;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'm': config.maildir = optarg; break;
		case 'u': config.user = optarg; break;
		case 'p': config.password = optarg; break;
		case 'P': config.port = (uint16_t)atoi(optarg); break;
		case 't': config.tls = true; break;
		case 'x': config.plain = true; break;
		case 'l': config.lock = true; break;
		case 'c': config.cert = optarg; break;
		case 'k': config.key = optarg; break;
		case 'C': config.capa = optarg; break;
		case 'n': config.no = optarg; break;
		case 'L': config.log = optarg; break;
		case 'f':
			if (n_faults == FAULTS_MAX)
				return usage();
			faults[n_faults++] = optarg;
			break;
		default: return usage();
		}
	}
	if (!config.maildir || !config.user || !config.password || optind != argc)
		return usage();
	config.faults = faults;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	server = server_start(&config, &why);
	if (!server) {
		fprintf(stderr, "pop3-server: %s\n", why);
		return 1;
	}
	printf("port %u\n", server_port(server));
	fflush(stdout);
	sigwait(&signals, &number);
	server_stop(server);
	return 0;
}
