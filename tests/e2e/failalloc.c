/* SPDX-License-Identifier: MIT */
/*
 * To be preloaded: the FAIL_ALLOC-th allocation that the program itself makes finds no memory (what libraries allocate
 * is left alone: glib aborts where there is none). With COUNT_ALLOCS=FILE their number is written there at the end.
 */
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static uintptr_t code_begin, code_end; /* of the program */
static long fail_at;
static atomic_long count;

static int find_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
			code_begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
			code_end = code_begin + info->dlpi_phdr[i].p_memsz;
		}
	return 1; /* the first one is the program */
}

__attribute__((constructor))
static void start(void)
{
	const char *at = getenv("FAIL_ALLOC");

	fail_at = at ? atol(at) : 0;
	dl_iterate_phdr(find_program, NULL);
}

__attribute__((destructor))
static void tell(void)
{
	const char *path = getenv("COUNT_ALLOCS");
	FILE *file = path ? fopen(path, "we") : NULL;

	if (!file)
		return;
	fprintf(file, "%ld\n", atomic_load(&count));
	fclose(file);
}

static bool is_to_fail(const void *caller)
{
	if ((uintptr_t)caller < code_begin || (uintptr_t)caller >= code_end || atomic_fetch_add(&count, 1) + 1 != fail_at)
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return is_to_fail(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return is_to_fail(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	return is_to_fail(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

char *strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = is_to_fail(__builtin_return_address(0)) ? NULL : __libc_malloc(size);

	return copy ? memcpy(copy, text, size) : NULL;
}
