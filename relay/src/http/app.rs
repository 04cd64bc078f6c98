//! The router: the API for apps of any origin, what operators ask for, and the files of a web app.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::ServiceExt as _;
use tower_http::cors::{Any, CorsLayer};
use tower_http::services::{ServeDir, ServeFile};
use tower_http::timeout::TimeoutLayer;

use super::error::{ApiError, Code};
use super::{Services, discovery, health, invites};
use crate::limits;
use crate::metrics::Via;

/// What the handlers share.
pub(super) type Shared = Arc<Services>;

pub(super) fn router(services: Services) -> Router {
    let web = services.web.clone();
    let rate = services.invite_rate;
    let shared: Shared = Arc::new(services);
    // Apps live anywhere, and nothing here depends on cookies, so any origin may ask.
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        // A star would not cover the token.
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        .expose_headers([RETRY_AFTER, ACCESS_CONTROL_EXPOSE_HEADERS]);
    let api = Router::new()
        .nest("/v1/invites", invites::router(rate))
        .route("/.well-known/iroh", get(discovery::get))
        .route("/health", get(health::get))
        .route("/metrics", get(health::metrics))
        .layer(DefaultBodyLimit::max(limits::MAX_HTTP_BODY))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            limits::REQUEST_TIMEOUT,
        ))
        .layer(cors)
        .layer(middleware::map_response_with_state(
            Arc::clone(&shared),
            count_refusal,
        ))
        .with_state(shared);
    match web {
        Some(folder) => api.merge(app(&folder)),
        None => api.route("/", get(greeting)).fallback(nothing_here),
    }
}

async fn count_refusal(State(shared): State<Shared>, response: Response) -> Response {
    if let Some(Code(code)) = response.extensions().get() {
        shared.metrics.refused(Via::Http, code);
    }
    response
}

async fn greeting() -> &'static str {
    "This is a 0k-Sync relay. Give its URL to an app that uses @0k-sync/client.\n"
}

async fn nothing_here() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        "there is nothing at this path",
    )
}

/// The files of a web app; a path that names no file is the app's own business and gets `index.html`.
fn app(folder: &Path) -> Router {
    let index = ServeFile::new(folder.join("index.html"));
    let fallback = tower::service_fn(move |request: Request| {
        let index = index.clone();
        async move {
            let is_file = request
                .uri()
                .path()
                .rsplit('/')
                .next()
                .is_some_and(|n| n.contains('.'));
            if is_file || request.uri().path().starts_with("/v1/") {
                // An app would take a page for the script that it asked for.
                return Ok::<_, std::convert::Infallible>(nothing_here().await.into_response());
            }
            match index.oneshot(request).await {
                Ok(response) => Ok(response.into_response()),
                Err(never) => match never {},
            }
        }
    });
    let files = ServeDir::new(folder)
        .precompressed_br()
        .precompressed_gzip()
        .fallback(fallback);
    Router::new()
        .fallback_service(files)
        .layer(middleware::from_fn(file_headers))
}

/// What names the version of everything else must not be kept by a browser without asking.
async fn file_headers(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_page = !name.contains('.') || name.ends_with(".html");
    let fresh = is_page || matches!(name, "sw.js" | "manifest.webmanifest");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if fresh {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
