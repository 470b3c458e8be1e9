//! A dialect for tests: its clients send the engine's commands as words and receive the answers as words.
//!
//! A message may have several commands, separated by `;`. Other texts are returned unchanged.

use std::{collections::VecDeque, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use fanfare_core::{
    Accept, Announcement, Audience, Channel, Command, Context, Conversation, Converse, Denial, DialectFacts,
    DialectKind, Draft, Ending, Event, Identity, Member, NodeFacts, Offer, Outcome, Presence, RawJson,
    Receives, Reception, Refusal, RefusalFacts, Rejection, Render, Rendering, RequestHead, Respond, Resume,
    Right, Step, Steps, Subscription, Token, UserId, history::Since,
};
use uuid::Uuid;

/// The options of a test dialect.
#[derive(Clone)]
pub(crate) struct Plain {
    pub(super) reception: Reception,
    /// Whether events pause at the expiry of a credential until there is another.
    pub(super) pauses: bool,
    /// The time between two ticks.
    pub(super) ticks: Option<Duration>,
    pub(super) notice: Option<&'static str>,
    pub(super) welcome: Option<&'static str>,
    /// The prefix of each rendering.
    pub(super) mark: &'static str,
    /// The role that each user must have.
    pub(super) role: Option<&'static str>,
    /// The grace of users who lost their connection.
    pub(super) grace: Duration,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            reception: Reception::both(Receives::Always),
            pauses: false,
            ticks: None,
            notice: None,
            welcome: None,
            mark: "",
            role: None,
            grace: Duration::ZERO,
        }
    }
}

impl Plain {
    /// Whether connections receive events only by subscriptions.
    pub(super) fn by_subscription() -> Self {
        Self {
            reception: Reception::both(Receives::Subscribed),
            ..Self::default()
        }
    }
}

/// The kind of all test dialects.
pub(crate) static PLAIN: DialectKind = DialectKind::new("plain", "/", "", |_| Arc::new(Plain::default()));

impl Accept for Plain {
    fn offer<'a>(&self, _: &RequestHead<'a>) -> Result<Offer<'a>, Refusal> {
        Ok(Offer::default())
    }
    fn recognizes(&self, text: &str) -> bool {
        text.starts_with("become")
    }
    fn admit(&self, identity: Option<&Identity>) -> Result<(), Refusal> {
        let wanting = |role: &str| identity.is_some_and(|identity| !identity.has_role(role));
        match self.role {
            Some(role) if wanting(role) => Err(Refusal::Forbidden),
            _ => Ok(()),
        }
    }
    fn refuse(&self, _refusal: Refusal, _about: &RefusalFacts<'_>) -> Rejection {
        Rejection::http(503, "")
    }
}

impl Converse for Plain {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Talk {
            welcome: self.welcome,
            pauses: self.pauses,
            asked: VecDeque::new(),
            fails: false,
        })
    }
    fn receives(&self) -> Reception {
        self.reception
    }
    fn leave_grace(&self) -> Duration {
        self.grace
    }
}

impl Render for Plain {
    fn announce(&self, change: Presence, member: &Member) -> Option<Announcement> {
        let user = &member.user;
        assert!(&**user != "speechless", "asked to");
        let word = match change {
            Presence::Joined if user.starts_with("loud") => "joined",
            Presence::Joined => return None,
            Presence::Left => "left",
        };
        let data = json(&format!("\"{user}-{word}\""));
        Some(Announcement { kind: word, data })
    }
    fn end(&self, ending: Ending) -> (u16, &'static str) {
        let failed = ending == Ending::InternalError;
        assert!(!failed || self.mark != "wordless", "asked to");
        (if failed { 1011 } else { 1008 }, ending.label())
    }
    fn own_types(&self) -> &'static [&'static str] {
        &["reserved"]
    }
    fn render(&self, event: &Event) -> Option<Rendering> {
        assert!(event.kind.as_deref() != Some("panic"), "asked to");
        (event.kind.as_deref() != Some("hidden"))
            .then(|| Rendering::Text(format!("{}{}", self.mark, event.data.as_str()).into()))
    }
    fn render_with_cursor(&self, event: &Event, cursor: &str) -> Option<Rendering> {
        let number = cursor.split_once('-').map_or("", |(_, number)| number);
        let plain = self.render(event)?;
        let text = std::str::from_utf8(plain.payload()).unwrap();
        Some(Rendering::Text(format!("{text}@{number}").into()))
    }
    fn tick_interval(&self) -> Option<Duration> {
        self.ticks
    }
    fn tick(&self, count: u64, _id: Uuid, _node: &NodeFacts, own: &DialectFacts) -> Option<Rendering> {
        Some(Rendering::Text(format!("tick {count} of {}", own.active).into()))
    }
    fn drain_notice(&self, _id: Uuid, _now: SystemTime) -> Option<Rendering> {
        self.notice.map(|text| Rendering::Text(text.into()))
    }
}

