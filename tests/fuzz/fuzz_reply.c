/* SPDX-License-Identifier: MIT */
/* Lines of any kind: cut, then decoded as every kind of line there is. */
#include <assert.h>

#include "pop3/err.h"
#include "pop3/limits.h"
#include "pop3/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len)
{
	const char *text = (const char *)octets;
	struct capa capa = { 0 };
	size_t line, used;

	while (reply_line(text, len, &line, &used)) {
		struct reply reply = reply_decode(text, line);
		uint64_t size;
		uint32_t number;
		const char *uid;
		size_t uid_len;
		char shown[64];

		assert(line < used && used <= len);
		assert(reply.text >= text && reply.text + reply.text_len <= text + line);
		if (reply_decode_list(text, line, &number, &size))
			assert(number > 0 && number <= POP3_MAX_NUMBER);
		if (reply_decode_uidl(text, line, &number, &uid, &uid_len))
			assert(uid_len <= POP3_MAX_UID && uid >= text && uid + uid_len <= text + line);
		capa_add(&capa, text, line);
		pop3_escape(shown, sizeof(shown), text, line);
		text += used;
		len -= used;
	}
	return 0;
}
