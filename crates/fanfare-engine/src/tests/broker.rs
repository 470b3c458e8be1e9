//! A slow broker.

use futures_util::FutureExt;

use super::{
    plain::Plain,
    world::{Setup, in_world, settings, token, until},
};
use crate::DialectSettings;

#[test]
fn a_subscription_holds_from_its_answer_on() {
    for asked in ["sub a.b", "sub-all a.b", "sub a.*", "join a.b", "sub x.y a.b a.*"] {
        in_world(settings(), |world| async move {
            let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
            world.broker.confirms.shut();
            alice.say_all(&[asked, "hello"]).await;
            until(|| world.broker.interests().len() > 2).await;
            assert_eq!(
                world.publish_on("a.b", "0").await,
                0,
                "{asked}: nothing before the answer"
            );
            assert_eq!(bob.ask("hello").await, "hello", "others do not wait");
            assert_eq!(world.waiting(), 1, "{asked}: no answer before it holds");
            world.broker.confirm();
            let answer = alice.text().await;
            assert!(answer.ends_with("ok"), "{answer}");
            assert_eq!(
                world.publish_on("a.b", "1").await,
                1,
                "{asked}: all after the answer"
            );
            alice.receives(&["hello", "1"]).await;
        });
    }
}

#[test]
fn a_second_subscriber_of_a_channel_waits_for_the_broker_like_the_first() {
    let setup = Setup {
        shards: 2,
        ..Setup::default()
    };
    setup.run(|world| async move {
        let (mut alice, mut bob) = (
            world.connect_on(0, "alice").await,
            world.connect_on(1, "bob").await,
        );
        let mut carol = world.connect("carol").await;
        world.broker.confirms.shut();
        alice.say("sub a").await;
        until(|| world.broker.interests().len() == 4).await;
        bob.say("sub a").await;
        until(|| world.node.interests.connections_of_channel("a") == 2).await;
        drop(alice); // her request's answer also serves bob
        world.broker.confirm();
        bob.receives(&["sub: ok"]).await;
        assert_eq!(
            carol.ask("sub a").await,
            "sub: ok",
            "what is in force needs no waiting"
        );
        assert_eq!(world.publish_on("a", "1").await, 2);
        until(|| world.shard.len() == 1).await;
        // It stays in force until the last subscriber leaves.
        assert_eq!(bob.ask("unsub a").await, "1");
        bob.receives(&["unsub: ok"]).await;
        assert_eq!(world.publish_on("a", "2").await, 1);
        carol.receives(&["1", "2"]).await;
        carol.ask("unsub a;sub a").await;
        carol.receives(&["sub: ok"]).await;
        assert_eq!(world.publish_on("a", "3").await, 1);
    });
}

#[test]
fn a_further_connection_waits_while_its_node_subscribes_again() {
    in_world(settings(), |world| async move {
        let mut first = world.connect("alice").await;
        for asked in ["sub a", "sub b.*"] {
            assert!(first.ask(asked).await.ends_with("ok"));
        }
        let mut second = world.connect("alice").await;
        // The connection to the broker is lost, and opened again.
        world.broker.renewed.shut();
        let mut third = Box::pin(world.connect("alice"));
        assert!((&mut third).now_or_never().is_none(), "no welcome");
        second.say_all(&["sub a", "sub b.*"]).await;
        until(|| world.node.interests.connections_of_channel("a") == 2).await;
        assert_eq!(world.waiting(), 1, "no answer");
        world.broker.renewed.open();
        third.await;
        second.receives(&["sub: ok", "sub: ok"]).await;
    });
}

#[test]
fn a_user_is_in_the_index_before_the_authentication_is_confirmed() {
    let setup = Setup {
        dialects: vec![Plain::default()],
        ..Setup::default()
    };
    setup.run(|world| async move {
        let mut alice = world.connect("").await;
        world.broker.confirms.shut();
        alice
            .say_all(&[
                &format!("auth {}", token("alice", 60, &serde_json::Value::Null)),
                "who",
            ])
            .await;
        until(|| world.broker.interests().len() == 1).await;
        assert_eq!(world.publish("alice", "t", "0").await.reach.queued, 0);
        assert_eq!(world.waiting(), 1);
        world.broker.confirm();
        alice.receives(&["auth: alice", "who: alice"]).await;
        assert_eq!(world.publish("alice", "t", "1").await.reach.queued, 1);
        alice.receives(&["1"]).await;
    });
}

#[test]
fn an_upgrade_is_answered_when_the_node_receives_the_users_events() {
    in_world(settings(), |world| async move {
        world.broker.confirms.shut();
        let waiting = world.clone();
        let entering = tokio::task::spawn_local(async move { waiting.connect("alice").await });
        until(|| world.broker.interests().len() == 1).await;
        assert!(!entering.is_finished());
        world.broker.confirm();
        let mut alice = entering.await.unwrap();
        assert_eq!(world.publish("alice", "t", "1").await.reach.queued, 1);
        alice.receives(&["1"]).await;
        // A connection that ends before releases its share.
        world.broker.confirms.shut();
        let waiting = world.clone();
        let entering = tokio::task::spawn_local(async move { waiting.connect("bob").await });
        until(|| world.broker.interests().len() == 2).await;
        entering.abort();
        until(|| world.broker.interests().len() == 1).await;
        assert_eq!(world.node.active(), 1);
    });
}

#[test]
fn a_direct_message_is_answered_when_it_arrived() {
    in_world(settings(), |world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        world.broker.carries.shut();
        alice
            .say_all(&[
                "pub x 1",
                "direct bob 2",
                "direct nobody 3",
                "direct alice 4",
                "hello",
            ])
            .await;
        alice.receives(&["pub: ok"]).await;
        assert_eq!(bob.ask("hello").await, "hello");
        world.broker.carries.open();
        bob.receives(&["2"]).await;
        alice
            .receives(&["direct: ok", "direct: not_connected", "4", "direct: ok", "hello"])
            .await;
    });
}

#[test]
fn publishers_wait_for_a_slow_broker() {
    let many = DialectSettings {
        send_queue: 10_000,
        ..settings()
    };
    in_world(many, |world| async move {
        let (mut alice, mut bob) = (world.connect("alice").await, world.connect("bob").await);
        bob.ask("sub a").await;
        world.broker.carries.shut();
        let said: Vec<String> = (0..1_500).map(|n| format!("pub a {n}")).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        alice.say_all(&said).await;
        for _ in 0..1_024 {
            alice.receives(&["pub: ok"]).await;
        }
        // The next one is not answered until there is room, and neither is another client's; the rest goes on.
        bob.say("pub a 9999").await;
        assert_eq!(world.connect("carol").await.ask("sub a;hello").await, "sub: ok");
        world.broker.carries.open();
        for _ in 1_024..1_500 {
            alice.receives(&["pub: ok"]).await;
        }
        let mut heard: Vec<String> = Vec::new();
        while heard.len() < 1_502 {
            heard.push(bob.text().await);
        }
        heard.retain(|text| text != "pub: ok" && text != "9999");
        assert!((0..1_500).map(|n| n.to_string()).eq(heard), "in their order");
    });
}