impl Respond for Plain {}

struct Talk {
    welcome: Option<&'static str>,
    pauses: bool,
    /// The open command, and the commands to run after it, each with its words.
    asked: VecDeque<(Vec<String>, Command)>,
    /// Whether it must panic when it is called without a message.
    fails: bool,
}

impl Talk {
    fn ask(&mut self, words: &[&str], command: Command, steps: &mut Steps) {
        if self.asked.is_empty() {
            steps.push(Step::Ask(command.clone()));
        }
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        self.asked.push_back((words, command));
    }
}

impl Conversation for Talk {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        steps.extend(self.welcome.map(say));
        if let Some(since) = context.opening.and_then(|opening| opening.resume) {
            self.ask(&["resumed"], Command::Resume(since), steps);
        }
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        assert!(text != "panic", "asked to");
        for command in text.split(';') {
            let words: Vec<&str> = command.split_whitespace().collect();
            match (words.as_slice(), asked(&words)) {
                (_, Some(command)) => self.ask(&words, command, steps),
                (["timer", after], _) => {
                    steps.push(Step::Timer(after.parse().ok().map(Duration::from_millis)));
                }
                (["many", count, text], _) => {
                    steps.extend((0..count.parse().unwrap()).map(|n| say(&format!("{n} {text}"))));
                }
                (["who"], _) => {
                    let who = context.identity.map_or("nobody", |identity| &identity.user);
                    steps.push(say(&format!("who: {who}")));
                }
                (["fail", "later"], _) => self.fails = true,
                (["end"], _) => steps.push(Step::Close(1000, "bye".into())),
                _ => steps.push(say(command)),
            }
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        let (words, _) = self.asked.pop_front().unwrap();
        let resumed = context
            .resumed
            .map(|resumed| format!(" {}", resumed.json()))
            .unwrap_or_default();
        steps.push(say(&format!(
            "{}: {}{resumed}",
            words[0],
            in_words(answer, context)
        )));
        steps.extend(self.asked.front().map(|(_, next)| Step::Ask(next.clone())));
        // A visitor leaves where it came in, and comes in where it goes next.
        if let [verb, room, next @ ..] = &words[..]
            && verb == "visit"
        {
            let leave = [["leave", room]].into_iter();
            for words in leave.chain(next.iter().map(|room| ["join", &**room])) {
                self.ask(&words, asked(&words).unwrap(), steps);
            }
        }
    }

    fn timer(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        assert!(!self.fails, "asked to");
        steps.push(say("timer"));
    }

    fn expired(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(if self.pauses {
            Step::Pause
        } else {
            Step::End(Ending::TokenExpired)
        });
        if self.pauses {
            steps.push(say("expired"));
        }
    }

    fn lapsed(&mut self, channel: &Channel, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(say(&format!("lapsed {channel}")));
    }

    fn limited(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(say("limited"));
    }
}

