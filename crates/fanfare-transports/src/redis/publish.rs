//! Publishes a batch of messages in one pipeline of commands.

use std::sync::atomic::Ordering;

use fanfare_cluster::transport::{Accepted, Batch, Failed, Message, PublishError, Published, Subject};
use fanfare_core::history::Position;
use redis::{Cmd, Pipeline, Value};

use super::{Connection, bytes, journal};

impl Connection {
    /// Publishes `messages` in order, and counts the subscribers of `counted`. Returns `None` if the connection is lost.
    pub(super) async fn publish_all(&self, messages: &[Message], counted: &[Subject]) -> Option<Batch> {
        let mut pipe = Pipeline::with_capacity(2 * messages.len());
        let with_text = !self.has_journal_script.load(Ordering::Relaxed);
        let mut notes = Vec::new();
        for run in journal::runs(messages) {
            pipe.add_command(if journal::is_kept(&run[0]) {
                self.keep(run, with_text)
            } else {
                self.publication(&run[0])
            });
            for id in run.iter().filter_map(|message| message.id) {
                let note = self.published_id(&id);
                pipe.add_command(note.clone());
                notes.push(note);
            }
        }
        if !counted.is_empty() {
            let mut question = redis::cmd("PUBSUB");
            question.arg("NUMSUB");
            for subject in counted {
                question.arg(self.names.channel(subject));
            }
            pipe.add_command(question);
        }
        let mut answers = self.send(&pipe).await?;
        let counts = if counted.is_empty() { None } else { answers.pop() };
        let counts = counts.map_or(Ok(Vec::new()), |answer| self.counts(answer));
        let mut answers = answers.into_iter();
        let (mut published, mut id_answers) = (Vec::with_capacity(messages.len()), Vec::new());
        for run in journal::runs(messages) {
            let answer = answers.next()?;
            if journal::is_kept(&run[0]) {
                published.extend(self.kept(run, answer).await?);
            } else {
                published.push(self.published(&answer, None, None));
            }
            let ids = run.iter().filter(|message| message.id.is_some()).count();
            id_answers.extend(answers.by_ref().take(ids));
        }
        self.servers.follow(&notes, &mut id_answers).await;
        let with_ids = messages.iter().zip(&mut published);
        let with_ids = with_ids.filter(|(message, _)| message.id.is_some());
        for ((_, published), answer) in with_ids.zip(&id_answers) {
            if let Ok(accepted) = published {
                accepted.id_refused = self.refusal(answer);
            }
        }
        Some((published, counts))
    }

    fn publication(&self, message: &Message) -> Cmd {
        let channel = self.names.channel(&message.subject);
        redis::cmd("PUBLISH")
            .arg(channel)
            .arg(&*message.payload)
            .to_owned()
    }

    /// Reads the answer of the journal's script for `run`. If the script did not run, publishes the messages without the journal.
    async fn kept(&self, run: &[Message], mut answer: Value) -> Option<Vec<Published>> {
        if journal::is_uncached(&answer) {
            let mut pipe = Pipeline::with_capacity(1);
            pipe.add_command(self.keep(run, true));
            answer = self.send(&pipe).await?.pop()?;
        }
        if let Value::Array(answers) = answer {
            self.has_journal_script.store(true, Ordering::Relaxed);
            let (refused, answers) = answers.split_first()?;
            let refused = self.script_error(refused);
            let published = answers.chunks_exact(2).take(run.len()).map(|answer| {
                let position = bytes(&answer[1]).and_then(journal::read_position);
                let unkept = refused.clone().filter(|_| position.is_none());
                self.published(&answer[0], position, unkept)
            });
            return Some(published.collect());
        }
        // The script did not run, or failed before it published.
        let refused = self.refusal(&answer);
        let mut pipe = Pipeline::with_capacity(run.len());
        for message in run {
            pipe.add_command(self.publication(message));
        }
        let answers = self.send(&pipe).await?;
        let published = answers
            .iter()
            .map(|answer| self.published(answer, None, refused.clone()));
        Some(published.collect())
    }

    /// Reads the number of subscribers of each subject, or the reason why Redis refused to count.
    fn counts(&self, answer: Value) -> Result<Vec<u32>, Failed> {
        let Value::Array(answers) = answer else {
            return self.refusal(&answer).map_or(Ok(Vec::new()), Err);
        };
        let counts = answers.into_iter().filter_map(|answer| match answer {
            Value::Int(count) => Some(u32::try_from(count).unwrap_or(0)),
            _ => None, // the channel's name
        });
        Ok(counts.collect())
    }

    /// Reads the answer to a publication: the number of its receivers, or an error.
    fn published(&self, answer: &Value, position: Option<Position>, unkept: Option<String>) -> Published {
        let Value::Int(listeners) = answer else {
            let refused = self.refusal(answer).or_else(|| self.script_error(answer));
            return Err(refused.map_or(PublishError::Lost, PublishError::Refused));
        };
        Ok(Accepted {
            listeners: Some(u32::try_from(*listeners).unwrap_or(0)),
            id_refused: None,
            position,
            unkept,
        })
    }

    /// Returns the error of Redis that a script returned as a text, if there is one.
    fn script_error(&self, answer: &Value) -> Option<String> {
        let text = String::from_utf8_lossy(bytes(answer)?);
        let (code, detail) = text.split_once(' ').unwrap_or((&text, ""));
        (!text.is_empty()).then(|| self.servers.texts.refused(code, Some(detail)))
    }
}
