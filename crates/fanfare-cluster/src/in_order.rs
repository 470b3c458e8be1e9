//! Work that is done in the order in which it was put, without a lock being held and without a task.

use std::{collections::VecDeque, sync::Mutex};

use fanfare_core::locked;

/// A queue that one of its callers at a time empties.
#[derive(Debug)]
pub(crate) struct InOrder<T>(Mutex<Queued<T>>);

#[derive(Debug)]
struct Queued<T> {
    waiting: VecDeque<T>,
    is_running: bool,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Mutex::new(Queued {
            waiting: VecDeque::new(),
            is_running: false,
        }))
    }
}

impl<T> InOrder<T> {
    /// Puts `item` at the end. It may be called under a lock that orders the callers.
    pub(crate) fn put(&self, item: T) {
        locked(&self.0).waiting.push_back(item);
    }

    /// Does `work` for everything that waits, unless another caller is about it: then that one does this caller's, too.
    /// `work` must not panic, or nothing is done any more.
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
    fn everything_is_done_once_and_in_order_whoever_does_it() {
        const EACH: usize = 1_000;
        let line = InOrder::default();
        let done = Mutex::new(Vec::new());
        let next = Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        {
                            let mut next = locked(&next);
                            line.put(*next);
                            *next += 1;
                        }
                        line.run(|number| locked(&done).push(number));
                    }
                });
            }
        });
        assert!(locked(&done).iter().copied().eq(0..4 * EACH));
    }

    #[test]
    fn work_may_put_more() {
        let line = InOrder::default();
        let done = Mutex::new(Vec::new());
        line.put(3);
        let work = |number: u32| {
            locked(&done).push(number);
            if number > 0 {
                line.put(number - 1);
                line.run(|_| unreachable!("another caller is about it"));
            }
        };
        line.run(work);
        assert_eq!(*locked(&done), [3, 2, 1, 0]);
    }
}
