//! What conversations ask for, done. Nothing here waits while the connection is borrowed: what may take time is a
//! future of its own, polled at once, and only if it is not done then spawned. Nothing is read from the client meanwhile.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use fanfare_core::{
    Channel, Command, Denial, EVERYONE_CHANNEL, Identity, Outcome, Receives, Subscription,
    policy::{Action, Permission},
};
use futures_util::FutureExt;

use super::{
    connection::{Connection, Phase},
    hold::Hold,
    presence::Joining,
    requests::{self, Asking, Granted, Request},
    slots,
    talk::{Turn, unix_millis},
};

/// What became of something that was asked for.
pub(super) type Answer = Result<Outcome, Denial>;

impl Connection {
    pub(super) fn ask(&mut self, command: Command, turn: &mut Turn<'_>) {
        if self.phase != Phase::Open {
            return; // nobody is there to be answered
        }
        match command {
            Command::Authenticate(token) => {
                let node = turn.shard.node.clone();
                let dialect = self.admission.dialect().name;
                let work = async move { node.authenticator.identify(dialect, &token.0).await };
                self.settle(turn, work, Self::authenticate);
            }
            Command::Subscribe { to, whole } => self.subscribe(to, whole, turn),
            Command::SubscribeBy { channel, credential } => {
                let node = turn.shard.node.clone();
                let dialect = self.admission.dialect().name;
                let work = async move {
                    let identified = node.authenticator.identify(dialect, &credential.0).await;
                    (identified, channel)
                };
                self.settle(
                    turn,
                    work,
                    |connection, (identified, channel), turn| match identified {
                        Ok(credential) => connection.subscribe_by(channel, credential, turn),
                        Err(denial) => connection.answer(Err(denial), turn),
                    },
                );
            }
            Command::Unsubscribe(from) => {
                for wanted in &from {
                    self.drop_subscription(wanted, turn.shard, turn.key);
                }
                self.rehear(turn.shard, turn.key);
                self.answer(Ok(Outcome::Unsubscribed), turn);
            }
            Command::Join { room, wants_members } => self.join(room, wants_members, turn),
            Command::Leave(room) => self.leave(&room, turn),
            Command::Publish(draft) => self.publish(draft, turn),
            Command::Facts => {
                let facts = turn.shard.node.dialect_facts(self.admission.dialect());
                self.answer(Ok(Outcome::Facts(facts)), turn);
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Answer, turn: &mut Turn<'_>) {
        self.converse(turn, |talk, context, steps| {
            talk.answered(answer, context, steps);
        });
    }

    /// Answers by what `work` comes to: now, if it is done at once.
    pub(super) fn settle<T: 'static>(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl Future<Output = T> + 'static,
        finish: fn(&mut Self, T, &mut Turn<'_>),
    ) {
        let mut work = Box::pin(work);
        if let Some(done) = work.as_mut().now_or_never() {
            return finish(self, done, turn);
        }
        self.asked += 1;
        let (shard, key) = (turn.shard.clone(), turn.key);
        tokio::task::spawn_local(async move {
            let done = AssertUnwindSafe(work).catch_unwind().await;
            shard.with(key, |connection, turn| {
                connection.resume(turn);
                match done {
                    Ok(done) if connection.phase == Phase::Open => finish(connection, done, turn),
                    Ok(_) => {}
                    Err(_) => connection.failed(turn.now),
                }
            });
        });
    }

    /// Something that was waited for has come. The task goes on after this turn.
    pub(super) fn resume(&mut self, turn: &Turn<'_>) {
        self.asked -= 1;
        self.heard_at = turn.now; // it was not read from meanwhile
        self.wake();
    }

    fn authenticate(&mut self, identified: Result<Arc<Identity>, Denial>, turn: &mut Turn<'_>) {
        let node = &turn.shard.node;
        let mounted = self.admission.dialect().clone();
        let refused = match identified {
            Err(denial) => denial,
            Ok(identity) if mounted.dialect.admit(Some(&identity)).is_err() => Denial::Forbidden,
            Ok(identity) => match &self.identity {
                Some(own) if own.user != identity.user => Denial::OtherUser,
                Some(_) => {
                    self.renew(identity, turn);
                    return self.answer(Ok(Outcome::Authenticated), turn);
                }
                None => match Hold::user(node, turn.shard.number, &mounted, &identity.user) {
                    Err(_) => Denial::UserAtCapacity,
                    Ok((hold, in_force)) => {
                        let slot = slots::of_user(node, &mounted, &identity.user);
                        let work = async move {
                            let ((), slot) = tokio::join!(requests::in_force(in_force), slot);
                            (identity, hold, slot)
                        };
                        return self.settle(turn, work, |connection, (identity, hold, slot), turn| {
                            let Ok(slot) = slot else {
                                return connection.answer(Err(Denial::UserAtCapacity), turn);
                            };
                            if turn.shard.node.authenticator.is_revoked(&identity) {
                                return connection.answer(Err(Denial::BadCredential), turn);
                            }
                            connection.keep(Some(hold));
                            connection.admission.keep(slot);
                            connection.renew(identity, turn);
                            connection.answer(Ok(Outcome::Authenticated), turn);
                        });
                    }
                },
            },
        };
        self.answer(Err(refused), turn);
    }

    /// Takes a new credential of its user. What that does not open any more is not listened to any more.
    fn renew(&mut self, identity: Arc<Identity>, turn: &Turn<'_>) {
        self.expires_at = unix_millis(identity.expires_at);
        self.paused = false;
        let access = &turn.shard.node.access;
        let own = self.subscriptions.iter().flat_map(|own| own.all());
        let closed = own.filter(|wanted| match access.may_subscribe(Some(&identity), wanted) {
            Permission::Denied => !matches!(wanted, Subscription::Channel(channel) if self.borrows(channel)),
            Permission::Allowed | Permission::Pending(_) => false, // what the authorizer said stands
        });
        let closed: Vec<_> = closed.cloned().collect();
        let everyone = Channel::new(EVERYONE_CHANNEL).ok().and_then(|channel| {
            match access.judge(Some(&identity), Action::Subscribe, &channel) {
                Permission::Allowed => Some(true),
                Permission::Denied => Some(false),
                Permission::Pending(_) => None, // as above
            }
        });
        self.identity = Some(identity);
        for wanted in closed {
            self.drop_subscription(&wanted, turn.shard, turn.key);
        }
        self.reassess(everyone);
        self.rehear(turn.shard, turn.key);
    }

    fn subscribe(&mut self, to: Vec<Subscription>, whole: bool, turn: &mut Turn<'_>) {
        // A name that is there twice is asked for once, and answered as often as it is there.
        let mut first = ahash::AHashMap::with_capacity(to.len());
        let mut requests = Vec::with_capacity(to.len());
        let mut places = Vec::with_capacity(to.len());
        let who = self.proven().map(|identity| &**identity);
        for wanted in to {
            let place = *first.entry(wanted).or_insert_with_key(|wanted| {
                requests.push(self.request(wanted, who, turn));
                requests.len() - 1
            });
            places.push(place);
        }
        let asking = self.asking(turn);
        let granting = requests::grant(asking, requests, self.subscriptions_left(), whole);
        let work = async move { (granting.await, places) };
        self.settle(turn, work, |connection, (granted, places), turn| {
            let answer = granted.map(|granted| {
                let outcomes = granted.into_iter().map(|each| {
                    each.map(|granted| {
                        if let Granted::New(wanted, hold, traits) = granted {
                            connection.listen(wanted, hold, traits, turn.shard, turn.key);
                        }
                    })
                });
                let outcomes: Vec<_> = outcomes.collect();
                Outcome::Subscribed(places.iter().map(|place| outcomes[*place]).collect())
            });
            connection.rehear(turn.shard, turn.key);
            connection.answer(answer, turn);
        });
    }

    /// Judges `wanted` by `who`. What it receives by its own right is confirmed; what it borrows is judged anew.
    pub(super) fn request(&self, wanted: &Subscription, who: Option<&Identity>, turn: &Turn<'_>) -> Request {
        let is_borrowed = matches!(wanted, Subscription::Channel(channel) if self.borrows(channel));
        if self.is_subscribed(wanted) && !is_borrowed {
            return Request::Held;
        }
        match Request::new(wanted.clone(), who, &turn.shard.node.access) {
            Request::Take(wanted, open) if is_borrowed => Request::Replace(wanted, open),
            request => request,
        }
    }

    fn join(&mut self, room: Channel, wants_members: bool, turn: &mut Turn<'_>) {
        let wanted = Subscription::Channel(room.clone());
        let request = if self.is_member(&wanted) {
            Request::Held
        } else if let Some(who) = self.proven() {
            Request::new(wanted, Some(who), &turn.shard.node.access)
        } else {
            Request::Denied(Denial::Forbidden)
        };
        let granting = requests::grant(self.asking(turn), vec![request], self.subscriptions_left(), true);
        let work = async move {
            let granted = granting.await?.into_iter().flatten().next();
            let subscription = match granted {
                Some(Granted::New(_, hold, traits)) => Some((hold, traits)),
                Some(Granted::Held) | None => None,
            };
            Ok(Joining {
                room,
                subscription,
                wants_members,
            })
        };
        self.settle(turn, work, |connection, joining, turn| {
            match (joining, connection.identity.clone()) {
                (Ok(joining), Some(identity)) if joining.needs_broker() => {
                    connection.enter_room(joining, &identity, turn);
                }
                (joining, _) => {
                    let answer = joining.map(|_| Outcome::Joined { members: None });
                    connection.answer(answer, turn);
                }
            }
        });
    }

    fn leave(&mut self, room: &Channel, turn: &mut Turn<'_>) {
        let wanted = Subscription::Channel(room.clone());
        if !self.is_member(&wanted) {
            return self.answer(Err(Denial::NotMember), turn);
        }
        self.drop_subscription(&wanted, turn.shard, turn.key);
        self.rehear(turn.shard, turn.key);
        self.answer(Ok(Outcome::Left), turn);
    }

    pub(super) fn asking(&self, turn: &Turn<'_>) -> Asking {
        Asking {
            node: turn.shard.node.clone(),
            shard: turn.shard.number,
            who: self.proven().cloned(),
            everyone_matters: self.admission.dialect().hearing.everyone == Receives::Subscribed,
        }
    }
}
