//! Pages of lists: sizes and tokens.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_domain::ids::OrderId;
use countersign_store::ListKey;
use serde::{Serialize, de::DeserializeOwned};
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

/// A token that goes on after a key of any form, good for this list only.
pub(crate) fn key_token<K: Serialize>(key: &K, list: &str) -> Result<String, ServiceError> {
    let mut bytes = mark(list).to_vec();
    serde_json::to_writer(&mut bytes, key).map_err(ServiceError::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The key in a token of [`key_token`]; none for the first page.
pub(crate) fn read_key<K: DeserializeOwned>(
    token: &str,
    list: &str,
) -> Result<Option<K>, ServiceError> {
    if token.is_empty() {
        return Ok(None);
    }
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| serde_json::from_slice(bytes.strip_prefix(&mark(list))?).ok())
        .map(Some)
        .ok_or_else(|| {
            ServiceError::invalid(
                "page_token",
                "must be the next_page_token of a call of this method with the same filter",
            )
        })
}

/// Tells one list from another.
fn mark(list: &str) -> [u8; 8] {
    let digest = Sha256::digest(list.as_bytes());
    let mut mark = [0; 8];
    mark.copy_from_slice(digest.get(..8).unwrap_or(&[0; 8]));
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_list_only() {
        let key = ("SKU-1".to_owned(), 7_i64);
        let token = key_token(&key, "prices").unwrap();
        assert_eq!(read_key(&token, "prices").unwrap(), Some(key));
        assert!(read_key::<(String, i64)>(&token, "products").is_err());
        assert!(read_key::<(String, i64)>("!", "prices").is_err());
        assert!(read_key::<(String, i64)>("AAAA", "prices").is_err());
        assert_eq!(read_key::<(String, i64)>("", "prices").unwrap(), None);
        assert!(size(-1).is_err());
        assert_eq!(size(0).unwrap(), SIZE_DEFAULT);
        assert_eq!(size(100_000).unwrap(), SIZE_MAX);
    }
}
