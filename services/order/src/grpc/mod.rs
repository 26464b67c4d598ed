//! How the service is called.

mod call;
pub(crate) mod catalog;
pub(crate) mod commands;
mod customers;
mod erasures;
mod export;
pub(crate) mod feedback;
pub(crate) mod fulfillment;
pub(crate) mod intake;
mod note_page;
pub(crate) mod orders;
mod policies;
mod queries;
mod records;
pub(crate) mod reference;
