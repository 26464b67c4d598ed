//! countersign-order
pub mod error;
