//! Calls that are made twice take effect once (RELIABILITY 3.1).
//!
//! A caller's request id, with the method it was used for, names the call; the content is compared by a fingerprint. The
//! answer is stored in the transaction that carries the call out, so that it is there exactly when the effect is.

use chrono::{DateTime, Utc};
use countersign_store::{RequestRecord, Store, StoredRequest};
use prost::Message;
use rand::RngCore;
use sha2::{Digest as _, Sha256};
use tonic::{Response, metadata::MetadataValue};

use crate::error::ServiceError;

/// Characters of a request id at most.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// Stands in the metadata of an answer that was given before.
pub(crate) const REPLAYED: &str = "idempotent-replayed";

/// A message that carries a request id.
pub(crate) trait Keyed: Message + Clone {
    /// The id that the caller gave.
    fn request_id(&self) -> &str;
    /// Takes the id off, so that what is left is the content.
    fn clear_request_id(&mut self);
}

macro_rules! keyed {
    ($( $message:ident, )+) => { $(
        impl Keyed for countersign_proto::v1::$message {
            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn clear_request_id(&mut self) {
                self.request_id.clear();
            }
        }
    )+ };
}

keyed! {
    CreateOrderRequest,
    AuditOrderRequest,
    ApproveOrderRequest,
    RejectOrderRequest,
    HoldOrderRequest,
    ReleaseOrderHoldRequest,
    AssignOrderRequest,
    PrioritizeOrderRequest,
    AmendOrderRequest,
    MergeOrdersRequest,
    CancelOrderRequest,
    CreateConfirmationRequest,
    AcceptConfirmationRequest,
    RejectConfirmationRequest,
    VerifyConfirmationCodeRequest,
    RecordCallResultRequest,
    CreateOrderContactRequest,
    RecordTrackingEventRequest,
    CreateCustomerRequest,
    UpdateCustomerRequest,
    EraseCustomerRequest,
    CreateProductRequest,
    UpdateProductRequest,
    UpdatePriceRequest,
    UpdateStockLevelRequest,
    CreateOrderPolicyRequest,
    UpdateOrderPolicyRequest,
    CreateAuditRuleRequest,
    UpdateAuditRuleRequest,
    AllocateOrderRequest,
    RecordOrderProgressRequest,
    RecordFeedbackRequest,
    ResolveFeedbackRequest,
}

/// What names a call, and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallKey {
    /// SHA-256 over caller, method and request id.
    pub(crate) key_hash: [u8; 32],
    /// SHA-256 over the content.
    pub(crate) fingerprint: [u8; 32],
}

/// What is wrong with a request id, if anything: it must be 1 to 128 characters of A–Z a–z 0–9 . _ : -
pub(crate) fn request_id_problem(id: &str) -> Option<&'static str> {
    let fits = (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
    (!fits).then_some("must be 1 to 128 characters of A–Z a–z 0–9 . _ : -")
}

impl CallKey {
    /// Names the call of `method` (such as `CreateOrder`) by `caller`.
    ///
    /// The content is the decoded message encoded anew: fields in the order of their numbers, unknown ones dropped, maps
    /// sorted. Two encodings of one content therefore have one fingerprint.
    pub(crate) fn of<R: Keyed>(
        caller: &str,
        method: &str,
        request: &R,
    ) -> Result<Self, ServiceError> {
        if let Some(problem) = request_id_problem(request.request_id()) {
            return Err(ServiceError::invalid("request_id", problem));
        }
        let mut content = request.clone();
        content.clear_request_id();
        Ok(Self {
            key_hash: hash(&[
                caller.as_bytes(),
                method.as_bytes(),
                request.request_id().as_bytes(),
            ]),
            fingerprint: hash(&[&content.encode_to_vec()]),
        })
    }

    /// The row that remembers the call with its answer.
    pub(crate) fn record(
        &self,
        response: Vec<u8>,
        now: DateTime<Utc>,
        rng: &mut impl RngCore,
    ) -> RequestRecord {
        let mut random = [0; 10];
        rng.fill_bytes(&mut random);
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        RequestRecord {
            id: uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid(),
            key_hash: self.key_hash,
            fingerprint: self.fingerprint,
            response,
        }
    }

    /// The answer that was given before.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_REUSED` when the content was another one then.
    pub(crate) fn answer<T: Message + Default>(
        &self,
        stored: &StoredRequest,
    ) -> Result<T, ServiceError> {
        if stored.fingerprint != self.fingerprint {
            return Err(ServiceError::FailedPrecondition {
                reason: "IDEMPOTENCY_KEY_REUSED",
                message: "request_id was used for a call with other content; take a new one"
                    .to_owned(),
            });
        }
        T::decode(stored.response.as_slice()).map_err(ServiceError::internal)
    }

