//! Between the wire and the domain. What comes in is checked field by field; what is wrong is noted under its path.

pub(crate) mod confirmation;
pub(crate) mod feedback;
pub(crate) mod intake;
pub(crate) mod money;
pub(crate) mod order;
pub(crate) mod place;
pub(crate) mod policy;
pub(crate) mod time;
pub(crate) mod word;
