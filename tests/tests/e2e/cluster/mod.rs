//! Three database servers, of which one takes writes, and what becomes of orders and messages when they are lost.

mod callers;
mod lost;
mod members;
mod processes;
