//! The access control decides alike for all commands and deliveries.

use std::time::Duration;

use fanfare_core::{
    Channel, Identity,
    policy::{Action, PolicyOptions},
};

use super::{
    client::Client,
    fakes::FakeAuthorizer,
    world::{Setup, World, rules, who},
};

const CHANNELS: [&str; 6] = [
    "a.b",
    "a.secret",
    "staff.x",
    "news.x",
    "project:1",
    "project:secret",
];

async fn decide(world: &World, who: Option<&Identity>, action: Action, name: &str) -> bool {
    let channel = Channel::new(name).unwrap();
    let decided = world.node.access.decide(who, action, &channel);
    decided.await.is_allowed()
}

/// Subscribes, joins and publishes, and receives by a pattern.
async fn try_all(world: &World, authorizer: &FakeAuthorizer, client: &mut Client, user: &str, name: &str) {
    let who = who(user, Duration::from_secs(60));
    let may_read = decide(world, who.as_ref(), Action::Subscribe, name).await;
    let may_write = decide(world, who.as_ref(), Action::Publish, name).await;
    let outcome = |allowed: bool| if allowed { "ok" } else { "forbidden" };
    let mut commands = vec![("sub", may_read), ("pub", may_write)];
    if name.starts_with("project:") {
        commands.push(("join", may_read));
    }
    for (command, allowed) in commands {
        for is_cached in [true, false] {
            if !is_cached {
                authorizer.forget();
            }
            let data = if command == "pub" { " 1" } else { "" };
            let answer = client.ask(&format!("{command} {name}{data}")).await;
            assert_eq!(
                answer,
                format!("{command}: {}", outcome(allowed)),
                "{user} {name}"
            );
            match command {
                "sub" => _ = client.ask(&format!("unsub {name}")).await,
                "join" if allowed => _ = client.ask(&format!("leave {name}")).await,
                _ => {}
            }
        }
    }
    client.ask("sub **").await;
    for is_cached in [true, false] {
        if !is_cached {
            authorizer.forget();
        }
        world.publish_on(name, "2").await;
        if may_read {
            client.receives(&["2"]).await;
        }
        client.receives_no_more().await;
    }
    client.ask("unsub **").await;
}

#[test]
fn commands_and_deliveries_agree() {
    let ruled = || {
        rules(&[
            ("staff.**", "role:staff", "role:staff"),
            ("news.**", "anyone", "nobody"),
            ("project:1", "role:staff", "authenticated"),
        ])
    };
    for policy in [rules(&[]), ruled()] {
        for authorizer_decides in [false, true] {
            let authorizer = FakeAuthorizer::new(true);
            let setup = Setup {
                policy: PolicyOptions {
                    authorizer: authorizer_decides,
                    rules: policy.rules.clone(),
                    ..rules(&[])
                },
                ..Setup::asking(&authorizer)
            };
            setup.run(|world| async move {
                for user in ["alice", "bob+staff"] {
                    let mut client = world.connect(user).await;
                    for name in CHANNELS {
                        try_all(&world, &authorizer, &mut client, user, name).await;
                    }
                }
            });
        }
    }
}
