//! Pages of lists: sizes and tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_domain::ids::OrderId;
use countersign_store::ListKey;
use sha2::{Digest as _, Sha256};

use crate::error::ServiceError;

const SIZE_DEFAULT: u64 = 50;
const SIZE_MAX: u64 = 500;

/// The size asked for, within bounds (AIP-158).
pub(crate) fn size(asked: i32) -> Result<u64, ServiceError> {
    match u64::try_from(asked) {
        Ok(0) => Ok(SIZE_DEFAULT),
        Ok(size) => Ok(size.min(SIZE_MAX)),
        Err(_) => Err(ServiceError::invalid("page_size", "must not be negative")),
    }
}

/// A token that goes on after a key, good for this list only.
pub(crate) fn token(key: ListKey, list: &str) -> String {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend(mark(list));
    bytes.extend(key.rank.to_be_bytes());
    bytes.extend(key.id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key in a token; none for the first page.
pub(crate) fn read(token: &str, list: &str) -> Result<Option<ListKey>, ServiceError> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        ServiceError::invalid(
            "page_token",
            "must be the next_page_token of a call with the same filter and order_by",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    let (given, rest) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
    let (rank, id) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    if *given != mark(list) {
        return Err(wrong());
    }
    Ok(Some(ListKey {
        rank: i64::from_be_bytes(*rank),
        id: OrderId::from_bytes(id).map_err(|_| wrong())?,
    }))
}

/// Tells one list from another.
fn mark(list: &str) -> [u8; 8] {
    let digest = Sha256::digest(list.as_bytes());
    let mut mark = [0; 8];
    mark.copy_from_slice(digest.get(..8).unwrap_or(&[0; 8]));
    mark
}
