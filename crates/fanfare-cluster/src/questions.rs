//! The questions that this node has put to all nodes, and what has been answered.
//!
//! The transport reports how many nodes a question goes to; so many are waited for, this one's own echo among them. Another
//! program that listens on the nodes' subject is counted and never answers; as long as it does, answers are complete but not
//! known to be. This node's own answer is taken directly, so that it is there whatever becomes of the transport.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::AHashMap;
use bytes::Bytes;
use fanfare_core::{ANSWER_PATIENCE, Asked, MAX_MESSAGE_BYTES};
use tokio::sync::oneshot;

use crate::{
    Shared, local,
    messages::NodeMessage,
    transport::{Accepted, Subject},
};

/// The questions that are open, by their tokens.
#[derive(Default)]
pub(crate) struct Questions(Mutex<AHashMap<u64, Open>>);

/// What a node that received a question replies.
pub(crate) enum Reply {
    Answer(Bytes),
    /// It has no answer.
    Unanswered,
    /// This node received its own question.
    Echo,
}

struct Open {
    answers: Vec<Bytes>,
    /// How many nodes were asked, once that is known.
    asked: Option<u32>,
    replies: u32,
    /// One has no answer.
    wanting: bool,
    done: Option<oneshot::Sender<()>>,
}

/// An open question; dropped, it is open no more.
struct Asking<'a> {
    questions: &'a Questions,
    token: u64,
}

/// Puts `question` to every node.
pub(crate) async fn ask(shared: &Shared, question: Bytes) -> Asked {
    let own = local::answer(&*shared.inbound, question.clone());
    let (own, (others, complete)) = tokio::join!(own, ask_others(shared, &question));
    Asked {
        complete: complete && own.is_some() && !shared.peers.any_missing(),
        answers: own.into_iter().chain(others).collect(),
    }
}

/// The other nodes' answers, and whether these are all.
async fn ask_others(shared: &Shared, question: &[u8]) -> (Vec<Bytes>, bool) {
    if question.len() > MAX_MESSAGE_BYTES {
        return (Vec::new(), false);
    }
    let token = rand::random::<u64>();
    let (asking, done) = shared.questions.open(token);
    // Only now, so that a connection that is lost after this look ends the waiting.
    if shared.receipts.is_receiving() {
        let node = shared.node_id.clone();
        let message = NodeMessage::Ask { node, token }.to(Subject::Nodes, Some(question));
        let wait = async {
            if let Ok(Accepted { listeners, .. }) = shared.link.publish_large(message).await {
                shared.questions.asked(token, listeners);
                let _ = done.await;
            }
        };
        // The answers that have arrived by then count.
        let _ = tokio::time::timeout(ANSWER_PATIENCE, wait).await;
    }
    asking.close()
}

impl Questions {
    fn open(&self, token: u64) -> (Asking<'_>, oneshot::Receiver<()>) {
        let (done, all_replied) = oneshot::channel();
        let open = Open {
            answers: Vec::new(),
            asked: None,
            replies: 0,
            wanting: false,
            done: Some(done),
        };
        self.lock().insert(token, open);
        let questions = self;
        (Asking { questions, token }, all_replied)
    }

    /// So many nodes were asked.
    fn asked(&self, token: u64, nodes: u32) {
        if let Some(open) = self.lock().get_mut(&token) {
            open.asked = Some(nodes);
            open.settle();
        }
    }

    /// One of them replied. A late reply is ignored.
    pub(crate) fn replied(&self, token: u64, word: Reply) {
        if let Some(open) = self.lock().get_mut(&token) {
            open.replies += 1;
            match word {
                Reply::Answer(answer) => open.answers.push(answer),
                Reply::Unanswered => open.wanting = true,
                Reply::Echo => {}
            }
            open.settle();
        }
    }

    /// The receiving connection was lost: no more answers will arrive.
    pub(crate) fn lost(&self) {
        for open in self.lock().values_mut() {
            open.done = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, AHashMap<u64, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn is_settled(&self) -> bool {
        self.asked.is_some_and(|asked| self.replies >= asked)
    }

    fn settle(&mut self) {
        if self.is_settled() {
            self.done = None;
        }
    }
}

impl Asking<'_> {
    /// The answers, and whether these are all.
    fn close(self) -> (Vec<Bytes>, bool) {
        let open = self.questions.lock().remove(&self.token);
        open.map_or((Vec::new(), false), |open| {
            let complete = open.is_settled() && !open.wanting;
            (open.answers, complete)
        })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to a question.
    enum Step {
        Asked(u32),
        Replied(Reply),
        Lost,
    }
    use Step::{Asked, Lost, Replied};

    fn answer(text: &'static str) -> Step {
        Replied(Reply::Answer(Bytes::from_static(text.as_bytes())))
    }

    fn check(steps: Vec<Step>, waits: bool, answers: &[&str], complete: bool) {
        let questions = Questions::default();
        let (asking, mut done) = questions.open(7);
        for step in steps {
            match step {
                Asked(nodes) => questions.asked(7, nodes),
                Replied(word) => questions.replied(7, word),
                Lost => questions.lost(),
            }
            questions.replied(8, Reply::Unanswered);
        }
        let is_waiting = done.try_recv() == Err(oneshot::error::TryRecvError::Empty);
        assert_eq!(is_waiting, waits);
        let (got, is_complete) = asking.close();
        assert_eq!(
            (got, is_complete),
            (
                answers.iter().map(|text| Bytes::from(text.to_string())).collect(),
                complete
            )
        );
        assert!(questions.lock().is_empty());
    }

    #[test]
    fn all_who_were_asked_are_waited_for() {
        let echo = || Replied(Reply::Echo);
        check(vec![], true, &[], false);
        check(vec![Asked(2), echo()], true, &[], false);
        check(vec![Asked(2), echo(), answer("b")], false, &["b"], true);
        // Answers may be faster than Redis' count.
        check(vec![answer("b"), answer("c"), echo()], true, &["b", "c"], false);
        check(
            vec![answer("b"), answer("c"), echo(), Asked(3)],
            false,
            &["b", "c"],
            true,
        );
        check(vec![Asked(1), echo()], false, &[], true);
        check(
            vec![Asked(2), Replied(Reply::Unanswered), echo()],
            false,
            &[],
            false,
        );
        check(vec![Asked(3), answer("b"), Lost], false, &["b"], false);
    }
}
