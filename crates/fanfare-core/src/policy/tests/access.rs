//! Subscriptions, publications, deliveries and explanations agree for every policy and authorizer.

use std::{
    future::ready,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;
use crate::{Audience, BoxFuture, Event, RawJson, Subscription};

const CHANNELS: [&str; 8] = [
    "a.b",
    "inbox.alice",
    "messages",
    "messages.channel.project:1",
    "messages.channel.user:alice",
    "messages.user.alice",
    "project:1",
    "task:1",
];
const USERS: [&str; 8] = [
    "anonymous",
    "alice",
    "bob",
    "staff",
    "admin",
    "pro",
    "guest",
    "shut out",
];
const ANSWERS: [AuthorizerAnswer; 3] = [
    AuthorizerAnswer::Allowed,
    AuthorizerAnswer::Denied,
    AuthorizerAnswer::Missing,
];

/// An authorizer with an answer for each channel, some of them cached. It records its questions.
struct Script {
    /// For each of the channels: the answer, and whether it is cached.
    answers: Vec<(AuthorizerAnswer, bool)>,
    asked: Mutex<Vec<Question>>,
}

impl Script {
    fn answer(&self, question: &Question) -> (AuthorizerAnswer, bool) {
        let at = CHANNELS.iter().position(|name| *name == &*question.channel);
        at.map_or((AuthorizerAnswer::Missing, false), |at| self.answers[at])
    }
}

impl Authorizer for Script {
    fn remembered(&self, question: &Question) -> Option<AuthorizerAnswer> {
        let (answer, is_cached) = self.answer(question);
        is_cached.then_some(answer)
    }

    fn ask(&self, question: Question) -> BoxFuture<'static, AuthorizerAnswer> {
        let (answer, is_cached) = self.answer(&question);
        assert!(!is_cached, "{question:?} is asked although its answer is cached");
        self.asked.lock().expect("no panic").push(question);
        Box::pin(ready(answer))
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("all answers are ready"),
    }
}

/// Returns the final answer, and checks that cached answers agree with it.
fn settle(access: &AccessControl, permission: Permission) -> AuthorizerAnswer {
    match permission {
        Permission::Allowed => AuthorizerAnswer::Allowed,
        Permission::Denied => AuthorizerAnswer::Denied,
        Permission::Pending(open) => {
            let asked = now(access.ask(open.clone()));
            let mut left = open;
            match access.remembered(&mut left) {
                // One cached refusal is enough.
                Some(known) => assert_eq!(known.is_allowed(), asked.is_allowed()),
                None => assert_eq!(now(access.ask(left)), asked),
            }
            asked
        }
    }
}

fn random_policy(random: &mut StdRng) -> PolicyOptions {
    let grants = [
        "anyone",
        "authenticated",
        "owner",
        "role:staff",
        "claim:plan=pro",
        "service",
        "nobody",
    ];
    let patterns = [
        "a.*",
        "**",
        "inbox.{user}",
        "messages.**",
        "messages",
        "project:*",
        "*:1",
        "task:1",
        "**.alice",
    ];
    let rules = (0..random.random_range(0..4)).map(|_| {
        let pattern = patterns.choose(random).expect("some");
        let mut text = (*pattern).to_owned();
        for clause in ["subscribe", "publish", "join"] {
            if random.random_bool(0.4) {
                let grant = grants.choose(random).expect("some");
                text = format!("{text} | {clause} = {grant}");
            }
        }
        text
    });
    let rules: Vec<String> = rules.collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let rooms = [RoomAccess::Authenticated, RoomAccess::Nobody];
    PolicyOptions {
        authorizer: random.random_bool(0.6),
        rooms: *rooms.choose(random).expect("some"),
        public: random
            .random_bool(0.3)
            .then(|| vec![Pattern::new("a.*").expect("a pattern")]),
        ..options(&rules)
    }
}

