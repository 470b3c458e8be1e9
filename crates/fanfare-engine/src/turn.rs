//! A turn of one connection, with everything that serves it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use super::{
    Shard,
    clock::Moment,
    codec::Codec,
    connection::{Connection, TurnTotals},
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
    pub(super) totals: TurnTotals,
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
            totals: TurnTotals::default(),
        }
    }

    /// Writes the pending events of fan-outs, so that they precede the messages of this turn.
    pub(super) fn catch_up(&mut self) {
        let mut fan_outs = self.shard.fan_outs.borrow_mut();
        fan_outs.catch_up(self.key, self.driver, &mut self.codec.deflater, self.moment);
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.driver.connection
    }
}

/// Runs a turn of a connection outside of its task, if it still exists.
pub(super) fn run(shard: &Rc<Shard>, key: Key, act: impl FnOnce(&mut Turn<'_>)) {
    let mut connections = shard.connections.borrow_mut();
    let Some(driver) = connections.at(key) else { return };
    let mut tools = shard.tools.borrow_mut();
    let moment = shard.node.now();
    let mut turn = Turn::new(shard, (key, driver), &mut tools.codec, moment);
    let acted = catch_unwind(AssertUnwindSafe(|| {
        turn.catch_up();
        act(&mut turn);
    }));
    let work = turn.totals.work;
    let driver = turn.driver;
    shard.publisher.publish_gathered();
    driver.recent_work.add(work, moment.ms);
    if acted.is_err() {
        driver.end_after_panic(moment);
    } else if !driver.connection.is_open() {
        driver.wake();
    }
}
