//! Calls that read: orders, lists, stock checks, history, trace, status.

use countersign_domain::{
    ids::OrderId, number::OrderNumber, stock_book::StockBook, survey::Subject,
    tracking::TrackingEvent,
};
use countersign_proto::v1;
use countersign_runtime::callers::Caller;
use countersign_store::ListQuery;
use futures::StreamExt as _;
use tonic::{Request, Response, Status};

use super::{call::caller_of, orders::Orders};
use crate::{
    app::{App, filter, order_by, page, watch::Wanted},
    convert::{self, confirmation, time, word},
    error::{ServiceError, Violations},
};

type Answer<T> = Result<Response<T>, Status>;

/// Names of one look-up at most.
const BATCH_MAX: usize = 100;
/// Orders and kinds that a watcher may name.
const WATCH_FILTER_MAX: usize = 1_000;

impl App {
    pub(crate) async fn get_order(
        &self,
        request: Request<v1::GetOrderRequest>,
    ) -> Answer<v1::Order> {
        let caller = caller_of(&request)?;
        let id = self
            .deciding
            .find_id(&caller, &request.get_ref().name)
            .await?;
        let order = self.deciding.get(id).await?;
        Ok(Response::new(convert::order::to_proto_for(&caller, &order)))
    }

    pub(crate) async fn batch_get_orders(
        &self,
        request: Request<v1::BatchGetOrdersRequest>,
    ) -> Answer<v1::BatchGetOrdersResponse> {
        let caller = caller_of(&request)?;
        let names = request.into_inner().names;
        if names.is_empty() || names.len() > BATCH_MAX {
            return Err(ServiceError::invalid("names", format!("must be 1 to {BATCH_MAX}")).into());
        }
        let mut ids = Vec::with_capacity(names.len());
        for name in &names {
            ids.push(self.deciding.find_id(&caller, name).await?);
        }
        let found = self
            .deciding
            .store
            .find_orders(&ids)
            .await
            .map_err(ServiceError::from)?;
        if let Some(missing) = ids
            .iter()
            .find(|id| !found.iter().any(|order| order.id == **id))
        {
            return Err(ServiceError::not_found(missing.resource_name()).into());
        }
        let shown = |order| convert::order::to_proto_for(&caller, order);
        let orders = found.iter().map(shown).collect();
        Ok(Response::new(v1::BatchGetOrdersResponse { orders }))
    }

