/* SPDX-License-Identifier: MIT */
/* The faults of the test server: parsed once, matched against each command. See server.h for their form. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum fault_action {
	FAULT_REPLY, FAULT_APPEND, FAULT_INJECT, FAULT_DELAY, FAULT_SLOW, FAULT_DROP, FAULT_CLOSE, FAULT_LOSE,
	FAULT_STALL, FAULT_ENDLESS, FAULT_SIZE, FAULT_PARTIAL, FAULT_GONE,
};

struct fault {
	char verb[16];
	unsigned nth;  /* 0: always */
	bool onwards;  /* from the nth on */
	unsigned message; /* 0: any */
	enum fault_action action;
	long number;
	char *text; /* octets, may hold NULs */
	size_t text_len;
};

/* false: the text is no fault. fault_clear() afterwards if true. */
bool fault_parse(const char *line, struct fault *fault_r);
void fault_clear(struct fault *fault);

bool fault_matches(const struct fault *fault, const char *verb, unsigned nth, unsigned message);
