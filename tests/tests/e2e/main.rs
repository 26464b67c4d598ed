//! The whole system from outside: real services, real sockets, real databases.
#![cfg(test)]

mod canary;
mod idempotency;
mod fulfilment;
mod journey;
mod killed;
mod life;
mod neighbours;
mod python_client;
mod texts;
mod violations;
mod watching;
mod policies;
