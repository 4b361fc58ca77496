/* SPDX-License-Identifier: MIT */
/* Every number that a server can choose, and the most of it that we take. */
#pragma once

/* Messages in one maildrop: 100 times the largest seen; a table of them still fits in memory. */
#define POP3_MAX_MESSAGES 1000000U
/* A message number: servers count from 1; gaps are allowed, absurd jumps are not (QUIRKS L7). */
#define POP3_MAX_NUMBER 2000000000U
/* Octets of one message: what a 31-bit reader can still seek in. */
#define POP3_MAX_MESSAGE (UINT64_C(2) << 30)
/* A message may be this much longer than twice its LIST size: LIST is an estimate (QUIRKS L1, F8). */
#define POP3_MAX_OVERRUN (UINT64_C(64) << 20)
/* Octets of a unique-id: RFC 1939 says 70, servers send more (QUIRKS L4). */
#define POP3_MAX_UID 512U
/* Octets of a status line or a line of a listing: RFC 2449 says 512; SASL challenges are longer. */
#define POP3_MAX_LINE 8192U
/* Lines of a CAPA reply: the longest seen has 20. */
#define POP3_MAX_CAPA 256U
/* Octets of a header that are kept for the envelope; what follows is read and thrown away (T3). */
#define POP3_MAX_HEADER (256U << 10)
/* Octets of a TOP reply: header and what an odd server sends after it (T2). */
#define POP3_MAX_TOP (UINT64_C(64) << 20)
/* Octets of an AUTH line with its initial response; longer ones take the two-step form (S7). */
#define POP3_MAX_COMMAND 255U
/* Octets of a password or a token: OAuth2 tokens of 4 kB exist. */
#define POP3_MAX_SECRET (16U << 10)
/* Commands written and not yet answered, in octets: a server may stop reading (S8). */
#define POP3_MAX_UNANSWERED 1000U
/* LIST octets on the way that nobody waits for yet: a reader waits behind no more; 50 ms at 80 MB/s. */
#define POP3_MAX_AHEAD (UINT64_C(4) << 20)
/* Octets that must arrive within each time-out, or the server counts as silent (S14). */
#define POP3_MIN_PROGRESS 4096U
