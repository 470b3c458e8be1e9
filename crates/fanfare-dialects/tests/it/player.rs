//! Plays one scene against a dialect.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use fanfare_core::{
    BrokerHealth, Call, Channel, ConnectionFacts, Context, Conversation, Dialect, DialectKind, DialectReport,
    Ending, HttpError, HttpReply, Identity, JsonMap, ListenMessage, Listening, Message, NodeFacts, Opening,
    Plan, Presence, Reach, Receipt, Refusal, RefusalFacts, Rendering, Report, RequestHead, Steps,
    history::Resumption, path_matches,
};
use serde_json::Value;

use crate::{
    script,
    words::{self, CONNECTION, ID, now},
};

/// Finds a prologue's steps by its title.
pub(crate) type Given<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// A dialect with one connection.
struct Player {
    kind: &'static DialectKind,
    dialect: Arc<dyn Dialect>,
    name: Option<String>,
    identity: Option<Arc<Identity>>,
    /// The requests of the next connection's handshake.
    opening: Option<Box<Opening>>,
    /// The answer to a resume, for the next call.
    resumed: Option<Resumption>,
    conversation: Option<Box<dyn Conversation>>,
    /// The number of open commands.
    asked: usize,
    plan: Option<Plan>,
    classify: Option<fn(&str) -> ListenMessage>,
    /// The actions that no line has expected yet.
    actions: VecDeque<String>,
}

/// Plays a scene. Returns its lines, with the actual instead of the expected actions.
///
/// # Panics
/// If a step is invalid.
pub(crate) fn play(kind: &'static DialectKind, body: &str, given: &Given<'_>) -> String {
    let mut player = Player {
        kind,
        dialect: (kind.open)(&words::options(kind, "{}")),
        name: None,
        identity: None,
        opening: None,
        resumed: None,
        conversation: None,
        asked: 0,
        plan: None,
        classify: None,
        actions: VecDeque::new(),
    };
    let mut output = Vec::new();
    let mut last_step = 0; // later comments belong to the next step
    for line in body.lines() {
        if script::is_comment(line) {
            output.push(line.to_owned());
            continue;
        }
        if script::is_expected(line) {
            output.extend(player.expect(line));
        } else {
            output.splice(last_step..last_step, player.actions.drain(..));
            player.play(line, given);
            output.push(line.to_owned());
        }
        last_step = output.len();
    }
    output.splice(last_step..last_step, player.actions.drain(..));
    output.iter().flat_map(|line| [line, "\n"]).collect()
}

impl Player {
    /// Returns the actual line in place of `expected`, if there is one.
    fn expect(&mut self, expected: &str) -> Option<String> {
        if expected == "nothing" {
            return self.actions.is_empty().then(|| expected.to_owned());
        }
        let actual = self.actions.pop_front()?;
        // White space at the end of a line does not count.
        Some(if actual.trim_end() == expected.trim_end() {
            expected.to_owned()
        } else {
            actual.trim_end().to_owned()
        })
    }

    fn play(&mut self, line: &str, given: &Given<'_>) {
        let (word, rest) = script::split(line);
        if word == "given" {
            return self.play_given(&given(rest).unwrap_or_else(|error| panic!("{line}: {error}")));
        }
        let known = self.play_connection(word, rest)
            || self.play_handshake(word, rest)
            || self.play_server_message(word, rest)
            || self.play_route(word, rest)
            || self.play_listen(word, rest);
        assert!(known, "no such step: {line}");
    }

    /// Plays the steps of a prologue, whose results are checked by the prologue's own test.
    fn play_given(&mut self, prologue: &str) {
        let steps = prologue
            .lines()
            .filter(|line| !script::is_comment(line) && !script::is_expected(line));
        for step in steps {
            self.play(step, &|_| Err("a prologue has no prologue".into()));
            self.actions.clear();
        }
    }

