//! Subscribes and unsubscribes a client, and ends subscriptions whose own credential has lapsed.

use std::sync::Arc;

use fanfare_core::{Channel, Denial, Identity, Outcome, Resume, Subscription};

use super::{
    Doing, after, denied,
    grant::{self, Asking, Request},
    resume,
};
use crate::{directory::Grant, turn::Turn};

pub(super) fn subscribe(
    turn: &mut Turn<'_>,
    to: Vec<Subscription>,
    (whole, resume): (bool, Option<Resume>),
) -> Doing {
    // A repeated name is requested once, and answered as often as it is repeated.
    let mut first = ahash::AHashMap::with_capacity(to.len());
    let mut requests = Vec::with_capacity(to.len());
    let mut places = Vec::with_capacity(to.len());
    let who = turn.driver.connection.subscriber.proven().map(Arc::as_ref);
    let mut asked = Vec::new(); // each name once, if there is a resume
    for wanted in to {
        let place = *first.entry(wanted).or_insert_with_key(|wanted| {
            if resume.is_some() {
                asked.push(wanted.clone());
            }
            requests.push(request(turn, wanted, who));
            requests.len() - 1
        });
        places.push(place);
    }
    let granting = grant::grant(Asking::of(turn), requests, whole);
    after(granting, move |turn, granted| {
        let mut named = Vec::new();
        let answer = granted.map(|granted| {
            let outcomes = granted
                .into_iter()
                .map(|each| each.map(|grant| grant.into_iter().for_each(|new| enter(turn, new))));
            let outcomes: Vec<_> = outcomes.collect();
            let each = asked.into_iter().zip(&outcomes);
            named = each
                .filter_map(|(name, outcome)| outcome.ok().map(|()| name))
                .collect();
            Outcome::Subscribed(places.iter().map(|place| outcomes[*place]).collect())
        });
        refresh(turn);
        match (resume, &answer) {
            (Some(resume), Ok(_)) => resume::read(turn, resume, named, answer),
            _ => Doing::Answered(answer),
        }
    })
}

/// Subscribes to `channel` if `credential`, which is of the connection's user, may.
pub(super) fn subscribe_by(turn: &mut Turn<'_>, channel: Channel, credential: Arc<Identity>) -> Doing {
    let own = turn.connection().subscriber.proven();
    if own.is_none_or(|own| own.user != credential.user) {
        return denied(Denial::OtherUser);
    }
    let request = request(turn, &Subscription::Channel(channel.clone()), Some(&credential));
    let mut asking = Asking::of(turn);
    asking.who = Some(credential.clone());
    after(grant::grant(asking, vec![request], true), move |turn, granted| {
        let answer = granted.map(|granted| {
            for grant in granted.into_iter().flatten().flatten() {
                enter(turn, grant);
                let subscriber = &mut turn.connection().subscriber;
                subscriber.borrow_from(channel.clone(), credential.clone());
            }
            Outcome::Subscribed(vec![Ok(())])
        });
        refresh(turn);
        Doing::Answered(answer)
    })
}

pub(super) fn unsubscribe(turn: &mut Turn<'_>, from: &[Subscription]) -> Outcome {
    for wanted in from {
        turn.shard
            .directory
            .unsubscribe(turn.key, &mut turn.driver.connection, wanted);
    }
    refresh(turn);
    Outcome::Unsubscribed
}

/// Ends the subscriptions whose own credential has expired or was revoked, and returns their channels.
pub(crate) fn lapse(turn: &mut Turn<'_>) -> Vec<Channel> {
    let (authenticator, now) = (&turn.shard.node.authenticator, turn.moment.unix_ms());
    let subscriber = &mut turn.driver.connection.subscriber;
    let lapsed = subscriber.lapsed(now, |credential| authenticator.is_revoked(credential));
    if !lapsed.is_empty() {
        let ended: Vec<_> = lapsed.iter().cloned().map(Subscription::Channel).collect();
        unsubscribe(turn, &ended);
    }
    lapsed
}

/// Judges whether `who` may subscribe to `wanted`. A subscription by the connection's own credential is confirmed; one by another
/// credential is judged again.
fn request(turn: &Turn<'_>, wanted: &Subscription, who: Option<&Identity>) -> Request {
    let subscriber = &turn.driver.connection.subscriber;
    let is_borrowed = matches!(wanted, Subscription::Channel(channel) if subscriber.borrows(channel));
    if subscriber.is_subscribed(wanted) && !is_borrowed {
        return Request::Held;
    }
    match Request::new(wanted.clone(), who, &turn.shard.node.access) {
        Request::Take(wanted, open) if is_borrowed => Request::Replace(wanted, open),
        request => request,
    }
}

fn enter(turn: &mut Turn<'_>, grant: Grant) {
    let directory = &turn.shard.directory;
    directory.subscribe(turn.key, &mut turn.driver.connection, grant);
}

fn refresh(turn: &mut Turn<'_>) {
    turn.shard
        .directory
        .refresh(turn.key, &mut turn.driver.connection);
}
