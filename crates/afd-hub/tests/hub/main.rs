//! Downloads from a server of this test's own that speaks as the Hub does.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]
