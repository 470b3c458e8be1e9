//! One stream: it subscribes to the channels of its request, resumes, and sends events. Its client sends nothing.

use std::borrow::Cow;

use fanfare_core::{
    Command, Context, Conversation, Converse, Denial, Ending, Opening, Outcome, Receives, Reception,
    Rendering, Resume, Step, Steps, Subscription, history::Since,
};

use uuid::Uuid;

use super::{Stream, render};
use crate::text::excerpt;

/// The close code of a poll that has sent all kept events.
const COMPLETE: u16 = 1000;
/// The shortest time after which a browser reconnects, and the random part added to it, in milliseconds: after a
/// restart the clients should not all reconnect at once.
const RETRY_MS: u64 = 1_000;
const RETRY_SPREAD_MS: u64 = 4_000;

impl Converse for Stream {
    fn converse(&self, _name: Option<&str>) -> Box<dyn Conversation> {
        Box::new(Client::default())
    }

    fn receives(&self) -> Reception {
        Reception::both(Receives::Subscribed)
    }
}

#[derive(Default)]
pub(super) struct Client {
    /// The requested channels, as the client wrote them, until the subscription is answered.
    names: Vec<Box<str>>,
    polls: bool,
}

impl Conversation for Client {
    fn opened(&mut self, context: &Context<'_>, steps: &mut Steps) {
        let Some(opening) = context.opening else {
            return steps.push(Step::End(Ending::InternalError));
        };
        steps.push(match subscriptions(opening) {
            Ok(to) => {
                self.names.clone_from(&opening.names);
                self.polls = opening.polls;
                let (whole, of_all) = (false, true);
                let since = opening.resume.unwrap_or(Since::Now);
                let resume = Some(Resume { since, of_all });
                Step::Ask(Command::Subscribe { to, whole, resume })
            }
            Err(message) => refused(400, message),
        });
    }

    fn answered(&mut self, answer: Result<Outcome, Denial>, context: &Context<'_>, steps: &mut Steps) {
        let names = std::mem::take(&mut self.names);
        let verdicts = match answer {
            Ok(Outcome::Subscribed(verdicts)) => verdicts,
            other => vec![other.map(drop)],
        };
        let mut pairs = names.iter().zip(verdicts);
        let first_denied = pairs.find_map(|(name, verdict)| Some((name, verdict.err()?)));
        steps.push(match (first_denied, context.resumed) {
            (Some((name, denial)), _) => denied(denial, name),
            (None, Some(resumed)) => Step::Send(Rendering::Forms(render::opening(
                resumed,
                retry_ms(context.connection),
            ))),
            (None, None) => Step::End(Ending::InternalError),
        });
    }

    fn caught_up(&mut self, _context: &Context<'_>, steps: &mut Steps) {
        if self.polls {
            let reason = "complete";
            steps.push(Step::Send(Rendering::Forms(render::end(reason))));
            steps.push(Step::Close(COMPLETE, Cow::Borrowed(reason)));
        }
    }

    fn text(&mut self, _text: &str, _context: &Context<'_>, _steps: &mut Steps) {}
}

fn subscriptions(opening: &Opening) -> Result<Vec<Subscription>, String> {
    if opening.names.is_empty() {
        return Err("channel is required: a name or a pattern, as often as you like".to_owned());
    }
    let read =
        |name: &str| Subscription::parse(name).map_err(|bad| format!("channel {:?}: {bad}", excerpt(name)));
    opening.names.iter().map(|name| read(name)).collect()
}

fn denied(denial: Denial, name: &str) -> Step {
    let (status, reason) = match denial {
        Denial::TooManySubscriptions => (400, "more channels than a stream may have"),
        Denial::UserAtCapacity => (429, "too many connections of this user"),
        Denial::KeysUnavailable => (503, "try again later"),
        Denial::BadCredential | Denial::ExpiredCredential => (401, "the token is not valid"),
        Denial::OtherUser
        | Denial::Forbidden
        | Denial::NotMember
        | Denial::ReservedType
        | Denial::NotConnected => (403, "not allowed"),
    };
    refused(status, format!("channel {:?}: {reason}", excerpt(name)))
}

fn refused(status: u16, message: String) -> Step {
    Step::Close(status, Cow::Owned(message))
}

/// Returns the time after which the client should reconnect. The last bytes of an id are random.
pub(super) fn retry_ms(id: Uuid) -> u64 {
    let (_, random) = id.as_u64_pair();
    RETRY_MS + random % RETRY_SPREAD_MS
}
