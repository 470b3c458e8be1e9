//! One connection: it replies to each line with a line.

use bytes::Bytes;
use fanfare_core::{
    Audience, Channel, Command, Context, Conversation, Converse, Denial, Draft, Outcome, RawJson, Receives,
    Reception, Right, Step, Steps, Subscription, Token,
};
use serde_json::Value;

use super::Line;

impl Converse for Line {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::<Client>::default()
    }

    fn receives(&self) -> Reception {
        Reception {
            user: Receives::Always,
            everyone: Receives::Never,
        }
    }
}

#[derive(Default)]
struct Client {
    /// The first two words of the open command.
    asked: String,
}

impl Conversation for Client {
    fn text(&mut self, line: &str, _context: &Context<'_>, steps: &mut Steps) {
        match command(line) {
            Some(command) => {
                let words: Vec<_> = line.split(' ').take(2).collect();
                self.asked = words.join(" ");
                steps.push(Step::Ask(command));
            }
            None => steps.push(reply("ERR bad line".to_owned())),
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, _context: &Context<'_>, steps: &mut Steps) {
        let asked = &self.asked;
        steps.push(reply(match answer {
            Err(denial) => format!("ERR {asked} {}", denial.label()),
            Ok(Outcome::Subscribed(verdicts)) if verdicts.iter().any(Result::is_err) => {
                format!("ERR {asked} {}", Denial::Forbidden.label())
            }
            Ok(Outcome::Joined {
                members: Some(mut members),
            }) => {
                members.sort_by(|a, b| a.user.cmp(&b.user));
                let names: Vec<_> = members.iter().map(|member| &*member.user).collect();
                format!("OK {asked} {}", names.join(" "))
            }
            Ok(_) => format!("OK {asked}"),
        }));
    }

    fn lapsed(&mut self, channel: &Channel, _context: &Context<'_>, steps: &mut Steps) {
        steps.push(reply(format!("GONE {channel}")));
    }
}

fn command(line: &str) -> Option<Command> {
    let (verb, rest) = line.split_once(' ')?;
    let (name, argument) = rest
        .split_once(' ')
        .map_or((rest, None), |(name, rest)| (name, Some(rest)));
    let channel = Channel::new(name).ok()?;
    Some(match (verb, argument) {
        ("SUB", None) => Command::Subscribe {
            to: vec![Subscription::Channel(channel)],
            whole: true,
            resume: None,
        },
        ("SUB", Some(token)) => Command::SubscribeBy {
            channel,
            credential: Token(token.into()),
        },
        ("UNSUB", None) => Command::Unsubscribe(vec![Subscription::Channel(channel)]),
        ("PUB", Some(text)) => Command::Publish(Draft {
            to: Audience::Channel(channel),
            kind: None,
            data: RawJson::parse(&Bytes::from(Value::from(text).to_string())).ok()?,
            metadata: None,
            right: Right::Rules,
            echo: false,
        }),
        ("JOIN", None) => Command::Join {
            room: channel,
            wants_members: true,
            resume: None,
        },
        ("LEAVE", None) => Command::Leave(channel),
        _ => return None,
    })
}

fn reply(line: String) -> Step {
    Step::text(line)
}
