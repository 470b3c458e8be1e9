//! Grants subscriptions: asks the authorizer if no rule decides, and waits for the broker.

use std::sync::Arc;

use fanfare_core::{
    Channel, Denial, EVERYONE_CHANNEL, Identity, Receives, Subscription,
    policy::{AccessControl, Action, OpenQuestions, Permission},
};
use futures_util::{StreamExt, future::join_all, stream};

use crate::{
    Node,
    connection::{Traits, shows_user},
    directory::Grant,
    in_force::InForce,
    interest_guard::InterestGuard,
    turn::Turn,
};

/// The most concurrent questions to the authorizer for one request.
const QUESTIONS: usize = 16;

/// The node and connection for which subscriptions are requested.
pub(super) struct Asking {
    node: Arc<Node>,
    shard: usize,
    pub(super) who: Option<Arc<Identity>>,
    /// The number of further subscriptions that the connection may have.
    room: usize,
    /// Whether the connection receives events for everyone only by a subscription.
    everyone_matters: bool,
}

/// A requested subscription, decided as far as possible without waiting.
pub(super) enum Request {
    /// The connection has it already.
    Held,
    /// The connection may have it, if the authorizer allows the open questions.
    Take(Subscription, OpenQuestions),
    /// The same, in place of a subscription with another credential.
    Replace(Subscription, OpenQuestions),
    /// The connection may not have it.
    Denied(Denial),
}

impl Request {
    pub(super) fn new(wanted: Subscription, who: Option<&Identity>, access: &AccessControl) -> Self {
        match access.may_subscribe(who, &wanted) {
            Permission::Allowed => Self::Take(wanted, OpenQuestions::default()),
            Permission::Denied => Self::Denied(Denial::Forbidden),
            Permission::Pending(open) => Self::Take(wanted, open),
        }
    }
}

impl Asking {
    /// Returns the state for a request of the connection by its own credential.
    pub(super) fn of(turn: &Turn<'_>) -> Self {
        let connection = &turn.driver.connection;
        let mounted = connection.mounted();
        Self {
            node: turn.shard.node.clone(),
            shard: turn.shard.number,
            who: connection.subscriber.valid_identity().cloned(),
            room: mounted
                .settings()
                .max_subscriptions
                .saturating_sub(connection.subscriber.count()),
            everyone_matters: mounted.reception.everyone == Receives::Subscribed,
        }
    }

    /// Returns whether `wanted`, which is allowed, shows events for everyone. A pattern shows them only if the exact name would.
    async fn shows_everyone(&self, wanted: &Subscription) -> bool {
        match wanted {
            Subscription::Channel(channel) => **channel == *EVERYONE_CHANNEL,
            Subscription::Personal(_) => false,
            Subscription::Pattern(pattern)
                if !self.everyone_matters || !pattern.matches(EVERYONE_CHANNEL) =>
            {
                false
            }
            Subscription::Pattern(_) => {
                let Ok(channel) = Channel::new(EVERYONE_CHANNEL) else {
                    return false;
                };
                let access = &self.node.access;
                let answer = access.decide(self.who.as_deref(), Action::Subscribe, &channel);
                answer.await.is_allowed()
            }
        }
    }

    /// Acquires the node's interest in the events of `wanted`.
    fn acquire(&self, wanted: &Subscription) -> (Option<InterestGuard>, InForce) {
        let (guard, in_force) = match wanted {
            Subscription::Channel(channel) => InterestGuard::channel(&self.node, self.shard, channel),
            Subscription::Pattern(pattern) => InterestGuard::pattern(&self.node, self.shard, pattern),
            Subscription::Personal(_) => return (None, None), // the node receives the events of its users in any case
        };
        (Some(guard), in_force)
    }

    fn traits(&self, wanted: &Subscription, shows_everyone: bool) -> Traits {
        let user = self.who.as_ref().map(|identity| &identity.user);
        Traits {
            member: false,
            shows_everyone,
            shows_user: user.is_some_and(|user| shows_user(wanted, user)),
        }
    }

    /// Decides one request. Returns the subscription, and whether it shows events for everyone.
    async fn decide(&self, request: Request) -> Result<Option<(Subscription, bool)>, Denial> {
        let wanted = match request {
            Request::Held => return Ok(None),
            Request::Denied(denial) => return Err(denial),
            Request::Take(wanted, open) | Request::Replace(wanted, open) => {
                if !self.node.access.ask(open).await.is_allowed() {
                    return Err(Denial::Forbidden);
                }
                wanted
            }
        };
        let shows_everyone = self.shows_everyone(&wanted).await;
        Ok(Some((wanted, shows_everyone)))
    }
}

/// Grants the requests, as far as there is room, and waits until the node receives their events. Returns `None` for a
/// subscription that the connection already has. If `whole`, one denial denies all.
pub(super) async fn grant(
    asking: Asking,
    requests: Vec<Request>,
    whole: bool,
) -> Result<Vec<Result<Option<Grant>, Denial>>, Denial> {
    // The authorizer is not asked about subscriptions without room.
    let mut room = asking.room;
    let within = requests.into_iter().map(|request| match request {
        Request::Take(..) => match room.checked_sub(1) {
            Some(left) => {
                room = left;
                request
            }
            None => Request::Denied(Denial::TooManySubscriptions),
        },
        Request::Held | Request::Replace(..) | Request::Denied(_) => request,
    });
    let within: Vec<Request> = within.collect();
    let decided: Vec<_> = match <[Request; 1]>::try_from(within) {
        Ok([only]) => vec![asking.decide(only).await], // a queue of futures for one costs about 2,000 instructions
        Err(several) => {
            let deciding = stream::iter(several).map(|request| asking.decide(request));
            deciding.buffered(QUESTIONS).collect().await
        }
    };
    let denied = decided.iter().find_map(|each| each.as_ref().err().copied());
    if let (true, Some(denial)) = (whole, denied) {
        return Err(denial);
    }
    let (mut granted, mut waits) = (Vec::with_capacity(decided.len()), Vec::new());
    for each in decided {
        let grant = |(wanted, shows_everyone)| {
            let (guard, placed) = asking.acquire(&wanted);
            waits.extend(placed);
            let traits = asking.traits(&wanted, shows_everyone);
            Grant {
                wanted,
                guard,
                traits,
            }
        };
        granted.push(each.map(|wanted| wanted.map(grant)));
    }
    join_all(waits).await;
    Ok(granted)
}
