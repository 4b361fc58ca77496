/* SPDX-License-Identifier: MIT */
/*
 * Headers and bodies on the line. The session asks for the next message and hands over what comes; here it
 * is decided which is next, and what becomes of those that were on the line when the session broke.
 */
#include <stdlib.h>
#include <utlist.h>

#include "pop3/limits.h"
#include "pop3/link_private.h"

void flights_free(struct flight **flights)
{
	struct flight *flight;

	while ((flight = *flights)) {
		DL_DELETE(*flights, flight);
		free(flight);
	}
}

/* A message of a FETCH or HEADERS has ended, and the job with its last one. */
static void end_message(struct link *link, struct link_job *job, size_t i, enum pop3_err err,
			const struct pop3_why *why)
{
	job->finished++;
	if (job->kind == LINK_FETCH) {
		link_finish(link, job, err, why);
		return;
	}
	job->item(job, i, err);
	if (job->finished == job->count)
		link_finish(link, job, POP3_OK, NULL);
}

static void end_flight(struct link *link, struct flight *flight, enum pop3_err err, const struct pop3_why *why)
{
	DL_DELETE(link->flights, flight); /* NOLINT(clang-analyzer-core.NullDereference): it is in the list */
	end_message(link, flight->job, flight->i, err, why);
	free(flight);
}

static struct link_job *first_not_given(struct link_job *list)
{
	struct link_job *job;

	DL_FOREACH(list, job)
		// cppcheck-suppress nullPointerRedundantCheck
		if (job->given < job->count || job->kind == LINK_LIST || job->kind == LINK_COMMIT)
			break;
	return job;
}

bool link_may_go_ahead_locked(const struct link *link, const struct link_job *job)
{
	return link->ahead_octets == 0 || link->ahead_octets + job->octets <= POP3_MAX_AHEAD;
}

/* Hands out the next message: one that is waited for, one ahead, a header. false: there is none now. */
static bool take_next(struct link *link, struct link_job **job_r, size_t *i_r)
{
	struct link_job *job;

	pthread_mutex_lock(&link->lock);
	job = first_not_given(link->queue);
	if (!job && (job = first_not_given(link->ahead)) && !link_may_go_ahead_locked(link, job))
		job = NULL;
	else if (!job)
		job = first_not_given(link->headers);
	if (job && (job->kind == LINK_LIST || job->kind == LINK_COMMIT))
		job = NULL; /* what follows waits for it, and it for what is on the line */
	link->hungry = !job;
	if (job) {
		*job_r = job;
		*i_r = job->given++;
		link->ahead_octets += job->ahead ? job->octets : 0;
	}
	pthread_mutex_unlock(&link->lock);
	return job != NULL;
}

/* What goes on the line next: first what was on it when a session broke. NULL: nothing, or no memory. */
static struct flight *next_flight(struct link *link)
{
	struct flight *flight = link->again;

	if (flight) {
		DL_DELETE(link->again, flight);
		return flight;
	}
	flight = calloc(1, sizeof(*flight));
	if (flight && !take_next(link, &flight->job, &flight->i)) {
		free(flight);
		flight = NULL;
	}
	return flight;
}

/* Hands the session its next request; messages that are not in its listing end here. */
static bool next_request(void *ctx, struct session_request *request_r)
{
	struct link *link = ctx;
	const struct listing *listing = session_listing(link->session);
	struct flight *flight;

	while (!link->renew && !link_is_stopping(link) && (flight = next_flight(link))) {
		struct link_job *job = flight->job;
		const struct listing_entry *entry = listing_find(listing, job->key(job, flight->i));
		struct pop3_why why = { "" };

		DL_APPEND(link->flights, flight);
		if (job->kind == LINK_HEADERS && link->no_top) {
			end_flight(link, flight, POP3_E_SERVER, &why);
		} else if (!entry) {
			pop3_fail(&why, POP3_E_GONE, "the message is no longer on the server");
			end_flight(link, flight, POP3_E_GONE, &why);
		} else {
			*request_r = (struct session_request){ job->kind == LINK_FETCH ? SESSION_RETR : SESSION_TOP,
							       entry->number, entry->octets, flight };
			return true;
		}
	}
	return false;
}

static int begin_message(void *ctx, void *tag)
{
	struct flight *flight = tag;

	(void)ctx;
	return flight->job->begin(flight->job, flight->i);
}

