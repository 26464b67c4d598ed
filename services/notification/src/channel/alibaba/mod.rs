//! Alibaba Cloud: text messages and calls.

pub mod acs3;
