//! Tasks of one kind take turns with everything else that a shard does.
//!
//! A thread polls what is ready in the order in which it became so. Ten thousand requests at once, or ten thousand
//! connections that end at once, would have an event that came after them wait for all. So of a kind only a few are polled
//! in one pass over what is ready; the others wait in a line of their own, which costs them next to nothing.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// The line of one kind of tasks on one shard.
pub struct Pace {
    /// How many are polled in one pass.
    per_pass: usize,
    /// How many more may be polled in this pass without standing in line.
    left: Cell<usize>,
    line: RefCell<VecDeque<Waker>>,
    /// How many have ever joined the line, and how many of those have had their turn.
    joined: Cell<u64>,
    called: Cell<u64>,
    /// Wakes [`Pace::run`] when a task joins an empty line.
    caller: RefCell<Option<Waker>>,
}

impl Pace {
    /// A line of which `per_pass` tasks are polled in one pass.
    pub fn new(per_pass: usize) -> Rc<Self> {
        Rc::new(Self {
            per_pass,
            left: Cell::new(0),
            line: RefCell::default(),
            joined: Cell::new(0),
            called: Cell::new(0),
            caller: RefCell::default(),
        })
    }

    /// Runs `future` in turns. [`Pace::run`] must run beside it.
    pub async fn paced<F: Future>(self: Rc<Self>, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut place = None;
        poll_fn(|context| match self.turn(&mut place, context) {
            Poll::Ready(()) => future.as_mut().poll(context),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Stands in line once, even if the line is empty.
    pub(super) async fn called(&self) {
        let mut place = None;
        poll_fn(|context| match place {
            None => self.join(&mut place, context),
            Some(_) => self.turn(&mut place, context),
        })
        .await;
    }

    /// Whether a future may be polled now; `place` is its place in the line, if it has one.
    fn turn(&self, place: &mut Option<u64>, context: &Context<'_>) -> Poll<()> {
        if let Some(number) = *place {
            // Woken by something else it keeps its place, and its waker is in the line.
            if number >= self.called.get() {
                return Poll::Pending;
            }
            *place = None;
            return Poll::Ready(());
        }
        if self.line.borrow().is_empty() && self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            return Poll::Ready(());
        }
        self.join(place, context)
    }

    fn join(&self, place: &mut Option<u64>, context: &Context<'_>) -> Poll<()> {
        self.line.borrow_mut().push_back(context.waker().clone());
        *place = Some(self.joined.get());
        self.joined.set(self.joined.get() + 1);
        if let Some(caller) = self.caller.take() {
            caller.wake();
        }
        Poll::Pending
    }

    /// Calls the tasks in the line, a few in each pass, for ever.
    pub async fn run(self: Rc<Self>) {
        loop {
            poll_fn(|context| self.call(context)).await;
            // Not a mere wake-up, which would come before the shard has looked at its sockets.
            tokio::task::yield_now().await;
        }
    }

    /// Calls the next few; pending while the line is empty.
    fn call(&self, context: &Context<'_>) -> Poll<()> {
        let mut line = self.line.borrow_mut();
        let next = line.len().min(self.per_pass);
        line.drain(..next).for_each(Waker::wake);
        self.called.set(self.called.get() + next as u64);
        self.left.set(self.per_pass - next);
        if next > 0 {
            return Poll::Ready(());
        }
        line.shrink_to(4 * self.per_pass);
        *self.caller.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::{runtime, task::LocalSet};

    use super::*;

    const TURN: usize = 16;

    /// Lets all else that is ready run once.
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
    fn few_run_in_one_pass_and_all_in_the_end() {
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
            // What one pass left over may come with what the next gives.
            assert!((1..=2 * TURN).contains(&most), "{most}");
            for one in crowd {
                assert!(one.await.is_ok());
            }
        });
    }

    #[test]
    fn a_task_that_goes_away_holds_none_up() {
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