static int take_data(void *ctx, void *tag, const char *octets, size_t len)
{
	struct flight *flight = tag;

	(void)ctx;
	return flight->job->data(flight->job, flight->i, octets, len);
}

static bool matches(void *ctx, void *tag)
{
	struct flight *flight = tag;

	(void)ctx;
	return !flight->job->matches || flight->job->matches(flight->job, flight->i);
}

/*
 * A refused RETR may mean that the message has gone meanwhile (S17): a new session's listing tells. A
 * refused TOP is a message without an envelope.
 */
static void request_done(void *ctx, void *tag, enum pop3_err err, const struct pop3_why *why)
{
	struct link *link = ctx;
	struct flight *flight = tag;

	if (err == POP3_E_SERVER && flight->job->kind == LINK_FETCH && flight->lost++ == 0 &&
	    !session_is_identity(link->session)) {
		link->renew = true;
		DL_DELETE(link->flights, flight);
		DL_APPEND(link->again, flight);
		return;
	}
	if (err)
		link_failed(link, why);
	if (err == POP3_E_SERVER && flight->job->kind == LINK_HEADERS && !session_capa(link->session)->top)
		link->no_top = true;
	end_flight(link, flight, err, why);
}

bool link_is_pipelined(const struct link *link)
{
	if (link->no_pipelining || link->config.pipelining == LINK_PIPELINING_OFF)
		return false;
	return link->config.pipelining == LINK_PIPELINING_ON || session_capa(link->session)->pipelining;
}

/* Ends pipelining for the mount, once and with one line in the log. */
void link_stop_pipelining(struct link *link, const struct pop3_why *why)
{
	link->no_pipelining = true;
	link->capabilities.in_turn = true;
	link_note(link, "pipelining", why, "going on without it");
}

static void cancel_flights(struct flight **flights, const struct link_job *job)
{
	struct flight *flight, *next;

	DL_FOREACH_SAFE(*flights, flight, next) {
		// cppcheck-suppress uninitvar
		if (flight->job != job)
			continue;
		DL_DELETE(*flights, flight);
		free(flight);
	}
}

/* Fails what was on the line under a message that has failed twice: the message, or all headers with it. */
static void give_up(struct link *link, struct flight *flight, enum pop3_err err, const struct pop3_why *why)
{
	struct link_job *job = flight->job;

	if (!link_is_loss(err) || job->kind == LINK_FETCH) {
		end_flight(link, flight, err, why);
		return;
	}
	cancel_flights(&link->flights, job);
	cancel_flights(&link->again, job);
	link_finish(link, job, err, why);
}

/* The session broke while the answer to `flight` was awaited. */
static void flight_lost(struct link *link, struct flight *flight, bool alone, enum pop3_err err,
			const struct pop3_why *why)
{
	link_drop_session(link);
	if (err == POP3_E_TIMEOUT || err == POP3_E_STOPPED) {
		if (!alone && err == POP3_E_TIMEOUT)
			link_stop_pipelining(link, why);
		link_fail_queued(link, err, why);
		return;
	}
	link_failed(link, why);
	if (!alone && (err == POP3_E_PROTOCOL || (err == POP3_E_CLOSED && flight->lost > 0)))
		link_stop_pipelining(link, why);
	else if (!link_is_loss(err) || flight->lost++ > 0)
		give_up(link, flight, err, why);
	else
		link_note(link, "session lost", why, "asking once more in a new one");
	DL_CONCAT(link->flights, link->again);
	link->again = link->flights;
	link->flights = NULL;
}

void link_run_requests(struct link *link)
{
	const struct session_handler handler = { next_request, begin_message, take_data, matches, request_done, link,
						 &link->wake_fd };
	struct pop3_why why = { "" };
	void *culprit = NULL;
	bool alone = true;
	enum pop3_err err = link_need_session(link, false, &why);

	if (err) {
		link_fail_queued(link, err, &why);
		return;
	}
	link_set_on_line(link, true);
	err = session_run(link->session, &handler, link_is_pipelined(link), &culprit, &alone, &why);
	link_set_on_line(link, false);
	link->used_ms = transport_now_ms();
	if (err)
		flight_lost(link, culprit, alone, err, &why);
}

