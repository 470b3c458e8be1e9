//! Limits how many tasks of one kind a shard polls in one pass.
//!
//! A thread polls ready tasks in the order in which they became ready. An event that arrives after ten thousand requests, or after
//! the ends of ten thousand connections, would wait for all of them. So a pass polls only a few tasks of a kind. The others wait in
//! a queue, which costs next to nothing.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// The queue of one kind of tasks on one shard.
pub struct Pace {
    /// The most tasks that are polled in one pass.
    per_pass: usize,
    /// The number of further tasks that may be polled in this pass without waiting in the queue.
    left: Cell<usize>,
    queue: RefCell<VecDeque<Waker>>,
    /// The numbers of tasks that have joined the queue, and that were called. Both wrap around at 2^32.
    joined: Cell<u32>,
    called: Cell<u32>,
    /// Wakes [`Pace::run`] when a task joins an empty queue.
    caller: RefCell<Option<Waker>>,
}

/// A task's place in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(u32);

impl Pace {
    /// Returns a queue of which `per_pass` tasks are polled in one pass.
    pub fn new(per_pass: usize) -> Rc<Self> {
        Rc::new(Self {
            per_pass,
            left: Cell::new(0),
            queue: RefCell::default(),
            joined: Cell::new(0),
            called: Cell::new(0),
            caller: RefCell::default(),
        })
    }

    /// Polls `future` only when the queue calls it. [`Pace::run`] must run at the same time.
    pub async fn paced<F: Future>(self: Rc<Self>, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut place = None;
        poll_fn(|context| {
            place = match place {
                None => self.enter(context),
                // If another event wakes the task, its place and its waker stay in the queue.
                Some(place) => (!self.has_called(place)).then_some(place),
            };
            if place.is_some() {
                return Poll::Pending;
            }
            future.as_mut().poll(context)
        })
        .await
    }

    /// Returns `None` if the task may be polled now; otherwise joins the queue, and returns the place.
    pub(super) fn enter(&self, context: &Context<'_>) -> Option<Place> {
        if self.queue.borrow().is_empty() && self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            return None;
        }
        Some(self.join(context))
    }

    pub(super) fn join(&self, context: &Context<'_>) -> Place {
        self.queue.borrow_mut().push_back(context.waker().clone());
        let place = Place(self.joined.get());
        self.joined.set(place.0.wrapping_add(1));
        if let Some(caller) = self.caller.take() {
            caller.wake();
        }
        place
    }

    /// Returns whether the task at `place` was called. A queue is always shorter than 2^31.
    pub(super) fn has_called(&self, place: Place) -> bool {
        let behind = place.0.wrapping_sub(self.called.get());
        behind > u32::MAX / 2
    }

    /// Calls the tasks in the queue, a few in each pass, forever.
    pub async fn run(self: Rc<Self>) {
        loop {
            poll_fn(|context| self.call(context)).await;
            // A mere wake-up would run before the shard has polled its sockets.
            tokio::task::yield_now().await;
        }
    }

    /// Calls the next tasks; pending while the queue is empty.
    fn call(&self, context: &Context<'_>) -> Poll<()> {
        let mut queue = self.queue.borrow_mut();
        let next = queue.len().min(self.per_pass);
        queue.drain(..next).for_each(Waker::wake);
        let called = u32::try_from(next).unwrap_or(u32::MAX);
        self.called.set(self.called.get().wrapping_add(called));
        self.left.set(self.per_pass - next);
        if next > 0 {
            return Poll::Ready(());
        }
        queue.shrink_to(4 * self.per_pass);
        *self.caller.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime, task::LocalSet};

    use super::*;

    const TURN: usize = 16;

    /// Lets all other ready tasks run once.
    async fn pass() {
        let mut passed = false;
        poll_fn(|context| {
            if std::mem::replace(&mut passed, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn on_one_thread(test: impl Future<Output = ()>) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_pass_polls_a_few_tasks_and_all_tasks_complete() {
        const CROWD: usize = 1000;
        on_one_thread(async {
            let (pace, polled) = (Pace::new(TURN), Rc::new(Cell::new(0)));
            tokio::task::spawn_local(pace.clone().run());
            let one = |polled: Rc<Cell<usize>>| async move {
                for _ in 0..3 {
                    polled.set(polled.get() + 1);
                    pass().await;
                }
            };
            let crowd: Vec<_> = (0..CROWD)
                .map(|_| tokio::task::spawn_local(pace.clone().paced(one(polled.clone()))))
                .collect();
            let bystander = tokio::task::spawn_local(async move {
                let mut most = 0;
                while polled.get() < 3 * CROWD {
                    let before = polled.get();
                    pass().await;
                    most = most.max(polled.get() - before);
                }
                most
            });
            let most = bystander.await.unwrap_or(usize::MAX);
            // Two limits, because the bystander may see the end of one pass with the next.
            assert!((1..=2 * TURN).contains(&most), "{most}");
            for one in crowd {
                assert!(one.await.is_ok());
            }
        });
    }

    #[test]
    fn places_are_called_in_order_even_when_their_numbers_wrap_around() {
        let pace = Pace::new(1);
        pace.joined.set(u32::MAX);
        pace.called.set(u32::MAX);
        let context = Context::from_waker(Waker::noop());
        let places = [(); 3].map(|()| pace.join(&context));
        for called in 0..=3 {
            let expected = [0, 1, 2].map(|nth| nth < called);
            assert_eq!(places.map(|place| pace.has_called(place)), expected);
            let _ = pace.call(&context);
        }
    }

    #[test]
    fn a_dropped_task_does_not_delay_others() {
        on_one_thread(async {
            let pace = Pace::new(TURN);
            let left = tokio::task::spawn_local(pace.clone().paced(pass()));
            pass().await;
            left.abort();
            let stays = tokio::task::spawn_local(pace.clone().paced(pass()));
            pass().await;
            assert!(!stays.is_finished(), "none was called yet");
            tokio::task::spawn_local(pace.run());
            assert!(stays.await.is_ok());
        });
    }
}
