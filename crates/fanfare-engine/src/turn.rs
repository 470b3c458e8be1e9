//! A turn of one connection: the connection, with all that serving it needs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use super::{
    Shard,
    clock::Moment,
    codec::Codec,
    connection::{Connection, Done},
    connections::Key,
    driver::Driver,
};

/// A connection that is being served.
pub(super) struct Turn<'a> {
    pub(super) shard: &'a Rc<Shard>,
    pub(super) key: Key,
    pub(super) driver: &'a mut Driver,
    pub(super) codec: &'a mut Codec,
    pub(super) moment: Moment,
    pub(super) done: Done,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        shard: &'a Rc<Shard>,
        (key, driver): (Key, &'a mut Driver),
        codec: &'a mut Codec,
        moment: Moment,
    ) -> Self {
        Self {
            shard,
            key,
            driver,
            codec,
            moment,
            done: Done::default(),
        }
    }

    /// Writes the earlier events that fan-outs still hold for the connection, so that the turn's own messages follow them.
    pub(super) fn catch_up(&mut self) {
        let mut fan_outs = self.shard.fan_outs.borrow_mut();
        fan_outs.catch_up(self.key, self.driver, &mut self.codec.deflater, self.moment);
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.driver.connection
    }
}

/// Gives a connection a turn outside of its own task, if it still exists.
pub(super) fn take(shard: &Rc<Shard>, key: Key, act: impl FnOnce(&mut Turn<'_>)) {
    let mut connections = shard.connections.borrow_mut();
    let Some(driver) = connections.at(key) else { return };
    let mut tools = shard.tools.borrow_mut();
    let moment = shard.node.now();
    let mut turn = Turn::new(shard, (key, driver), &mut tools.codec, moment);
    let acted = catch_unwind(AssertUnwindSafe(|| {
        turn.catch_up();
        act(&mut turn);
    }));
    let work = turn.done.work;
    let driver = turn.driver;
    shard.publisher.place();
    driver.debt.add(work, moment.ms);
    if acted.is_err() {
        driver.failed(moment);
    } else if !driver.connection.is_open() {
        driver.wake();
    }
}
