//! countersign-order
pub mod app;
mod convert;
pub mod error;
