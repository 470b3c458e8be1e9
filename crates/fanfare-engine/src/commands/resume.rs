//! A client asks for what it missed: the journal is read, the conversation is answered, and what was missed follows.
//!
//! What is live is held back from the turn on in which a subscription enters the index, or from before the upgrade is answered. So
//! between what is replayed and what is live there is neither a gap nor a repeat: what is in both is dropped by its number.

use std::{sync::Arc, time::Duration};

use fanfare_core::{
    Audience, Outcome, Receives, Resume, Subscription,
    history::{Since, Unrecovered},
    journal::{Replay, ReplayFrom, ReplayQuery, ReplayScope},
    policy::Permission,
};

use super::{Answer, Doing, after};
use crate::{
    Node,
    connection::{shows_everyone, shows_user},
    missed,
    replay::judge,
    turn::Turn,
};

/// Tells a client that asked for cursors from where on it misses nothing again, after its connection was paused.
pub(crate) fn report_interruption(turn: &mut Turn<'_>) -> Doing {
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
            Doing::Reported
        },
    )
}

/// What was missed of all that the connection receives.
pub(super) fn of_all(turn: &mut Turn<'_>, since: Since) -> Doing {
    let resume = Resume { since, of_all: true };
    read(turn, resume, Vec::new(), Ok(Outcome::Resumed))
}

/// Asks for what was missed of the subscriptions `named`, which the connection has; `answer` is given with the result.
pub(super) fn read(turn: &mut Turn<'_>, resume: Resume, named: Vec<Subscription>, answer: Answer) -> Doing {
    read_for(turn, resume, named, move |turn, mut replay, named| {
        let (shard, driver) = (turn.shard, &mut turn.driver);
        let node = &shard.node;
        let connection = &driver.connection;
        // Only what the authorizer decides is judged when its turn comes.
        replay
            .events
            .retain(|event| !matches!(judge(connection, node, event), Permission::Denied));
        let resumption = driver.connection.take_replay(replay, resume.since, named);
        let label = resumption
            .replayed
            .map_or_else(Unrecovered::label, |_| "recovered");
        node.counters.resumes.add(label);
        Doing::Answered(answer)
    })
}

/// Reads the journal while what is live is held back, and goes on with what it has and the subscriptions that it was asked for.
fn read_for(
    turn: &mut Turn<'_>,
    resume: Resume,
    named: Vec<Subscription>,
    next: impl FnOnce(&mut Turn<'_>, Replay, Vec<Subscription>) -> Doing + 'static,
) -> Doing {
    let (scope, named) = scope(turn, resume, named);
    let moment = turn.moment;
    turn.connection().hold_for(scope.clone(), moment.ms);
    if resume.of_all {
        turn.connection().take_interruption(); // the client asks for itself
    }
    let node = Arc::clone(&turn.shard.node);
    let work = async move {
        let replay = ask(&node, scope, resume.since).await;
        (replay, named)
    };
    after(work, move |turn, (replay, named)| next(turn, replay, named))
}

/// What the question is about: audiences, and the subscriptions that show them.
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

/// Reads what `scope` has since then.
async fn ask(node: &Arc<Node>, scope: ReplayScope, since: Since) -> Replay {
    // Of what keeps nothing, nothing can be recovered; and nothing of nothing is all of it.
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

/// Whether any audience of `scope` has history.
fn keeps_any(node: &Node, scope: &ReplayScope) -> bool {
    let access = &node.access;
    let named = scope
        .named()
        .any(|audience: Audience| access.retention(&audience).is_some());
    named || (!scope.patterns.is_empty() && access.keeps_history())
}
