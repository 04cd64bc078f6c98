//! A relay on free ports, from outside. One binary: linking is most of what each costs.
#![allow(missing_docs, reason = "tests")]

mod common;

mod acme;
mod commands;
mod http;
mod metrics;
mod presence;
mod retention;
mod service;
mod sessions;
mod status;
mod tls;
mod websocket;
