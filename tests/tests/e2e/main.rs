//! The whole system from outside: real services, real sockets, real databases.
#![cfg(test)]

mod backlog;
mod browser;
mod callers;
mod canary;
mod cluster;
mod database;
mod erasure;
mod extremes;
mod feedback;
mod fulfilment;
mod full;
mod idempotency;
mod import;
mod import_real;
mod journey;
mod killed;
mod kills;
mod life;
mod merging;
mod neighbours;
mod operators;
mod overload;
mod partners;
mod policies;
mod program;
mod python_client;
mod readiness;
mod reload;
mod rolling;
mod sample;
mod stand;
mod texts;
mod violations;
mod watching;
