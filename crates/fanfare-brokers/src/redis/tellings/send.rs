//! The task that sends what nodes tell each other, and goes on where it was when Redis is back.

use std::{sync::Arc, time::Instant};

use redis::{Pipeline, Value};

use super::book::Batch;
use crate::redis::{Shared, backoff::Backoff};

/// Sends what there is to send until the broker is dropped.
pub(in crate::redis) async fn run(shared: Arc<Shared>) {
    let tellings = &shared.tellings;
    let mut backoff = Backoff::default();
    loop {
        tellings.work.notified().await;
        loop {
            if shared.link.current().is_none() {
                backoff.wait().await;
                continue;
            }
            let Some(batch) = tellings.book().batch(Instant::now()) else {
                break;
            };
            if send(&shared, &batch).await {
                backoff.reset();
            } else {
                tellings.book().take_back(batch);
                backoff.wait().await;
            }
        }
    }
}

/// Whether Redis has confirmed all of it.
async fn send(shared: &Shared, batch: &Batch) -> bool {
    let count = batch.messages.len();
    let mut pipe = Pipeline::with_capacity(count);
    for (channel, message) in &batch.messages {
        pipe.cmd("PUBLISH").arg(channel).arg(message);
    }
    let Some(answers) = shared.link.send(&pipe, count).await else {
        return false;
    };
    let refused = answers.iter().find_map(|answer| match answer {
        Value::ServerError(error) => Some(shared.address.answered(error.code(), error.details())),
        _ => None,
    });
    if let Some(error) = &refused {
        shared.status.notice_refused(error);
    }
    refused.is_none()
}