    /// Plays a step of the connection. Returns `false` if `word` is not one.
    fn play_connection(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "options" => self.dialect = (self.kind.open)(&words::options(self.kind, rest)),
            "asks" => {
                self.opening = with_handshake(self.kind.path, rest, |handshake| {
                    let offer = self.dialect.offer(handshake);
                    offer.expect("an offer").opening
                });
            }
            "name" => self.name = Some(rest.to_owned()),
            "open" => {
                self.identity = words::identity(rest).map(Arc::new);
                let name = self.name.take().or_else(|| self.dialect.name_for(CONNECTION));
                self.conversation = Some(self.dialect.converse(name.as_deref()));
                self.converse(|client, context, steps| client.opened(context, steps));
            }
            ">" => self.converse(|client, context, steps| {
                client.received(Message::Text(rest), context, steps);
            }),
            ">>" => {
                let bytes = words::unhex(rest);
                self.converse(|client, context, steps| {
                    client.received(Message::Binary(&bytes), context, steps);
                });
            }
            "answer" => {
                let (rest, resumed) = rest.split_once(" resume ").unwrap_or((rest, ""));
                self.resumed = (!resumed.is_empty()).then(|| words::resumption(resumed));
                let (answer, identity) = words::answer(rest);
                if let Some(identity) = identity {
                    self.identity = Some(Arc::new(identity));
                }
                self.asked = self.asked.checked_sub(1).expect("an open command");
                self.converse(|client, context, steps| client.answered(answer, context, steps));
            }
            "timer" => self.converse(|client, context, steps| client.timer(context, steps)),
            "expired" => self.converse(|client, context, steps| client.expired(context, steps)),
            "lapsed" => {
                let channel = Channel::new(rest).expect("a channel");
                self.converse(|client, context, steps| client.lapsed(&channel, context, steps));
            }
            "caught-up" => self.converse(|client, context, steps| client.caught_up(context, steps)),
            "limited" => self.converse(|client, context, steps| client.limited(context, steps)),
            _ => return false,
        }
        true
    }

    /// Plays a handshake, an admission or a refusal.
    fn play_handshake(&mut self, word: &str, rest: &str) -> bool {
        let action = match word {
            "offer" => with_handshake(self.kind.path, rest, |handshake| self.offer(handshake)),
            "claims" => {
                with_handshake(self.kind.path, rest, |handshake| self.dialect.claims(handshake)).to_string()
            }
            "recognizes" => self.dialect.recognizes(rest).to_string(),
            "put-off" => {
                let (label, rest) = script::split(rest);
                let refusal = refusal(label);
                let body = with_handshake(self.kind.path, rest, |request| {
                    self.dialect.refuse_temporarily(request, refusal, &about(None))
                });
                body.map_or("no".into(), |body| words::escaped(&body))
            }
            "admit" => match self.dialect.admit(words::identity(rest).as_ref()) {
                Ok(()) => "admitted".into(),
                Err(refusal) => self.refuse(refusal, None),
            },
            "refuse" => {
                let (label, name) = script::split(rest);
                self.refuse(refusal(label), Some(name).filter(|name| !name.is_empty()))
            }
            _ => return false,
        };
        self.actions.push_back(action);
        true
    }

    /// Plays a message of the server.
    fn play_server_message(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "publish" => match rest.split_once(" at ") {
                Some((event, cursor)) => {
                    self.record(self.dialect.render_with_cursor(&words::event(event), cursor));
                }
                None => self.record(self.dialect.render(&words::event(rest))),
            },
            "missed" => self.record(self.dialect.missed(&words::resumption(rest), ID, now())),
            "end" => {
                let ending = Ending::ALL.iter().find(|ending| ending.label() == rest);
                let ending = *ending.expect("an ending's label");
                self.record(self.dialect.closing_message(ending, now()));
                let (code, reason) = self.dialect.end(ending);
                self.actions.push_back(format!("close {code} {reason}"));
            }
            "joins" => self.record_announcement(Presence::Joined, rest),
            "leaves" => self.record_announcement(Presence::Left, rest),
            "ping" => self.record(self.dialect.ping(now())),
            "tick" => {
                let count = rest.parse().expect("a count");
                self.record(self.dialect.tick(count, ID, &node(), &words::facts()));
            }
            "drain" => self.record(self.dialect.drain_notice(ID, now())),
            _ => return false,
        }
        true
    }

    /// Plays a request to a route of the dialect, or to a route of the server with the dialect's fields.
    fn play_route(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "call" => self.call(rest),
            "receipt" => self.receipt(rest),
            "report" => {
                let Some(Plan::Report { connections, then }) = self.plan.take() else {
                    panic!("no report was requested")
                };
                let report = Report {
                    draining: rest == "draining",
                    ..report(connections)
                };
                self.record_reply(&then(&report));
            }
            "fail" => self.fail(rest),
            "health" => self.record_fields(self.dialect.health(
                &BrokerHealth::Embedded,
                &node(),
                &words::facts(),
            )),
            "metrics" => self.record_fields(self.dialect.metrics(&node(), &words::facts())),
            _ => return false,
        }
        true
    }

    fn play_listen(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "listen" => self.listen(rest),
            "receives" => {
                let classify = self.classify.expect("a plan to listen");
                self.actions.push_back(words::classified(classify(rest)));
            }
            _ => return false,
        }
        true
    }

    fn receipt(&mut self, line: &str) {
        let (queued, rest) = script::split(line);
        let queued = queued.parse().expect("a count");
        let Some(Plan::Publish(_, then)) = self.plan.take() else {
            panic!("nothing was published")
        };
        let reach = Reach {
            matched: queued,
            queued,
            dropped: 0,
        };
        self.record_reply(&then(Receipt {
            reach,
            nodes: 1,
            degraded: rest == "degraded",
            is_duplicate: false,
        }));
    }

    fn converse(&mut self, call: impl FnOnce(&mut dyn Conversation, &Context<'_>, &mut Steps)) {
        let mut steps = Steps::new();
        let conversation = self.conversation.as_mut().expect("an open connection");
        let (opening, resumed) = (self.opening.take(), self.resumed.take());
        let context = Context {
            opening: opening.as_deref(),
            resumed: resumed.as_ref(),
            ..Context::new(now(), CONNECTION, self.identity.as_ref())
        };
        call(&mut **conversation, &context, &mut steps);
        for step in &steps {
            self.asked += usize::from(matches!(step, fanfare_core::Step::Ask(_)));
            self.actions.push_back(words::step(step));
        }
    }

    fn listen(&mut self, line: &str) {
        let mut words = line.split_whitespace().peekable();
        let token = words.next_if_eq(&"token").and_then(|_| words.next());
        let own = words.next_if_eq(&"own").is_some();
        let channels: Vec<_> = words.map(str::to_owned).collect();
        let wanted = Listening {
            token,
            own,
            channels: &channels,
        };
        let Some(plan) = (self.kind.listen)(&wanted) else {
            return self.actions.push_back("no way".into());
        };
        self.classify = Some(plan.classify);
        self.actions.push_back(format!("connects {}", plan.target));
        self.actions
            .extend(plan.frames.iter().map(|frame| format!("sends {frame}")));
        self.actions
            .push_back(format!("confirmations {}", plan.confirmations));
    }

    fn record_announcement(&mut self, change: Presence, user: &str) {
        let member = words::member(user).expect("a user");
        let announced = self.dialect.announce(change, &member);
        self.actions
            .extend(announced.map(|event| format!("announces {} {}", event.kind, event.data.as_str())));
    }

    fn record(&mut self, rendering: Option<Rendering>) {
        self.actions
            .extend(rendering.map(|rendering| words::rendering(&rendering)));
    }

    fn offer(&self, handshake: &RequestHead<'_>) -> String {
        match self.dialect.offer(handshake) {
            Ok(offer) => {
                let mut text = String::from("offered");
                for (what, value) in [
                    ("token", offer.token),
                    ("name", offer.name),
                    ("subprotocol", offer.subprotocol),
                ] {
                    text.extend(value.map(|value| format!(" {what} {value:?}")));
                }
                text
            }
            Err(refusal) => self.refuse(refusal, None),
        }
    }

    fn refuse(&self, refusal: Refusal, name: Option<&str>) -> String {
        words::rejection(&self.dialect.refuse(refusal, &about(name)))
    }

    fn call(&mut self, line: &str) {
        let mut parts = line.splitn(3, ' ');
        let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = Bytes::copy_from_slice(parts.next().unwrap_or_default().as_bytes());
        let found = self
            .dialect
            .endpoints()
            .iter()
            .find(|endpoint| endpoint.method == method && path_matches(endpoint.path, path));
        let Some(endpoint) = found else {
            let error = HttpError {
                status: 405,
                message: "method not allowed",
                id: ID,
                now: now(),
            };
            return self.record_reply(&self.dialect.fail(&error));
        };
        let head = RequestHead::new(query, &|_| None).at(endpoint.path, path);
        match self.dialect.call(&Call {
            path: endpoint.path,
            head,
            body: &body,
            now: now(),
            id: ID,
        }) {
            Plan::Reply(reply) => self.record_reply(&reply),
            Plan::Publish(event, then) => {
                let audience = &event.audience;
                let kind = event.kind.as_deref().unwrap_or("-");
                self.actions
                    .push_back(format!("publishes {audience:?} {kind} {}", event.data.as_str()));
                self.plan = Some(Plan::Publish(event, then));
            }
            plan @ Plan::Report { .. } => self.plan = Some(plan),
        }
    }

    fn fail(&mut self, line: &str) {
        let (status, message) = line.split_once(' ').expect("a status and a message");
        let error = HttpError {
            status: status.parse().expect("a status"),
            message,
            id: ID,
            now: now(),
        };
        self.record_reply(&self.dialect.fail(&error));
    }

    fn record_fields(&mut self, fields: JsonMap) {
        self.actions
            .push_back(format!("fields {}", Value::Object(fields)));
    }

    fn record_reply(&mut self, reply: &HttpReply) {
        self.actions
            .push_back(format!("reply {} {}", reply.status, reply.body));
    }
}