fn random_answers(random: &mut StdRng) -> Option<Arc<Script>> {
    random.random_bool(0.85).then(|| {
        let each = CHANNELS.map(|_| (*ANSWERS.choose(random).expect("some"), random.random_bool(0.5)));
        Arc::new(Script {
            answers: each.into(),
            asked: Mutex::default(),
        })
    })
}

fn event(name: &Channel, readers_of: Option<&Channel>) -> Event {
    let data = RawJson::parse(&b"1"[..].into()).expect("JSON");
    let audience = Audience::Channel(name.clone());
    Event {
        private_to: readers_of.map(|_| [].into()),
        readers_of: readers_of.cloned(),
        ..Event::new(audience, None, data, SystemTime::UNIX_EPOCH)
    }
}

/// Checks that every method about `user` and the channel `name` agrees with `decide`.
fn check_agreement(access: &AccessControl, user: &str, name: &str) {
    let (who, channel) = (who(user), channel(name));
    let who = who.as_ref();
    let audience = Audience::Channel(channel.clone());
    let decided = |action| now(access.decide(who, action, &channel));
    let explained = |action| {
        let found = access.explain(who, action, &audience).expect("a channel");
        settle(access, found.permission)
    };
    let (read, write) = (decided(Action::Subscribe), decided(Action::Publish));

    assert_eq!(
        settle(access, access.judge(who, Action::Subscribe, &channel)),
        read,
        "{user} {name}"
    );
    let wanted = Subscription::Channel(channel.clone());
    assert_eq!(
        settle(access, access.may_subscribe(who, &wanted)),
        read,
        "{user} {name}"
    );
    assert_eq!(explained(Action::Subscribe), read, "{user} {name}");
    assert_eq!(
        settle(access, access.may_publish(who, &audience)),
        write,
        "{user} {name}"
    );
    assert_eq!(explained(Action::Publish), write, "{user} {name}");

    // By a pattern, the user receives the events that an exact subscription delivers.
    let readers = access.readers(&channel);
    let shown = access.may_receive(who, &event(&channel, None), &channel, readers);
    assert_eq!(settle(access, shown), read, "{user} receives {name} by a pattern");
    // A private event is for admins, and for the readers of the channel that it names.
    let elsewhere = super::channel("a.b");
    let private = event(&elsewhere, Some(&channel));
    let seen = settle(access, access.may_see(who, &private));
    let is_admin = who.is_some_and(Identity::is_admin);
    let expected = if is_admin { AuthorizerAnswer::Allowed } else { read };
    assert_eq!(seen, expected, "{user} sees a private event of {name}");
    let by_pattern = access.may_receive(who, &private, &elsewhere, access.readers(&elsewhere));
    let both = now(access.decide(who, Action::Subscribe, &elsewhere)).max(seen);
    assert_eq!(
        settle(access, by_pattern),
        both,
        "{user} receives a private event of {name}"
    );
}

#[test]
fn every_method_gives_the_same_answer() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let (policy, script) = (random_policy(&mut random), random_answers(&mut random));
        let authorizer = script.clone().map(|own| own as Arc<dyn Authorizer>);
        let shown = format!("seed {seed}: {policy:?}");
        let access = AccessControl::new(Policy::new(policy), authorizer);
        for (user, name) in USERS.iter().flat_map(|user| CHANNELS.map(|name| (*user, name))) {
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                check_agreement(&access, user, name);
            }));
            assert!(checked.is_ok(), "{shown}");
        }
    }
}

