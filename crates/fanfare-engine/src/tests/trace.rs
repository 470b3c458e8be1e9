//! Traces: the outcome of an event at each connection, with an unchanged delivery.

use std::time::Duration;

use fanfare_core::Event;
use uuid::Uuid;

use super::{
    fakes::FakeAuthorizer,
    world::{Setup, World, event, in_world, on, rules, settings, until},
};
use crate::{
    ConnectionTrace, DialectSettings, EventTrace, Fate, ObserveLimits, Subject, TraceOrder,
    tests::plain::Plain,
};

/// Arms a trace of `events` events of `subject` that records the connections of `user`.
async fn arm(world: &World, subject: Subject, user: Option<&str>, events: usize) -> Uuid {
    let order = TraceOrder {
        id: Uuid::now_v7(),
        subjects: vec![subject],
        user: user.map(Into::into),
        events,
        seconds: 8,
    };
    let id = order.id;
    assert!(world.node.arm_trace(order).await.answer);
    id
}

/// Publishes `event` and returns its id.
async fn publish(world: &World, event: Event) -> Uuid {
    let id = event.id;
    world.publish_all(vec![event]).await;
    id
}

fn channel(name: &str) -> Subject {
    Subject::channel(name).unwrap()
}

async fn trace(world: &World, id: Uuid) -> EventTrace {
    let mut gathered = world.node.trace(id).await;
    assert!(gathered.complete);
    gathered.answer.pop().flatten().expect("a trace")
}

/// Returns the records of the connections of `user`.
fn of(trace: &EventTrace, user: &str) -> Vec<ConnectionTrace> {
    let delivery = trace.delivery.as_ref().expect("a delivery");
    let all = delivery.connections.iter();
    all.filter(|one| one.user.as_deref().unwrap_or_default() == user)
        .cloned()
        .collect()
}

fn fate(trace: &EventTrace, user: &str) -> Vec<Fate> {
    of(trace, user).iter().map(|one| one.fate).collect()
}