    /// Looks whether the call was carried out before.
    pub(crate) async fn find<T: Message + Default>(
        &self,
        store: &Store,
    ) -> Result<Option<T>, ServiceError> {
        let found = store.find_requests(&[self.key_hash]).await?;
        found.first().map(|stored| self.answer(stored)).transpose()
    }
}

/// Each part with its length before it, so that no two lists of parts look alike.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}

/// An answer of the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer<T> {
    /// What is answered.
    pub(crate) body: T,
    /// Whether it was given before.
    pub(crate) replayed: bool,
}

impl<T> Answer<T> {
    /// Given now.
    pub(crate) const fn fresh(body: T) -> Self {
        Self {
            body,
            replayed: false,
        }
    }

    /// Given before.
    pub(crate) const fn replayed(body: T) -> Self {
        Self {
            body,
            replayed: true,
        }
    }

    /// For the wire, marked with [`REPLAYED`] when it was given before.
    pub(crate) fn into_response(self) -> Response<T> {
        let mut response = Response::new(self.body);
        if self.replayed {
            response
                .metadata_mut()
                .insert(REPLAYED, MetadataValue::from_static("true"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use countersign_proto::v1::{CreateOrderRequest, Order};
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn request(id: &str, reference: &str) -> CreateOrderRequest {
        CreateOrderRequest {
            order: Some(Order {
                client_reference: reference.to_owned(),
                annotations: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
                ..Order::default()
            }),
            request_id: id.to_owned(),
            validate_only: false,
        }
    }

    fn key(caller: &str, method: &str, id: &str, reference: &str) -> CallKey {
        CallKey::of(caller, method, &request(id, reference)).unwrap()
    }

    #[test]
    fn caller_method_and_id_name_the_call_together() {
        let one = key("shop", "CreateOrder", "1", "A");
        assert_eq!(one, key("shop", "CreateOrder", "1", "A"));
        for other in [
            key("erp", "CreateOrder", "1", "A"),
            key("shop", "AmendOrder", "1", "A"),
            key("shop", "CreateOrder", "2", "A"),
            key("shopC", "reateOrder", "1", "A"),
        ] {
            assert_ne!(one.key_hash, other.key_hash);
            assert_eq!(one.fingerprint, other.fingerprint);
        }
        assert_ne!(
            one.fingerprint,
            key("shop", "CreateOrder", "1", "B").fingerprint
        );
    }

    #[test]
    fn the_order_of_fields_and_unknown_ones_do_not_change_the_content() {
        let request = request("1", "A");
        let mut bytes = Vec::new();
        // Field 2 before field 1, then a field that this version does not know.
        bytes.extend(b"\x12\x011");
        let order = request.order.as_ref().unwrap().encode_to_vec();
        bytes.push(0x0A);
        bytes.push(u8::try_from(order.len()).unwrap());
        bytes.extend(order);
        bytes.extend(b"\xF8\x06\x01");
        let read = CreateOrderRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(
            CallKey::of("shop", "CreateOrder", &read).unwrap(),
            CallKey::of("shop", "CreateOrder", &request).unwrap()
        );
    }

    #[test]
    fn request_ids_have_a_form() {
        for id in ["1", "A.b_c:d-9", &"x".repeat(128)] {
            assert_eq!(request_id_problem(id), None, "{id}");
        }
        for id in ["", " ", "a b", "ü", "a/b", "a\n", &"x".repeat(129)] {
            assert!(request_id_problem(id).is_some(), "{id}");
        }
        let refused = CallKey::of("shop", "CreateOrder", &request("", "A")).unwrap_err();
        assert!(
            matches!(refused, ServiceError::Invalid(fields) if fields[0].field == "request_id")
        );
    }

    #[test]
    fn the_same_content_gets_the_first_answer_and_other_content_is_refused() {
        let first = key("shop", "CreateOrder", "1", "A");
        let answer = Order {
            name: "orders/1".to_owned(),
            ..Order::default()
        };
        let record = first.record(
            answer.encode_to_vec(),
            DateTime::UNIX_EPOCH,
            &mut StdRng::seed_from_u64(1),
        );
        let stored = StoredRequest {
            key_hash: record.key_hash,
            fingerprint: record.fingerprint,
            response: record.response,
        };
        assert_eq!(first.answer::<Order>(&stored).unwrap(), answer);
        let other = key("shop", "CreateOrder", "1", "B");
        let refused = other.answer::<Order>(&stored).unwrap_err();
        assert!(matches!(
            refused,
            ServiceError::FailedPrecondition {
                reason: "IDEMPOTENCY_KEY_REUSED",
                ..
            }
        ));
    }

    #[test]
    fn a_replayed_answer_is_marked() {
        let fresh = Answer::fresh(1).into_response();
        assert!(fresh.metadata().get(REPLAYED).is_none());
        let again = Answer::replayed(1).into_response();
        assert_eq!(again.metadata().get(REPLAYED).unwrap(), "true");
    }
}
