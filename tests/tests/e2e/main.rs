//! The whole system from outside: real services, real sockets, real databases.
#![cfg(test)]

mod journey;
mod life;
