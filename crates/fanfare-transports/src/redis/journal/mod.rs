//! The journal in Redis: a stream for each audience, one sorted set with the last number of each audience, and a script that numbers,
//! keeps and publishes.
//!
//! All keys are in the one slot of a Redis Cluster that Fanfare uses.

mod publish;
mod reader;
mod recorder;
mod scripts;

use fanfare_cluster::{
    transport::Failed,
    transport::RecorderStore,
    transport::journal::{JournalStore, StoredReplay, Tops},
    wire,
};
use fanfare_core::{Audience, BoxFuture, history::Cursor, journal::ReplayQuery};
use redis::{Cmd, Value};

use super::{Connection, read, scripts::Script};
use crate::journal_reads::{self, epoch};

pub(super) use publish::{is_kept, position, read_position, runs};

impl JournalStore for Connection {
    fn read<'a>(&'a self, query: &'a ReplayQuery) -> BoxFuture<'a, Result<StoredReplay, Failed>> {
        Box::pin(journal_reads::read(self, query))
    }

    fn tops<'a>(
        &'a self,
        audiences: &'a [Audience],
        behind: Option<u64>,
    ) -> BoxFuture<'a, Result<Tops, Failed>> {
        Box::pin(journal_reads::tops(self, audiences, behind))
    }

    fn recorder(&self) -> Option<&dyn RecorderStore> {
        Some(self)
    }
}

impl Connection {
    /// Returns the last numbers of `audiences`, and all audiences whose last number is behind `after`. Also returns the server's time, in
    /// milliseconds.
    async fn tops_of(&self, audiences: &[Audience], after: Option<u64>) -> Result<(Tops, u64), Failed> {
        let answer = self.run(&scripts::TOPS, |call| {
            call.arg(after.map_or_else(String::new, |after| after.to_string()));
            for audience in audiences {
                call.arg(wire::redis_channel(audience));
            }
        });
        let tops = tops(&answer.await?, audiences.len(), after.is_some());
        tops.ok_or_else(|| NOT_UNDERSTOOD.to_owned())
    }

    /// Returns a call of `script` with the journal's keys, the recorder's key, and a name for the next epoch.
    fn call(&self, script: &Script, with_text: bool) -> Cmd {
        let mut call = script.call(with_text);
        call.arg(4).arg(&self.names.journal_keys());
        call.arg(format!("{:016x}", uuid::Uuid::new_v4().as_u64_pair().0));
        call
    }

    /// Runs `script`. Sends its text only if the server has not cached it.
    async fn run(&self, script: &Script, arguments: impl Fn(&mut Cmd)) -> Result<Value, Failed> {
        let mut with_text = false;
        loop {
            let mut call = self.call(script, with_text);
            arguments(&mut call);
            let answers = self.execute(vec![call]).await;
            let answer = answers.value.into_iter().next().ok_or("connection lost")?;
            if with_text || !is_uncached(&answer) {
                return self.refusal(&answer).map_or(Ok(answer), Err);
            }
            with_text = true;
        }
    }
}

const NOT_UNDERSTOOD: &str = "Redis' answer is not understood";

/// Returns whether Redis has not cached the script.
pub(super) fn is_uncached(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

fn tops(answer: &Value, audiences: usize, has_others: bool) -> Option<(Tops, u64)> {
    let Value::Array(parts) = answer else { return None };
    let number = |at: usize| read::<u64>(parts.get(at)?);
    let present = Cursor {
        epoch: epoch(&read::<String>(parts.first()?)?)?,
        number: number(1)?,
    };
    let tops: Option<Vec<u64>> = (6..6 + audiences).map(number).collect();
    let others = match (has_others, parts.get(6 + audiences)) {
        (true, Some(Value::Array(others))) => others
            .chunks_exact(2)
            .filter_map(|pair| {
                let (name, top): (String, u64) = (read(&pair[0])?, read(&pair[1])?);
                let audience = wire::audience(&name).ok()?;
                (wire::redis_channel(&audience) == name).then_some((audience, top))
            })
            .collect(),
        (true, _) => return None,
        (false, _) => Vec::new(),
    };
    let tops = Tops {
        present,
        tops: tops?,
        others,
        forgotten: number(2)?,
        floor: number(5)?,
        journals: number(4)?,
    };
    Some((tops, number(3)?))
}
