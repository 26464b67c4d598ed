//! Importing files: what a mapping says, how a file is read, and how rows become calls.
//!
//! A file may be sent again at any time: every order has a `request_id` made of the mapping's source and the sender's own
//! number, so that what was taken in before is answered as before.

pub(crate) mod cancellations;
pub(crate) mod fields;
#[cfg(any(test, feature = "testkit"))]
pub mod fuzz;
pub(crate) mod grouping;
pub(crate) mod mapping;
pub(crate) mod orders;
pub(crate) mod progress;
pub(crate) mod reader;
pub(crate) mod reading;
pub(crate) mod record;
pub(crate) mod reference;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod rows;
pub(crate) mod send;
pub(crate) mod tracking;
