//! Rules, policies and decisions held against the orders of a small shop.

mod default_rules;
mod policies;
mod priority;
mod shop;
