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

/// Who may call what, as each method's option `countersign.v1.access` says it.
pub mod access {
    use crate::v1::Role;

    /// The path of each method with the roles that may call it, any one of them, in the sequence of the paths.
    pub const METHODS: &[(&str, &[Role])] = include!(concat!(env!("OUT_DIR"), "/access.rs"));

    /// The roles that may call a method, by its path such as `/countersign.v1.OrderService/GetOrder`; none for a path that
    /// is no method of ours.
    pub fn roles_of(path: &str) -> Option<&'static [Role]> {
        METHODS
            .binary_search_by_key(&path, |(path, _)| path)
            .ok()
            .and_then(|at| METHODS.get(at))
            .map(|(_, roles)| *roles)
    }
}
