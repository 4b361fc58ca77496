/* SPDX-License-Identifier: MIT */
/*
 * The limit to measure against: one TLS connection, all messages asked for in one pipeline, what comes counted
 * and thrown away. Usage: raw PORT USER PASSWORD VERB; prints the milliseconds that it took: RETR or TOP of all,
 * after the login; LOGIN with UIDL and LIST; one NOOP, the mean of several; AGAIN, one message in a second session, with
 * nothing asked for that is not needed.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* Unanswered commands, in octets, as the clients keep it (a server may stop reading). */
#define WINDOW 1000

struct end {
	unsigned matched; /* octets of CRLF . CRLF seen */
};

/* How many replies end in these octets. */
static unsigned count_ends(struct end *end, const char *octets, int len)
{
	static const char mark[] = "\r\n.\r\n";
	unsigned count = 0;

	for (int i = 0; i < len; i++) {
		if (octets[i] == mark[end->matched])
			end->matched++;
		else
			end->matched = octets[i] == '\r';
		if (end->matched == 5) {
			count++;
			end->matched = 0;
		}
	}
	return count;
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
}

/* `resumed`: the TLS session of an earlier connection, or NULL. */
static SSL *connect_to(int port, SSL_CTX *ctx, SSL_SESSION *resumed)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	SSL *ssl = SSL_new(ctx);
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		return NULL;
	SSL_set_fd(ssl, fd);
	if (resumed)
		SSL_set_session(ssl, resumed);
	return SSL_connect(ssl) == 1 ? ssl : NULL;
}

/* Sends a command (NULL: none) and reads a status line; false: it is not +OK. */
static bool ask(SSL *ssl, const char *command, char line[512])
{
	int n = 0;

	if (command)
		SSL_write(ssl, command, (int)strlen(command));
	while (n < 511 && SSL_read(ssl, line + n, 1) == 1 && line[n++] != '\n')
		;
	line[n] = '\0';
	return strncmp(line, "+OK", 3) == 0;
}

/* All messages, with as many commands on the way as the window holds. */
static bool pull(SSL *ssl, const char *verb, unsigned messages)
{
	static char octets[65536];
	struct end end = { 0 };
	unsigned asked = 0, ended = 0;

	while (ended < messages) {
		char commands[WINDOW + 32];
		int len = 0, n;

		while (asked < messages && (asked - ended) * 12 < WINDOW - 12)
			len += sprintf(commands + len, strcmp(verb, "TOP") == 0 ? "%s %u 0\r\n" : "%s %u\r\n", verb, ++asked);
		if (len > 0 && SSL_write(ssl, commands, len) != len)
			return false;
		n = SSL_read(ssl, octets, sizeof(octets));
		if (n <= 0)
			return false;
		ended += count_ends(&end, octets, n);
	}
	return true;
}

#define NOOPS 10

static bool ask_noops(SSL *ssl)
{
	char line[512];

	for (int i = 0; i < NOOPS; i++)
		if (!ask(ssl, "NOOP\r\n", line))
			return false;
	return true;
}

/* One multi-line answer. */
static bool pull_one(SSL *ssl, const char *command)
{
	static char octets[65536];
	struct end end = { 0 };
	int n = SSL_write(ssl, command, (int)strlen(command));

	while (n > 0 && (n = SSL_read(ssl, octets, sizeof(octets))) > 0)
		if (count_ends(&end, octets, n) > 0)
			return true;
	return false;
}

/* The number of messages after the login; 0: it failed. */
static unsigned log_in(SSL *ssl, const char *user, const char *password)
{
	char command[600], line[512];
	unsigned messages = 0;

	if (!ask(ssl, NULL, line))
		return 0;
	snprintf(command, sizeof(command), "USER %s\r\n", user);
	if (!ask(ssl, command, line))
		return 0;
	snprintf(command, sizeof(command), "PASS %s\r\n", password);
	if (!ask(ssl, command, line) || !ask(ssl, "STAT\r\n", line) || sscanf(line, "+OK %u", &messages) != 1)
		return 0;
	return messages;
}

/* A login in one round trip, and a message: what a session that is opened again cannot do without. */
static bool read_one(SSL *ssl, const char *user, const char *password)
{
	char plain[300], command[600], line[512];
	int n = snprintf(plain, sizeof(plain), "%c%s%c%s", 0, user, 0, password);
	int len = sprintf(command, "AUTH PLAIN ");

	len += EVP_EncodeBlock((unsigned char *)command + len, (unsigned char *)plain, n);
	strcpy(command + len, "\r\n");
	return ask(ssl, NULL, line) && ask(ssl, command, line) && pull_one(ssl, "UIDL\r\n") &&
	       pull_one(ssl, "RETR 20\r\n");
}

static int again(int port, SSL_CTX *ctx, const char *user, const char *password)
{
	SSL *ssl = connect_to(port, ctx, NULL);
	double begin;
	char line[512];

	if (!ssl || !read_one(ssl, user, password) || !ask(ssl, "QUIT\r\n", line))
		return 1;
	begin = now_ms();
	ssl = connect_to(port, ctx, SSL_get1_session(ssl));
	if (!ssl || !read_one(ssl, user, password) || !SSL_session_reused(ssl))
		return 1;
	printf("%.0f\n", now_ms() - begin);
	return 0;
}

int main(int argc, char **argv)
{
	double begin = now_ms(), took;
	const char *verb = argc == 5 ? argv[4] : "";
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	unsigned messages;
	char line[512];
	SSL *ssl;
	bool done;

	if (argc != 5)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(verb, "AGAIN") == 0)
		return again(atoi(argv[1]), ctx, argv[2], argv[3]);
	ssl = connect_to(atoi(argv[1]), ctx, NULL);
	messages = ssl ? log_in(ssl, argv[2], argv[3]) : 0;
	if (messages == 0)
		return 1;
	if (strcmp(verb, "LOGIN") != 0)
		begin = now_ms();
	if (strcmp(verb, "LOGIN") == 0)
		done = pull_one(ssl, "UIDL\r\n") && pull_one(ssl, "LIST\r\n");
	else if (strcmp(verb, "NOOP") == 0)
		done = ask_noops(ssl);
	else
		done = pull(ssl, verb, messages);
	took = now_ms() - begin;
	if (!done)
		return 1;
	if (strcmp(verb, "NOOP") == 0)
		printf("%.1f\n", took / NOOPS);
	else
		printf("%.0f\n", took);
	ask(ssl, "QUIT\r\n", line);
	return 0;
}
