//! What the Redis-protocol door needs of the node.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use fanfare_brokers::wire;
use fanfare_core::{Broker, Event, Inbound, UserId};

use crate::{
    auth::Credentials,
    config::Config,
    engine::Node,
    resp::{Door, DoorOptions, Host},
};

/// The door onto `node`, which publishes by `broker`.
pub(super) fn door(config: &Config, node: &Arc<Node>, broker: Arc<dyn Broker>, port: u16) -> Door {
    let password = config.resp.password.as_ref().map(crate::config::Secret::expose);
    let keys = config.api.keys.iter().map(crate::config::Secret::expose);
    let credentials = Credentials::new(password.into_iter().chain(keys));
    let host: Arc<dyn Host> = Arc::new(NodeHost(node.clone()));
    Door::new(DoorOptions {
        max_message: config.resp.max_message_size,
        login_timeout: config.limits.handshake_timeout,
        port,
        ..DoorOptions::new(broker, host, credentials)
    })
}

struct NodeHost(Arc<Node>);

impl Host for NodeHost {
    fn parse(&self, channel: &[u8], message: &Bytes, now: SystemTime) -> Result<Vec<Event>, String> {
        wire::parse_message(channel, message, now).map_err(|rejected| rejected.to_string())
    }

    fn received(&self, publications: u64) {
        Inbound::received(&*self.0, publications);
    }

    fn rejected(&self) {
        Inbound::rejected(&*self.0);
    }

    fn users(&self) -> Vec<UserId> {
        self.0.users()
    }

    fn connections(&self, user: &str) -> u64 {
        self.0.connections_of(user) as u64
    }
}
