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
use super::{Services, discovery, health, invites, status};
use crate::limits;
use crate::metrics::Via;

/// What the handlers share.
pub(super) type Shared = Arc<Services>;

/// What is served on the relay's port, and what on the operator's own listener.
pub(super) struct Routers {
    /// The relay's port.
    pub public: Router,
    /// The operator's listener, if there is one.
    pub operator: Router,
}

pub(super) fn routers(services: Services) -> Routers {
    let shared: Shared = Arc::new(services);
    let operator = Router::new()
        .route("/", get(status::operator))
        .route("/status", get(status::operator))
        .route("/health", get(health::numbers))
        .route("/metrics", get(health::metrics))
        .fallback(nothing_here)
        .with_state(Arc::clone(&shared));
    Routers {
        public: public(shared),
        operator,
    }
}

/// What tells how much a relay is used, and when: not for every origin, and not for everybody if the operator says so.
fn numbers() -> Router<Shared> {
    Router::new()
        .route("/metrics", get(health::metrics))
        .route("/status", get(status::numbers))
}

fn public(shared: Shared) -> Router {
    let web = shared.web.clone();
    let rate = shared.invite_rate;
    let private = shared.private_numbers;
    let (health, status) = if private {
        (get(health::brief), get(status::brief))
    } else {
        (get(health::numbers), get(status::numbers))
    };
    let numbers = if private {
        Router::new().route("/status", get(status::brief))
    } else {
        numbers()
    };
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
        .route("/health", health)
        .layer(DefaultBodyLimit::max(limits::MAX_HTTP_BODY))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            limits::REQUEST_TIMEOUT,
        ))
        .layer(cors)
        .merge(numbers)
        .layer(middleware::map_response_with_state(
            Arc::clone(&shared),
            count_refusal,
        ))
        .with_state(Arc::clone(&shared));
    match web {
        Some(folder) => api.merge(app(&folder)),
        None => {
            let page = Router::new().route("/", status).with_state(shared);
            api.merge(page).fallback(nothing_here)
        }
    }
}

async fn count_refusal(State(shared): State<Shared>, response: Response) -> Response {
    if let Some(Code(code)) = response.extensions().get() {
        shared.metrics.refused(Via::Http, code);
    }
    response
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
