//! Calls that put something on an order's record: tracking events and contacts.

use countersign_domain::text::{TextKind, checked_text};
use countersign_proto::v1;
use countersign_store::RecordedContact;
use tonic::{Request, Response, Status};

use super::call::{call_of, caller_of, replayed};
use crate::{
    app::{App, command::Command, make::Ids},
    convert::{confirmation, intake::short},
    error::{ServiceError, Violations},
};

type Answer<T> = Result<Response<T>, Status>;

impl App {
    pub(crate) async fn record_tracking_event(
        &self,
        request: Request<v1::RecordTrackingEventRequest>,
    ) -> Answer<v1::TrackingEvent> {
        let mut violations = Violations::new();
        let parts = call_of(
            self,
            request,
            "RecordTrackingEvent",
            |inner| &inner.parent,
            &mut violations,
        )
        .await?;
        let event = violations
            .require("event", parts.inner.event.as_ref())
            .and_then(|event| confirmation::tracking_from_proto(event, &mut violations));
        let event = violations.finish(event)?;
        let (source, source_event_id) = (event.source.clone(), event.source_event_id.clone());
        let outcome = self
            .deciding
            .run(parts.id, &Command::Track(event), &parts.call)
            .await?;
        // What was stored, whether by this call or by an earlier one with the same source id.
        let stored = self
            .deciding
            .store
            .list_tracking_events(parts.id)
            .await
            .map_err(ServiceError::from)?
            .into_iter()
            .find(|known| known.source == source && known.source_event_id == source_event_id)
            .ok_or_else(|| ServiceError::internal("a recorded tracking event is gone"))?;
        Ok(replayed(
            confirmation::tracking_to_proto(parts.id, &stored),
            outcome.replayed || outcome.change.is_none(),
        ))
    }

    pub(crate) async fn create_order_contact(
        &self,
        request: Request<v1::CreateOrderContactRequest>,
    ) -> Answer<v1::OrderContact> {
        let mut violations = Violations::new();
        let parts = call_of(
            self,
            request,
            "CreateOrderContact",
            |inner| &inner.parent,
            &mut violations,
        )
        .await?;
        let order = self.deciding.get(parts.id).await?;
        if order.is_erased() {
            return Err(ServiceError::order_erased().into());
        }
        let id = order.id;
        let given = parts.inner.contact.clone().unwrap_or_default();
        let direction = match v1::ContactDirection::try_from(given.direction) {
            Ok(v1::ContactDirection::Inbound) => Some("INBOUND".to_owned()),
            Ok(v1::ContactDirection::Outbound) => Some("OUTBOUND".to_owned()),
            _ => {
                violations.add("contact.direction", "must be INBOUND or OUTBOUND");
                None
            }
        };
        let channel = short(&given.channel, 1, 16, "contact.channel", &mut violations);
        let agent = short(&given.agent, 0, 64, "contact.agent", &mut violations);
        let summary = violations.take(
            "contact.summary",
            checked_text(&given.summary, 1, 4_000, TextKind::MultiLine),
        );
        let now = self
            .deciding
            .store
            .now()
            .await
            .map_err(ServiceError::from)?;
        let contact = (|| {
            Some(RecordedContact {
                id: Ids::at(now).contact(),
                order_id: id,
                direction: direction?,
                channel: channel?,
                agent: agent?,
                summary: summary?,
                create_time: now,
            })
        })();
        let contact = violations.finish(contact)?;
        let answer = confirmation::contact_to_proto(&contact);
        let (answer, repeated) = self
            .deciding
            .record_contact(contact, answer, &parts.call)
            .await?;
        Ok(replayed(answer, repeated))
    }

    pub(crate) async fn list_order_contacts(
        &self,
        request: Request<v1::ListOrderContactsRequest>,
    ) -> Answer<v1::ListOrderContactsResponse> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let id = self.existing(&caller, &request.parent).await?;
        let limit = crate::app::page::size(request.page_size)?;
        let after =
            if request.page_token.is_empty() {
                None
            } else {
                let token = request.page_token.parse();
                Some(token.map_err(|_| {
                    ServiceError::invalid("page_token", "must be a token of this list")
                })?)
            };
        let page = self
            .deciding
            .store
            .list_contacts(id, after, limit)
            .await
            .map_err(ServiceError::from)?;
        let next_page_token = match page.items.last() {
            Some(last) if page.more => last.id.to_string(),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListOrderContactsResponse {
            contacts: page
                .items
                .iter()
                .map(confirmation::contact_to_proto)
                .collect(),
            next_page_token,
        }))
    }
}
