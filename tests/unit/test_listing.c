/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "pop3/limits.h"
#include "pop3/listing.h"

static struct pop3_why why;

static void add(struct listing *listing, uint32_t number, const char *uid)
{
	cr_assert_eq(listing_add(listing, number, uid, strlen(uid), 0, &why), POP3_OK);
}

static struct listing *copies(uint64_t second_size)
{
	struct listing *listing = listing_new();
	bool found;

	add(listing, 3, "twin");
	add(listing, 1, "twin");
	add(listing, 2, "alone");
	cr_assert_eq(listing_sort(listing, &why), POP3_OK);
	cr_assert_eq(listing_find_copies(listing, &found, &why), POP3_OK);
	cr_assert(found);
	cr_assert_eq(listing_set_octets(listing, 1, 10, &why), POP3_OK);
	cr_assert_eq(listing_set_octets(listing, 2, 20, &why), POP3_OK);
	cr_assert_eq(listing_set_octets(listing, 3, second_size, &why), POP3_OK);
	cr_assert_eq(listing_seal(listing, &why), POP3_OK);
	return listing;
}

Test(listing, l3_copies_are_told_apart_by_size_and_place)
{
	struct listing *listing = copies(10), *other = copies(11);

	cr_assert_eq(listing_find(listing, "alone")->number, 2);
	cr_assert_null(listing_find(listing, "twin"));
	cr_assert_eq(listing_find(listing, "twin\n10\n1/2")->number, 1);
	cr_assert_eq(listing_find(listing, "twin\n10\n2/2")->number, 3);
	cr_assert_eq(listing_count_uid(listing, "twin\n10\n1/2"), 2);
	cr_assert_eq(listing_uid_len("twin\n10\n1/2"), 4);
	cr_assert_null(listing_find(other, "twin\n10\n2/2"));
	listing_free(listing);
	listing_free(other);
}

Test(listing, l7_duplicate_numbers_are_refused)
{
	struct listing *listing = listing_new();

	add(listing, 5, "a");
	add(listing, 5, "b");
	cr_assert_eq(listing_sort(listing, &why), POP3_E_PROTOCOL);
	listing_free(listing);
}

Test(listing, l7_gaps_and_disorder_are_accepted)
{
	struct listing *listing = listing_new();

	add(listing, 900, "c");
	add(listing, 4, "a");
	add(listing, 17, "b");
	cr_assert_eq(listing_sort(listing, &why), POP3_OK);
	cr_assert_eq(listing_seal(listing, &why), POP3_OK);
	cr_assert_eq(listing_at(listing, 0)->number, 4);
	cr_assert_eq(listing_at(listing, 2)->number, 900);
	cr_assert_eq(listing_find(listing, "b")->number, 17);
	cr_assert_null(listing_find(listing, "d"));
	listing_free(listing);
}

Test(listing, list_and_uidl_must_agree)
{
	struct listing *listing = listing_new();

	add(listing, 1, "a");
	cr_assert_eq(listing_sort(listing, &why), POP3_OK);
	cr_assert_eq(listing_set_octets(listing, 2, 1, &why), POP3_E_PROTOCOL);
	cr_assert_eq(listing_set_octets(listing, 1, 1, &why), POP3_OK);
	cr_assert_eq(listing_set_octets(listing, 1, 1, &why), POP3_E_PROTOCOL);
	listing_free(listing);
}

Test(listing, empty)
{
	struct listing *listing = listing_new();
	bool found = true;

	cr_assert_eq(listing_sort(listing, &why), POP3_OK);
	cr_assert_eq(listing_find_copies(listing, &found, &why), POP3_OK);
	cr_assert_not(found);
	cr_assert_eq(listing_seal(listing, &why), POP3_OK);
	cr_assert_null(listing_find(listing, "a"));
	cr_assert_eq(listing_set_octets(listing, 1, 1, &why), POP3_E_PROTOCOL);
	listing_free(listing);
	listing_free(NULL);
}

Test(listing, f8_has_a_limit)
{
	struct listing *listing = listing_new();

	for (uint32_t i = 1; i <= POP3_MAX_MESSAGES; i++)
		cr_assert_eq(listing_add(listing, i, NULL, 0, 1, &why), POP3_OK);
	cr_assert_eq(listing_add(listing, 1, NULL, 0, 1, &why), POP3_E_LIMIT);
	listing_free(listing);
}
