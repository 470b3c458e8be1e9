//! A node's reports to the other nodes, so that an operator sees all nodes at each of them.

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
/// The time between two samples of the problems, and their number: ten minutes.
const SAMPLE_EVERY: Duration = Duration::from_secs(15);
const SAMPLES: usize = 40;

/// Reports on one node: its figures, and the configuration in force.
pub struct NodeReport {
    node: Weak<Node>,
    accounts: Accounts,
    upkeep: Arc<Upkeep>,
    configuration: ArcSwap<Loaded>,
    /// The last samples of the problems' counts, the oldest first.
    samples: Mutex<VecDeque<ProblemCounts>>,
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
            samples: Mutex::default(),
        })
    }

    pub(crate) fn replace_configuration(&self, loaded: Loaded) {
        self.configuration.store(Arc::new(loaded));
    }

    /// Starts to sample the problems, so that a report can show those of the last minutes.
    pub(crate) fn spawn_sampling(self: &Arc<Self>) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(node) = this.node.upgrade() {
                add_sample(
                    &mut locked(&this.samples),
                    problems::counts(&node, &this.accounts),
                );
                drop(node);
                tokio::time::sleep(SAMPLE_EVERY).await;
            }
        })
    }

    fn problems(&self, node: &Node) -> BTreeMap<String, Occurrences> {
        let before = locked(&self.samples).front().cloned().unwrap_or_default();
        problems::since(&problems::counts(node, &self.accounts), &before)
    }
}

/// Adds a sample, and drops the oldest if there are enough.
fn add_sample(samples: &mut VecDeque<ProblemCounts>, latest: ProblemCounts) {
    if samples.len() == SAMPLES {
        samples.pop_front();
    }
    samples.push_back(latest);
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
    fn the_samples_of_ten_minutes_are_kept() {
        let mut samples = VecDeque::new();
        for count in 0..100u64 {
            add_sample(
                &mut samples,
                ProblemCounts::from([("accept_errors".to_owned(), count)]),
            );
        }
        let counts: Vec<_> = samples.iter().map(|look| look["accept_errors"]).collect();
        assert_eq!((counts.len(), counts[0], counts[SAMPLES - 1]), (SAMPLES, 60, 99));
    }
}
