//! Partners' systems are told of orders (Standard Webhooks, RELIABILITY 4.1): what happened is fanned out to the endpoints
//! that want it, then posted, each endpoint for itself, so that a slow one keeps no other waiting.

pub(crate) mod courier;
pub(crate) mod guard;
mod post;

#[cfg(test)]
mod tests;
