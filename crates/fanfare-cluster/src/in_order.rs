//! A queue whose items are processed in order, by its callers, while no lock is held.

use std::{collections::VecDeque, sync::Mutex};

use fanfare_core::locked;

/// See the module's documentation. At any time at most one caller processes items.
#[derive(Debug)]
pub(crate) struct InOrder<T>(Mutex<QueuedItems<T>>);

#[derive(Debug)]
struct QueuedItems<T> {
    waiting: VecDeque<T>,
    is_running: bool,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Mutex::new(QueuedItems {
            waiting: VecDeque::new(),
            is_running: false,
        }))
    }
}

impl<T> InOrder<T> {
    /// Appends `item`. It may be called under a lock that orders the callers.
    pub(crate) fn push(&self, item: T) {
        locked(&self.0).waiting.push_back(item);
    }

    /// Calls `work` with all items. If another caller is running, it returns at once: the other caller processes these items.
    /// `work` must not panic, or later items are never processed.
    pub(crate) fn run(&self, work: impl Fn(T)) {
        let mut state = locked(&self.0);
        while !state.is_running {
            let Some(item) = state.waiting.pop_front() else {
                return;
            };
            state.is_running = true;
            drop(state);
            work(item);
            state = locked(&self.0);
            state.is_running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_many_threads_are_processed_once_and_in_order() {
        const EACH: usize = 1_000;
        let queue = InOrder::default();
        let done = Mutex::new(Vec::new());
        let next = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        {
                            let mut next = locked(&next);
                            queue.push(*next);
                            *next += 1;
                        }
                        queue.run(|number| locked(&done).push(number));
                    }
                });
            }
        });
        assert!(locked(&done).iter().copied().eq(0..4 * EACH));
    }

    #[test]
    fn work_may_push_more_items() {
        let queue = InOrder::default();
        let done = Mutex::new(Vec::new());
        queue.push(3);
        let work = |number: u32| {
            locked(&done).push(number);
            if number > 0 {
                queue.push(number - 1);
                queue.run(|_| unreachable!("another caller is running"));
            }
        };
        queue.run(work);
        assert_eq!(*locked(&done), [3, 2, 1, 0]);
    }
}
