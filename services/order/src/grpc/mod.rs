//! How the service is called.

mod call;
mod catalog;
mod commands;
mod customers;
pub(crate) mod intake;
pub(crate) mod orders;
mod queries;
mod records;
pub(crate) mod reference;
