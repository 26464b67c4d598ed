//! What happens to each of the sample's orders.

use countersign_domain::{ids::OrderId, secrets::LinkKey};
use countersign_proto::v1::{
    AcceptConfirmationRequest, AmendOrderRequest, AnswerChannel, ApproveOrderRequest, CallOutcome,
    CancelInitiator, CancelOrderRequest, CancelReason, CreateOrderRequest, Delivery, Hold,
    HoldOrderRequest, HoldReason, Objection, ObjectionCategory, Order, OrderLine, OrderState,
    PaymentMethod, RecordCallResultRequest, RecordTrackingEventRequest, RejectConfirmationRequest,
    RejectOrderRequest, ShortagePolicy, TrackingEvent, TrackingStatus,
    VerifyConfirmationCodeRequest, order_service_client::OrderServiceClient,
};
use prost_types::FieldMask;
use tonic::Code;

use super::{
    parts::{contact, customized, line_of, step_id, told},
    shop::Shop,
};
use crate::import::{
    orders::price_of,
    reading::Amount,
    send::{self, Connection},
};

/// Courses that an order can take; the number of the order chooses.
const COURSES: u32 = 20;

/// Plays orders.
pub(super) struct Player<'s> {
    connection: &'s Connection,
    shop: &'s Shop,
    link_key: &'s LinkKey,
}

/// Makes a call that is named by the order and the step.
macro_rules! step {
    ($self:ident, $method:ident, $request:expr) => {{
        let request = $request;
        send::call(|| {
            let mut client = OrderServiceClient::new($self.connection.clone());
            let request = request.clone();
            async move { client.$method(request).await }
        })
        .await
        .map_err(|status| told(stringify!($method), &status))
    }};
}

impl<'s> Player<'s> {
    pub(super) const fn new(
        connection: &'s Connection,
        shop: &'s Shop,
        link_key: &'s LinkKey,
    ) -> Self {
        Self {
            connection,
            shop,
            link_key,
        }
    }

    /// Sends order `number` and does with it what its course says; gives back the order as it came in. The error tells
    /// which step was refused and why.
    pub(super) async fn play(&self, number: u32) -> Result<Order, String> {
        let course = number % COURSES;
        let request = CreateOrderRequest {
            order: Some(self.order(number)),
            request_id: step_id(number, "create"),
            validate_only: false,
        };
        let order = match send::call(|| {
            let mut client = OrderServiceClient::new(self.connection.clone());
            let request = request.clone();
            async move { client.create_order(request).await }
        })
        .await
        {
            Ok(order) => order,
            // Played so long ago that the request is forgotten: it has had its course.
            Err(status) if status.code() == Code::AlreadyExists => return Ok(self.order(number)),
            Err(status) => return Err(told("create_order", &status)),
        };
        Box::pin(self.go_on(number, course, &order)).await?;
        Ok(order)
    }

    async fn go_on(&self, number: u32, course: u32, order: &Order) -> Result<(), String> {
        use TrackingStatus as T;
        // The audit found something that the course does not foresee: a member of staff looks at it.
        let asked = order.state() == OrderState::AwaitingConfirmation;
        if !asked && !matches!(course, 8 | 9 | 11 | 12 | 14 | 15) {
            return Ok(());
        }
        match course {
            1 => self.accept(number, order, AnswerChannel::Link).await,
            2 => {
                self.accept(number, order, AnswerChannel::Link).await?;
                self.track(
                    number,
                    order,
                    &[T::PickedUp, T::InTransit, T::OutForDelivery, T::Delivered],
                )
                .await
            }
            3 => {
                self.code(number, order).await?;
                self.track(number, order, &[T::PickedUp, T::InTransit])
                    .await
            }
            4 => self.key(number, order).await,
            5 => {
                self.accept(number, order, AnswerChannel::Staff).await?;
                self.track(
                    number,
                    order,
                    &[T::PickedUp, T::OutForDelivery, T::Delivered],
                )
                .await
            }
            6 => self.object(number, order).await,
            7 => Box::pin(self.amend(number, order)).await,
            8 => self.cancel(number, order).await,
            9 => self.hold(number, order).await,
            // Too little in stock: part now, or all later.
            14 | 15 => {
                self.approve(number, order, "the customer waits for the rest")
                    .await?;
                self.accept(number, order, AnswerChannel::Staff).await
            }
            11 => {
                self.approve(
                    number,
                    order,
                    "freight was left out of the total; agreed by phone",
                )
                .await
            }
            12 => self.reject(number, order).await,
            17 => self.accept(number, order, AnswerChannel::Email).await,
            19 => {
                Box::pin(self.amend(number, order)).await?;
                self.accept(number, order, AnswerChannel::Link).await
            }
            // 0 and 18 wait for their answer, 10, 13 and 16 for a member of staff.
            _ => Ok(()),
        }
    }

