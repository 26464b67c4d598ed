//! Rules, policies and decisions held against the orders of a small shop.
#![cfg(test)]

mod commands;
mod default_rules;
mod engine;
mod feedback;
mod policies;
mod priority;
mod shop;
mod stored_words;
