//! The pages over real HTTP on a fresh SQLite database.

mod browser;
mod inbox_sink;
mod mailbox;
mod order_page;
mod rating;
mod stage;
mod unsubscribe;
