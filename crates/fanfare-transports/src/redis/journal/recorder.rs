//! The recorder's lease, which scripts maintain in one hash beside the journal.

use fanfare_cluster::transport::{
    Failed, Message, RecorderStore, Subject,
    recorder::{LEASE_TICKS, RECORDED_WITHIN, Recorded, Role, TickRequest, Ticked},
};
use fanfare_core::BoxFuture;
use redis::Value;

use super::{super::read, Connection, NOT_UNDERSTOOD, scripts};

/// The milliseconds between two ticks.
const TICK_MS: u64 = 150;

impl RecorderStore for Connection {
    fn tick<'a>(&'a self, request: &'a TickRequest) -> BoxFuture<'a, Result<Ticked, Failed>> {
        Box::pin(async move {
            let flags = [
                ("again ", request.renews_term),
                ("leave ", request.leaves),
                ("lost ", request.has_lost),
            ];
            let flags: String = flags
                .into_iter()
                .filter_map(|(flag, is_set)| is_set.then_some(flag))
                .collect();
            let (before, after) = request.text;
            let answer = self.run(&scripts::TICK, |call| {
                let candidate = request.candidate.map(|candidate| format!("{candidate:016x}"));
                call.arg(candidate.unwrap_or_default())
                    .arg(request.settled)
                    .arg(&flags)
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
            let answer = self.run(&scripts::RECORD, |call| {
                self.add_messages(messages, call);
                call.arg(term).arg(tick).arg(RECORDED_WITHIN);
            });
            let Value::Array(parts) = answer.await? else {
                return Err(NOT_UNDERSTOOD.to_owned());
            };
            match parts.first().and_then(read::<String>).as_deref() {
                Some("over") => Ok(Recorded::TermOver),
                Some("late") => Ok(Recorded::Late),
                _ => Ok(Recorded::Published),
            }
        })
    }
}

fn ticked(answer: &Value) -> Option<Ticked> {
    let (role, tick, term, from, settled, used): (String, u64, u64, u64, u64, u64) = read(answer)?;
    let role = match &*role {
        "holder" => Role::Holder,
        "standby" => Role::Standby,
        role => Role::None(role == "needed"),
    };
    Some(Ticked {
        role,
        tick,
        term,
        from,
        settled,
        is_used: used == 1,
    })
}
