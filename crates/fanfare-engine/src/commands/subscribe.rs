//! Subscribes and unsubscribes a client, and ends subscriptions whose own credential has lapsed.

use std::sync::Arc;

use fanfare_core::{Channel, Denial, Identity, Outcome, Resume, Subscription};

use super::{
    CommandState, after, denied,
    grant::{self, Asking, Request},
    resume,
};
use crate::{directory::Grant, turn::Turn};

pub(super) fn subscribe(
    turn: &mut Turn<'_>,
    to: Vec<Subscription>,
    (whole, resume): (bool, Option<Resume>),
) -> CommandState {
    // A repeated name is requested once, and answered each time.
    let mut first = ahash::AHashMap::with_capacity(to.len());
    let mut requests = Vec::with_capacity(to.len());
    let mut places = Vec::with_capacity(to.len());
    let who = turn
        .driver
        .connection
        .subscriber
        .valid_identity()
        .map(Arc::as_ref);
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
            _ => CommandState::Answered(answer),
        }
    })
}

/// Subscribes to `channel` by the rights of `credential`, which must be of the connection's user.
pub(super) fn subscribe_by(turn: &mut Turn<'_>, channel: Channel, credential: Arc<Identity>) -> CommandState {
    let own = turn.connection().subscriber.valid_identity();
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
                subscriber.set_credential(channel.clone(), credential.clone());
            }
            Outcome::Subscribed(vec![Ok(())])
        });
        refresh(turn);
        CommandState::Answered(answer)
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

/// Judges whether `who` may subscribe to `wanted`. An existing subscription with the connection's credential is confirmed; one
/// with another credential is judged again.
fn request(turn: &Turn<'_>, wanted: &Subscription, who: Option<&Identity>) -> Request {
    let subscriber = &turn.driver.connection.subscriber;
    let has_other_credential =
        matches!(wanted, Subscription::Channel(channel) if subscriber.has_credential(channel));
    if subscriber.is_subscribed(wanted) && !has_other_credential {
        return Request::Held;
    }
    match Request::new(wanted.clone(), who, &turn.shard.node.access) {
        Request::Take(wanted, open) if has_other_credential => Request::Replace(wanted, open),
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
