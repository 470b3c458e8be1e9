//! Two nodes that share a journal, against a complete model: random publications, links that are cut or lose messages, a journal
//! that does not answer, evictions, restarts of nodes, and clients that reconnect to either node. Each loss is reported, no event is
//! repeated, the order is kept.
//!
//! `FANFARE_SEED` repeats a run, `FANFARE_MODEL_SECONDS` makes it longer.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use fanfare_cluster::{hub::Hub, journal::MemoryJournal};
use fanfare_core::{
    Audience, Inbound, PublishOptions,
    history::{Cursor, Retention},
    policy::{AccessControl, Policy, PolicyOptions},
};
use tokio::task::LocalSet;
use uuid::Uuid;

use super::{
    chance::Chance,
    client::{Client, in_memory},
    fakes::FakeAuthenticator,
    history_model::{self, play_for},
    plain::{PLAIN, Plain},
    world::{MAX_RECEIVERS, on, settings, who},
};
use crate::{
    Admission, Clock, Conflict, DialectSettings, Mounting, NewConnection, Node, NodeOptions, ObserveLimits,
    Shard, ShardHandle,
};

const CHANNELS: [&str; 5] = ["chat.a", "chat.b", "chat.c.d", "news", "chat.e"];
const SCOPES: [&str; 4] = ["chat.* news", "chat.a chat.c.d", "**", "chat.e"];
const LONG: Duration = Duration::from_secs(24 * 3600);
/// Longer than a node takes to find that it has missed the last event.
const SETTLED: Duration = Duration::from_secs(90);
/// The size of the journal: enough for some 20 events, so that the oldest are evicted.
const JOURNAL_BYTES: usize = 24 << 10;

/// A node that runs on this thread.
struct Site {
    name: String,
    node: Arc<Node>,
    shard: std::rc::Rc<Shard>,
}

impl Site {
    fn start(hub: &Hub, name: String, policy: PolicyOptions) -> Self {
        let settings = DialectSettings {
            ping_interval: LONG,
            ping_timeout: LONG,
            ..settings()
        };
        let node = Node::new(NodeOptions {
            dialects: vec![Mounting {
                kind: &PLAIN,
                dialect: Arc::new(Plain::default()),
                settings,
            }],
            authenticator: Arc::<FakeAuthenticator>::default(),
            access: AccessControl::new(Policy::new(policy), None),
            clock: Clock::simulated(),
            observe: ObserveLimits::default(),
            max_fan_out_receivers: MAX_RECEIVERS,
        });
        let inbound: Arc<dyn Inbound> = node.clone();
        let (handle, commands) = ShardHandle::channel();
        node.attach(vec![handle], Arc::new(hub.broker(&name, inbound)));
        let shard = Shard::new(0, node.clone());
        tokio::task::spawn_local(shard.clone().run(commands));
        Self { name, node, shard }
    }

    async fn connect(&self) -> Client {
        let address: IpAddr = [127, 0, 0, 1].into();
        let admission = Admission::enter(&self.node, &self.node.dialects[0], address, None).await;
        let guard = self.shard.reserve(NewConnection {
            admission: admission.unwrap(),
            identity: who("alice", LONG).map(Arc::new),
            id: Uuid::now_v7(),
            user_agent: None,
            guest: None,
            framing: crate::Framing::WebSocket(None),
            opening: None,
        });
        let (client, server, _) = in_memory();
        guard.await.unwrap().serve(server, &[]);
        client
    }
}

/// A client with its state.
struct Reader {
    scope: &'static str,
    /// Its last cursor; at first none.
    cursor: Option<Cursor>,
    /// The number of the last event that it was sent.
    last: u64,
    /// The numbers of all that it was sent on its connection. A client that resumes there once more does not receive them again.
    sent: HashSet<u64>,
    /// The number up to which events may be lost, as the server has reported.
    told: u64,
    /// Whether it must resume from its cursor: it has reconnected, or has lost an event.
    begins_anew: bool,
    /// The numbers that it has missed without a report yet; only if messages are lost on a connection that stays open.
    owed: Option<Vec<u64>>,
    /// Its connection, and to which site.
    connection: Option<(Client, usize)>,
}

struct Model {
    hub: Hub,
    sites: Vec<Site>,
    readers: Vec<Reader>,
    /// Whether messages are lost on connections that stay open.
    is_lossy: bool,
    published: u32,
    restarts: u32,
}

