//! The questions that this node has put to all nodes, and what has come back.
//!
//! Redis answers the question's `PUBLISH` with how many nodes listen; so many are waited for, this one's own echo among
//! them. Somebody else who listens on the nodes' channel is counted and never answers; while he does, answers are complete
//! but not known to be. What this node itself has to say it is asked directly, so that it is there whatever becomes of Redis.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::AHashMap;
use bytes::Bytes;
use fanfare_core::{ANSWER_PATIENCE, Asked, MAX_MESSAGE_BYTES};
use tokio::sync::oneshot;

use super::{
    Shared,
    control::{self, Control},
};
use crate::node;

/// The questions that are open, by their tokens.
#[derive(Default)]
pub(super) struct Questions(Mutex<AHashMap<u64, Open>>);

/// What a node that heard a question has to say.
pub(super) enum Word {
    Answer(Bytes),
    /// It will not answer.
    Nothing,
    /// This node heard its own question.
    Echo,
}

struct Open {
    answers: Vec<Bytes>,
    /// How many nodes were asked, once that is known.
    asked: Option<u32>,
    heard: u32,
    /// One will not answer.
    wanting: bool,
    done: Option<oneshot::Sender<()>>,
}

/// An open question; dropped, it is open no more.
struct Asking<'a> {
    questions: &'a Questions,
    token: u64,
}

/// Puts `question` to every node.
pub(super) async fn ask(shared: &Shared, question: Bytes) -> Asked {
    let own = node::answer(&*shared.inbound, question.clone());
    let (own, (others, complete)) = tokio::join!(own, ask_others(shared, &question));
    Asked {
        complete: complete && own.is_some(),
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
    if shared.ledger.is_hearing() {
        let node = shared.node_id.as_str().into();
        let message = Control::Ask { node, token }.write(Some(question));
        let wait = async {
            if let Some(nodes) = shared.link.publish(control::NODES, &message).await {
                shared.questions.asked(token, nodes);
                let _ = done.await;
            }
        };
        // Those who have answered by now count.
        let _ = tokio::time::timeout(ANSWER_PATIENCE, wait).await;
    }
    asking.close()
}

impl Questions {
    fn open(&self, token: u64) -> (Asking<'_>, oneshot::Receiver<()>) {
        let (done, all_heard) = oneshot::channel();
        let open = Open {
            answers: Vec::new(),
            asked: None,
            heard: 0,
            wanting: false,
            done: Some(done),
        };
        self.lock().insert(token, open);
        let questions = self;
        (Asking { questions, token }, all_heard)
    }

    /// So many nodes were asked.
    fn asked(&self, token: u64, nodes: u32) {
        if let Some(open) = self.lock().get_mut(&token) {
            open.asked = Some(nodes);
            open.settle();
        }
    }

    /// One of them is through. Whoever comes too late is not heard.
    pub(super) fn heard(&self, token: u64, word: Word) {
        if let Some(open) = self.lock().get_mut(&token) {
            open.heard += 1;
            match word {
                Word::Answer(answer) => open.answers.push(answer),
                Word::Nothing => open.wanting = true,
                Word::Echo => {}
            }
            open.settle();
        }
    }

    /// The listening connection was lost: no more answers will come.
    pub(super) fn lost(&self) {
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
        self.asked.is_some_and(|asked| self.heard >= asked)
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

    /// What is heard of a question.
    enum Step {
        Asked(u32),
        Heard(Word),
        Lost,
    }
    use Step::{Asked, Heard, Lost};

    fn answer(text: &'static str) -> Step {
        Heard(Word::Answer(Bytes::from_static(text.as_bytes())))
    }

    fn check(steps: Vec<Step>, waits: bool, answers: &[&str], complete: bool) {
        let questions = Questions::default();
        let (asking, mut done) = questions.open(7);
        for step in steps {
            match step {
                Asked(nodes) => questions.asked(7, nodes),
                Heard(word) => questions.heard(7, word),
                Lost => questions.lost(),
            }
            questions.heard(8, Word::Nothing);
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
        let echo = || Heard(Word::Echo);
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
        check(vec![Asked(2), Heard(Word::Nothing), echo()], false, &[], false);
        check(vec![Asked(3), answer("b"), Lost], false, &["b"], false);
    }
}
