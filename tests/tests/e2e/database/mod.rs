//! The database fails in the ways that databases fail.

mod cuts;
mod full_disk;
mod proxy;
mod server;
