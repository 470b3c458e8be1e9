//! Grants subscriptions: asks the authorizer where no rule decides, and waits for the broker.

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

/// Questions to the authorizer at once, for one request.
const QUESTIONS: usize = 16;

/// What a request depends on.
pub(super) struct Asking {
    node: Arc<Node>,
    shard: usize,
    pub(super) who: Option<Arc<Identity>>,
    /// How many more subscriptions the connection may have.
    room: usize,
    /// Whether it matters to the connection if a subscription shows what is for everyone.
    everyone_matters: bool,
}

/// A subscription that a connection wants, as far as it is decided without waiting.
pub(super) enum Request {
    /// It has it already.
    Held,
    /// It may, if the authorizer allows what is still open.
    Take(Subscription, OpenQuestions),
    /// The same, in place of a subscription to it by another credential.
    Replace(Subscription, OpenQuestions),
    /// It may not.
    Denied(Denial),
}

impl Request {
    /// Judges `wanted`.
    pub(super) fn new(wanted: Subscription, who: Option<&Identity>, access: &AccessControl) -> Self {
        match access.may_subscribe(who, &wanted) {
            Permission::Allowed => Self::Take(wanted, OpenQuestions::default()),
            Permission::Denied => Self::Denied(Denial::Forbidden),
            Permission::Pending(open) => Self::Take(wanted, open),
        }
    }
}

impl Asking {
    /// The connection asks for itself.
    pub(super) fn of(turn: &Turn<'_>) -> Self {
        let connection = &turn.driver.connection;
        let mounted = connection.mounted();
        Self {
            node: turn.shard.node.clone(),
            shard: turn.shard.number,
            who: connection.subscriber.proven().cloned(),
            room: mounted
                .settings()
                .max_subscriptions
                .saturating_sub(connection.subscriber.count()),
            everyone_matters: mounted.reception.everyone == Receives::Subscribed,
        }
    }

    /// Whether `wanted`, which is allowed, shows what is for everyone. A pattern shows no more than the exact name would.
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

    /// Has the node receive what is published on `wanted`.
    fn hold(&self, wanted: &Subscription) -> (Option<InterestGuard>, InForce) {
        let (hold, in_force) = match wanted {
            Subscription::Channel(channel) => InterestGuard::channel(&self.node, self.shard, channel),
            Subscription::Pattern(pattern) => InterestGuard::pattern(&self.node, self.shard, pattern),
            Subscription::Personal(_) => return (None, None), // the node receives its own users' events anyway
        };
        (Some(hold), in_force)
    }

    fn traits(&self, wanted: &Subscription, shows_everyone: bool) -> Traits {
        let user = self.who.as_ref().map(|identity| &identity.user);
        Traits {
            member: false,
            shows_everyone,
            shows_user: user.is_some_and(|user| shows_user(wanted, user)),
        }
    }

    /// What becomes of one request; the flag is whether it shows what is for everyone.
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

/// Has the node receive what is requested, as far as there is room; resolves when it does. Returns `None` for what the connection
/// has already. If `whole`, one denial is the answer to all.
pub(super) async fn grant(
    asking: Asking,
    requests: Vec<Request>,
    whole: bool,
) -> Result<Vec<Result<Option<Grant>, Denial>>, Denial> {
    // The authorizer is not asked about what there is no room for.
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
            let (hold, placed) = asking.hold(&wanted);
            waits.extend(placed);
            let traits = asking.traits(&wanted, shows_everyone);
            Grant { wanted, hold, traits }
        };
        granted.push(each.map(|wanted| wanted.map(grant)));
    }
    join_all(waits).await;
    Ok(granted)
}