    /// Order number `number`, the same each time.
    fn order(&self, number: u32) -> Order {
        let course = number % COURSES;
        // A course of its own sends an earlier order again under another number.
        let like = if course == 13 { number - 11 } else { number };
        let at = like as usize;
        let customer = &self.shop.customers[(at * 3 + at / 40) % self.shop.customers.len()];
        let currency = customer
            .credit_limit
            .as_ref()
            .map(|it| it.currency_code.as_str())
            .unwrap_or_default();
        let articles = self
            .shop
            .articles
            .get(currency)
            .map(Vec::as_slice)
            .unwrap_or_default();
        // The last article runs out, so that the others do not.
        let (scarce, articles) = articles
            .split_last()
            .map_or((None, articles), |(last, rest)| (Some(last), rest));
        let mut lines: Vec<OrderLine> = (0..=at % 3)
            .filter_map(|line| articles.get((at * 7 + line * 5 + at / 120) % articles.len().max(1)))
            .zip(1..)
            .map(|(article, nth)| line_of(article, 1 + i64::from(like / 120 + nth) % 4))
            .collect();
        let many = match course {
            10 | 14 | 15 => 30_000,
            16 => 300,
            _ => 0,
        };
        if course == 15 {
            lines.truncate(1);
        }
        if let Some(article) = scarce.filter(|_| many > 0) {
            lines.pop();
            lines.push(line_of(article, many));
        }
        if course == 14
            && let Some(article) = articles.first()
        {
            lines.insert(0, line_of(article, 1));
        }
        let goods: i128 = lines.iter().map(price_of).sum();
        let off = if course == 11 { 1_000_000_000 } else { 0 };
        let mut address = customer.address.clone().unwrap_or_default();
        if course == 12 {
            address.address_lines.clear();
            "0".clone_into(&mut address.postal_code);
        }
        let wholesale = matches!(course, 16 | 17);
        Order {
            client_reference: format!("SAMPLE-{number:05}"),
            order_type: match course {
                16 | 17 => "WHOLESALE",
                18 => "CUSTOM",
                4 => "STORE",
                _ => "ECOMMERCE",
            }
            .to_owned(),
            source_channel: ["web", "app", "phone", "store"][at % 4].to_owned(),
            customer: customer.name.clone(),
            contact: Some(contact(customer)),
            lines: lines
                .into_iter()
                .map(|line| customized(line, course == 18))
                .collect(),
            delivery: Some(Delivery {
                address: Some(address),
                wishes: customer.unloading_conditions.clone(),
                ..Delivery::default()
            }),
            payment_method: if wholesale {
                PaymentMethod::OnAccount
            } else {
                PaymentMethod::Card
            }
            .into(),
            total: Some(Amount(goods + off).money(currency)),
            shortage_policy: match course {
                14 | 15 => ShortagePolicy::PartialNow.into(),
                _ => 0,
            },
            ..Order::default()
        }
    }

    async fn accept(&self, number: u32, order: &Order, by: AnswerChannel) -> Result<(), String> {
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
        step!(self, accept_confirmation, request).map(|_| ())
    }

    async fn code(&self, number: u32, order: &Order) -> Result<(), String> {
        let id = OrderId::from_resource_name(&order.name).map_err(|error| error.to_string())?;
        let request = VerifyConfirmationCodeRequest {
            name: order.name.clone(),
            request_id: step_id(number, "code"),
            code: self.link_key.confirmation_code(id, 1),
            answer_channel: AnswerChannel::Code.into(),
            receive_time: None,
        };
        step!(self, verify_confirmation_code, request).map(|_| ())
    }

    async fn key(&self, number: u32, order: &Order) -> Result<(), String> {
        let request = RecordCallResultRequest {
            name: order.name.clone(),
            request_id: step_id(number, "call"),
            outcome: CallOutcome::AnsweredConfirmed.into(),
            call_id: format!("sample-call-{number}"),
            digits: "1".to_owned(),
            duration_seconds: 41,
            ..RecordCallResultRequest::default()
        };
        step!(self, record_call_result, request).map(|_| ())
    }

    async fn object(&self, number: u32, order: &Order) -> Result<(), String> {
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
        step!(self, reject_confirmation, request).map(|_| ())
    }

    async fn amend(&self, number: u32, order: &Order) -> Result<(), String> {
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
        step!(self, amend_order, request).map(|_| ())
    }

    async fn cancel(&self, number: u32, order: &Order) -> Result<(), String> {
        let request = CancelOrderRequest {
            name: order.name.clone(),
            request_id: step_id(number, "cancel"),
            reason: CancelReason::CustomerChangedMind.into(),
            reason_text: "You asked us to cancel.".to_owned(),
            initiator: CancelInitiator::Customer.into(),
            ..CancelOrderRequest::default()
        };
        step!(self, cancel_order, request).map(|_| ())
    }

    async fn hold(&self, number: u32, order: &Order) -> Result<(), String> {
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
        step!(self, hold_order, request).map(|_| ())
    }

    async fn approve(&self, number: u32, order: &Order, reason: &str) -> Result<(), String> {
        let request = ApproveOrderRequest {
            name: order.name.clone(),
            request_id: step_id(number, "approve"),
            reason: reason.to_owned(),
            ..ApproveOrderRequest::default()
        };
        step!(self, approve_order, request).map(|_| ())
    }

    async fn reject(&self, number: u32, order: &Order) -> Result<(), String> {
        let request = RejectOrderRequest {
            name: order.name.clone(),
            request_id: step_id(number, "reject"),
            reason: "We do not deliver to the address that was given.".to_owned(),
            ..RejectOrderRequest::default()
        };
        step!(self, reject_order, request).map(|_| ())
    }

    async fn track(
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
            step!(self, record_tracking_event, request)?;
        }
        Ok(())
    }
}
