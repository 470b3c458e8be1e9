//! `GET /api/v1/configuration`: the values in force on all nodes, without secrets.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Always, ApiFailure, Reply, RouteCall, degraded, reply};
use crate::report::{CONFIGURATION, NodeConfiguration};

/// All nodes' configurations.
#[derive(Serialize, ToSchema)]
struct Configurations {
    /// The oldest first.
    nodes: Vec<NodeConfiguration>,
    /// True if a node has not answered, or the broker was unavailable; otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline, nullable = false)]
    degraded: Option<Always<true>>,
}

/// The values in force on all nodes, where they were set, and their defaults.
#[utoipa::path(
    get,
    path = "/api/v1/configuration",
    operation_id = "configuration",
    responses((status = 200, description = "The configuration of each node, without secrets.", body = inline(Configurations))),
)]
pub(in crate::http) async fn show(call: RouteCall<'_>) -> Result<Reply, ApiFailure> {
    let found = call.site.node.reports::<NodeConfiguration>(CONFIGURATION).await;
    let mut nodes = found.answer;
    nodes.sort_by_key(|one| one.node);
    let degraded = degraded(found.complete);
    Ok(reply::ok(&Configurations { nodes, degraded }))
}
