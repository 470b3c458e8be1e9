//! Which stored messages a user may read. The policy says so, or the authorizer: then it is asked about a few channels at
//! once, as the page is gone through, and no more than one request may cost it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fanfare_accounts::{Judge, known, storage::Message};
use fanfare_core::{
    Channel, Identity,
    policy::{Action, Verdict},
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};

use crate::{engine::Node, messages};

/// Questions to the authorizer at once, and all in all, for one request. Those whose answer is remembered do not count.
const AT_ONCE: usize = 16;
const MAX_QUESTIONS: usize = 64;
/// How long a request waits for the authorizer, all in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who reads, and what is known of what may be read.
pub(super) struct Reader<'a> {
    who: &'a Identity,
    node: &'a Node,
    /// By channel; `None` has not been answered.
    answers: HashMap<Channel, Option<bool>>,
    asked: usize,
    /// How many answers were not yes.
    refused: usize,
    /// When no more is waited for; set by the first question.
    until: Option<Instant>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(who: &'a Identity, node: &'a Node) -> Self {
        Self {
            who,
            node,
            answers: HashMap::new(),
            asked: 0,
            refused: 0,
            until: None,
        }
    }

    /// `None` where the authorizer must still be asked.
    fn verdict(&self, channel: &Channel) -> Option<bool> {
        match self.node.verdict(self.who, Action::Subscribe, channel) {
            Verdict::Allowed => Some(true),
            Verdict::Denied => Some(false),
            Verdict::Ask => None,
        }
    }

    /// The channels that must be asked about for the next of `ahead`, at most `most`.
    fn open(&self, ahead: &[Message], most: usize) -> Vec<Channel> {
        let mut open = Vec::new();
        for message in ahead {
            if open.len() == most {
                break;
            }
            if known(message, &self.who.user, self.who.is_admin()).is_some() {
                continue;
            }
            let Some(guard) = messages::guard(message.channel_id.as_deref()) else {
                continue;
            };
            let is_new = !self.answers.contains_key(&guard) && !open.contains(&guard);
            if is_new && self.verdict(&guard).is_none() {
                open.push(guard);
            }
        }
        open
    }

    /// Asks about these channels, all at once.
    async fn ask(&mut self, channels: Vec<Channel>) {
        let mut waiting = FuturesUnordered::new();
        for channel in channels {
            let mut answer = Box::pin(self.node.consult(self.who, Action::Subscribe, &channel));
            if let Some(answer) = answer.as_mut().now_or_never() {
                self.note(channel, answer);
                continue;
            }
            self.asked += 1;
            self.answers.insert(channel.clone(), None);
            waiting.push(async move { (channel, answer.await) });
        }
        if waiting.is_empty() {
            return;
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        // What comes later than that is remembered for the next request.
        while let Ok(Some((channel, answer))) = tokio::time::timeout_at(until.into(), waiting.next()).await {
            self.note(channel, answer);
        }
    }

    fn note(&mut self, channel: Channel, answer: Option<bool>) {
        self.refused += usize::from(answer != Some(true));
        self.answers.insert(channel, answer);
    }
}

impl Judge for Reader<'_> {
    async fn may_read(&mut self, ahead: &[Message], wanted: usize) -> Option<bool> {
        let Some(first) = ahead.first() else {
            return Some(false);
        };
        let Some(guard) = messages::guard(first.channel_id.as_deref()) else {
            return Some(false);
        };
        if let Some(verdict) = self.verdict(&guard) {
            return Some(verdict);
        }
        if !self.answers.contains_key(&guard) {
            // As many as could be needed at best, and more where most answers are no.
            let most = wanted.max(self.refused).min(AT_ONCE);
            let most = most.min(MAX_QUESTIONS.saturating_sub(self.asked));
            self.ask(self.open(ahead, most)).await;
        }
        self.answers.get(&guard).copied().flatten()
    }
}
