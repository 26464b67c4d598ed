//! The whole system from outside: real services, real sockets, real databases.
#![cfg(test)]

mod canary;
mod fulfilment;
mod idempotency;
mod journey;
mod killed;
mod life;
mod neighbours;
mod policies;
mod python_client;
mod texts;
mod violations;
mod watching;