fn refusal(label: &str) -> Refusal {
    let found = Refusal::ALL.iter().find(|refusal| refusal.label() == label);
    *found.expect("a refusal's label")
}

/// Parses `[PATH?][QUERY] [| HEADER: VALUE]…`.
fn with_handshake<T>(template: &'static str, line: &str, look: impl FnOnce(&RequestHead<'_>) -> T) -> T {
    let mut parts = line.split('|').map(str::trim);
    let target = parts.next().unwrap_or_default();
    let (path, query) = if target.starts_with('/') {
        target.split_once('?').unwrap_or((target, ""))
    } else {
        (template, target)
    };
    let headers: Vec<_> = parts.filter_map(|header| header.split_once(':')).collect();
    let header = |name: &str| {
        headers
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    look(&RequestHead::new(query, &header).at(template, path))
}

fn about(name: Option<&str>) -> RefusalFacts<'_> {
    RefusalFacts {
        name,
        active: 1000,
        max_connections: 1000,
        id: ID,
        now: now(),
    }
}

fn node() -> NodeFacts {
    NodeFacts {
        now: now(),
        uptime: Duration::from_millis(3_600_500),
        started_at: now() - Duration::from_millis(3_600_500),
        version: "0.1.0",
        publications_received: 9,
        publications_rejected: 1,
        shards: 2,
    }
}

fn report(connections: bool) -> Report {
    let at = |seconds| -> SystemTime { now() - Duration::from_secs(seconds) };
    let of = |name: &str, pinged_at| ConnectionFacts {
        name: Some(name.into()),
        opened_at: at(1800),
        pinged_at,
        user_agent: Some("test/1.0".into()),
    };
    Report {
        node: node(),
        own: words::facts(),
        settings: DialectReport {
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(60),
            max_message_size: 65536,
        },
        listener: SocketAddr::from(([0, 0, 0, 0], 8000)),
        log_level: "info",
        draining: false,
        shutdown_timeout: Duration::from_secs(1800),
        connections: if connections {
            vec![of("one", Some(at(30))), of("two", None)]
        } else {
            Vec::new()
        },
    }
}
