//! Connects the Redis-protocol door to the node.

use std::sync::Arc;

use fanfare_accounts::{Accounts, KeyNeed, Scope};
use fanfare_cluster::wire;
use fanfare_core::{Audience, BoxFuture, Event, Inbound, PublishOptions, Receipt};
use fanfare_engine::{Conflict, Node};

use super::keys;
use crate::{
    auth::Credentials,
    config::{Config, Secret},
    resp::{COMMAND_TIMEOUT, DoorOptions, Host, Login, RedisDoor},
};

pub(super) fn door(config: &Config, node: &Arc<Node>, accounts: &Accounts, port: u16) -> RedisDoor {
    let host: Arc<dyn Host> = Arc::new(NodeHost {
        node: node.clone(),
        accounts: accounts.clone(),
        trust_loopback: config.api.trust_loopback,
    });
    let options = DoorOptions {
        host,
        max_message: config.resp.max_message_size,
        port,
        command_timeout: COMMAND_TIMEOUT,
    };
    RedisDoor::new(options, login(config))
}

pub(super) fn login(config: &Config) -> Login {
    let password = config.resp.password.as_ref();
    Login {
        password: Credentials::new(password.map(Secret::expose)),
        keys: keys::api_keys(config),
        timeout: config.limits.handshake_timeout,
    }
}

struct NodeHost {
    node: Arc<Node>,
    accounts: Accounts,
    trust_loopback: bool,
}

impl Host for NodeHost {
    fn publish(&self, events: Vec<Event>) -> BoxFuture<'_, Vec<Receipt>> {
        // An event that another publisher is publishing is skipped: it reached no connection by this command.
        self.node.record_entry("redis_door", None, &events);
        let options = PublishOptions { receipt: true };
        let publishing = self.node.publish(events, options, Conflict::Skip);
        Box::pin(async { publishing.await.unwrap_or_default() })
    }

    fn received(&self, publications: u64) {
        Inbound::received(&*self.node, publications);
    }

    fn rejected(&self) {
        Inbound::rejected(&*self.node);
    }

    fn audiences(&self) -> Vec<Audience> {
        self.node.audiences()
    }

    fn listeners(&self, channel: &str) -> u64 {
        if channel == wire::EVENTS {
            // An event there may be for any connection.
            return self.node.active();
        }
        wire::audience(channel).map_or(0, |audience| self.node.listeners(&audience))
    }

    fn patterns(&self) -> u64 {
        self.node.patterns()
    }

    fn needs_key(&self) -> bool {
        !self.trust_loopback || self.accounts.key_need() != KeyNeed::No
    }

    fn holds_key(&self, secret: &[u8]) -> bool {
        let offered = std::str::from_utf8(secret).ok();
        let key = offered.and_then(|offered| self.accounts.api_key(offered));
        key.is_some_and(|key| key.allows(Scope::Publish))
    }
}
