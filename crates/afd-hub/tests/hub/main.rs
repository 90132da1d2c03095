//! Downloads from a server of this test's own that speaks as the Hub does.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod cached;
mod fetched;
mod interrupted;
mod refused;
mod secret;
mod server;
