//! The database fails in the ways that databases fail.

mod cuts;
mod proxy;
mod server;