/// Waits until the connections of `user` have these fates.
async fn becomes(world: &World, id: Uuid, user: &str, expected: &[Fate]) {
    while fate(&trace(world, id).await, user) != expected {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_trace_has_the_reason_for_each_connection() {
    let setup = Setup {
        policy: rules(&[("secret.*", "role:staff", "authenticated")]),
        shards: 2,
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut staff = world.connect_on(0, "ann+staff").await;
        let mut other = world.connect_on(1, "bob").await;
        let mut deaf = world.connect_on(1, "carol").await;
        for client in [&mut staff, &mut other] {
            assert_eq!(client.ask("sub secret.*").await, "sub: ok");
        }
        deaf.receives_no_more().await;
        arm(&world, channel("secret.*"), Some("carol"), 10).await;
        let one = on("secret.a", "1");
        let id = one.id;
        assert_eq!(world.publish_all(vec![one]).await[0].reach.queued, 1);
        staff.receives(&["1"]).await;
        other.receives_no_more().await;
        let trace = trace(&world, id).await;
        assert_eq!(fate(&trace, "ann"), [Fate::Written]);
        assert_eq!(fate(&trace, "carol"), [Fate::Unsubscribed]);
        let refused = of(&trace, "bob").pop().unwrap();
        assert_eq!(refused.fate, Fate::Refused);
        assert_eq!(refused.rule.unwrap().number, 1);
        assert_eq!(
            refused.reason.as_deref(),
            Some(r#"rule 1, "secret.*": subscribe = "role:staff""#)
        );
        let delivery = trace.delivery.unwrap();
        assert_eq!((delivery.shards, delivery.finished), (2, 2));
        assert_eq!((delivery.matched, delivery.queued, delivery.filtered), (1, 1, 1));
        assert_eq!(trace.event.channel.as_deref(), Some("secret.a"));
        assert!(trace.entry.is_none(), "no door has noted it");
    });
}

#[test]
fn the_trace_of_a_clients_event_has_its_door_its_rule_and_its_sender() {
    let setup = Setup {
        policy: rules(&[("chat.*", "authenticated", "authenticated")]),
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut alice = world.connect("alice").await;
        assert_eq!(alice.ask("sub chat.a").await, "sub: ok");
        let order = arm(&world, channel("chat.a"), None, 1).await;
        assert_eq!(alice.ask("pub chat.a 1").await, "pub: ok");
        let listed = world.node.traces(Some(order), 10).await.answer;
        assert_eq!(listed.len(), 1);
        assert!(world.node.traces(Some(Uuid::nil()), 10).await.answer.is_empty());
        let known = trace(&world, listed[0].event.id).await;
        let entry = known.entry.clone().unwrap();
        assert_eq!(
            (&*entry.door, entry.dialect.as_deref()),
            ("client", Some("plain"))
        );
        assert_eq!(
            entry.allowed_by.as_deref(),
            Some(r#"rule 1, "chat.*": publish = "authenticated""#)
        );
        assert_eq!(entry.rule.unwrap().number, 1);
        assert_eq!(known.event.sender.as_deref(), Some("alice"));
        assert!(known.event.sending_connection.is_some());

        arm(&world, channel("chat.a"), None, 1).await;
        let unechoed = Event {
            except: known.event.sending_connection,
            ..on("chat.a", "2")
        };
        let id = unechoed.id;
        world.publish_all(vec![unechoed]).await;
        assert_eq!(fate(&trace(&world, id).await, "alice"), [Fate::Sender]);
    });
}

#[test]
fn a_trace_shows_private_events_expired_credentials_and_missing_renderings() {
    let setup = Setup {
        dialects: vec![Plain {
            pauses: true,
            ..Plain::default()
        }],
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut alice = world.connect("alice").await;
        alice.ask("sub chat.a").await;
        arm(&world, channel("chat.a"), None, 10).await;
        let private = Event {
            private_to: Some(Box::default()),
            ..on("chat.a", "1")
        };
        let hidden = Event {
            kind: Some("hidden".into()),
            ..on("chat.a", "2")
        };
        let ids = [private.id, hidden.id];
        world.publish_all(vec![private, hidden]).await;
        assert_eq!(fate(&trace(&world, ids[0]).await, "alice"), [Fate::Private]);
        assert_eq!(fate(&trace(&world, ids[1]).await, "alice"), [Fate::Unrendered]);
        alice.receives_no_more().await;

        let mut brief = world.connect_for("bob", Duration::from_secs(5)).await;
        brief.receives_no_more().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        arm(&world, Subject::user("bob").unwrap(), None, 1).await;
        let late = event("bob", "t", "3");
        let id = late.id;
        assert_eq!(world.publish_all(vec![late]).await[0].reach.queued, 0);
        assert_eq!(fate(&trace(&world, id).await, "bob"), [Fate::Expired]);
    });
}

#[test]
fn a_trace_shows_a_full_queue_a_waiting_frame_and_a_lost_frame() {
    let small = DialectSettings {
        send_queue: 2,
        ..settings()
    };
    in_world(small, |world| async move {
        let (mut alice, control) = world.connect_controlled("alice").await;
        alice.receives_no_more().await;
        control.hold_for_client(1);
        arm(&world, Subject::user("alice").unwrap(), None, 10).await;
        let mut ids = Vec::new();
        for n in 0..3 {
            ids.push(publish(&world, event("alice", "t", &n.to_string())).await);
        }
        // The first was written in part, so it is completed; the second is dropped with the connection; the third found no room.
        let third = of(&trace(&world, ids[2]).await, "alice").pop().unwrap();
        assert_eq!((third.fate, third.frames_ahead), (Fate::QueueFull, 2));
        becomes(&world, ids[1], "alice", &[Fate::Lost]).await;
        alice.receives(&["0"]).await;
        assert_eq!(alice.close().await, (1008, "slow_consumer".into()));
        drop(alice);
        world.held(0).await;
    });
}

#[test]
fn an_event_behind_a_replay_is_followed() {
    super::history::setup().run(|world| async move {
        let before = world.present();
        world.broker.reads.shut();
        let mut alice = world.connect("alice").await;
        alice.say(&format!("sub-since {before} chat.a")).await;
        world.holds_back().await;
        arm(&world, channel("chat.a"), None, 10).await;
        let id = publish(&world, on("chat.a", "1")).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(fate(&trace(&world, id).await, "alice"), [Fate::Queued]);
        world.broker.reads.open();
        assert!(alice.text().await.starts_with("sub-since: ok"));
        alice.text().await;
        becomes(&world, id, "alice", &[Fate::Written]).await;
    });
}

#[test]
fn an_event_that_the_authorizer_allowed_is_followed() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let (mut alice, control) = world.connect_controlled("alice").await;
        alice.ask("sub *.*").await;
        arm(&world, channel("**"), None, 10).await;
        let id = publish(&world, on("a.b", "1")).await;
        assert_eq!(fate(&trace(&world, id).await, "alice"), [Fate::Undecided]);
        control.hold_for_client(1);
        authorizer.gate.open();
        becomes(&world, id, "alice", &[Fate::Queued]).await;
        alice.receives(&["1"]).await;
        becomes(&world, id, "alice", &[Fate::Written]).await;
    });
}

