//! Tencent Cloud: text messages.

pub mod tc3;
