//! What happens to each of the sample's orders: the number chooses the course, and every state of an order's life is the
//! end of at least one of them.

use countersign_domain::secrets::LinkKey;
use countersign_proto::v1::{
    AnswerChannel, CreateOrderRequest, Order, OrderState, ProgressStage, ProgressUnits,
    TrackingStatus, order_service_client::OrderServiceClient,
};
use tonic::Code;

use super::{
    parts::{step_id, told},
    shop::Shop,
};
use crate::import::send::{self, Connection};

/// Courses that an order can take; the number of the order chooses.
pub(super) const COURSES: u32 = 22;

/// Plays orders.
pub(super) struct Player<'s> {
    pub(super) connection: &'s Connection,
    pub(super) shop: &'s Shop,
    pub(super) link_key: &'s LinkKey,
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
        let Some(order) = self.create(number).await? else {
            // Played so long ago that the request is forgotten: it has had its course.
            return Ok(self.order(number));
        };
        Box::pin(self.go_on(number, &order)).await?;
        Ok(order)
    }

    /// The order as it came in, now or when it was played before; nothing when that is forgotten.
    pub(super) async fn create(&self, number: u32) -> Result<Option<Order>, String> {
        let request = CreateOrderRequest {
            order: Some(self.order(number)),
            request_id: step_id(number, "create"),
            validate_only: false,
        };
        let created = send::call(|| {
            let mut client = OrderServiceClient::new(self.connection.clone());
            let request = request.clone();
            async move { client.create_order(request).await }
        })
        .await;
        match created {
            Ok(order) => Ok(Some(order)),
            Err(status) if status.code() == Code::AlreadyExists => Ok(None),
            Err(status) => Err(told("create_order", &status)),
        }
    }

    async fn go_on(&self, number: u32, order: &Order) -> Result<(), String> {
        use AnswerChannel as By;
        use ProgressStage as P;
        use TrackingStatus as T;
        let course = number % COURSES;
        // The audit found something that the course does not foresee: a member of staff looks at it.
        let asked = order.state() == OrderState::AwaitingConfirmation;
        if !asked && !matches!(course, 8 | 9 | 11 | 12 | 14 | 15) {
            return Ok(());
        }
        match course {
            1 => self.accept(number, order, By::Link).await,
            2 => {
                self.accept(number, order, By::Link).await?;
                let way = [T::PickedUp, T::InTransit, T::OutForDelivery, T::Delivered];
                self.track(number, order, &way).await
            }
            3 => {
                self.code(number, order).await?;
                self.track(number, order, &[T::PickedUp, T::InTransit])
                    .await
            }
            // A store's order is complete as soon as it is handed over.
            4 => {
                self.key(number, order).await?;
                self.track(number, order, &[T::ReadyForPickup, T::Delivered])
                    .await?;
                self.until(order, OrderState::Completed).await
            }
            5 => {
                self.accept(number, order, By::Staff).await?;
                self.progress(number, order, P::Picked, Vec::new()).await?;
                self.progress(number, order, P::Packed, Vec::new()).await?;
                let way = [T::PickedUp, T::OutForDelivery, T::Delivered];
                self.track(number, order, &way).await
            }
            6 => self.object(number, order).await,
            7 => Box::pin(self.amend(number, order)).await,
            8 => self.cancel(number, order).await,
            9 => self.hold(number, order).await,
            11 => {
                let reason = "freight was left out of the total; agreed by phone";
                self.approve(number, order, reason).await?;
                self.accept(number, order, By::Staff).await?;
                self.progress(number, order, P::Picked, Vec::new()).await?;
                self.progress(number, order, P::Packed, Vec::new()).await
            }
            12 => self.reject(number, order).await,
            // Too little in stock: part now, or all later.
            14 | 15 => {
                self.approve(number, order, "the customer waits for the rest")
                    .await?;
                self.accept(number, order, By::Staff).await
            }
            17 => self.accept(number, order, By::Email).await,
            // The picker has the first unit in the basket.
            19 => {
                Box::pin(self.amend(number, order)).await?;
                self.accept(number, order, By::Link).await?;
                let first = ProgressUnits {
                    line_number: 1,
                    quantity: 1,
                };
                self.progress(number, order, P::Picked, vec![first]).await
            }
            // The same customer orders once more: both go together.
            21 => self.merge(number, order).await,
            // 0 and 20 wait for an answer, 10, 13, 16 and 18 for a member of staff.
            _ => Ok(()),
        }
    }
}
