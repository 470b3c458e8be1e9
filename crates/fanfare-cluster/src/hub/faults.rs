//! The faults that a test injects.

use super::Hub;

impl Hub {
    /// Closes all connections, and refuses new ones while `away`.
    pub fn set_away(&self, away: bool) {
        let mut state = self.state();
        state.away = away;
        state.listeners.clear();
    }

    /// Closes the connections of a node, and refuses new ones while `cut`.
    pub fn set_cut(&self, node: &str, cut: bool) {
        let mut state = self.state();
        state.listeners.retain(|listener| listener.node != node);
        if cut {
            state.cut.insert(node.to_owned());
        } else {
            state.cut.remove(node);
        }
    }

    /// Sets whether a connected node receives no messages.
    pub fn set_deaf(&self, node: &str, deaf: bool) {
        let mut state = self.state();
        if deaf {
            state.deaf.insert(node.to_owned());
        } else {
            state.deaf.remove(node);
        }
    }

    /// Closes the receiving connection of a node without the hub's notice.
    #[cfg(test)]
    pub(crate) fn leave_half_open(&self, node: &str) {
        let mut state = self.state();
        let listeners = state.listeners.iter_mut();
        let of_node = listeners.filter(|listener| listener.node == node);
        of_node.for_each(|listener| listener.messages = None);
    }

    /// Closes the publishing connection of a node with its next message that has this beginning.
    #[cfg(test)]
    pub(crate) fn lose(&self, node: &str, beginning: &'static [u8]) {
        self.state().loses = Some((node.to_owned(), beginning));
    }

    /// Returns whether a node has a subscription.
    #[cfg(test)]
    pub(crate) fn listens(&self, node: &str) -> bool {
        let state = self.state();
        let mut listeners = state.listeners.iter();
        listeners.any(|listener| listener.node == node && !listener.subjects.is_empty())
    }

    /// Sets whether subscriptions to users wait.
    #[cfg(test)]
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.state().stalls = stalled;
    }

    /// Lets the journal refuse the next `count` requests.
    pub fn refuse_requests(&self, count: u32) {
        self.state().refusals = count;
    }

    /// Lets the journal answer the next `count` requests for kept events. Later ones wait.
    #[cfg(test)]
    pub(crate) fn set_answers(&self, count: usize) {
        self.state().answers = count;
    }

    /// Raises the journal's floor, so that no earlier cursor is recovered.
    #[cfg(test)]
    pub(crate) fn raise_floor(&self, floor: u64) {
        self.state().floor = floor;
    }
}
