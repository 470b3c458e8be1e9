//! The recorder's lease, which the scripts keep in one hash beside the journal.

use fanfare_cluster::transport::{
    Failed, Message, RecorderStore, Subject,
    recorder::{LEASE_TICKS, RECORDED_WITHIN, Recorded, Role, TickRequest, Ticked},
};
use fanfare_core::BoxFuture;
use redis::Value;

use super::{super::text, Connection, NOT_UNDERSTOOD, scripts};

/// Milliseconds between two ticks.
const TICK_MS: u64 = 150;

impl RecorderStore for Connection {
    fn tick<'a>(&'a self, request: &'a TickRequest) -> BoxFuture<'a, Result<Ticked, Failed>> {
        Box::pin(async move {
            let wishes = [
                ("again ", request.renews_term),
                ("leave ", request.leaves),
                ("lost ", request.has_lost),
            ];
            let wishes: String = wishes
                .into_iter()
                .filter_map(|(wish, is_wished)| is_wished.then_some(wish))
                .collect();
            let (before, after) = request.text;
            let answer = self.ask(&scripts::TICK, |call| {
                let candidate = request.candidate.map(|candidate| format!("{candidate:016x}"));
                call.arg(candidate.unwrap_or_default())
                    .arg(request.settled)
                    .arg(&wishes)
                    .arg(self.names.channel(&Subject::Nodes))
                    .arg(before)
                    .arg(after)
                    .arg(LEASE_TICKS)
                    .arg(TICK_MS);
            });
            ticked(&answer.await?).ok_or_else(|| NOT_UNDERSTOOD.to_owned())
        })
    }

    fn record<'a>(
        &'a self,
        term: u64,
        tick: u64,
        messages: &'a [Message],
    ) -> BoxFuture<'a, Result<Recorded, Failed>> {
        Box::pin(async move {
            let answer = self.ask(&scripts::RECORD, |call| {
                self.add_messages(messages, call);
                call.arg(term).arg(tick).arg(RECORDED_WITHIN);
            });
            let Value::Array(parts) = answer.await? else {
                return Err(NOT_UNDERSTOOD.to_owned());
            };
            match parts.first().and_then(text) {
                Some("over") => Ok(Recorded::TermOver),
                Some("late") => Ok(Recorded::Late),
                _ => Ok(Recorded::Published),
            }
        })
    }
}

fn ticked(answer: &Value) -> Option<Ticked> {
    let Value::Array(parts) = answer else { return None };
    let number = |at: usize| text(parts.get(at)?)?.parse::<u64>().ok();
    let role = match text(parts.first()?)? {
        "holder" => Role::Holder,
        "standby" => Role::Standby,
        role => Role::None(role == "needed"),
    };
    Some(Ticked {
        role,
        tick: number(1)?,
        term: number(2)?,
        from: number(3)?,
        settled: number(4)?,
        is_used: number(5)? == 1,
    })
}
