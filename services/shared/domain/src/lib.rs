//! countersign-domain

pub mod email;
pub mod ids;
pub mod locale;
pub mod money;
pub mod number;
pub mod phone;
pub mod place;
pub mod secrets;
pub mod text;
