//! HTTP by the `fetch` of the page, the worker, or Node; JSON by JavaScript, which has it built in.

use js_sys::{Array, Function, JSON, Object, Promise, Reflect, Uint8Array};
use n0_future::time;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use zerok_sync_shared::crypto::token::AccessToken;

use super::{Field, HTTP_TIMEOUT, HttpResponse, MAX_HTTP_BODY};

/// Runs what takes long. There is one thread, and it is not the page's: the package runs the core in a Worker.
#[expect(clippy::unused_async, reason = "as on other platforms")]
pub(crate) async fn compute<T>(work: impl FnOnce() -> T) -> Option<T> {
    Some(work())
}

/// One HTTP request with an optional access token and an optional JSON body.
pub(crate) async fn fetch(
    method: &str,
    url: &str,
    token: Option<&AccessToken>,
    json: Option<Vec<u8>>,
) -> Result<HttpResponse, String> {
    match time::timeout(HTTP_TIMEOUT, request(method, url, token, json)).await {
        Ok(result) => result.map_err(|error| describe(&error)),
        Err(_) => Err("it took too long".into()),
    }
}

async fn request(
    method: &str,
    url: &str,
    token: Option<&AccessToken>,
    json: Option<Vec<u8>>,
) -> Result<HttpResponse, JsValue> {
    let global = js_sys::global();
    let fetch: Function = get(&global, "fetch")?.dyn_into()?;
    let init = Object::new();
    set(&init, "method", &method.into())?;
    // Neither cookies nor a cached answer belong to a relay.
    set(&init, "credentials", &"omit".into())?;
    set(&init, "cache", &"no-store".into())?;
    let headers = Object::new();
    if let Some(token) = token {
        let value = format!("Bearer {}", token.expose());
        set(&headers, "authorization", &value.into())?;
    }
    if let Some(json) = json {
        set(&init, "body", &Uint8Array::from(json.as_slice()))?;
        set(&headers, "content-type", &"application/json".into())?;
    }
    set(&init, "headers", &headers)?;
    let response = JsFuture::from(
        fetch
            .call2(&global, &url.into(), &init)?
            .dyn_into::<Promise>()?,
    )
    .await?;
    let status = get(&response, "status")?.as_f64().unwrap_or_default();
    let announced = get(&response, "headers")?;
    let announced_len: Function = get(&announced, "get")?.dyn_into()?;
    let announced_len = announced_len
        .call1(&announced, &"content-length".into())?
        .as_string();
    if announced_len
        .and_then(|len| len.parse::<usize>().ok())
        .is_some_and(|len| len > MAX_HTTP_BODY)
    {
        return Err("the answer is too long".into());
    }
    let read: Function = get(&response, "arrayBuffer")?.dyn_into()?;
    let buffer = JsFuture::from(read.call0(&response)?.dyn_into::<Promise>()?).await?;
    let body = Uint8Array::new(&buffer);
    if body.length() as usize > MAX_HTTP_BODY {
        return Err("the answer is too long".into());
    }
    // An HTTP status is a small integer.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "100 to 599"
    )]
    Ok(HttpResponse {
        status: status as u16,
        body: body.to_vec(),
    })
}

fn get(object: &JsValue, name: &str) -> Result<JsValue, JsValue> {
    Reflect::get(object, &name.into())
}

fn set(object: &Object, name: &str, value: &JsValue) -> Result<(), JsValue> {
    Reflect::set(object, &name.into(), value).map(|_| ())
}

fn describe(error: &JsValue) -> String {
    let message = get(error, "message")
        .ok()
        .and_then(|message| message.as_string());
    message
        .or_else(|| error.as_string())
        .unwrap_or_else(|| "the request failed".into())
}

/// A JSON value that was received.
pub(crate) struct Json(JsValue);

impl Json {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(text).ok()?;
        JSON::parse(text).ok().map(Self)
    }

    /// An object as text.
    pub(crate) fn object(fields: &[(&str, Field<'_>)]) -> Vec<u8> {
        let object = Object::new();
        for (name, field) in fields {
            let value = match field {
                Field::Text(text) => JsValue::from(*text),
                Field::Number(number) => JsValue::from(*number),
            };
            // Setting a property of a fresh object is never refused, nor is an object of texts and numbers below.
            let _ = set(&object, name, &value);
        }
        let text = JSON::stringify(&object)
            .ok()
            .and_then(|text| text.as_string());
        text.unwrap_or_default().into_bytes()
    }

    /// A field of an object; something that is neither text nor number nor list where there is none.
    pub(crate) fn field(&self, name: &str) -> Self {
        Self(get(&self.0, name).unwrap_or_default())
    }

    pub(crate) fn items(&self) -> Vec<Self> {
        let items = self.0.dyn_ref::<Array>().map(Array::to_vec);
        items.unwrap_or_default().into_iter().map(Self).collect()
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.0.as_string()
    }

    pub(crate) fn whole(&self) -> Option<u64> {
        // What a number holds exactly.
        const MAX: f64 = 9_007_199_254_740_991.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was looked at"
        )]
        self.0
            .as_f64()
            .filter(|number| (0.0..=MAX).contains(number) && number.fract() == 0.0)
            .map(|number| number as u64)
    }
}
