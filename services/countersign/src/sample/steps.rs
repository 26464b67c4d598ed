//! What the shop, customers, staff, the warehouse and carriers do with an order. Each call is named by the order and the
//! step, so that making it again changes nothing.

use std::time::{Duration, Instant};

use countersign_domain::ids::OrderId;
use countersign_proto::v1::{
    AcceptConfirmationRequest, AmendOrderRequest, AnswerChannel, ApproveOrderRequest, CallOutcome,
    CancelInitiator, CancelOrderRequest, CancelReason, GetOrderRequest, Hold, HoldOrderRequest,
    HoldReason, MergeOrdersRequest, Objection, ObjectionCategory, Order, OrderState, ProgressStage,
    ProgressUnits, RecordCallResultRequest, RecordOrderProgressRequest, RecordTrackingEventRequest,
    RejectConfirmationRequest, RejectOrderRequest, TrackingEvent, TrackingStatus,
    VerifyConfirmationCodeRequest, fulfillment_service_client::FulfillmentServiceClient,
    order_service_client::OrderServiceClient,
};
use prost_types::FieldMask;
use tokio::time::sleep;

use super::{
    parts::{step_id, told},
    play::Player,
};
use crate::import::{orders::price_of, reading::Amount, send};

/// How long a timer that is due may take.
const TIMER_WAIT: Duration = Duration::from_secs(10);

/// Makes a call that is named by the order and the step.
macro_rules! step {
    ($self:ident, $client:ident, $method:ident, $request:expr) => {{
        let request = $request;
        send::call(|| {
            let mut client = $client::new($self.connection.clone());
            let request = request.clone();
            async move { client.$method(request).await }
        })
        .await
        .map_err(|status| told(stringify!($method), &status))
    }};
}

