//! countersign-notification: turns outbox rows into messages that reach the customer, and takes in what comes back.

pub mod channel;
pub mod ids;
pub mod inbox;
pub mod pages;
pub mod template;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
