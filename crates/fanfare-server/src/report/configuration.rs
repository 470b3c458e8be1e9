//! The configuration in force on one node, without secrets, for the other nodes and for the service API.

use fanfare_engine::Node;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::figures::host;
use crate::config::{self, Loaded, Origin};

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
    pub(crate) settings: Vec<SettingInForce>,
}

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SettingInForce {
    /// resp.bind, listener[0].bind.
    pub(crate) key: String,
    /// As in the file; a secret is ***.
    pub(crate) value: String,
    /// The default; null if there is none.
    #[schema(required)]
    pub(crate) default: Option<String>,
    /// Whether the value is not the default.
    pub(crate) changed: bool,
    /// Where it was set: the profile, the line of the file, the environment or the command line; or why it has this value.
    pub(crate) origin: String,
    /// The description of the setting.
    pub(crate) doc: String,
}

pub(super) fn of(node: &Node, loaded: &Loaded) -> NodeConfiguration {
    let settings = config::settings(loaded).into_iter();
    let in_force = |setting: config::Setting| SettingInForce {
        changed: setting.origin != Origin::Default && setting.default.as_ref() != Some(&setting.value),
        origin: setting.origin.to_string(),
        key: setting.key,
        value: setting.value,
        default: setting.default,
        doc: setting.doc,
    };
    NodeConfiguration {
        node: node.id,
        host: host(),
        profile: loaded.profile.clone(),
        file: loaded.file.as_ref().map(|file| file.display().to_string()),
        warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
        settings: settings.map(in_force).collect(),
    }
}