#[test]
fn a_frame_that_waits_long_is_followed_until_it_is_lost() {
    in_world(settings(), |world| async move {
        let (mut alice, control) = world.connect_controlled("alice").await;
        alice.receives_no_more().await;
        control.hold_for_client(1);
        arm(&world, Subject::user("alice").unwrap(), None, 10).await;
        let mut ids = Vec::new();
        for n in 0..2 {
            ids.push(publish(&world, event("alice", "t", &n.to_string())).await);
        }
        // Longer than the trace waits for acknowledgements.
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert_eq!(fate(&trace(&world, ids[1]).await, "alice"), [Fate::Queued]);
        // Its client hangs up without a close frame.
        drop(alice);
        world.held(0).await;
        becomes(&world, ids[1], "alice", &[Fate::Lost]).await;
    });
}

#[test]
fn a_frame_that_waits_is_followed_until_it_is_written() {
    in_world(settings(), |world| async move {
        let (mut alice, control) = world.connect_controlled("alice").await;
        alice.receives_no_more().await;
        control.hold_for_client(1);
        arm(&world, Subject::user("alice").unwrap(), None, 1).await;
        let id = publish(&world, event("alice", "t", "1")).await;
        world.publish("alice", "t", "2").await;
        assert_eq!(fate(&trace(&world, id).await, "alice"), [Fate::Queued]);
        assert_eq!(alice.text().await, "1");
        // The next event waits behind it, and the trace distinguishes the two.
        becomes(&world, id, "alice", &[Fate::Written]).await;
        let known = of(&trace(&world, id).await, "alice").pop().unwrap();
        assert!(known.written_us > known.queued_us);
        alice.receives(&["2"]).await;
    });
}

#[test]
fn the_peers_acknowledgement_is_seen() {
    let setup = Setup {
        is_real: true,
        ..Setup::default()
    };
    setup.run(|world| async move {
        if crate::acknowledged::SocketStates::open().is_none() {
            return; // a sandbox without netlink
        }
        let mut alice = world.connect("alice").await;
        alice.receives_no_more().await;
        arm(&world, Subject::user("alice").unwrap(), None, 1).await;
        let id = publish(&world, event("alice", "t", "1")).await;
        alice.receives(&["1"]).await;
        becomes(&world, id, "alice", &[Fate::Acknowledged]).await;
        let known = of(&trace(&world, id).await, "alice").pop().unwrap();
        assert!(known.acknowledged_us >= known.written_us);
    });
}

#[test]
fn a_trace_shows_the_decision_of_the_authorizer() {
    let authorizer = FakeAuthorizer::new(false);
    Setup::asking(&authorizer).run(|world| async move {
        let mut alice = world.connect("alice").await;
        alice.ask("sub *.*").await;
        arm(&world, channel("**"), None, 10).await;
        let (good, bad) = (on("a.b", "1"), on("a.secret", "1"));
        let ids = [good.id, bad.id];
        world.publish_all(vec![good, bad]).await;
        for id in ids {
            assert_eq!(fate(&trace(&world, id).await, "alice"), [Fate::Undecided]);
        }
        authorizer.gate.open();
        alice.receives(&["1"]).await;
        becomes(&world, ids[0], "alice", &[Fate::Written]).await;
        becomes(&world, ids[1], "alice", &[Fate::Unauthorized]).await;
        let id = publish(&world, on("a.secret", "2")).await;
        assert_eq!(fate(&trace(&world, id).await, "alice"), [Fate::Unauthorized]);
    });
}

#[test]
fn an_event_for_a_user_without_a_connection_is_traced() {
    in_world(settings(), |world| async move {
        arm(&world, Subject::user("nobody").unwrap(), None, 1).await;
        assert_eq!(
            (world.node.connections_of("nobody"), world.node.users().len()),
            (0, 0)
        );
        let one = event("nobody", "t", "1");
        let id = one.id;
        assert_eq!(world.publish_all(vec![one]).await[0].reach.matched, 0);
        let delivery = trace(&world, id).await.delivery.unwrap();
        assert_eq!((delivery.matched, delivery.connections.len()), (0, 0));
        assert_eq!(world.broker.interests().len(), 1);
        tokio::time::sleep(Duration::from_secs(9)).await;
        until(|| world.broker.interests().is_empty()).await;
    });
}