    pub(crate) async fn list_orders(
        &self,
        request: Request<v1::ListOrdersRequest>,
    ) -> Answer<v1::ListOrdersResponse> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let limit = page::size(request.page_size)?;
        let mut query = ListQuery {
            filter: filter::parse(&request.filter)?,
            caller: caller.sees_only().map(ToOwned::to_owned),
            order: order_by::parse(&request.order_by)?,
            after: None,
            limit,
        };
        // A token belongs to its list: with another filter or sequence it would skip orders silently.
        let list = format!("{}\n{}", request.filter, request.order_by);
        query.after = page::read(&request.page_token, &list)?;
        let found = self
            .deciding
            .store
            .list_orders(&query)
            .await
            .map_err(ServiceError::from)?;
        let next_page_token = match found.items.last() {
            Some(end) if found.more => page::token(query.key_of(end), &list),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListOrdersResponse {
            orders: found
                .items
                .iter()
                .map(|order| convert::order::to_proto_for(&caller, order))
                .collect(),
            next_page_token,
        }))
    }

    pub(crate) async fn check_order_stock(
        &self,
        request: Request<v1::CheckOrderStockRequest>,
    ) -> Answer<v1::CheckOrderStockResponse> {
        let lines = request.into_inner().lines;
        let mut violations = Violations::new();
        if lines.is_empty() || lines.len() > 1_000 {
            violations.add("lines", "must be 1 to 1000 lines");
        }
        for (index, line) in lines.iter().enumerate().take(1_000) {
            convert::intake::key(&line.sku, &format!("lines[{index}].sku"), &mut violations);
            if line.quantity < 1 {
                violations.add(format!("lines[{index}].quantity"), "must be at least 1");
            }
        }
        violations.check()?;
        let skus: Vec<&str> = lines.iter().map(|line| line.sku.as_str()).collect();
        let mut book = StockBook::new(
            self.deciding
                .store
                .find_stock(&skus)
                .await
                .map_err(ServiceError::from)?,
        );
        let checks = (1_i32..)
            .zip(&lines)
            .map(|(line_number, line)| {
                let taken = book.take(&line.sku, line.quantity, false);
                v1::StockCheck {
                    line_number,
                    sku: line.sku.clone(),
                    stocked: taken.stocked,
                    asked: line.quantity,
                    available: taken.available,
                    shortfall: (line.quantity - taken.available).max(0),
                    warehouse: taken.warehouse.unwrap_or_default(),
                }
            })
            .collect();
        Ok(Response::new(v1::CheckOrderStockResponse { checks }))
    }

    pub(crate) async fn list_confirmations(
        &self,
        request: Request<v1::ListConfirmationsRequest>,
    ) -> Answer<v1::ListConfirmationsResponse> {
        let caller = caller_of(&request)?;
        let id = self.existing(&caller, &request.get_ref().parent).await?;
        let rounds = self
            .deciding
            .store
            .list_rounds(id)
            .await
            .map_err(ServiceError::from)?;
        Ok(Response::new(v1::ListConfirmationsResponse {
            confirmations: rounds.iter().map(confirmation::to_proto).collect(),
        }))
    }

    pub(crate) async fn list_tracking_events(
        &self,
        request: Request<v1::ListTrackingEventsRequest>,
    ) -> Answer<v1::ListTrackingEventsResponse> {
        let caller = caller_of(&request)?;
        let id = self.existing(&caller, &request.get_ref().parent).await?;
        let events = self
            .deciding
            .store
            .list_tracking_events(id)
            .await
            .map_err(ServiceError::from)?;
        Ok(Response::new(v1::ListTrackingEventsResponse {
            events: events
                .iter()
                .map(|event| confirmation::tracking_to_proto(id, event))
                .collect(),
        }))
    }

    pub(crate) async fn list_order_events(
        &self,
        request: Request<v1::ListOrderEventsRequest>,
    ) -> Answer<v1::ListOrderEventsResponse> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let id = self.existing(&caller, &request.parent).await?;
        let limit = page::size(request.page_size)?;
        let after = if request.page_token.is_empty() {
            0
        } else {
            request
                .page_token
                .parse()
                .map_err(|_| ServiceError::invalid("page_token", "must be a token of this list"))?
        };
        let page = self
            .deciding
            .store
            .list_order_events(id, after, limit)
            .await
            .map_err(ServiceError::from)?;
        let next_page_token = match page.items.last() {
            Some(end) if page.more => end.version.to_string(),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListOrderEventsResponse {
            events: page
                .items
                .iter()
                .map(convert::order::event_to_proto)
                .collect(),
            next_page_token,
        }))
    }

    pub(crate) async fn watch_order_events(
        &self,
        request: Request<v1::WatchOrderEventsRequest>,
    ) -> Answer<<Orders as v1::order_service_server::OrderService>::WatchOrderEventsStream> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        if request.orders.len() > WATCH_FILTER_MAX {
            violations.add("orders", format!("must be at most {WATCH_FILTER_MAX}"));
        }
        let orders: Vec<OrderId> = request
            .orders
            .iter()
            .take(WATCH_FILTER_MAX)
            .enumerate()
            .filter_map(|(index, name)| {
                violations.take(
                    format!("orders[{index}]"),
                    OrderId::from_resource_name(name),
                )
            })
            .collect();
        let after = crate::app::watch::read_token(&request.resume_token, &mut violations);
        violations.check()?;
        let wanted = Wanted {
            orders: orders.into_iter().collect(),
            kinds: request.kinds.into_iter().collect(),
            caller: caller.sees_only().map(ToOwned::to_owned),
        };
        let after = after.flatten();
        self.deciding.watch.check(after).await?;
        let stream = self.deciding.watch.subscribe(after, wanted);
        Ok(Response::new(stream.boxed()))
    }

    /// Everything that came of an order.
    pub(crate) async fn get_order_trace(
        &self,
        request: Request<v1::GetOrderTraceRequest>,
    ) -> Answer<v1::OrderTrace> {
        let caller = caller_of(&request)?;
        let id = self
            .deciding
            .find_id(&caller, &request.get_ref().name)
            .await?;
        let order = self.deciding.get(id).await?;
        let store = &self.deciding.store;
        let (rounds, notes, pack, messages, tracking, contacts, events, feedback) =
            tokio::try_join!(
                store.list_rounds(id),
                store.list_delivery_notes(id),
                store.find_service_pack(id),
                store.list_message_summaries(id),
                store.list_tracking_events(id),
                store.list_contacts(id, None, 500),
                store.list_order_events(id, 0, 500),
                store.find_feedback_about(id, Subject::DELIVERY),
            )
            .map_err(ServiceError::from)?;
        let name = id.resource_name();
        Ok(Response::new(v1::OrderTrace {
            order: Some(convert::order::to_proto_for(&caller, &order)),
            confirmations: rounds.iter().map(confirmation::to_proto).collect(),
            delivery_notes: notes
                .iter()
                .map(|note| format!("{name}/deliveryNotes/{}", note.revision))
                .collect(),
            service_pack: pack
                .map(|_| format!("{name}/servicePack"))
                .unwrap_or_default(),
            messages: messages
                .into_iter()
                .map(|message| v1::MessageSummary {
                    name: message.id.resource_name(),
                    kind: message.kind,
                    channel: message.channel,
                    recipient: message.recipient_masked,
                    state: message.state,
                    attempts: message.attempts,
                    create_time: Some(time::to_proto(message.create_time)),
                    finish_time: message.finish_time.map(time::to_proto),
                    revision: message.revision,
                })
                .collect(),
            tracking_events: tracking
                .iter()
                .map(|event| confirmation::tracking_to_proto(id, event))
                .collect(),
            contacts: contacts
                .items
                .iter()
                .map(confirmation::contact_to_proto)
                .collect(),
            events: events
                .items
                .iter()
                .map(convert::order::event_to_proto)
                .collect(),
            feedback: feedback.iter().map(convert::feedback::to_proto).collect(),
        }))
    }

    /// The least that a caller on the phone needs. A wrong number and wrong digits answer alike.
    pub(crate) async fn lookup_order_status(
        &self,
        request: Request<v1::LookupOrderStatusRequest>,
    ) -> Answer<v1::LookupOrderStatusResponse> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let mut violations = Violations::new();
        let number = violations.take("order_number", OrderNumber::parse(&request.order_number));
        let digits = &request.phone_last_digits;
        if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            violations.add(
                "phone_last_digits",
                "must be the last four digits of the phone",
            );
        }
        let number = violations.finish(number)?;
        let nothing = || ServiceError::not_found("order with this number and phone");
        let store = &self.deciding.store;
        let id = store
            .find_order_by_number(&number)
            .await
            .map_err(ServiceError::from)?
            .ok_or_else(nothing)?;
        let order = self.deciding.get(id).await?;
        if caller
            .sees_only()
            .is_some_and(|owner| owner != order.caller)
        {
            caller.note_refusal(tonic::Code::NotFound);
            return Err(nothing().into());
        }
        let phones = [&order.terms.contact.phone, &order.terms.delivery.phone];
        let known = phones.into_iter().flatten().any(|phone| {
            countersign_domain::secrets::equal_in_constant_time(
                phone.last_digits(4).as_bytes(),
                digits.as_bytes(),
            )
        });
        if !known {
            return Err(nothing().into());
        }
        let tracking = store
            .list_tracking_events(id)
            .await
            .map_err(ServiceError::from)?;
        let last: Option<&TrackingEvent> = tracking.last();
        let shown = convert::order::to_proto(&order);
        Ok(Response::new(v1::LookupOrderStatusResponse {
            order_number: shown.order_number,
            state: shown.state,
            promised_delivery_time: shown.promised_delivery_time,
            last_update_time: shown.update_time,
            tracking_status: last.map_or(0, |event| {
                word::to_proto::<v1::TrackingStatus>(event.status.as_str())
            }),
            place: last
                .map(|event| event.details.place.clone())
                .unwrap_or_default(),
            stage_times: shown.stage_times,
        }))
    }

    /// An order that is there, by its name or number.
    pub(crate) async fn existing(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<OrderId, ServiceError> {
        let id = self.deciding.find_id(caller, name).await?;
        Ok(self.deciding.get(id).await?.id)
    }
}
