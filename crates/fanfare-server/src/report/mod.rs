//! What a node reports of itself to the others, so that an operator sees all of them wherever the question is put.

mod configuration;
mod figures;
mod problems;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use fanfare_accounts::Accounts;
use fanfare_core::{BoxFuture, locked};
use fanfare_engine::{Node, Reporter};
use tokio::task::JoinHandle;

pub(crate) use configuration::NodeConfiguration;
pub(crate) use figures::NodeFigures;
pub(crate) use problems::{KINDS, ProblemKind, Severity};

use crate::{config::Loaded, upkeep::Upkeep};
use problems::{Occurrences, ProblemCounts};

/// The name of the report that every node makes of its figures.
pub(crate) const FIGURES: &str = "figures";
/// The name of the report that every node makes of its configuration.
pub(crate) const CONFIGURATION: &str = "configuration";
/// Between two looks at what went wrong.
const LOOK_EVERY: Duration = Duration::from_secs(15);
const LOOKS: usize = 40;

/// Reports on one node: its figures, and the configuration in force.
pub struct NodeReport {
    node: Weak<Node>,
    accounts: Accounts,
    upkeep: Arc<Upkeep>,
    configuration: ArcSwap<Loaded>,
    /// How often each thing had gone wrong at the last looks, the oldest first.
    looks: Mutex<VecDeque<ProblemCounts>>,
}

impl NodeReport {
    pub(crate) fn new(
        node: &Arc<Node>,
        accounts: Accounts,
        upkeep: Arc<Upkeep>,
        loaded: Loaded,
    ) -> Arc<Self> {
        Arc::new(Self {
            node: Arc::downgrade(node),
            accounts,
            upkeep,
            configuration: ArcSwap::from_pointee(loaded),
            looks: Mutex::default(),
        })
    }

    pub(crate) fn replace_configuration(&self, loaded: Loaded) {
        self.configuration.store(Arc::new(loaded));
    }

    /// Looks at what went wrong again and again, so that a report can tell the last minutes from the time before.
    pub(crate) fn spawn_looking(self: &Arc<Self>) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(node) = this.node.upgrade() {
                keep(&mut locked(&this.looks), problems::counts(&node, &this.accounts));
                drop(node);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
    }

    fn problems(&self, node: &Node) -> BTreeMap<String, Occurrences> {
        let before = locked(&self.looks).front().cloned().unwrap_or_default();
        problems::since(&problems::counts(node, &self.accounts), &before)
    }
}

/// Adds the latest look, in the place of the oldest where there are enough.
fn keep(looks: &mut VecDeque<ProblemCounts>, latest: ProblemCounts) {
    if looks.len() == LOOKS {
        looks.pop_front();
    }
    looks.push_back(latest);
}

impl Reporter for NodeReport {
    fn report<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            let node = &*self.node.upgrade()?;
            let report = match name {
                FIGURES => {
                    let problems = self.problems(node);
                    serde_json::to_vec(&figures::of(node, &self.accounts, &self.upkeep, problems).await)
                }
                CONFIGURATION => serde_json::to_vec(&configuration::of(node, &self.configuration.load())),
                _ => return None,
            };
            report.ok().map(Bytes::from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_looks_of_ten_minutes_are_kept() {
        let mut looks = VecDeque::new();
        for count in 0..100u64 {
            keep(
                &mut looks,
                ProblemCounts::from([("accept_errors".to_owned(), count)]),
            );
        }
        let counts: Vec<_> = looks.iter().map(|look| look["accept_errors"]).collect();
        assert_eq!((counts.len(), counts[0], counts[LOOKS - 1]), (LOOKS, 60, 99));
    }
}
