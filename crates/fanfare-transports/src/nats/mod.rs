//! NATS: messages travel by core publish and subscribe. Idempotency keys, presence and the journal are in JetStream.

mod address;
mod changes;
mod connection;
mod empty_records;
mod exchange;
mod ids;
mod jetstream;
mod journal;
mod login;
mod names;
mod order;
mod presence;
mod protocol;
mod receiver;
mod records;
mod requests;
mod sender;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fanfare_cluster::{
    ANSWER_TIMEOUT,
    transport::{Failed, Receiver, Sender, Transport},
};
use fanfare_core::BoxFuture;
use tokio::time::timeout;

use self::{
    address::Address, empty_records::EmptyRecords, names::Names, requests::RequestError, sender::Connection,
};
use crate::{BrokerOptions, OpenError};

/// The time that a new connection waits for JetStream: events travel without it, so its absence is no error of the connection.
const PATIENCE: Duration = ANSWER_TIMEOUT.checked_div(2).unwrap();
const NO_JETSTREAM: &str = "this NATS server has no JetStream, in which Fanfare stores ids and presence: start it with \
                            `-js`, or enable JetStream for the account";

/// NATS servers.
pub(crate) struct Nats {
    address: Address,
    names: Names,
    /// JetStream has replied once. If it becomes unavailable later, events travel without it.
    has_jetstream: AtomicBool,
    /// Outlives the connections.
    empty: Arc<EmptyRecords>,
    max_history_bytes: usize,
}

impl Nats {
    /// Reads `options` without connecting.
    ///
    /// # Errors
    /// If the URLs, the files or the prefix are not usable.
    pub(crate) fn new(options: &BrokerOptions) -> Result<Self, OpenError> {
        Ok(Self {
            address: Address::new(options)?,
            names: Names::new(&options.prefix)?,
            has_jetstream: AtomicBool::new(false),
            empty: Arc::default(),
            max_history_bytes: options.max_history_bytes,
        })
    }
}

impl Transport for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    fn address(&self) -> String {
        self.address.place.clone()
    }

    fn has_one_order(&self) -> bool {
        false
    }

    fn open_sender(&self) -> BoxFuture<'_, Result<Box<dyn Sender>, Failed>> {
        Box::pin(async move {
            let connection = Connection::open(
                &self.address,
                self.names.clone(),
                Arc::clone(&self.empty),
                self.max_history_bytes,
            )
            .await?;
            match timeout(PATIENCE, connection.ids.prepare()).await {
                Ok(Ok(_)) => self.has_jetstream.store(true, Ordering::Relaxed),
                Ok(Err(RequestError::NoJetStream)) if !self.has_jetstream.load(Ordering::Relaxed) => {
                    return Err(NO_JETSTREAM.to_owned());
                }
                Ok(Err(RequestError::Lost)) => return Err(RequestError::Lost.reason()),
                // Each claim reports the error again.
                Ok(Err(_)) | Err(_) => {}
            }
            Ok(Box::new(connection) as Box<dyn Sender>)
        })
    }

    fn open_receiver(&self) -> BoxFuture<'_, Result<Receiver, Failed>> {
        Box::pin(receiver::open(&self.address, &self.names))
    }
}
