//! How the service is called.

mod call;
mod commands;
pub(crate) mod intake;
pub(crate) mod orders;
mod queries;
mod records;
