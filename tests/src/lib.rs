//! The harness of the end-to-end tests: the real services over real sockets on fresh databases, with goods on the
//! shelves, and a customer's order to send in.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "tests stop at the first thing that does not work"
)]

pub mod data;
mod order;
mod setting;
mod status;
mod system;
mod walk;

pub use order::{
    CATALOG, CITY, EMAIL, Goods, OrderBuilder, PHONE, WAREHOUSE, cny, fresh_id, minor,
    order_builder, timestamp,
};
pub use setting::setting;
pub use status::{reason, refused, violated_fields, violations};
pub use system::{Caller, LINK_SECRET, Orders, Replica, System, link_key, seed, texts_at_any_hour};
pub use walk::{counters, kinds, names_of_states};
