//! Devices and real relay processes, end to end. One binary: linking is most of what each costs.
#![allow(missing_docs, reason = "tests")]

mod common;

mod access;
mod backup;
mod bad_input;
mod codes;
mod confidential;
mod confirm;
mod deletes;
mod device_storage;
mod forgotten;
mod forks;
mod invite_attacks;
mod invites;
mod limits;
mod nodes;
mod passphrases;
mod presence;
mod restart;
mod revocation;
mod set_back;
mod snapshots;
mod sync;
