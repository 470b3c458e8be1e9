//! An HTTP connection, from its first byte to its end or its upgrade.

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    sync::atomic::Ordering::Relaxed,
    task::Poll,
    time::Duration,
};

use fanfare_engine::{Pace, Shard};
use http::StatusCode;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Site, dispatch, first_head,
    progress::InProgress,
    reply::{self, Reply},
    reply_body::{ByteStream, HandOver},
    stream::{Activity, HttpStream, Phase, TimeLimits},
};
use crate::causes::Causes;

/// The longest time that a kept connection takes to close after its time limit.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of data that is discarded after a response to an unread body, as a multiple of the longest body.
const DISCARDED_BODIES: usize = 8;

/// Serves the requests of `peer`; the head of the first one must arrive by `first_head_by`.
pub(super) async fn serve<S: ByteStream + 'static>(
    mut stream: S,
    peer: IpAddr,
    first_head_by: Instant,
    site: Arc<Site>,
    shard: Rc<Shard>,
    pace: Rc<Pace>,
) {
    let reading = first_head::read(&mut stream, site.rules().max_header_size);
    match timeout_at(first_head_by, reading).await {
        Ok(Ok(head)) if head.is_empty() => {} // closed without a request
        // Boxed, so that a connection that waits for its first request has no room for all the rest.
        Ok(Ok(head)) => Box::pin(serve_http(stream, head, peer, first_head_by, site, shard, pace)).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "HTTP connection ended"),
        Err(_) => note_timeout(peer, &shard),
    }
}

/// Counts and logs that a connection's first request did not arrive in time.
fn note_timeout(peer: IpAddr, shard: &Shard) {
    let counters = &shard.node.counters;
    counters.handshakes_timed_out.fetch_add(1, Relaxed);
    tracing::debug!(%peer, "no request came in time");
}

/// Serves the requests on `stream`, from which `head` was read already.
async fn serve_http<S: ByteStream + 'static>(
    stream: S,
    head: Vec<u8>,
    peer: IpAddr,
    first_head_by: Instant,
    site: Arc<Site>,
    shard: Rc<Shard>,
    pace: Rc<Pace>,
) {
    let (activity, max_head, discardable) = {
        let rules = site.rules();
        let activity = Activity::new(TimeLimits {
            first_head_by,
            request: rules.request_timeout,
            keep_alive: rules.keep_alive_timeout,
        });
        let discardable = rules.max_body_size.saturating_mul(DISCARDED_BODIES);
        (activity, rules.max_header_size, discardable)
    };
    let stream = HttpStream::new(stream, head, activity.clone(), discardable);
    let handed_over: Cell<Option<HandOver>> = Cell::default();
    let service = service_fn(|request| {
        activity.enter(Phase::Handler);
        let progress = Rc::new(InProgress::new(&shard.node));
        let (own, site, shard) = (progress.clone(), site.clone(), shard.clone());
        // Boxed, because hyper reserves room for a handler before there is a request, and the handler is large.
        let handling = Box::pin(async move {
            let _own = own;
            dispatch::answer(request, peer, site, shard).await
        });
        let (activity, pace, handed_over) = (activity.clone(), pace.clone(), &handed_over);
        async move {
            let mut reply = run_to_completion(handling, pace).await;
            drop(progress); // hyper writes the response before this thread does anything else
            let to = reply.body_mut().take_hand_over();
            activity.enter(to.as_ref().map_or(Phase::Kept, |_| Phase::HandOver));
            handed_over.set(to);
            Ok::<_, Infallible>(reply)
        }
    });
    let mut http = http1::Builder::new();
    // A caller that has closed its sending side still gets its response. The phases of the connection limit the time;
    // hyper has one limit for both a silent client and half a request.
    http.half_close(true).header_read_timeout(None);
    http.max_buf_size(max_head.max(8192)); // hyper's minimum
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let served = serve_within_limits(Pin::new(&mut connection), &activity, first_head_by).await;
    if activity.phase() == Phase::HandedOver
        && let Some(to) = handed_over.take()
    {
        let parts = connection.into_parts();
        let (socket, ahead) = parts.io.into_inner().into_parts();
        return to(Box::new(socket), [parts.read_buf, ahead].concat().into());
    }
    match served {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(error = %Causes(&error), %peer, "HTTP connection ended"),
        None => match activity.phase() {
            Phase::New => note_timeout(peer, &shard),
            Phase::Request | Phase::Handler => tracing::debug!(%peer, "a request did not come in time"),
            Phase::Kept | Phase::HandOver | Phase::HandedOver => {
                Pin::new(&mut connection).graceful_shutdown();
                // It fails if the client does not read its response; then the connection is cut.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection).await;
            }
        },
    }
}

/// Polls `connection` to its end. Returns `None` if a time limit passes before, or if its socket is handed over.
async fn serve_within_limits<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    activity: &Activity,
    first_head_by: Instant,
) -> Option<T> {
    let mut alarm = pin!(sleep_until(first_head_by));
    poll_fn(|cx| {
        if let Poll::Ready(served) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(served));
        }
        if activity.phase() == Phase::HandedOver {
            return Poll::Ready(None);
        }
        loop {
            let Some(due) = activity.due() else {
                return Poll::Pending;
            };
            if due <= Instant::now() {
                return Poll::Ready(None);
            }
            // An alarm that is too early is corrected when it fires, so that most changes of the phase cost nothing.
            if due < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(due);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Runs a handler to its end even if its caller disconnects, so that nothing stays half stored or half published. A handler that
/// waits continues in its own task.
async fn run_to_completion(
    mut handling: Pin<Box<impl Future<Output = Reply> + 'static>>,
    pace: Rc<Pace>,
) -> Reply {
    if let Poll::Ready(reply) = poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await {
        return reply;
    }
    let task = tokio::task::spawn_local(pace.paced(handling));
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a handler panicked");
        reply::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::{runtime, sync::oneshot, task::LocalSet};

    use super::*;

    fn run(test: impl AsyncFnOnce(Rc<Pace>)) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        LocalSet::new().block_on(&runtime, async {
            let pace = Pace::new(16);
            tokio::task::spawn_local(pace.clone().run());
            test(pace).await;
        });
    }

    #[test]
    fn a_handler_runs_to_its_end_if_its_caller_disconnects() {
        run(async |pace| {
            let (done, (go, gone)) = (Rc::new(Cell::new(false)), oneshot::channel::<()>());
            let at_end = done.clone();
            let handling = async move {
                let _ = gone.await;
                tokio::task::yield_now().await;
                at_end.set(true);
                reply::error(StatusCode::OK, "")
            };
            let mut caller = Box::pin(run_to_completion(Box::pin(handling), pace));
            let polled = poll_fn(|cx| Poll::Ready(caller.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            drop(caller);
            assert!(go.send(()).is_ok(), "the handler still waits");
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(done.get());
        });
    }

    #[test]
    fn the_caller_of_a_handler_that_panics_gets_a_reply() {
        run(async |pace| {
            let handling = async {
                tokio::task::yield_now().await;
                panic!("a fault");
            };
            let reply = run_to_completion(Box::pin(handling), pace).await;
            assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
        });
    }
}
