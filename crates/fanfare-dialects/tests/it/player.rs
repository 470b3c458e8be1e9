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
    options::options,
    script,
    words::{self, CONNECTION, ID, now},
};

/// Finds a prologue's steps by its title.
pub(crate) type Given<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// A dialect with one connection, and its actions that no line has expected yet.
struct Stage {
    kind: &'static DialectKind,
    dialect: Arc<dyn Dialect>,
    name: Option<String>,
    identity: Option<Arc<Identity>>,
    /// The requests of the next connection's handshake.
    opening: Option<Box<Opening>>,
    /// The answer to a resume, for the next call.
    resumed: Option<Resumption>,
    conversation: Option<Box<dyn Conversation>>,
    /// Open commands.
    asked: usize,
    plan: Option<Plan>,
    classify: Option<fn(&str) -> ListenMessage>,
    seen: VecDeque<String>,
}

/// Plays a scene; returns its lines, with the actual instead of the expected ones.
///
/// A scene without a difference is returned as it was. Panics if a step cannot be done.
pub(crate) fn play(kind: &'static DialectKind, body: &str, given: &Given<'_>) -> String {
    let mut stage = Stage {
        kind,
        dialect: (kind.open)(&options(kind, "{}")),
        name: None,
        identity: None,
        opening: None,
        resumed: None,
        conversation: None,
        asked: 0,
        plan: None,
        classify: None,
        seen: VecDeque::new(),
    };
    let mut played = Vec::new();
    let mut last_step = 0; // comments after it belong to what follows
    for line in body.lines() {
        if script::is_comment(line) {
            played.push(line.to_owned());
            continue;
        }
        if script::is_expected(line) {
            played.extend(stage.sees(line));
        } else {
            played.splice(last_step..last_step, stage.seen.drain(..));
            stage.does(line, given);
            played.push(line.to_owned());
        }
        last_step = played.len();
    }
    played.splice(last_step..last_step, stage.seen.drain(..));
    played.iter().flat_map(|line| [line, "\n"]).collect()
}

impl Stage {
    /// Returns the actual line in place of `expected`, if there is one.
    fn sees(&mut self, expected: &str) -> Option<String> {
        if expected == "nothing" {
            return self.seen.is_empty().then(|| expected.to_owned());
        }
        let seen = self.seen.pop_front()?;
        // White space at the end of a line does not count.
        Some(if seen.trim_end() == expected.trim_end() {
            expected.to_owned()
        } else {
            seen.trim_end().to_owned()
        })
    }

    fn does(&mut self, line: &str, given: &Given<'_>) {
        let (word, rest) = script::split(line);
        if word == "given" {
            return self.prepares(&given(rest).unwrap_or_else(|error| panic!("{line}: {error}")));
        }
        let known = self.acts(word, rest)
            || self.connects(word, rest)
            || self.speaks(word, rest)
            || self.serves(word, rest)
            || self.listens(word, rest);
        assert!(known, "no such step: {line}");
    }

    /// Plays the steps of a prologue, whose results its own test checks.
    fn prepares(&mut self, prologue: &str) {
        let steps = prologue
            .lines()
            .filter(|line| !script::is_comment(line) && !script::is_expected(line));
        for step in steps {
            self.does(step, &|_| Err("a prologue has none of its own".into()));
            self.seen.clear();
        }
    }

    /// Steps that happen to the connection.
    fn acts(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "options" => self.dialect = (self.kind.open)(&options(self.kind, rest)),
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
                self.converse(|talk, context, steps| talk.opened(context, steps));
            }
            ">" => self.converse(|talk, context, steps| {
                talk.received(Message::Text(rest), context, steps);
            }),
            ">>" => {
                let bytes = words::unhex(rest);
                self.converse(|talk, context, steps| {
                    talk.received(Message::Binary(&bytes), context, steps);
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
                self.converse(|talk, context, steps| talk.answered(answer, context, steps));
            }
            "timer" => self.converse(|talk, context, steps| talk.timer(context, steps)),
            "expired" => self.converse(|talk, context, steps| talk.expired(context, steps)),
            "lapsed" => {
                let channel = Channel::new(rest).expect("a channel");
                self.converse(|talk, context, steps| talk.lapsed(&channel, context, steps));
            }
            "caught-up" => self.converse(|talk, context, steps| talk.caught_up(context, steps)),
            "limited" => self.converse(|talk, context, steps| talk.limited(context, steps)),
            _ => return false,
        }
        true
    }

    /// Steps before there is a connection: handshakes, admission, refusals.
    fn connects(&mut self, word: &str, rest: &str) -> bool {
        let seen = match word {
            "offer" => with_handshake(self.kind.path, rest, |handshake| self.offered(handshake)),
            "claims" => {
                with_handshake(self.kind.path, rest, |handshake| self.dialect.claims(handshake)).to_string()
            }
            "recognizes" => self.dialect.recognizes(rest).to_string(),
            "put-off" => {
                let (label, rest) = script::split(rest);
                let refusal = Refusal::ALL.iter().find(|refusal| refusal.label() == label);
                let refusal = *refusal.expect("a refusal's label");
                let body = with_handshake(self.kind.path, rest, |request| {
                    self.dialect.refuse_temporarily(request, refusal, &about(None))
                });
                body.map_or("no".into(), |body| words::escaped(&body))
            }
            "admit" => match self.dialect.admit(words::identity(rest).as_ref()) {
                Ok(()) => "admitted".into(),
                Err(refusal) => self.refused(refusal, None),
            },
            "refuse" => {
                let (label, name) = script::split(rest);
                let refusal = Refusal::ALL.iter().find(|refusal| refusal.label() == label);
                self.refused(
                    *refusal.expect("a refusal's label"),
                    Some(name).filter(|name| !name.is_empty()),
                )
            }
            _ => return false,
        };
        self.seen.push_back(seen);
        true
    }

