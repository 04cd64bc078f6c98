//! How something is spread over many right now. A histogram counts what happened since the start; this one is replaced.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::storage::Census;
use crate::storage::LAG_BOUNDS;

/// The lag of the active devices.
#[derive(Debug, Clone, Default)]
pub(super) struct Distribution(Arc<Mutex<Census>>);

impl Distribution {
    pub fn set(&self, census: &Census) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = *census;
    }
}

impl TypedMetric for Distribution {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Distribution {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let census = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The encoder adds up by itself, so it is given what is in each bucket alone.
        let mut below = 0;
        let mut buckets = Vec::with_capacity(LAG_BOUNDS.len() + 1);
        for (bound, up_to) in LAG_BOUNDS.iter().zip(census.lag_up_to) {
            buckets.push((*bound as f64, up_to.saturating_sub(below)));
            below = up_to;
        }
        buckets.push((f64::MAX, census.active_devices.saturating_sub(below)));
        encoder.encode_histogram::<NoLabelSet>(
            census.lag_sum as f64,
            census.active_devices,
            &buckets,
            None,
        )
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