/// Parses a command.
fn asked(words: &[&str]) -> Option<Command> {
    let (verb, rest) = words.split_first()?;
    let all = || {
        rest.iter()
            .map(|name| Subscription::parse(name).unwrap())
            .collect()
    };
    let room = || Channel::new(rest[0]).unwrap();
    Some(match *verb {
        "sub" => Command::Subscribe {
            to: all(),
            whole: false,
            resume: None,
        },
        "resume" => Command::Resume(since(rest.first())),
        "sub-since" => Command::Subscribe {
            to: rest[1..]
                .iter()
                .map(|name| Subscription::parse(name).unwrap())
                .collect(),
            whole: false,
            resume: Some(Resume {
                since: since(rest.first()),
                of_all: false,
            }),
        },
        "join-since" => Command::Join {
            room: Channel::new(rest[1]).unwrap(),
            wants_members: false,
            resume: Some(since(rest.first())),
        },
        "sub-all" => Command::Subscribe {
            to: all(),
            whole: true,
            resume: None,
        },
        "sub-by" => Command::SubscribeBy {
            channel: room(),
            credential: Token(rest[1].into()),
        },
        "unsub" => Command::Unsubscribe(all()),
        "join" | "visit" => Command::Join {
            room: room(),
            wants_members: rest.get(1) == Some(&"members"),
            resume: None,
        },
        "leave" => Command::Leave(room()),
        "pub" => Command::Publish(draft(rest, Right::Rules, None)?),
        "pub-member" => Command::Publish(draft(rest, Right::Member, None)?),
        "pub-others" => Command::Publish(Draft {
            echo: false,
            ..draft(rest, Right::Rules, None)?
        }),
        "pub-as" => Command::Publish(draft(&rest[1..], Right::Rules, Some(rest[0]))?),
        "direct" => Command::Publish(Draft {
            to: Audience::User(UserId::new(rest[0]).unwrap()),
            ..draft(&["x", rest[1]], Right::Rules, None)?
        }),
        "pub-all" => Command::Publish(Draft {
            to: Audience::Everyone,
            ..draft(&["x", rest[0]], Right::Rules, None)?
        }),
        "auth" => Command::Authenticate(Token(rest[0].into())),
        "facts" => Command::Facts,
        _ => return None,
    })
}

/// Parses the start of a resume: a cursor, `now`, or a `rewind` after a `~`.
fn since(word: Option<&&str>) -> Since {
    match word.copied() {
        None | Some("now") => Since::Now,
        Some(word) => word
            .strip_prefix('~')
            .map_or_else(|| Since::resume(word), Since::rewind),
    }
}

/// Parses a channel's name and JSON.
fn draft(words: &[&str], right: Right, kind: Option<&str>) -> Option<Draft> {
    let [channel, data] = words else { return None };
    Some(Draft {
        to: Audience::Channel(Channel::new(channel).unwrap()),
        kind: kind.map(Into::into),
        data: json(data),
        metadata: None,
        right,
        echo: true,
    })
}

fn in_words(answer: Result<Outcome, Denial>, context: &Context<'_>) -> String {
    let word = |each: &Result<(), Denial>| each.map_or_else(Denial::label, |()| "ok");
    match answer {
        Err(denial) => denial.label().into(),
        Ok(Outcome::Subscribed(each)) => each.iter().map(word).collect::<Vec<_>>().join(" "),
        Ok(Outcome::Authenticated) => context.identity.unwrap().user.to_string(),
        Ok(Outcome::Joined {
            members: Some(mut members),
        }) => {
            members.sort_by(|a, b| a.user.cmp(&b.user));
            let users: Vec<_> = members.iter().map(|member| &*member.user).collect();
            users.join(" ")
        }
        Ok(Outcome::Facts(facts)) => format!("{} active", facts.active),
        Ok(
            Outcome::Unsubscribed
            | Outcome::Joined { members: None }
            | Outcome::Left
            | Outcome::Resumed
            | Outcome::Published { .. },
        ) => "ok".into(),
    }
}

fn json(text: &str) -> RawJson {
    RawJson::parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn say(text: &str) -> Step {
    Step::text(text.to_owned())
}
