//! Traces the entry of events.

use fanfare_core::{
    Audience, Event, Identity,
    policy::{Action, ExplainedPermission},
};

use super::{
    Node,
    clock::unix_micros,
    observe::{EntryTrace, TraceRule},
};

impl Node {
    /// Records that `events` enter by a door, or by a dialect's route, if they are traced. While nothing is watched, this costs one
    /// relaxed load.
    pub fn record_entry(&self, door: &'static str, dialect: Option<&'static str>, events: &[Event]) {
        if self.observers.is_watching() {
            for event in events {
                self.record_if_traced(door, dialect, event, || None);
            }
        }
    }

    /// Records that a client of `dialect` publishes `event`, and the rule that allows it.
    pub(super) fn record_client_entry(&self, dialect: &'static str, who: Option<&Identity>, event: &Event) {
        if self.observers.is_watching() {
            self.record_if_traced("client", Some(dialect), event, || match &event.audience {
                channel @ Audience::Channel(_) => self.access.explain(who, Action::Publish, channel),
                Audience::User(_) | Audience::Everyone => None,
            });
        }
    }

    fn record_if_traced(
        &self,
        door: &'static str,
        dialect: Option<&'static str>,
        event: &Event,
        explain: impl FnOnce() -> Option<ExplainedPermission>,
    ) {
        let now = self.clock.wall();
        let Some(traced) = self.observers.traces.of(self.id, event, now) else {
            return;
        };
        let explained = explain();
        traced.entered(EntryTrace {
            door: door.into(),
            dialect: dialect.map(Into::into),
            at_us: unix_micros(now),
            allowed_by: explained
                .as_ref()
                .map(|explained| explained.reason.as_str().into()),
            rule: explained
                .and_then(|explained| explained.rule)
                .map(TraceRule::from),
        });
    }
}