#[test]
fn interest_ends_with_the_trace() {
    let order = |user: &str| TraceOrder {
        id: Uuid::now_v7(),
        subjects: vec![Subject::user(user).unwrap()],
        user: None,
        events: 1,
        seconds: 3600,
    };
    in_world(settings(), move |world| async move {
        let (traced, disarmed) = (order("nobody"), order("nowhere"));
        for order in [&traced, &disarmed] {
            assert!(world.node.arm_trace(order.clone()).await.answer);
        }
        assert_eq!(world.broker.interests().len(), 2);
        world.publish("nobody", "t", "1").await;
        assert!(world.node.disarm_trace(disarmed.id).await.answer);
        assert!(!world.node.disarm_trace(Uuid::nil()).await.answer);
        let id = publish(&world, event("nowhere", "t", "1")).await;
        assert_eq!(world.node.trace(id).await.answer, [None]);
        // The outcome of the events is recorded for five more seconds.
        tokio::time::sleep(Duration::from_secs(7)).await;
        until(|| world.broker.interests().is_empty()).await;
        assert!(!world.node.disarm_trace(traced.id).await.answer);
        assert_eq!(world.node.observe_figures().armed, 0);
    });
}

#[test]
fn a_crowd_is_counted_and_only_some_are_followed() {
    let setup = Setup {
        observe: ObserveLimits {
            max_traced_connections: 2,
            max_traces: 1,
            ..ObserveLimits::default()
        },
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut clients, mut controls) = (Vec::new(), Vec::new());
        for n in 0..7 {
            let user = if n < 4 {
                format!("u{n}")
            } else {
                "alice".to_owned()
            };
            let (mut client, control) = world.connect_controlled(&user).await;
            client.receives_no_more().await;
            control.hold_for_client(1);
            clients.push(client);
            controls.push(control);
        }
        arm(&world, Subject::Everyone, Some("alice"), 2).await;
        let mut ids = Vec::new();
        for n in 0..2 {
            let one = event("*", "t", &n.to_string());
            ids.push(one.id);
            assert_eq!(
                world.publish_all(vec![one]).await[0].reach.queued,
                7,
                "all are delivered to"
            );
        }
        let delivery = trace(&world, ids[1]).await.delivery.unwrap();
        assert_eq!((delivery.matched, delivery.queued, delivery.left_out), (7, 7, 3));
        assert_eq!(
            of(&trace(&world, ids[1]).await, "alice").len(),
            2,
            "they have room of their own"
        );
        assert_eq!(delivery.connections.len(), 4);
        // The first trace was evicted, so its sockets are not examined any more.
        until(|| world.node.observe_figures().connections_followed == 4).await;
        for client in &mut clients {
            client.receives(&["0", "1"]).await;
        }
        until(|| world.node.observe_figures().connections_followed == 0).await;
        assert_eq!(world.node.observe_figures().connections_left_out, 6);
    });
}

#[test]
fn only_events_of_an_armed_trace_are_recorded() {
    let setup = Setup {
        observe: ObserveLimits {
            max_traces: 3,
            max_armed: 2,
            max_traced_connections: 1,
            ..ObserveLimits::default()
        },
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut clients = Vec::new();
        for user in ["alice", "bob", "alice", "alice"] {
            clients.push(world.connect(user).await);
        }
        let one = event("alice", "t", "0");
        let unarmed = one.id;
        world.publish_all(vec![one]).await;
        assert_eq!(world.node.trace(unarmed).await.answer, [None]);

        arm(&world, Subject::Everyone, Some("alice"), 4).await;
        let mut ids = Vec::new();
        for n in 0..5 {
            let one = event("*", "t", &n.to_string());
            ids.push(one.id);
            assert_eq!(world.publish_all(vec![one]).await[0].reach.queued, 4);
        }
        // Four events were ordered, and three are kept.
        for (n, is_kept) in [false, true, true, true, false].into_iter().enumerate() {
            assert_eq!(world.node.trace(ids[n]).await.answer[0].is_some(), is_kept, "{n}");
        }
        let delivery = trace(&world, ids[3]).await.delivery.unwrap();
        assert_eq!(
            (delivery.connections.len(), delivery.left_out, delivery.queued),
            (2, 2, 4)
        );
        let figures = world.node.observe_figures();
        assert_eq!((figures.traces, figures.traces_evicted, figures.armed), (3, 1, 1));
        assert_eq!(figures.connections_left_out, 8);

        arm(&world, Subject::Everyone, None, 1).await;
        let third = TraceOrder {
            id: Uuid::now_v7(),
            subjects: vec![Subject::Everyone],
            user: None,
            events: 1,
            seconds: 8,
        };
        assert!(!world.node.arm_trace(third).await.answer);
        assert_eq!(world.node.observe_figures().armed_refused, 1);
        // An order expires.
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(world.node.observe_figures().armed, 0);
        let id = publish(&world, event("*", "t", "9")).await;
        assert_eq!(world.node.trace(id).await.answer, [None]);
        assert!(!world.node.observers.is_watching());
        drop(clients);
    });
}
