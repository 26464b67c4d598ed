//! Types, states and rules of the trade: facts in, decision out. No I/O, no clock, no randomness, no async.
//!
//! Read [`order`] for what an order is, [`decide`] for what may happen to it.
#![warn(missing_docs)]

pub mod audit;
pub mod catalog;
pub mod chain;
mod code;
pub mod confirmation;
pub mod contact_hours;
pub mod customer;
pub mod decide;
pub mod document;
pub mod email;
pub mod erasure;
pub mod event;
pub mod feedback;
#[cfg(any(test, feature = "testkit"))]
pub mod fuzz;
mod hidden;
pub mod hold;
pub mod ids;
pub mod line;
pub mod locale;
pub mod message;
pub mod money;
pub mod number;
pub mod operator;
pub mod order;
pub mod phone;
pub mod place;
pub mod policy;
pub mod priority;
pub mod problem;
pub mod reply;
pub mod retention;
pub mod safe_mode;
pub mod secrets;
pub mod sending;
pub mod stock_book;
pub mod survey;
pub mod text;
pub mod timer;
pub mod tracking;
pub mod webhook;

#[cfg(test)]
mod test_data;

pub use code::UnknownCode;
