//! One connection's session, without its stream: requests in, replies and publications out.

use std::{borrow::Cow, net::SocketAddr, sync::atomic::Ordering::Relaxed};

use fanfare_cluster::wire::{self, Rejected};
use fanfare_core::Event;
use tokio::time::Instant;

use super::{
    batch::Batch,
    door::RedisDoor,
    request::Request,
    writer::{Protocol, Writer},
};
use crate::parsing;

/// The user of a client that names none.
pub(super) const DEFAULT_USER: &[u8] = b"default";
const MAX_FAILURES: u32 = 10;
const MAX_QUEUED: usize = 64 * 1024;
/// A reply buffer of more than this is not kept, in bytes.
const KEPT_REPLIES: usize = 1024;
/// A password of more than this is not kept while none is needed, in bytes.
const MAX_KEPT_SECRET: usize = 1024;
/// The most bytes of an unknown name that are repeated to the peer.
const MAX_ECHO: usize = 64;

pub(super) type RefusedCommand = Cow<'static, str>;

/// A command: the facts that `COMMAND` lists, and its implementation.
pub(super) struct Spec {
    /// In lower case; a subcommand's has its container's in front, as in `client|id`.
    pub(super) name: &'static str,
    /// The number of arguments, the command's name included; negative if there may be more.
    pub(super) arity: i64,
    pub(super) flags: &'static [&'static str],
    pub(super) summary: &'static str,
    pub(super) group: &'static str,
    /// Its arguments, as its help shows them.
    pub(super) arguments: &'static str,
    pub(super) subcommands: &'static [Spec],
    /// Runs at once even between `MULTI` and `EXEC`.
    pub(super) immediate: bool,
    /// Writes exactly one reply, or leaves it to the batch.
    pub(super) run: fn(&mut Session<'_>, &Request),
}

impl Spec {
    pub(super) fn before_login(&self) -> bool {
        self.flags.contains(&"no_auth")
    }