impl Reader {
    fn shows(&self, audience: &Audience) -> bool {
        let Audience::Channel(channel) = audience else {
            return false;
        };
        let mut scope = self.scope.split_whitespace();
        scope.any(|name| fanfare_core::Pattern::new(name).is_ok_and(|pattern| pattern.matches(channel)))
    }

    /// Returns the numbers of the events that it should have received between two numbers.
    fn between(&self, hub: &Hub, after: u64, before: u64) -> Vec<u64> {
        let kept = hub.kept().into_iter();
        let is_between = |number: u64| number > after && number < before && !self.sent.contains(&number);
        kept.filter(|(number, audience, _)| is_between(*number) && self.shows(audience))
            .map(|(number, ..)| number)
            .collect()
    }

    /// Processes the messages that it has received.
    fn take(&mut self, hub: &Hub, text: &str) {
        if let Some(at) = text.find(r#"{"cursor":"#) {
            let answer: serde_json::Value = serde_json::from_str(&text[at..]).unwrap();
            let cursor: Option<Cursor> = answer["cursor"].as_str().unwrap().parse().ok();
            let is_recovered = answer["recovered"].as_bool().unwrap();
            if let Some(owed) = &mut self.owed {
                owed.clear();
            }
            if text.starts_with("sub-since") && is_recovered {
                if self.begins_anew {
                    // The events that it has missed follow.
                    self.last = cursor.unwrap().number;
                    self.told = 0;
                }
                self.begins_anew = false;
            } else if let Some(cursor) = cursor {
                if text.starts_with("sub-since") {
                    self.last = cursor.number;
                    self.told = cursor.number;
                    self.begins_anew = false;
                } else {
                    self.begins_anew = true;
                    // It loads its state again.
                    self.told = hub.kept().last().map_or(0, |(number, ..)| *number);
                }
            } else {
                // The journal is unavailable: it loads its state again, and relies on later events.
                (self.last, self.told) = (0, hub.kept().last().map_or(0, |(number, ..)| *number));
                self.begins_anew = true;
            }
            self.cursor = cursor.or(self.cursor);
            return;
        }
        let Some((_, number)) = text.rsplit_once('@') else {
            let is_kept = hub
                .kept()
                .iter()
                .any(|(_, _, message)| String::from_utf8_lossy(message).contains(text));
            assert!(!is_kept, "{text} is kept and has no cursor");
            return;
        };
        let number = u64::from_str_radix(number, 16).unwrap();
        assert!(number > self.last, "{text} behind {}", self.last);
        let missed = self.between(hub, self.last.max(self.told), number);
        match &mut self.owed {
            Some(owed) => owed.extend(missed),
            None => assert!(missed.is_empty(), "{missed:?} before {text} in {}", self.scope),
        }
        self.last = number;
        self.sent.insert(number);
        if let Some(cursor) = &mut self.cursor {
            cursor.number = number;
        }
    }

    /// Reads all messages that it has received.
    async fn drain(&mut self, hub: &Hub) {
        let Some((mut client, site)) = self.connection.take() else {
            return;
        };
        client.say("no more").await;
        loop {
            let text = client.text().await;
            if text == "no more" {
                break;
            }
            self.take(hub, &text);
        }
        self.connection = Some((client, site));
    }

    /// Resumes on its connection.
    async fn resume(&mut self) {
        let cursor = self
            .cursor
            .map_or_else(|| "now".to_owned(), |cursor| cursor.to_string());
        if let Some((client, _)) = &mut self.connection {
            client.say(&format!("sub-since {cursor} {}", self.scope)).await;
        }
    }
}

impl Model {
    fn start(chance: &mut Chance) -> Self {
        let hub = Hub::keeping(MemoryJournal::new(JOURNAL_BYTES));
        let sites = ["a", "b"].map(|name| Site::start(&hub, name.to_owned(), policy()));
        let is_lossy = chance.below(3) == 0;
        let reader = |scope| Reader {
            scope,
            owed: is_lossy.then(Vec::new),
            cursor: None,
            last: 0,
            sent: HashSet::new(),
            told: 0,
            begins_anew: true,
            connection: None,
        };
        Self {
            hub,
            sites: sites.into(),
            readers: (0..4).map(|_| reader(chance.of(&SCOPES))).collect(),
            is_lossy,
            published: 0,
            restarts: 0,
        }
    }

