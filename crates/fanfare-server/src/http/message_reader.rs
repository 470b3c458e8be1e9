//! Decides which stored messages a user may read, by the policy or the authorizer. It asks the authorizer about a few channels at a time,
//! within the limits of one request.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fanfare_accounts::{ReadAccess, known_access, storage::Message};
use fanfare_core::{
    Channel, Identity,
    policy::{Action, AuthorizerAnswer, OpenQuestions, Permission},
};
use fanfare_engine::Node;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};

use crate::messages;

/// The most questions to the authorizer at once, and in total, for one request. Cached answers do not count.
const AT_ONCE: usize = 16;
const MAX_QUESTIONS: usize = 64;
/// The longest wait of a request for the authorizer, in total.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A user that reads messages, and the authorizer's answers so far.
pub(super) struct MessageReader<'a> {
    reader: &'a Identity,
    node: &'a Node,
    /// By channel; a pending answer is `Missing`.
    answers: HashMap<Channel, AuthorizerAnswer>,
    asked: usize,
    /// The number of answers that do not allow.
    refused: usize,
    /// The end of the wait; set by the first question.
    until: Option<Instant>,
}

impl<'a> MessageReader<'a> {
    pub(super) fn new(reader: &'a Identity, node: &'a Node) -> Self {
        Self {
            reader,
            node,
            answers: HashMap::new(),
            asked: 0,
            refused: 0,
            until: None,
        }
    }

    fn judge(&self, channel: &Channel) -> Permission {
        self.node
            .access
            .judge(Some(self.reader), Action::Subscribe, channel)
    }

    /// Returns the channels, at most `max`, that the authorizer must decide before the messages `ahead` can be read.
    fn open(&self, ahead: &[Message], max: usize) -> Vec<(Channel, OpenQuestions)> {
        let mut open = Vec::<(Channel, OpenQuestions)>::new();
        for message in ahead {
            if open.len() == max {
                break;
            }
            if known_access(message, &self.reader.user, self.reader.is_admin()).is_some() {
                continue;
            }
            let Some(guard) = messages::guard(message.channel_id.as_deref()) else {
                continue;
            };
            if self.answers.contains_key(&guard) || open.iter().any(|(known, _)| *known == guard) {
                continue;
            }
            if let Permission::Pending(questions) = self.judge(&guard) {
                open.push((guard, questions));
            }
        }
        open
    }

    /// Asks the authorizer about these channels, all at once.
    async fn ask(&mut self, channels: Vec<(Channel, OpenQuestions)>) {
        let mut waiting = FuturesUnordered::new();
        for (channel, questions) in channels {
            let mut answer = Box::pin(self.node.access.ask(questions));
            if let Some(answer) = answer.as_mut().now_or_never() {
                self.record(channel, answer);
                continue;
            }
            self.asked += 1;
            self.answers.insert(channel.clone(), AuthorizerAnswer::Missing);
            waiting.push(async move { (channel, answer.await) });
        }
        if waiting.is_empty() {
            return;
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + TIMEOUT);
        // A later answer is cached for the next request.
        while let Ok(Some((channel, answer))) = tokio::time::timeout_at(until.into(), waiting.next()).await {
            self.record(channel, answer);
        }
    }

    fn record(&mut self, channel: Channel, answer: AuthorizerAnswer) {
        self.refused += usize::from(!answer.is_allowed());
        self.answers.insert(channel, answer);
    }
}

