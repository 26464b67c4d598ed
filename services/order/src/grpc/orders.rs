//! `OrderService`: each call is handed to the file of its concept.

use countersign_proto::v1::{self, order_service_server::OrderService};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::app::App;

/// The service as tonic calls it.
#[derive(Clone, Debug)]
pub(crate) struct Orders(pub(crate) App);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl OrderService for Orders {
    type ImportOrdersStream = BoxStream<'static, Result<v1::ImportOrdersResponse, Status>>;
    type WatchOrderEventsStream = BoxStream<'static, Result<v1::WatchOrderEventsResponse, Status>>;

    async fn create_order(&self, request: Request<v1::CreateOrderRequest>) -> Answer<v1::Order> {
        self.0.create_order(request).await
    }

    async fn batch_create_orders(
        &self,
        request: Request<v1::BatchCreateOrdersRequest>,
    ) -> Answer<v1::BatchCreateOrdersResponse> {
        self.0.batch_create_orders(request).await
    }

    async fn import_orders(
        &self,
        request: Request<Streaming<v1::ImportOrdersRequest>>,
    ) -> Answer<Self::ImportOrdersStream> {
        self.0.import_orders(request)
    }

    async fn get_order(&self, request: Request<v1::GetOrderRequest>) -> Answer<v1::Order> {
        self.0.get_order(request).await
    }

    async fn batch_get_orders(
        &self,
        request: Request<v1::BatchGetOrdersRequest>,
    ) -> Answer<v1::BatchGetOrdersResponse> {
        self.0.batch_get_orders(request).await
    }

    async fn list_orders(
        &self,
        request: Request<v1::ListOrdersRequest>,
    ) -> Answer<v1::ListOrdersResponse> {
        self.0.list_orders(request).await
    }

    async fn check_order_stock(
        &self,
        request: Request<v1::CheckOrderStockRequest>,
    ) -> Answer<v1::CheckOrderStockResponse> {
        self.0.check_order_stock(request).await
    }

    async fn audit_order(&self, request: Request<v1::AuditOrderRequest>) -> Answer<v1::Order> {
        self.0.audit_order(request).await
    }

    async fn approve_order(&self, request: Request<v1::ApproveOrderRequest>) -> Answer<v1::Order> {
        self.0.approve_order(request).await
    }

    async fn reject_order(&self, request: Request<v1::RejectOrderRequest>) -> Answer<v1::Order> {
        self.0.reject_order(request).await
    }

    async fn hold_order(&self, request: Request<v1::HoldOrderRequest>) -> Answer<v1::Order> {
        self.0.hold_order(request).await
    }

    async fn release_order_hold(
        &self,
        request: Request<v1::ReleaseOrderHoldRequest>,
    ) -> Answer<v1::Order> {
        self.0.release_order_hold(request).await
    }

    async fn assign_order(&self, request: Request<v1::AssignOrderRequest>) -> Answer<v1::Order> {
        self.0.assign_order(request).await
    }

    async fn prioritize_order(
        &self,
        request: Request<v1::PrioritizeOrderRequest>,
    ) -> Answer<v1::Order> {
        self.0.prioritize_order(request).await
    }

    async fn amend_order(&self, request: Request<v1::AmendOrderRequest>) -> Answer<v1::Order> {
        Box::pin(self.0.amend_order(request)).await
    }

    async fn merge_orders(
        &self,
        request: Request<v1::MergeOrdersRequest>,
    ) -> Answer<v1::MergeOrdersResponse> {
        Box::pin(self.0.merge_orders(request)).await
    }

    async fn cancel_order(&self, request: Request<v1::CancelOrderRequest>) -> Answer<v1::Order> {
        self.0.cancel_order(request).await
    }

    async fn create_confirmation(
        &self,
        request: Request<v1::CreateConfirmationRequest>,
    ) -> Answer<v1::Confirmation> {
        self.0.create_confirmation(request).await
    }

    async fn list_confirmations(
        &self,
        request: Request<v1::ListConfirmationsRequest>,
    ) -> Answer<v1::ListConfirmationsResponse> {
        self.0.list_confirmations(request).await
    }

    async fn accept_confirmation(
        &self,
        request: Request<v1::AcceptConfirmationRequest>,
    ) -> Answer<v1::Order> {
        self.0.accept_confirmation(request).await
    }

    async fn reject_confirmation(
        &self,
        request: Request<v1::RejectConfirmationRequest>,
    ) -> Answer<v1::Order> {
        self.0.reject_confirmation(request).await
    }

    async fn verify_confirmation_code(
        &self,
        request: Request<v1::VerifyConfirmationCodeRequest>,
    ) -> Answer<v1::Order> {
        self.0.verify_confirmation_code(request).await
    }

    async fn record_call_result(
        &self,
        request: Request<v1::RecordCallResultRequest>,
    ) -> Answer<v1::Order> {
        self.0.record_call_result(request).await
    }

    async fn create_order_contact(
        &self,
        request: Request<v1::CreateOrderContactRequest>,
    ) -> Answer<v1::OrderContact> {
        self.0.create_order_contact(request).await
    }

    async fn list_order_contacts(
        &self,
        request: Request<v1::ListOrderContactsRequest>,
    ) -> Answer<v1::ListOrderContactsResponse> {
        self.0.list_order_contacts(request).await
    }

    async fn record_tracking_event(
        &self,
        request: Request<v1::RecordTrackingEventRequest>,
    ) -> Answer<v1::TrackingEvent> {
        self.0.record_tracking_event(request).await
    }

    async fn list_tracking_events(
        &self,
        request: Request<v1::ListTrackingEventsRequest>,
    ) -> Answer<v1::ListTrackingEventsResponse> {
        self.0.list_tracking_events(request).await
    }

    async fn get_order_trace(
        &self,
        request: Request<v1::GetOrderTraceRequest>,
    ) -> Answer<v1::OrderTrace> {
        self.0.get_order_trace(request).await
    }

    async fn list_order_events(
        &self,
        request: Request<v1::ListOrderEventsRequest>,
    ) -> Answer<v1::ListOrderEventsResponse> {
        self.0.list_order_events(request).await
    }

    async fn watch_order_events(
        &self,
        request: Request<v1::WatchOrderEventsRequest>,
    ) -> Answer<Self::WatchOrderEventsStream> {
        self.0.watch_order_events(request).await
    }

    async fn lookup_order_status(
        &self,
        request: Request<v1::LookupOrderStatusRequest>,
    ) -> Answer<v1::LookupOrderStatusResponse> {
        self.0.lookup_order_status(request).await
    }
}
