//! What goes wrong on the hub, when a test says so.

use super::Hub;

impl Hub {
    /// Cuts all connections, and allows no new ones until it is back.
    pub fn set_away(&self, away: bool) {
        let mut state = self.state();
        state.away = away;
        state.listeners.clear();
    }

    /// Cuts the connections of this node, and allows it no new ones until it is back.
    pub fn set_cut(&self, node: &str, cut: bool) {
        let mut state = self.state();
        state.listeners.retain(|listener| listener.node != node);
        if cut {
            state.cut.insert(node.to_owned());
        } else {
            state.cut.remove(node);
        }
    }

    /// Whether the node of this name receives nothing of what is published, though it is connected.
    pub fn set_deaf(&self, node: &str, deaf: bool) {
        let mut state = self.state();
        if deaf {
            state.deaf.insert(node.to_owned());
        } else {
            state.deaf.remove(node);
        }
    }

    /// The node loses the connection by which it receives, and the hub does not notice.
    #[cfg(test)]
    pub(crate) fn leave_half_open(&self, node: &str) {
        let mut state = self.state();
        let listeners = state.listeners.iter_mut();
        let of_node = listeners.filter(|listener| listener.node == node);
        of_node.for_each(|listener| listener.messages = None);
    }

    /// The node loses its publishing connection with its next message that begins so.
    #[cfg(test)]
    pub(crate) fn lose(&self, node: &str, beginning: &'static [u8]) {
        self.state().loses = Some((node.to_owned(), beginning));
    }

    /// Whether this node is subscribed to anything.
    #[cfg(test)]
    pub(crate) fn listens(&self, node: &str) -> bool {
        let state = self.state();
        let mut listeners = state.listeners.iter();
        listeners.any(|listener| listener.node == node && !listener.subjects.is_empty())
    }

    /// Whether subscriptions to users wait.
    #[cfg(test)]
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.state().stalls = stalled;
    }

    /// The journal refuses the next questions, so many of them.
    pub fn refuse_questions(&self, count: u32) {
        self.state().refusals = count;
    }

    /// Answers only so many of the next questions for kept events. The others wait.
    #[cfg(test)]
    pub(crate) fn set_answers(&self, count: usize) {
        self.state().answers = count;
    }

    /// Events are lost that no journal has kept: no cursor from before `floor` is recovered.
    #[cfg(test)]
    pub(crate) fn raise_floor(&self, floor: u64) {
        self.state().floor = floor;
    }
}
