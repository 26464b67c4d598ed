//! The wire: the `.proto` files of package `countersign.v1` and the code made from them, nothing else.

/// `google`: the well-known types of the API.
pub mod google {
    /// `google.type`: money and postal addresses as <https://google.aip.dev/213> has them.
    pub mod r#type {
        #![allow(
            clippy::all,
            clippy::pedantic,
            clippy::allow_attributes,
            unreachable_pub,
            reason = "generated"
        )]
        tonic::include_proto!("google.r#type");
    }
}

/// `countersign`: our own API.
pub mod countersign {
    /// Version 1 of the API.
    pub mod v1 {
        #![allow(
            clippy::all,
            clippy::pedantic,
            clippy::allow_attributes,
            unreachable_pub,
            reason = "generated"
        )]
        tonic::include_proto!("countersign.v1");
    }
}

pub use countersign::v1;
pub use google::r#type as common;

/// The compiled descriptors, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
