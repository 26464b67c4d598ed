//! kill -9 and worse for the notification worker: a real process, killed at every step of a message's way, between gateways
//! that keep a ledger of what they accepted. Afterwards the ledgers and the database must agree with what was promised.

mod again;
pub(crate) mod history;
mod inbox;
mod looks;
mod names;
mod restore;
mod rolling;
mod schedules;
pub(crate) mod stage;
mod steps;
mod two_installations;
mod vendors;
