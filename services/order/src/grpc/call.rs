//! What every call has: who calls, what names the call, which order it is about.

use countersign_domain::ids::OrderId;
use countersign_runtime::callers::Caller;
use tonic::{Request, Response};

use crate::{
    app::{
        App,
        command::Call,
        idempotency::{Answer, CallKey, Keyed, request_id_problem},
    },
    error::{ServiceError, Violations},
};

/// Who calls.
pub(crate) fn caller_of<M>(request: &Request<M>) -> Result<Caller, ServiceError> {
    Caller::of(request.extensions())
        .cloned()
        .map_err(|_| ServiceError::internal("a call without a caller"))
}

/// A call and its parts.
pub(crate) struct CallParts<M> {
    pub(crate) call: Call,
    pub(crate) inner: M,
    pub(crate) id: OrderId,
}

/// A call about one order that may name the tag that the order must still have.
pub(crate) trait Tagged: Keyed {
    /// The tag, or nothing.
    #[expect(
        clippy::unnecessary_literal_bound,
        reason = "those that have one lend it"
    )]
    fn etag(&self) -> &str {
        ""
    }
}

macro_rules! tagged {
    ($($name:ident),+ $(,)?) => { $(
        impl Tagged for countersign_proto::v1::$name {
            fn etag(&self) -> &str {
                &self.etag
            }
        }
    )+ };
}

tagged!(
    AuditOrderRequest,
    ApproveOrderRequest,
    RejectOrderRequest,
    HoldOrderRequest,
    ReleaseOrderHoldRequest,
    AssignOrderRequest,
    PrioritizeOrderRequest,
    AmendOrderRequest,
    CancelOrderRequest,
    CreateConfirmationRequest,
    AllocateOrderRequest,
    RecordOrderProgressRequest,
);

impl Tagged for countersign_proto::v1::AcceptConfirmationRequest {}
impl Tagged for countersign_proto::v1::RejectConfirmationRequest {}
impl Tagged for countersign_proto::v1::VerifyConfirmationCodeRequest {}
impl Tagged for countersign_proto::v1::RecordCallResultRequest {}
impl Tagged for countersign_proto::v1::RecordTrackingEventRequest {}
impl Tagged for countersign_proto::v1::CreateOrderContactRequest {}
impl Tagged for countersign_proto::v1::RecordFeedbackRequest {}
impl Tagged for countersign_proto::v1::ResolveFeedbackRequest {}

/// What names a call and tells its content; a wrong request id is noted under `prefix`.
pub(crate) fn key_of<M: Keyed>(
    caller: &Caller,
    method: &str,
    request: &M,
    prefix: &str,
    violations: &mut Violations,
) -> Option<CallKey> {
    if let Some(problem) = request_id_problem(request.request_id()) {
        violations.add(format!("{prefix}request_id"), problem);
        return None;
    }
    CallKey::of(caller.name(), method, request).ok()
}

/// Takes a request apart and finds its order. What is wrong with the request id is noted; an order that is not there ends
/// the call.
pub(crate) async fn call_of<M: Tagged>(
    app: &App,
    request: Request<M>,
    method: &str,
    name: impl Fn(&M) -> &str,
    violations: &mut Violations,
) -> Result<CallParts<M>, ServiceError> {
    let caller = caller_of(&request)?;
    let inner = request.into_inner();
    let key = key_of(&caller, method, &inner, "", violations);
    let id = app.deciding.find_id(&caller, name(&inner)).await?;
    Ok(CallParts {
        call: Call {
            caller,
            request_id: inner.request_id().to_owned(),
            key,
            etag: inner.etag().to_owned(),
            traceparent: countersign_runtime::telemetry::current_traceparent(),
            life: None,
        },
        inner,
        id,
    })
}

/// An answer, marked when the call had been carried out before.
pub(crate) fn replayed<T>(body: T, replayed: bool) -> Response<T> {
    Answer { body, replayed }.into_response()
}

/// Checks the parts that every command has, then the command's own, then runs it.
macro_rules! command {
    ($app:ident, $request:ident, $method:literal, $name:ident, |$inner:ident, $violations:ident| $body:expr) => {{
        let mut violations = $crate::error::Violations::new();
        let $crate::grpc::call::CallParts { call, inner, id } = $crate::grpc::call::call_of(
            $app,
            $request,
            $method,
            |inner| &inner.$name,
            &mut violations,
        )
        .await?;
        let command = {
            let ($inner, $violations) = (&inner, &mut violations);
            $body
        };
        let command = violations.finish(command)?;
        let outcome = $app.deciding.run(id, &command, &call).await?;
        (outcome, inner)
    }};
}
pub(super) use command;
