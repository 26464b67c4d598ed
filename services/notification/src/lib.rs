//! countersign-notification: turns outbox rows into messages that reach the customer, and takes in what comes back.

mod account;
mod alive;
mod anchors;
mod bell;
mod bounces;
mod callbacks;
pub mod channel;
mod context;
mod deliver;
mod dispatch;
#[cfg(feature = "failpoints")]
pub mod failpoint;
#[cfg(not(feature = "failpoints"))]
mod failpoint;
#[cfg(any(test, feature = "testkit"))]
pub mod fuzz;
mod grpc;
mod guard;
pub mod ids;
pub mod inbox;
mod metrics;
pub mod pages;
mod plan;
mod poll;
mod quiet;
mod reconcile;
mod retention;
mod server;
pub mod template;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod transport;
pub mod understanding;
mod verdict;
mod webhooks;

pub use deliver::{ReconcileReport, ReconciledCount};
pub use reconcile::{ReconcileDeps, reconcile};
pub use retention::{Swept, sweep};
pub use server::{Deps, run, run_live};
pub use transport::{TransportError, check::check};

#[cfg(test)]
mod tests;
