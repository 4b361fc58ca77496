/* SPDX-License-Identifier: MIT */
#include "pop3/reply.h"

#include <string.h>
#include <strings.h>

#include "pop3/limits.h"

struct word {
	const char *at;
	size_t len;
};

bool reply_line(const char *buf, size_t len, size_t *line_r, size_t *used_r)
{
	const char *lf = memchr(buf, '\n', len);

	if (!lf)
		return false;
	*used_r = (size_t)(lf - buf) + 1;
	*line_r = *used_r - 1;
	if (*line_r > 0 && buf[*line_r - 1] == '\r')
		--*line_r;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The next word of the line, taken off its front; empty at the end. */
static struct word take_word(const char **line, size_t *len)
{
	struct word word;

	while (*len > 0 && is_blank(**line)) {
		++*line;
		--*len;
	}
	word.at = *line;
	while (*len > 0 && !is_blank(**line)) {
		++*line;
		--*len;
	}
	word.len = (size_t)(*line - word.at);
	return word;
}

static bool word_is(struct word word, const char *text)
{
	return word.len == strlen(text) && strncasecmp(word.at, text, word.len) == 0;
}

static enum reply_code decode_code(const char *text, size_t len)
{
	static const struct {
		const char *name;
		enum reply_code code;
	} codes[] = {
		{ "IN-USE", REPLY_CODE_IN_USE },     { "LOGIN-DELAY", REPLY_CODE_LOGIN_DELAY },
		{ "SYS/TEMP", REPLY_CODE_SYS_TEMP }, { "SYS/PERM", REPLY_CODE_SYS_PERM },
		{ "AUTH", REPLY_CODE_AUTH },
	};
	const char *close;

	if (len == 0 || text[0] != '[' || !(close = memchr(text, ']', len)))
		return REPLY_CODE_NONE;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (word_is((struct word){ text + 1, (size_t)(close - text) - 1 }, codes[i].name))
			return codes[i].code;
	return REPLY_CODE_NONE;
}

struct reply reply_decode(const char *line, size_t len)
{
	static const struct {
		const char *word;
		enum reply_status status;
	} statuses[] = { { "+OK", REPLY_OK }, { "-ERR", REPLY_ERR }, { "+", REPLY_CONTINUE } };
	struct reply reply = { .status = REPLY_BAD, .text = line, .text_len = len };

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		size_t n = strlen(statuses[i].word);

		if (len < n || memcmp(line, statuses[i].word, n) != 0 || (len > n && line[n] != ' '))
			continue;
		reply.status = statuses[i].status;
		reply.text = line + n + (len > n);
		reply.text_len = len - n - (len > n);
		reply.code = decode_code(reply.text, reply.text_len);
		break;
	}
	return reply;
}

/* A decimal number that is the whole word; one beyond `max` is refused. */
static bool decode_number(struct word word, uint64_t max, uint64_t *number_r)
{
	uint64_t number = 0;

	if (word.len == 0 || word.len > 19)
		return false;
	for (size_t i = 0; i < word.len; i++) {
		if (word.at[i] < '0' || word.at[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(word.at[i] - '0');
	}
	*number_r = number;
	return number <= max;
}

static bool take_message_number(const char **line, size_t *len, uint32_t *number_r)
{
	uint64_t number;

	if (!decode_number(take_word(line, len), POP3_MAX_NUMBER, &number) || number == 0)
		return false;
	*number_r = (uint32_t)number;
	return true;
}

bool reply_decode_list(const char *line, size_t len, uint32_t *number_r, uint64_t *octets_r)
{
	struct word size;

	if (!take_message_number(&line, &len, number_r))
		return false;
	size = take_word(&line, &len);
	if (size.len > 1 && size.at[0] == '-') {
		size.at++;
		size.len--;
		if (!decode_number(size, INT64_MAX, octets_r))
			return false;
		*octets_r = 0;
		return true;
	}
	return decode_number(size, INT64_MAX, octets_r);
}

bool reply_decode_uidl(const char *line, size_t len, uint32_t *number_r, const char **uid_r,
		       size_t *uid_len_r)
{
	if (!take_message_number(&line, &len, number_r))
		return false;
	while (len > 0 && is_blank(*line)) {
		line++;
		len--;
	}
	*uid_r = line;
	*uid_len_r = len;
	return len <= POP3_MAX_UID && !memchr(line, '\0', len);
}

unsigned capa_sasl_bit(const char *name, size_t len)
{
	static const struct {
		const char *name;
		unsigned bit;
	} mechanisms[] = {
		{ "PLAIN", CAPA_SASL_PLAIN },
		{ "LOGIN", CAPA_SASL_LOGIN },
		{ "CRAM-MD5", CAPA_SASL_CRAM_MD5 },
		{ "SCRAM-SHA-1", CAPA_SASL_SCRAM_SHA_1 },
		{ "SCRAM-SHA-256", CAPA_SASL_SCRAM_SHA_256 },
		{ "XOAUTH2", CAPA_SASL_XOAUTH2 },
	};

	for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++)
		if (word_is((struct word){ name, len }, mechanisms[i].name))
			return mechanisms[i].bit;
	return 0;
}

void capa_add(struct capa *capa, const char *line, size_t len)
{
	struct word name = take_word(&line, &len);
	struct word argument = take_word(&line, &len);
	uint64_t seconds;

	if (word_is(name, "USER"))
		capa->user = true;
	else if (word_is(name, "TOP"))
		capa->top = true;
	else if (word_is(name, "UIDL"))
		capa->uidl = true;
	else if (word_is(name, "STLS"))
		capa->stls = true;
	else if (word_is(name, "PIPELINING"))
		capa->pipelining = true;
	else if (word_is(name, "EXPIRE"))
		capa->expire_0 = word_is(argument, "0");
	else if (word_is(name, "LOGIN-DELAY") && decode_number(argument, UINT32_MAX, &seconds))
		capa->login_delay = (uint32_t)seconds;
	else if (word_is(name, "SASL"))
		for (; argument.len > 0; argument = take_word(&line, &len))
			capa->sasl |= capa_sasl_bit(argument.at, argument.len);
}
