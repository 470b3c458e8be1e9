//! Idempotency keys: claimed in the store that the cluster shares, and beside it in this node's own memory, by which the node
//! goes while the store is away.

use std::sync::Arc;

use fanfare_core::{Claim, Receipt};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    Shared,
    transport::{ReceivedId, Sender, Stored},
};

/// Claims `ids` and sends the claims to `claims`. Releases them if the caller is gone.
pub(crate) async fn claim(shared: Arc<Shared>, ids: Vec<Uuid>, claims: oneshot::Sender<Vec<Claim>>) {
    let stored = match shared.link.current() {
        Some(sender) => shared.stored(&sender, sender.ids().claim(&ids).await),
        None => Vec::new(),
    };
    let mut claimed = Vec::with_capacity(ids.len());
    let mut unstored = Vec::new();
    for (at, &id) in ids.iter().enumerate() {
        let stored = stored.get(at).copied().flatten();
        let claim = shared.ids.claim_after(id, stored);
        if let (Some(Claim::New | Claim::Taken), Claim::Published(Some(receipt))) = (stored, claim) {
            unstored.push((id, receipt));
        }
        claimed.push(claim);
    }
    if !unstored.is_empty() {
        // The store was away when these were published.
        settle(&shared, &unstored).await;
    }
    if let Err(claimed) = claims.send(claimed) {
        let new = ids.into_iter().zip(claimed);
        let new = new.filter_map(|(id, claim)| (claim == Claim::New).then_some(id));
        release(&shared, new.collect()).await;
    }
}

/// Claims ids together with all nodes that received them. Returns for each whether it is new; of an id that occurs twice
/// the first is.
pub(crate) async fn claim_together(shared: &Shared, ids: &[ReceivedId]) -> Vec<bool> {
    if ids.is_empty() {
        return Vec::new();
    }
    let stored = match shared.link.current() {
        Some(sender) => shared.stored(&sender, sender.ids().claim_together(ids).await),
        None => Vec::new(),
    };
    let claim = |(at, received): (usize, &ReceivedId)| {
        let claim = shared
            .ids
            .claim_after(received.id, stored.get(at).copied().flatten());
        if claim == Claim::New {
            shared.ids.record(received.id, &Receipt::default());
        }
        claim == Claim::New
    };
    ids.iter().enumerate().map(claim).collect()
}

/// Stores receipts, for ids that the store remembers.
pub(crate) async fn settle(shared: &Shared, receipts: &[(Uuid, Receipt)]) {
    if let Some(sender) = shared.link.current() {
        shared.stored(&sender, sender.ids().settle(receipts).await);
    }
}

/// Gives back `ids`.
pub(crate) async fn release(shared: &Shared, ids: Vec<Uuid>) {
    // Here first: else a claim between the two would be new to the store and known here, and so taken for ever.
    for id in &ids {
        shared.ids.release(*id);
    }
    if let Some(sender) = shared.link.current() {
        shared.stored(&sender, sender.ids().release(&ids).await);
    }
}

impl Shared {
    /// What the store of `sender` returned; notes its refusals.
    fn stored<T>(&self, sender: &Arc<dyn Sender>, stored: Stored<T>) -> T {
        if let Some(error) = &stored.refused {
            self.status.ids_refused(error);
        }
        if stored.lost {
            self.link.failed(sender);
        }
        stored.value
    }
}
