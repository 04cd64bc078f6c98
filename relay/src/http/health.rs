//! `/health` for machines that restart or route around a relay, `/metrics` for those that draw curves.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::app::Shared;
use crate::metrics::gauge;
use crate::storage::Stats;

/// How the relay is, with what it holds.
pub(super) async fn numbers(State(shared): State<Shared>) -> Response {
    match check(&shared).await {
        Ok(stats) => Json(json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "connections": shared.metrics.open_connections(),
            "groups": stats.groups,
            "blobs_buffered": stats.blobs,
            "uptime_seconds": shared.started.elapsed().as_secs(),
        }))
        .into_response(),
        Err(unwell) => unwell,
    }
}

/// How the relay is, and nothing more.
pub(super) async fn brief(State(shared): State<Shared>) -> Response {
    match check(&shared).await {
        Ok(_) => {
            Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })).into_response()
        }
        Err(unwell) => unwell,
    }
}

async fn check(shared: &Shared) -> Result<Stats, Response> {
    if shared.shutdown.is_cancelled() {
        return Err(unwell("shutting-down", "the relay is stopping"));
    }
    // A relay that could not write tries again when it is asked, so that it is well again before the next push.
    if shared.writer.is_failing() {
        if shared.storage.check().await.is_err() {
            return Err(unwell(
                "storage",
                "the relay cannot write to its database; check the disk",
            ));
        }
        shared.writer.recovered();
    }
    shared.holdings.get().await.map_err(|_| {
        unwell(
            "storage",
            "the relay cannot read its database; check the disk",
        )
    })
}

fn unwell(reason: &str, message: &str) -> Response {
    let body = json!({ "status": "unavailable", "reason": reason, "message": message });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (blobs, bytes) = shared.writer.queued();
    shared.metrics.queue_depth.set(gauge(blobs as u64));
    shared.metrics.queue_bytes.set(gauge(bytes as u64));
    let failing = shared.writer.is_failing();
    shared.metrics.storage_failing.set(failing.into());
    ([(CONTENT_TYPE, kind)], shared.metrics.text()).into_response()
}