    pub(super) fn own_name(&self) -> &'static str {
        self.name.rsplit('|').next().unwrap_or(self.name)
    }

    /// Returns the one of `all` that has this name, in any case.
    pub(super) fn named(all: &'static [Self], name: &[u8]) -> Option<&'static Self> {
        // Most are no subcommands, and their whole name is their own.
        let is_named = |own: &str| name.eq_ignore_ascii_case(own.as_bytes());
        let is_it = |spec: &&Self| is_named(spec.name) || is_named(spec.own_name());
        all.iter().find(is_it)
    }

    pub(super) fn takes(&self, arguments: usize) -> bool {
        let wanted = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        arguments == wanted || self.arity < 0 && arguments > wanted
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// After the last reply.
    AfterReplies,
    /// Without a reply.
    AtOnce,
}

#[derive(Default)]
pub(super) struct Transaction {
    pub(super) queued: Vec<(&'static Spec, Request)>,
    bytes: usize,
    /// A command could not be queued, so `EXEC` runs none of them.
    failed: bool,
}

#[derive(Default)]
pub(super) struct ClientNames {
    pub(super) name: Box<str>,
    pub(super) library: Box<str>,
    pub(super) library_version: Box<str>,
}

pub(super) struct Session<'a> {
    pub(super) door: &'a RedisDoor,
    pub(super) peer: SocketAddr,
    pub(super) id: u64,
    pub(super) since: Instant,
    pub(super) names: ClientNames,
    pub(super) database: u8,
    pub(super) writer: Writer,
    pub(super) batch: Batch,
    pub(super) closing: Option<Closing>,
    /// The time at which a peer without a login is closed; `None` after its login.
    pub(super) login_deadline: Option<Instant>,
    /// Whether the client has sent a valid secret. Without one it may publish as long as no key is needed.
    authenticated: bool,
    /// The secret that was sent when none was needed: possibly a key that was just created and is not known here yet.
    early_secret: Option<Box<[u8]>>,
    failures: u32,
    pub(super) transaction: Option<Transaction>,
    /// The commands of the transaction that `EXEC` committed.
    pub(super) executing: Vec<(&'static Spec, Request)>,
    /// The last `PUBLISH`, if it is a large one. It is parsed and [added](Session::add) before the next command.
    pub(super) large: Option<Request>,
    /// Counted here, and added to the door's counters once in each read.
    commands: u64,
    publications: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(door: &'a RedisDoor, peer: SocketAddr) -> Self {
        let mut session = Self {
            door,
            peer,
            id: door.next_id(),
            since: Instant::now(),
            names: ClientNames::default(),
            database: 0,
            writer: Writer::default(),
            batch: Batch::new(),
            closing: None,
            login_deadline: None,
            authenticated: false,
            early_secret: None,
            failures: 0,
            transaction: None,
            executing: Vec::new(),
            large: None,
            commands: 0,
            publications: 0,
        };
        session.check_login();
        session
    }

    /// Runs `request` by the command in `permitted`, or queues it while a transaction is open. `EXEC` moves the queued commands
    /// to [`Session::executing`].
    pub(super) fn handle(&mut self, request: Request, permitted: Result<&'static Spec, RefusedCommand>) {
        if speaks_http(&request) {
            self.warn_unwelcome("HTTP on the Redis-protocol door: connection dropped");
            self.closing = Some(Closing::AtOnce);
            return;
        }
        let spec = match permitted {
            Ok(spec) => spec,
            Err(error) => {
                self.writer.error(&error);
                if let Some(transaction) = &mut self.transaction {
                    transaction.failed = true;
                }
                return;
            }
        };
        if self.transaction.is_none() || spec.immediate {
            self.run(spec, &request);
        } else {
            self.queue(spec, request);
        }
    }

    /// Runs a permitted command.
    pub(super) fn run(&mut self, spec: &Spec, request: &Request) {
        self.commands += 1;
        (spec.run)(self, request);
    }

    fn queue(&mut self, spec: &'static Spec, request: Request) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        transaction.bytes += request.size();
        if transaction.queued.len() >= MAX_QUEUED || transaction.bytes > 2 * self.door.options.max_message {
            transaction.failed = true;
            transaction.queued = Vec::new();
            self.writer.error("ERR too much in one transaction");
        } else {
            transaction.queued.push((spec, request));
            self.writer.simple("QUEUED");
        }
    }

    pub(super) fn begin(&mut self) {
        if self.transaction.is_some() {
            self.writer.error("ERR MULTI calls can not be nested");
        } else {
            self.transaction = Some(Transaction::default());
            self.writer.simple("OK");
        }
    }

    pub(super) fn execute(&mut self) {
        match self.transaction.take() {
            None => self.writer.error("ERR EXEC without MULTI"),
            Some(transaction) if transaction.failed => {
                self.writer
                    .error("EXECABORT Transaction discarded because of previous errors.");
            }
            Some(transaction) => {
                self.writer.array(transaction.queued.len());
                self.executing = transaction.queued;
            }
        }
    }

    pub(super) fn discard(&mut self) {
        match self.transaction.take() {
            Some(_) => self.writer.simple("OK"),
            None => self.writer.error("ERR DISCARD without MULTI"),
        }
    }

    pub(super) fn logged_in(&self) -> bool {
        self.login_deadline.is_none()
    }

    /// Logs the peer in if `secret` is valid for `user`; returns whether it is.
    pub(super) fn log_in(&mut self, user: &[u8], secret: &[u8]) -> bool {
        let open = self.door.is_open();
        let is_password = self.door.holds_password(secret);
        if open || self.door.holds_key(secret) || is_password && user == DEFAULT_USER {
            self.authenticated = !open;
            self.early_secret = (open && secret.len() <= MAX_KEPT_SECRET).then(|| secret.into());
            self.login_deadline = None;
            self.failures = 0;
            return true;
        }
        self.failures += 1;
        self.door.stats.failed_logins.fetch_add(1, Relaxed);
        self.warn_unwelcome(if is_password {
            "wrong user name on the Redis-protocol door: the password goes with \"default\" or none"
        } else {
            "wrong password on the Redis-protocol door"
        });
        if self.failures >= MAX_FAILURES {
            self.closing = Some(Closing::AfterReplies);
        }
        false
    }

    /// Resets the connection to its initial state.
    pub(super) fn reset(&mut self) {
        self.transaction = None;
        self.names.name = Box::default();
        self.database = 0;
        self.writer.protocol = Protocol::default();
        (self.authenticated, self.early_secret) = (false, None);
        self.check_login();
    }

    /// Decides whether a peer that has sent no secret may publish, which the first API key changes.
    pub(super) fn check_login(&mut self) {
        if self.authenticated {
            return;
        }
        if self.door.is_open() {
            self.login_deadline = None;
            return;
        }
        let early_secret = self.early_secret.take();
        if early_secret.is_some_and(|secret| self.door.holds_key(&secret)) {
            self.authenticated = true;
            self.login_deadline = None;
        } else if self.login_deadline.is_none() {
            self.login_deadline = Some(Instant::now() + self.door.login.load().timeout);
        }
    }

    /// `PUBLISH`: the reply is written when the broker has returned the receipt. A large one is left in [`Session::large`].
    pub(super) fn publish(&mut self, request: &Request) {
        self.publications += 1;
        if parsing::is_large(request.arg(2)) {
            self.large = Some(request.clone());
            return;
        }
        let now = self.batch.now;
        self.add(|events| wire::parse_message(request.arg(1), &request.slice(2), now, events));
    }

    /// Adds the events of a `PUBLISH`, which `read` appends, to the batch.
    pub(super) fn add(&mut self, read: impl FnOnce(&mut Vec<Event>) -> Result<(), Rejected>) {
        if let Err(reason) = self.batch.add(self.writer.out.len(), read) {
            // Its publisher gets 0, as for a message without subscribers on Redis.
            self.door.options.host.rejected();
            self.door.stats.rejected.fetch_add(1, Relaxed);
            if let Some(held_back) = self.door.malformed.pass() {
                tracing::warn!(peer = %self.peer, %reason, held_back, "publication dropped");
            }
        }
    }

    /// Adds this connection's counts to the door's counters.
    pub(super) fn count(&mut self) {
        let RedisDoor { stats, options, .. } = self.door;
        let commands = std::mem::take(&mut self.commands);
        if commands > 0 {
            stats.commands.fetch_add(commands, Relaxed);
        }
        let publications = std::mem::take(&mut self.publications);
        if publications > 0 {
            stats.publications.fetch_add(publications, Relaxed);
            options.host.received(publications);
        }
    }

    /// Frees memory that an idle connection should not hold.
    pub(super) fn shrink(&mut self) {
        if self.writer.out.capacity() > KEPT_REPLIES {
            self.writer.out = Vec::new();
            self.batch.shrink();
        }
    }

    /// Logs a warning about this peer, at most one in a while.
    pub(super) fn warn_unwelcome(&self, what: &'static str) {
        if let Some(held_back) = self.door.unwelcome.pass() {
            tracing::warn!(peer = %self.peer, held_back, "{what}");
        }
    }
}

/// Returns whether a browser or another HTTP client sent `request`. A web page can make a browser connect to the loopback
/// interface and send any lines, so such a connection ends at its first line.
fn speaks_http(request: &Request) -> bool {
    let name = request.arg(0);
    name.eq_ignore_ascii_case(b"post")
        || name.eq_ignore_ascii_case(b"host:")
        || request.is_inline() && request.arg(request.len() - 1).starts_with(b"HTTP/")
}

/// Returns `bytes` in a form for an error or a log: printable and short.
pub(super) fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_ECHO)];
    shown.escape_ascii().to_string()
}
