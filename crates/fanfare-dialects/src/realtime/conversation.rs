//! One connection: a welcome, then a reply to each message, in order.

use fanfare_core::{
    Audience, Command, Context, Conversation, Converse, Denial, Draft, Outcome, RawJson, Receives, Reception,
    Resume, Right, Step, Steps, Subscription, UserId,
};
use serde_json::value::RawValue;

use super::{
    Realtime,
    frames::{self, Frame, FrameError, TopicList},
    render,
};
use crate::text::excerpt;

impl Converse for Realtime {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::<Client>::default()
    }

    fn receives(&self) -> Reception {
        Reception {
            user: Receives::Always,
            everyone: Receives::Subscribed,
        }
    }
}

#[derive(Default)]
pub(super) struct Client {
    /// The topics to confirm: the JSON list as the client wrote it.
    topics: Box<str>,
}

impl Conversation for Client {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        steps.push(match context.opening.and_then(|opening| opening.resume) {
            Some(since) => Step::Ask(Command::Resume(since)),
            None => render::welcome(context),
        });
    }

    fn text(&mut self, text: &str, context: &Context<'_>, steps: &mut Steps) {
        let done = frames::read(text).and_then(|frame| self.act(frame, context, steps));
        if let Err(problem) = done {
            steps.push(render::error(&problem, context.now));
        }
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        let (topics, now) = (std::mem::take(&mut self.topics), context.now);
        steps.push(match answer {
            Ok(Outcome::Resumed) => render::welcome(context),
            Ok(Outcome::Subscribed(_)) => render::confirmed("subscribed", &topics, context),
            Ok(Outcome::Unsubscribed) => render::confirmed("unsubscribed", &topics, context),
            Ok(Outcome::Published { id }) => render::ack(id, now),
            // This dialect does not send the commands of these outcomes.
            Ok(Outcome::Authenticated | Outcome::Joined { .. } | Outcome::Left | Outcome::Facts(_)) => {
                return;
            }
            Err(denial) => render::error(&denied(denial), now),
        });
    }

    fn limited(&mut self, context: &Context<'_>, steps: &mut Steps) {
        let problem = FrameError::new(429, "too many messages");
        steps.push(render::error(&problem, context.now));
    }
}

impl Client {
    fn act(&mut self, frame: Frame<'_>, context: &Context<'_>, steps: &mut Steps) -> Result<(), FrameError> {
        let command = match frame {
            Frame::Subscribe(topics, since) => Command::Subscribe {
                to: self.accept(&topics)?,
                whole: true,
                resume: since.map(|since| Resume { since, of_all: false }),
            },
            Frame::Unsubscribe(topics) => Command::Unsubscribe(self.accept(&topics)?),
            Frame::Broadcast { topic, payload } => Command::Publish(draft(channel(&topic)?, payload)?),
            Frame::DirectMessage { target_user, payload } => {
                if context.identity.is_none() {
                    let message = "direct messages need an authentication token";
                    return Err(FrameError::new(401, message));
                }
                Command::Publish(draft(user(&target_user)?, payload)?)
            }
            Frame::Ping { timestamp } => {
                steps.push(Step::Pinged);
                steps.push(render::pong(timestamp, context.now));
                return Ok(());
            }
            Frame::Pong => {
                steps.push(Step::Pinged);
                return Ok(());
            }
        };
        steps.push(Step::Ask(command));
        Ok(())
    }

    /// Parses `topics`, and keeps them for their confirmation if every name is valid.
    fn accept(&mut self, topics: &TopicList<'_>) -> Result<Vec<Subscription>, FrameError> {
        let named = topics.names.iter().map(|name| subscription(name));
        let named = named.collect::<Result<_, _>>()?;
        self.topics = topics.written.into();
        Ok(named)
    }
}

fn subscription(name: &str) -> Result<Subscription, FrameError> {
    Subscription::parse(name)
        .map_err(|bad| FrameError::invalid(format!("invalid topic \"{}\": {bad}", excerpt(name))))
}

/// Returns the channel to publish on, if its name allows it.
fn channel(name: &str) -> Result<Audience, FrameError> {
    match subscription(name)? {
        Subscription::Channel(channel) => Ok(Audience::Channel(channel)),
        Subscription::Pattern(_) => Err(FrameError::invalid(
            "a broadcast goes to one topic, not to a pattern",
        )),
        Subscription::Personal(_) => Err(FrameError::new(403, "a user is reached by a direct message only")),
    }
}

fn user(id: &str) -> Result<Audience, FrameError> {
    let user = UserId::new(id).map(Audience::User);
    user.map_err(|bad| FrameError::invalid(format!("invalid data.target_user: {bad}")))
}

/// Returns an event without a type: this protocol has no types.
fn draft(to: Audience, payload: &RawValue) -> Result<Draft, FrameError> {
    Ok(Draft {
        to,
        kind: None,
        data: RawJson::from_raw(payload).map_err(|bad| FrameError::invalid(bad.to_string()))?,
        metadata: None,
        right: Right::Rules,
        echo: true,
    })
}

fn denied(denial: Denial) -> FrameError {
    match denial {
        Denial::Forbidden | Denial::NotMember | Denial::OtherUser => FrameError::new(403, "not allowed"),
        Denial::NotConnected => FrameError::new(404, "that user is not connected"),
        Denial::TooManySubscriptions => FrameError::invalid("too many subscriptions"),
        Denial::ReservedType => FrameError::invalid("reserved for the server"),
        Denial::BadCredential | Denial::ExpiredCredential => FrameError::new(401, "invalid token"),
        Denial::KeysUnavailable => FrameError::new(503, "token cannot be verified at the moment"),
        Denial::UserAtCapacity => FrameError::new(429, "too many connections"),
    }
}