impl ReadAccess for MessageReader<'_> {
    async fn may_read(&mut self, ahead: &[Message], wanted: usize) -> Option<bool> {
        let Some(first) = ahead.first() else {
            return Some(false);
        };
        let Some(guard) = messages::guard(first.channel_id.as_deref()) else {
            return Some(false);
        };
        match self.judge(&guard) {
            Permission::Allowed => return Some(true),
            Permission::Denied => return Some(false),
            Permission::Pending(_) => {}
        }
        if !self.answers.contains_key(&guard) {
            // At least as many as the page needs, and more if most answers are refusals.
            let max = wanted.max(self.refused).min(AT_ONCE);
            let max = max.min(MAX_QUESTIONS.saturating_sub(self.asked));
            self.ask(self.open(ahead, max)).await;
        }
        match self.answers.get(&guard)? {
            AuthorizerAnswer::Allowed => Some(true),
            AuthorizerAnswer::Denied => Some(false),
            AuthorizerAnswer::Missing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::SystemTime,
    };

    use fanfare_core::{
        BoxFuture, UserId,
        policy::{AccessControl, Authorizer, KnownNames, Policy, PolicyOptions, Question},
    };
    use fanfare_engine::{Clock, MAX_FAN_OUT_RECEIVERS, NodeOptions, ObserveLimits};
    use serde_json::value::RawValue;
    use tokio::sync::oneshot;

    use super::*;
    use crate::auth::{Gate, TokenRules, Verifier, VerifierOptions};

    /// An authorizer that answers when the test does.
    #[derive(Default)]
    struct LateAuthorizer(Mutex<Vec<oneshot::Sender<AuthorizerAnswer>>>);

    impl Authorizer for LateAuthorizer {
        fn remembered(&self, _: &Question) -> Option<AuthorizerAnswer> {
            None
        }

        fn ask(&self, _: Question) -> BoxFuture<'static, AuthorizerAnswer> {
            let (sender, answer) = oneshot::channel();
            self.0.lock().expect("no panic").push(sender);
            Box::pin(async { answer.await.unwrap_or(AuthorizerAnswer::Missing) })
        }
    }

    fn node(authorizer: Arc<LateAuthorizer>) -> Arc<Node> {
        let policy = Policy::new(PolicyOptions {
            authorizer: true,
            names: KnownNames {
                rooms: Vec::new(),
                feed: Some(messages::MESSAGES_CHANNEL),
            },
            ..PolicyOptions::default()
        });
        let verifier = Verifier::new(VerifierOptions {
            hmac_secrets: vec![b"a secret that is long enough for HS256".into()],
            ..VerifierOptions::default()
        });
        let rules = TokenRules::new(Arc::new(verifier.expect("a secret")), Vec::new(), 0);
        Node::new(NodeOptions {
            dialects: Vec::new(),
            authenticator: Arc::new(Gate::new(rules)),
            access: AccessControl::new(policy, Some(authorizer)),
            clock: Clock::system(),
            observe: ObserveLimits::default(),
            max_fan_out_receivers: MAX_FAN_OUT_RECEIVERS,
        })
    }

    fn message(channel: &str) -> Message {
        Message {
            id: String::new(),
            user_id: "bob".to_owned(),
            recipient_id: None,
            channel_id: Some(channel.to_owned()),
            content: String::new(),
            attachments: RawValue::from_string("[]".to_owned()).expect("JSON"),
            created_at: 0,
            updated_at: 0,
        }
    }

    #[tokio::test]
    async fn a_page_waits_for_all_answers() {
        let authorizer = Arc::<LateAuthorizer>::default();
        let node = node(authorizer.clone());
        let identity = Identity::new(UserId::new("ann").expect("an id"), SystemTime::now());
        let mut reader = MessageReader::new(&identity, &node);
        let ahead = ["a", "b", "c"].map(message);
        let answers = {
            let mut reading = Box::pin(reader.may_read(&ahead, 3));
            assert_eq!(reading.as_mut().now_or_never(), None);
            let mut asked = std::mem::take(&mut *authorizer.0.lock().expect("no panic"));
            assert_eq!(asked.len(), 3);
            // The answer about the first message is not enough: the authorizer would be asked about the others again.
            for _ in 0..2 {
                let _ = asked.remove(0).send(AuthorizerAnswer::Allowed);
                assert_eq!(reading.as_mut().now_or_never(), None);
            }
            let _ = asked.remove(0).send(AuthorizerAnswer::Denied);
            reading.await
        };
        assert_eq!(answers, Some(true));
        assert_eq!(reader.may_read(&ahead[1..], 2).now_or_never(), Some(Some(true)));
        assert_eq!(reader.may_read(&ahead[2..], 1).now_or_never(), Some(Some(false)));
    }
}
