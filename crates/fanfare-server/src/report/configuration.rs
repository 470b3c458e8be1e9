//! The configuration in force on one node, without secrets, for the other nodes and for the service API.

use fanfare_engine::Node;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::figures::host;
use crate::config::{self, Loaded, Setting};

/// One node's configuration.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct NodeConfiguration {
    pub(crate) node: Uuid,
    /// The name of its machine; null if it is unknown.
    #[schema(required)]
    pub(crate) host: Option<String>,
    pub(crate) profile: String,
    /// The file that was read.
    #[schema(required)]
    pub(crate) file: Option<String>,
    /// Warnings about settings that are valid but risky.
    pub(crate) warnings: Vec<String>,
    #[schema(inline)]
    pub(crate) settings: Vec<Setting>,
}

pub(super) fn of(node: &Node, loaded: &Loaded) -> NodeConfiguration {
    NodeConfiguration {
        node: node.id,
        host: host(),
        profile: loaded.profile.clone(),
        file: loaded.file.as_ref().map(|file| file.display().to_string()),
        warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
        settings: config::settings(loaded),
    }
}
