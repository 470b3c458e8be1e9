//! Resumes a client: reads the journal, answers the conversation, and sends the missed events.
//!
//! The connection holds live events back from the turn in which a subscription enters the index, or from before the reply to the
//! upgrade. So there is no gap between replayed and live events. An event in both is dropped by its number.

use std::{sync::Arc, time::Duration};

use fanfare_core::{
    Audience, Outcome, Receives, Resume, Subscription,
    history::{Since, Unrecovered},
    journal::{Replay, ReplayFrom, ReplayQuery, ReplayScope},
    policy::Permission,
};

use super::{Answer, CommandState, after};
use crate::{
    Node,
    connection::{shows_everyone, shows_user},
    missed,
    replay::judge,
    turn::Turn,
};

/// Sends a client with cursors the cursor from which it has all events again, after its connection was paused.
pub(crate) fn report_interruption(turn: &mut Turn<'_>) -> CommandState {
    let (since, of_all) = (Since::Now, true);
    read_for(
        turn,
        Resume { since, of_all },
        Vec::new(),
        move |turn, mut replay, named| {
            replay.unrecovered = Some(Unrecovered::Expired);
            let resumption = turn.connection().take_replay(replay, since, named);
            turn.connection().forget_resumption();
            missed::report(turn, &resumption);
            CommandState::Reported
        },
    )
}

/// Resumes all that the connection receives.
pub(super) fn of_all(turn: &mut Turn<'_>, since: Since) -> CommandState {
    let resume = Resume { since, of_all: true };
    read(turn, resume, Vec::new(), Ok(Outcome::Resumed))
}

/// Resumes the subscriptions `named`, which the connection has, and answers with `answer`.
pub(super) fn read(
    turn: &mut Turn<'_>,
    resume: Resume,
    named: Vec<Subscription>,
    answer: Answer,
) -> CommandState {
    read_for(turn, resume, named, move |turn, mut replay, named| {
        let (shard, driver) = (turn.shard, &mut turn.driver);
        let node = &shard.node;
        let connection = &driver.connection;
        // Events that the authorizer decides are judged when their turn comes.
        replay
            .events
            .retain(|event| !matches!(judge(connection, node, event), Permission::Denied));
        let resumption = driver.connection.take_replay(replay, resume.since, named);
        let label = resumption
            .replayed
            .map_or_else(Unrecovered::label, |_| "recovered");
        node.counters.resumes.add(label);
        CommandState::Answered(answer)
    })
}

/// Reads the journal while live events are held back, and continues with the result and the resumed subscriptions.
fn read_for(
    turn: &mut Turn<'_>,
    resume: Resume,
    named: Vec<Subscription>,
    next: impl FnOnce(&mut Turn<'_>, Replay, Vec<Subscription>) -> CommandState + 'static,
) -> CommandState {
    let (scope, named) = scope(turn, resume, named);
    let moment = turn.moment;
    turn.connection().hold_for(scope.clone(), moment.ms);
    if resume.of_all {
        turn.connection().take_interruption(); // the answer reports it
    }
    let node = Arc::clone(&turn.shard.node);
    let work = async move {
        let replay = ask(&node, scope, resume.since).await;
        (replay, named)
    };
    after(work, move |turn, (replay, named)| next(turn, replay, named))
}

/// Returns the audiences to read, and the subscriptions that show them.
fn scope(turn: &Turn<'_>, resume: Resume, named: Vec<Subscription>) -> (ReplayScope, Vec<Subscription>) {
    let connection = &turn.driver.connection;
    let subscriber = &connection.subscriber;
    let user = || subscriber.identity.as_ref().map(|identity| identity.user.clone());
    let mut scope = ReplayScope::default();
    let named = if resume.of_all {
        scope.user = user().filter(|_| subscriber.receives_user);
        scope.everyone = subscriber.receives_everyone;
        subscriber.all().cloned().collect()
    } else {
        let reception = connection.mounted().reception;
        let shows_own = |user: &_| named.iter().any(|wanted| shows_user(wanted, user));
        let is_own =
            |user: &_| reception.user == Receives::Subscribed && subscriber.receives_user && shows_own(user);
        scope.user = user().filter(is_own);
        scope.everyone = reception.everyone == Receives::Subscribed
            && subscriber.receives_everyone
            && named.iter().any(shows_everyone);
        named
    };
    for wanted in &named {
        scope.add(wanted);
    }
    (scope, named)
}

/// Reads the events of `scope` after `since`.
async fn ask(node: &Arc<Node>, scope: ReplayScope, since: Since) -> Replay {
    // Events of a scope without history are lost; an empty scope has no events.
    let is_lost = !scope.is_empty() && !keeps_any(node, &scope);
    let from = match since {
        Since::Now | Since::Unknown => ReplayFrom::Present,
        Since::Cursor(cursor) => ReplayFrom::After(cursor),
        Since::Newest(count) => ReplayFrom::Newest(count as usize),
        Since::Within(age) => ReplayFrom::Within(age.min(Duration::from_millis(u64::MAX))),
    };
    let query = ReplayQuery {
        scope,
        from,
        limit: node.access.replay_limit(),
    };
    let mut replay = node.broker().replay(query).await;
    match since {
        Since::Unknown => replay.unrecovered = Some(Unrecovered::Unknown),
        Since::Cursor(_) if is_lost => {
            replay.unrecovered.get_or_insert(Unrecovered::Expired);
        }
        _ => {}
    }
    replay
}

/// Returns whether any audience of `scope` has history.
fn keeps_any(node: &Node, scope: &ReplayScope) -> bool {
    let access = &node.access;
    let named = scope
        .named()
        .any(|audience: Audience| access.retention(&audience).is_some());
    named || (!scope.patterns.is_empty() && access.keeps_history())
}
