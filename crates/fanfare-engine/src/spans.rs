//! The port by which a node records what becomes of an event, as spans of its publisher's trace. Without a recorder nothing is asked.

use std::sync::Arc;

use fanfare_core::{Event, Reach, Receipt, policy::AccessControl};

/// Ends a span with its result. A span that is dropped ends without one.
pub type EndSpan<T> = Box<dyn FnOnce(T) + Send>;

/// Records spans. Its methods are called on the way of each event, so they must not wait.
pub trait SpanRecorder: Send + Sync {
    /// Begins the span of a publication, and stores its context in the event. Returns `None` if the trace is not sampled.
    fn publish(&self, event: &mut Event, access: &AccessControl) -> Option<EndSpan<Receipt>>;

    /// Begins the span of an event's delivery to this node's connections. Returns `None` if the event has no sampled trace.
    fn deliver(&self, event: &Event, access: &AccessControl) -> Option<EndSpan<Reach>>;

    /// Returns what became of the finished spans since the start: a metric's label, and the count.
    fn counts(&self) -> Vec<(&'static str, u64)>;
}

/// The open spans of a batch, each with its event's place in it.
pub(super) struct Spans<T>(Vec<(usize, EndSpan<T>)>);

impl<T: Copy> Spans<T> {
    /// Begins the spans of `events`, each by `begin`.
    pub(super) fn of<E>(
        recorder: Option<&Arc<dyn SpanRecorder>>,
        events: impl Iterator<Item = E>,
        begin: impl Fn(&dyn SpanRecorder, E) -> Option<EndSpan<T>>,
    ) -> Self {
        let spans = recorder.map(|recorder| {
            let begin = |(place, event)| Some((place, begin(&**recorder, event)?));
            events.enumerate().filter_map(begin).collect()
        });
        Self(spans.unwrap_or_default())
    }

    /// Ends each span with its event's result.
    pub(super) fn end(self, results: &[T]) {
        for (place, end) in self.0 {
            if let Some(result) = results.get(place) {
                end(*result);
            }
        }
    }
}
