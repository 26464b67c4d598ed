//! The order service: the only one that changes an order, a stock level or a customer's debt.
//!
//! `grpc` checks and converts, `app` gathers facts and has the domain decide, the store writes. Nothing here sends
//! anything to a customer: what is to be sent stands in the outbox of the same transaction.

mod app;
pub mod bench;
mod convert;
mod error;
#[cfg(any(test, feature = "testkit"))]
pub mod fuzz;
mod grpc;
mod server;

pub use server::{Deps, run};