    async fn publish(&mut self, chance: &mut Chance) {
        self.published += 1;
        let event = on(chance.of(&CHANNELS), &format!("\"event-{}.\"", self.published));
        let options = PublishOptions {
            receipt: chance.below(2) == 0,
        };
        let site = &self.sites[chance.below(self.sites.len())];
        let published = site.node.publish(vec![event], options, Conflict::Wait);
        if chance.below(3) == 0 {
            drop(tokio::task::spawn_local(published));
        } else {
            published.await.unwrap();
        }
    }

    async fn step(&mut self, chance: &mut Chance) {
        let site = chance.below(self.sites.len());
        let name = self.sites[site].name.clone();
        match chance.below(20) {
            0 => self.hub.set_cut(&name, true),
            1 if self.is_lossy => self.hub.set_deaf(&name, true),
            2..5 => {
                self.hub.set_cut(&name, false); // it reconnects
                self.hub.set_deaf(&name, false);
            }
            5 => {
                let refusals = u32::try_from(chance.below(5)).unwrap();
                self.hub.refuse_requests(refusals);
            }
            6 if chance.below(4) == 0 => self.restart(site),
            7 | 8 => {
                let pause = chance.below(3000) as u64;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            9..13 => {
                let reader = chance.below(self.readers.len());
                self.change(reader, site, chance).await;
            }
            _ => {
                for _ in 0..chance.below(5) {
                    self.publish(chance).await;
                }
            }
        }
    }

    /// A reader connects, resumes once more, reads, or is lost.
    async fn change(&mut self, reader: usize, site: usize, chance: &mut Chance) {
        let reader = &mut self.readers[reader];
        match (&reader.connection, chance.below(4)) {
            (None, _) => {
                let client = self.sites[site].connect().await;
                reader.connection = Some((client, site));
                reader.begins_anew = true;
                reader.sent.clear();
                reader.resume().await;
            }
            (Some(_), 0) => {
                reader.drain(&self.hub).await;
                reader.resume().await;
            }
            (Some(_), 1) => reader.connection = None,
            (Some(_), _) => reader.drain(&self.hub).await,
        }
    }

    /// Replaces a node that dies by another.
    fn restart(&mut self, site: usize) {
        self.restarts += 1;
        self.hub.set_cut(&self.sites[site].name, true);
        for reader in &mut self.readers {
            if reader.connection.as_ref().is_some_and(|(_, own)| *own == site) {
                reader.connection = None;
            }
        }
        let name = format!("{}{}", self.sites[site].name, self.restarts);
        self.sites[site] = Site::start(&self.hub, name, policy());
    }

    /// Ends all faults: each lost event is found.
    async fn continue_command(&mut self) {
        self.hub.refuse_requests(0);
        for site in &self.sites {
            self.hub.set_cut(&site.name, false);
            self.hub.set_deaf(&site.name, false);
        }
        tokio::time::sleep(SETTLED).await;
        for reader in &mut self.readers {
            reader.drain(&self.hub).await;
            if reader.connection.is_some() {
                let missed = reader.between(&self.hub, reader.last.max(reader.told), u64::MAX);
                assert!(missed.is_empty(), "{missed:?} in the end in {}", reader.scope);
                let owed = reader.owed.iter().flatten().count();
                assert_eq!(owed, 0, "{:?} in {}", reader.owed, reader.scope);
            }
        }
    }
}

fn policy() -> PolicyOptions {
    history_model::policy(Retention { size: 6, ttl: LONG })
}

#[test]
fn clients_of_two_nodes_are_notified_of_each_loss_and_receive_no_repeats() {
    let mut steps = 0;
    play_for(5, |seed| steps += play(seed));
    eprintln!("{steps} steps");
}

/// The seeds of rounds that have found a bug. The pauses of nodes vary, so each runs several times.
#[test]
fn rounds_that_failed_once_pass() {
    for seed in [
        12_001_420_979_935_177_575, // an audience whose last number the journal did not return in time
        11_758_368_572_663_036_770, // a fetched event that was dropped with its connection
        12_744_014_807_422_464_110, // a gap was reported behind later events
        9_287_377_047_426_489_396,  // a gap could not be reported without a number
        13_139_828_544_002_410_595, // a channel began to be watched by its name while all channels were compared
    ] {
        for _ in 0..2 {
            play(seed);
        }
    }
}

/// Returns the number of steps.
fn play(seed: u64) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut chance = Chance(seed);
        let mut model = Model::start(&mut chance);
        let mut steps = 0;
        for _ in 0..4 {
            for _ in 0..60 {
                model.step(&mut chance).await;
                steps += 1;
            }
            model.continue_command().await;
        }
        steps
    })
}