#[test]
fn a_channel_of_a_room_needs_both_answers() {
    use AuthorizerAnswer::{Allowed, Denied, Missing};
    let asking = |answers: [(AuthorizerAnswer, bool); 2], is_there: bool| {
        let mut all = vec![(Missing, false); CHANNELS.len()];
        (all[3], all[6]) = (answers[0], answers[1]);
        let script = Arc::new(Script {
            answers: all,
            asked: Mutex::default(),
        });
        let options = PolicyOptions {
            authorizer: true,
            ..options(&["a.b | subscribe = anyone | publish = nobody"])
        };
        let authorizer = is_there.then(|| script.clone() as Arc<dyn Authorizer>);
        (AccessControl::new(Policy::new(options), authorizer), script)
    };
    let alice = who("alice");
    let (access, script) = asking([(Denied, false); 2], true);
    for (action, expected) in [
        (Action::Subscribe, Permission::Allowed),
        (Action::Publish, Permission::Denied),
    ] {
        assert_eq!(access.judge(alice.as_ref(), action, &channel("a.b")), expected);
    }
    assert!(
        script.asked.lock().expect("no panic").is_empty(),
        "a rule decides"
    );

    let carrier = channel(CHANNELS[3]); // carries the messages of CHANNELS[6], a room
    let table = [
        // channel, room, both, at once
        (Allowed, Allowed, Allowed, Some(Allowed)),
        (Allowed, Denied, Denied, Some(Denied)),
        (Denied, Allowed, Denied, Some(Denied)),
        (Allowed, Missing, Missing, Some(Missing)),
        (Missing, Allowed, Missing, Some(Missing)),
        (Missing, Denied, Denied, Some(Denied)),
        (Denied, Missing, Denied, Some(Denied)),
        (Missing, Missing, Missing, Some(Missing)),
        (Denied, Denied, Denied, Some(Denied)),
    ];
    for (of_channel, of_room, both, cached) in table {
        for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
            let (access, script) = asking([(of_channel, first), (of_room, second)], true);
            let row = format!("{of_channel:?}/{first} {of_room:?}/{second}");
            let Permission::Pending(mut open) = access.judge(alice.as_ref(), Action::Subscribe, &carrier)
            else {
                panic!("{row}: the authorizer decides");
            };
            assert_eq!(now(access.ask(open.clone())), both, "{row}");
            let asked = script.asked.lock().expect("no panic").len();
            assert_eq!(
                asked,
                usize::from(!first) + usize::from(!second),
                "{row}: only questions without a cached answer"
            );
            let known = access.remembered(&mut open);
            match (first, second) {
                (true, true) => assert_eq!(known, cached, "{row}"),
                (false, false) => assert_eq!(known, None, "{row}"),
                (true, false) => assert_eq!(known, Some(of_channel).filter(|own| !own.is_allowed()), "{row}"),
                (false, true) => assert_eq!(known, Some(of_room).filter(|own| !own.is_allowed()), "{row}"),
            }
            let (access, _) = asking([(of_channel, first), (of_room, second)], false);
            let refused = now(access.decide(alice.as_ref(), Action::Subscribe, &carrier));
            assert_eq!(refused, Denied, "{row}: there is no authorizer");
        }
    }
}

#[test]
fn ask_by_stops_at_the_first_answer_that_is_not_allowed() {
    let options = PolicyOptions {
        authorizer: true,
        ..options(&[])
    };
    let access = AccessControl::new(Policy::new(options), None);
    let carrier = channel("messages.channel.project:1");
    let who = who("alice");
    let Permission::Pending(open) = access.judge(who.as_ref(), Action::Subscribe, &carrier) else {
        panic!("the authorizer decides");
    };
    for (answers, expected, asked) in [
        ([Ok(true), Ok(true)], Ok(true), 2),
        ([Ok(false), Ok(true)], Ok(false), 1),
        ([Ok(true), Ok(false)], Ok(false), 2),
        ([Err("away"), Ok(true)], Err("away"), 1),
        ([Ok(true), Err("away")], Err("away"), 2),
    ] {
        let answered = Mutex::new(0);
        let found = now(open.ask_by(async |_| {
            let mut answered = answered.lock().expect("no panic");
            *answered += 1;
            answers[*answered - 1]
        }));
        assert_eq!((found, *answered.lock().expect("no panic")), (expected, asked));
    }
}