impl Player<'_> {
    pub(super) async fn accept(
        &self,
        number: u32,
        order: &Order,
        by: AnswerChannel,
    ) -> Result<(), String> {
        let staff = if by == AnswerChannel::Staff {
            "staff:lin"
        } else {
            ""
        };
        let request = AcceptConfirmationRequest {
            name: order.name.clone(),
            request_id: step_id(number, "accept"),
            answer_channel: by.into(),
            answered_by: staff.to_owned(),
            ..AcceptConfirmationRequest::default()
        };
        step!(self, OrderServiceClient, accept_confirmation, request).map(|_| ())
    }

    pub(super) async fn code(&self, number: u32, order: &Order) -> Result<(), String> {
        let id = OrderId::from_resource_name(&order.name).map_err(|error| error.to_string())?;
        let request = VerifyConfirmationCodeRequest {
            name: order.name.clone(),
            request_id: step_id(number, "code"),
            code: self.link_key.confirmation_code(id, 1),
            answer_channel: AnswerChannel::Code.into(),
            receive_time: None,
        };
        step!(self, OrderServiceClient, verify_confirmation_code, request).map(|_| ())
    }

    pub(super) async fn key(&self, number: u32, order: &Order) -> Result<(), String> {
        let request = RecordCallResultRequest {
            name: order.name.clone(),
            request_id: step_id(number, "call"),
            outcome: CallOutcome::AnsweredConfirmed.into(),
            call_id: format!("sample-call-{number}"),
            digits: "1".to_owned(),
            duration_seconds: 41,
            ..RecordCallResultRequest::default()
        };
        step!(self, OrderServiceClient, record_call_result, request).map(|_| ())
    }

    pub(super) async fn object(&self, number: u32, order: &Order) -> Result<(), String> {
        let request = RejectConfirmationRequest {
            name: order.name.clone(),
            request_id: step_id(number, "object"),
            answer_channel: AnswerChannel::Link.into(),
            objection: Some(Objection {
                category: ObjectionCategory::Quantity.into(),
                line_numbers: vec![1],
                text: "One less, please.".to_owned(),
            }),
            ..RejectConfirmationRequest::default()
        };
        step!(self, OrderServiceClient, reject_confirmation, request).map(|_| ())
    }

    pub(super) async fn amend(&self, number: u32, order: &Order) -> Result<(), String> {
        let mut amended = order.clone();
        if let Some(line) = amended.lines.first_mut() {
            line.quantity += 1;
        }
        let goods: i128 = amended.lines.iter().map(price_of).sum();
        if let Some(total) = &mut amended.total {
            *total = Amount(goods).money(&total.currency_code);
        }
        // Only what the mask names, so that the same call is the same whatever has changed since.
        let request = AmendOrderRequest {
            order: Some(Order {
                name: amended.name,
                lines: amended.lines,
                total: amended.total,
                ..Order::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["lines".to_owned(), "total".to_owned()],
            }),
            request_id: step_id(number, "amend"),
            reason: "the customer asked for one more".to_owned(),
            ..AmendOrderRequest::default()
        };
        step!(self, OrderServiceClient, amend_order, request).map(|_| ())
    }

    pub(super) async fn cancel(&self, number: u32, order: &Order) -> Result<(), String> {
        let request = CancelOrderRequest {
            name: order.name.clone(),
            request_id: step_id(number, "cancel"),
            reason: CancelReason::CustomerChangedMind.into(),
            reason_text: "You asked us to cancel.".to_owned(),
            initiator: CancelInitiator::Customer.into(),
            ..CancelOrderRequest::default()
        };
        step!(self, OrderServiceClient, cancel_order, request).map(|_| ())
    }

    pub(super) async fn hold(&self, number: u32, order: &Order) -> Result<(), String> {
        let request = HoldOrderRequest {
            name: order.name.clone(),
            request_id: step_id(number, "hold"),
            hold: Some(Hold {
                reason: HoldReason::AwaitingPayment.into(),
                note: "the bank has not answered yet".to_owned(),
                owner: "staff:lin".to_owned(),
                ..Hold::default()
            }),
            ..HoldOrderRequest::default()
        };
        step!(self, OrderServiceClient, hold_order, request).map(|_| ())
    }

    pub(super) async fn approve(
        &self,
        number: u32,
        order: &Order,
        reason: &str,
    ) -> Result<(), String> {
        let request = ApproveOrderRequest {
            name: order.name.clone(),
            request_id: step_id(number, "approve"),
            reason: reason.to_owned(),
            ..ApproveOrderRequest::default()
        };
        step!(self, OrderServiceClient, approve_order, request).map(|_| ())
    }

    pub(super) async fn reject(&self, number: u32, order: &Order) -> Result<(), String> {
        let request = RejectOrderRequest {
            name: order.name.clone(),
            request_id: step_id(number, "reject"),
            reason: "We do not deliver to the address that was given.".to_owned(),
            ..RejectOrderRequest::default()
        };
        step!(self, OrderServiceClient, reject_order, request).map(|_| ())
    }

    pub(super) async fn track(
        &self,
        number: u32,
        order: &Order,
        statuses: &[TrackingStatus],
    ) -> Result<(), String> {
        // Times follow from the order's own, so that the same report is the same when it is sent again.
        let start = order.create_time.unwrap_or_default();
        for (nth, status) in (1..).zip(statuses) {
            let word = status
                .as_str_name()
                .trim_start_matches("TRACKING_STATUS_")
                .to_lowercase();
            let request = RecordTrackingEventRequest {
                parent: order.name.clone(),
                request_id: step_id(number, &word),
                event: Some(TrackingEvent {
                    source: "sample-carrier".to_owned(),
                    source_event_id: format!("{number}-{nth}"),
                    status: (*status).into(),
                    report_time: Some(prost_types::Timestamp {
                        seconds: start.seconds + nth,
                        nanos: start.nanos,
                    }),
                    ..TrackingEvent::default()
                }),
            };
            step!(self, OrderServiceClient, record_tracking_event, request)?;
        }
        Ok(())
    }

    /// The warehouse reports units; all that can when no line is named.
    pub(super) async fn progress(
        &self,
        number: u32,
        order: &Order,
        stage: ProgressStage,
        units: Vec<ProgressUnits>,
    ) -> Result<(), String> {
        let word = stage
            .as_str_name()
            .trim_start_matches("PROGRESS_STAGE_")
            .to_lowercase();
        let request = RecordOrderProgressRequest {
            name: order.name.clone(),
            request_id: step_id(number, &word),
            stage: stage.into(),
            units,
            ..RecordOrderProgressRequest::default()
        };
        step!(
            self,
            FulfillmentServiceClient,
            record_order_progress,
            request
        )
        .map(|_| ())
    }

    /// The order before and this one go together.
    pub(super) async fn merge(&self, number: u32, order: &Order) -> Result<(), String> {
        // Played side by side with this one, so perhaps not yet there: sending it again gives what is there.
        let Some(first) = self.create(number - 1).await? else {
            return Ok(());
        };
        let request = MergeOrdersRequest {
            names: vec![first.name, order.name.clone()],
            request_id: step_id(number, "merge"),
            actor: "staff:lin".to_owned(),
            reason: "Both of your orders come in one delivery.".to_owned(),
        };
        let answer = step!(self, OrderServiceClient, merge_orders, request)?;
        match answer.refusals.first() {
            None => Ok(()),
            Some(refusal) => Err(format!(
                "merge_orders: {}: {}",
                refusal.field, refusal.description
            )),
        }
    }

    /// Waits for what a timer does.
    pub(super) async fn until(&self, order: &Order, state: OrderState) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let request = GetOrderRequest {
                name: order.name.clone(),
            };
            let now = step!(self, OrderServiceClient, get_order, request)?.state();
            if now == state {
                return Ok(());
            }
            if began.elapsed() > TIMER_WAIT {
                return Err(format!(
                    "an order is {} and should be {}",
                    now.as_str_name(),
                    state.as_str_name()
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
