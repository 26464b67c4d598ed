//! The database fails in the ways that databases fail.

mod cuts;
pub(crate) mod full_disk;
mod proxy;
mod server;
