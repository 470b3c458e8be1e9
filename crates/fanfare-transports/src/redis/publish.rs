//! Publishing: one pipeline of commands for a batch of messages.

use std::{iter, sync::atomic::Ordering};

use fanfare_cluster::transport::{Accepted, Batch, Failed, Message, PublishError, Subject};
use fanfare_core::history::Position;
use redis::{Cmd, Pipeline, Value};

use super::{
    Connection,
    journal::{self, Kept},
};

/// What became of a message.
struct Carried {
    listeners: Value,
    position: Option<Position>,
    /// Why it was not kept, though it should have been.
    unkept: Option<String>,
}

impl Carried {
    fn unkept(listeners: Value, unkept: Option<String>) -> Self {
        Self {
            listeners,
            position: None,
            unkept,
        }
    }
}

impl Connection {
    /// Publishes `messages` in order, and counts who is subscribed to `counted`; `None` when the connection is lost.
    pub(super) async fn publish_all(&self, messages: &[Message], counted: &[Subject]) -> Option<Batch> {
        let mut pipe = Pipeline::with_capacity(2 * messages.len());
        let with_text = !self.knows_journal.load(Ordering::Relaxed);
        let (mut count, mut id_commands) = (0, Vec::new());
        for run in journal::runs(messages) {
            match Kept::of(run) {
                Some(kept) => pipe.add_command(kept.call(self, with_text)),
                None => pipe.add_command(self.publication(&run[0])),
            };
            let ids = run.iter().filter_map(|message| message.id);
            let commands: Vec<Cmd> = ids.map(|id| self.published_id(&id)).collect();
            for command in &commands {
                pipe.add_command(command.clone());
            }
            count += 1 + commands.len();
            id_commands.extend(commands);
        }
        if !counted.is_empty() {
            let mut question = redis::cmd("PUBSUB");
            question.arg("NUMSUB");
            for subject in counted {
                question.arg(self.names.channel(subject));
            }
            pipe.add_command(question);
            count += 1;
        }
        let mut answers = self.send(&pipe, count).await?;
        let counts = if counted.is_empty() { None } else { answers.pop() };
        let counts = counts.map_or(Ok(Vec::new()), |answer| self.counts(answer));
        let mut answers = answers.into_iter();
        let (mut carried, mut id_answers) = (Vec::with_capacity(messages.len()), Vec::new());
        for run in journal::runs(messages) {
            let answer = answers.next()?;
            match Kept::of(run) {
                Some(kept) => carried.extend(self.kept(&kept, answer).await?),
                None => carried.push(Carried::unkept(answer, None)),
            }
            let ids = run.iter().filter(|message| message.id.is_some()).count();
            id_answers.extend(answers.by_ref().take(ids));
        }
        self.servers.follow(&id_commands, &mut id_answers).await;
        let mut id_answers = id_answers.iter();
        let published = messages.iter().zip(carried).map(|(message, carried)| {
            let id_answer = message.id.and_then(|_| id_answers.next());
            Ok(Accepted {
                listeners: Some(self.listeners(&carried.listeners)?),
                position: carried.position,
                id_refused: id_answer.and_then(|answer| self.refusal(answer)),
                unkept: carried.unkept,
            })
        });
        Some((published.collect(), counts))
    }

    fn publication(&self, message: &Message) -> Cmd {
        let channel = self.names.channel(&message.subject);
        redis::cmd("PUBLISH")
            .arg(channel)
            .arg(&*message.payload)
            .to_owned()
    }

    /// What the journal's script returned for a run. A run that it did not carry out is published without it.
    async fn kept(&self, run: &Kept<'_>, mut answer: Value) -> Option<Vec<Carried>> {
        if journal::is_unknown(&answer) {
            let mut pipe = Pipeline::with_capacity(1);
            pipe.add_command(run.call(self, true));
            answer = self.send(&pipe, 1).await?.pop()?;
        }
        let count = run.messages().len();
        if let Value::Array(answers) = answer {
            self.knows_journal.store(true, Ordering::Relaxed);
            let mut answers = answers.into_iter();
            let refused = self.script_error(&answers.next()?);
            let carried = iter::from_fn(|| {
                let (listeners, place) = (answers.next()?, answers.next()?);
                let position = match &place {
                    Value::BulkString(text) => journal::place(text),
                    _ => None,
                };
                Some(Carried {
                    listeners,
                    unkept: refused.clone().filter(|_| position.is_none()),
                    position,
                })
            });
            return Some(carried.take(count).collect());
        }
        // The server carried out nothing of it.
        let refused = self.refusal(&answer);
        let mut pipe = Pipeline::with_capacity(count);
        for message in run.messages() {
            pipe.add_command(self.publication(message));
        }
        let answers = self.send(&pipe, count).await?;
        let carried = answers.into_iter().zip(iter::repeat(refused));
        Some(
            carried
                .map(|(answer, refused)| Carried::unkept(answer, refused))
                .collect(),
        )
    }

    /// How many connections are subscribed to each name that was asked about.
    fn counts(&self, answer: Value) -> Result<Vec<u32>, Failed> {
        let Value::Array(answers) = answer else {
            return self.refusal(&answer).map_or(Ok(Vec::new()), Err);
        };
        let counts = answers.into_iter().filter_map(|answer| match answer {
            Value::Int(count) => Some(u32::try_from(count).unwrap_or(0)),
            _ => None, // the name before it
        });
        Ok(counts.collect())
    }

    /// How many received a message.
    fn listeners(&self, answer: &Value) -> Result<u32, PublishError> {
        match answer {
            Value::Int(listeners) => Ok(u32::try_from(*listeners).unwrap_or(0)),
            other => Err(self
                .refusal(other)
                .or_else(|| self.script_error(other))
                .map_or(PublishError::Lost, PublishError::Refused)),
        }
    }

    /// The error that Redis returned to a script, as the script passes it on; empty for none.
    fn script_error(&self, answer: &Value) -> Option<String> {
        let Value::BulkString(text) = answer else {
            return None;
        };
        let text = String::from_utf8_lossy(text);
        let (code, detail) = text.split_once(' ').unwrap_or((&text, ""));
        (!text.is_empty()).then(|| self.servers.texts.answered(code, Some(detail)))
    }
}
