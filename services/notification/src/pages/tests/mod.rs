//! The pages over real HTTP on a fresh SQLite database.

mod browser;
mod mailbox;
mod order_page;
mod stage;
