//! What every Countersign binary stands on: configuration, the clock, the lifecycle of its tasks, telemetry, health,
//! and serving: who calls, and what stands before every call.
//!
//! Each of these is the only place that may touch the thing it wraps (environment, wall clock, task spawning);
//! `clippy.toml` refuses the others.
#![warn(missing_docs)]

pub mod accept;
pub mod callers;
pub mod client;
pub mod clock;
pub mod config;
pub mod files;
#[cfg(any(test, feature = "testkit"))]
pub mod fuzz;
pub mod health;
pub mod lifecycle;
pub mod load;
pub mod reload;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod violations;