    /// Messages that the server sends by the dialect.
    fn speaks(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "publish" => match rest.split_once(" at ") {
                Some((event, cursor)) => {
                    self.says(self.dialect.render_with_cursor(&words::event(event), cursor));
                }
                None => self.says(self.dialect.render(&words::event(rest))),
            },
            "missed" => self.says(self.dialect.missed(&words::resumption(rest), ID, now())),
            "end" => {
                let ending = Ending::ALL.iter().find(|ending| ending.label() == rest);
                let ending = *ending.expect("an ending's label");
                self.says(self.dialect.closing_message(ending, now()));
                let (code, reason) = self.dialect.end(ending);
                self.seen.push_back(format!("close {code} {reason}"));
            }
            "joins" => self.announces(Presence::Joined, rest),
            "leaves" => self.announces(Presence::Left, rest),
            "ping" => self.says(self.dialect.ping(now())),
            "tick" => {
                let count = rest.parse().expect("a count");
                self.says(self.dialect.tick(count, ID, &node(), &words::facts()));
            }
            "drain" => self.says(self.dialect.drain_notice(ID, now())),
            _ => return false,
        }
        true
    }

    /// The dialect's own routes, and its part of the server's routes.
    fn serves(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "call" => self.call(rest),
            "receipt" => self.receipt(rest),
            "report" => {
                let Some(Plan::Report { connections, then }) = self.plan.take() else {
                    panic!("no report is wanted")
                };
                let report = Report {
                    draining: rest == "draining",
                    ..report(connections)
                };
                self.replies(&then(&report));
            }
            "fail" => self.fail(rest),
            "health" => self.shows(
                self.dialect
                    .health(&BrokerHealth::Embedded, &node(), &words::facts()),
            ),
            "metrics" => self.shows(self.dialect.metrics(&node(), &words::facts())),
            _ => return false,
        }
        true
    }

    fn listens(&mut self, word: &str, rest: &str) -> bool {
        match word {
            "listen" => self.listen(rest),
            "receives" => {
                let classify = self.classify.expect("a plan to listen");
                self.seen.push_back(words::classified(classify(rest)));
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
        self.replies(&then(Receipt {
            reach,
            nodes: 1,
            degraded: rest == "degraded",
            is_duplicate: false,
        }));
    }

    fn converse(&mut self, act: impl FnOnce(&mut dyn Conversation, &Context<'_>, &mut Steps)) {
        let mut steps = Steps::new();
        let talking = self.conversation.as_mut().expect("an open connection");
        let (opening, resumed) = (self.opening.take(), self.resumed.take());
        let context = Context {
            opening: opening.as_deref(),
            resumed: resumed.as_ref(),
            ..Context::new(now(), CONNECTION, self.identity.as_ref())
        };
        act(&mut **talking, &context, &mut steps);
        for step in &steps {
            self.asked += usize::from(matches!(step, fanfare_core::Step::Ask(_)));
            self.seen.push_back(words::step(step));
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
            return self.seen.push_back("no way".into());
        };
        self.classify = Some(plan.classify);
        self.seen.push_back(format!("connects {}", plan.target));
        self.seen
            .extend(plan.frames.iter().map(|frame| format!("sends {frame}")));
        self.seen
            .push_back(format!("confirmations {}", plan.confirmations));
    }

    fn announces(&mut self, change: Presence, user: &str) {
        let member = words::member(user).expect("a user");
        let said = self.dialect.announce(change, &member);
        self.seen
            .extend(said.map(|said| format!("announces {} {}", said.kind, said.data.as_str())));
    }

    fn says(&mut self, rendering: Option<Rendering>) {
        self.seen.extend(rendering.map(words::rendering));
    }

    fn offered(&self, handshake: &RequestHead<'_>) -> String {
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
            Err(refusal) => self.refused(refusal, None),
        }
    }

    fn refused(&self, refusal: Refusal, name: Option<&str>) -> String {
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
            return self.replies(&self.dialect.fail(&error));
        };
        let head = RequestHead::new(query, &|_| None).at(endpoint.path, path);
        match self.dialect.call(&Call {
            path: endpoint.path,
            head,
            body: &body,
            now: now(),
            id: ID,
        }) {
            Plan::Reply(reply) => self.replies(&reply),
            Plan::Publish(event, then) => {
                let audience = &event.audience;
                let kind = event.kind.as_deref().unwrap_or("-");
                self.seen
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
        self.replies(&self.dialect.fail(&error));
    }

    fn shows(&mut self, fields: JsonMap) {
        self.seen.push_back(format!("fields {}", Value::Object(fields)));
    }

    fn replies(&mut self, reply: &HttpReply) {
        self.seen
            .push_back(format!("reply {} {}", reply.status, reply.body));
    }
}

/// Reads `[PATH?][QUERY] [| HEADER: VALUE]…`.
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
