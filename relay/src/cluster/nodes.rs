//! The other relays of this deployment.

use std::sync::{PoisonError, RwLock};

use crate::storage::postgres::NodeRow;

/// The other live nodes, as this one last heard of them; none for a relay with a database of its own.
#[derive(Debug, Default)]
pub(crate) struct Nodes(RwLock<Vec<NodeRow>>);

impl Nodes {
    /// These, and no others.
    pub fn set_others(&self, others: Vec<NodeRow>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = others;
    }

    /// Those.
    pub fn others(&self) -> Vec<NodeRow> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
