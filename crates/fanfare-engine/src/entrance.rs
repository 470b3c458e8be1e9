//! Records how traced events enter.

use fanfare_core::{
    Audience, Event, Identity,
    policy::{Action, ExplainedPermission},
};

use super::{
    Node,
    clock::unix_micros,
    observe::{EntryTrace, TraceRule},
};

/// A door, and the dialect it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Entrance {
    door: &'static str,
    dialect: Option<&'static str>,
}

impl Entrance {
    /// Returns the entrance by `door`.
    pub fn new(door: &'static str, dialect: Option<&'static str>) -> Self {
        Self { door, dialect }
    }
}

impl Node {
    /// Records that `events` enter by a door, if they are traced. While nothing is watched, it costs a relaxed load.
    pub fn note_entry(&self, by: Entrance, events: &[Event]) {
        if self.observers.is_watching() {
            for event in events {
                self.record_entry(by, event, || None);
            }
        }
    }

    /// Records that a client of `dialect` publishes `event`, and the rule that allows it.
    pub(super) fn note_client_entry(&self, dialect: &'static str, who: Option<&Identity>, event: &Event) {
        if self.observers.is_watching() {
            let by = Entrance::new("client", Some(dialect));
            self.record_entry(by, event, || match &event.audience {
                channel @ Audience::Channel(_) => self.access.explain(who, Action::Publish, channel),
                Audience::User(_) | Audience::Everyone => None,
            });
        }
    }

    fn record_entry(
        &self,
        by: Entrance,
        event: &Event,
        explain: impl FnOnce() -> Option<ExplainedPermission>,
    ) {
        let now = self.clock.wall();
        let Some(traced) = self.observers.traces.of(self.id, event, now) else {
            return;
        };
        let explained = explain();
        traced.entered(EntryTrace {
            door: by.door.into(),
            dialect: by.dialect.map(Into::into),
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
