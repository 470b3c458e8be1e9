//! The spans of a batch of events. Without a recorder there are none.

use std::sync::Arc;

use super::{EndSpan, SpanRecorder};

/// The open spans of a batch, each with its event's index.
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
