//! `FulfillmentService`: papers of the formal order, and goods on their way.

use std::sync::Arc;

use countersign_domain::{
    decide::Stage,
    document::{DeliveryNote, ServicePack},
    locale::Locale,
    money::Money,
    order::Order,
};
use countersign_proto::v1::{self, fulfillment_service_server::FulfillmentService};
use countersign_runtime::{callers::Caller, config::Company};
use tonic::{Request, Response, Status};

use super::{
    call::{caller_of, command},
    commands::order_answer,
    note_page::{NotePages, contacts, phone_of},
};
use crate::{
    app::{App, command::Command},
    convert::{money, place, time, word},
    error::ServiceError,
};

type Answer<T> = Result<Response<T>, Status>;

/// Lines of an order at most, and so of a progress report.
const UNITS_MAX: usize = 1_000;

/// The service as tonic calls it.
#[derive(Clone, Debug)]
pub(crate) struct Fulfillment {
    app: App,
    company: Arc<Company>,
    pages: Arc<NotePages>,
}

impl Fulfillment {
    /// Reads the templates that are part of the program.
    pub(crate) fn load(app: App, company: Company) -> anyhow::Result<Self> {
        Ok(Self {
            app,
            pages: Arc::new(NotePages::load(&company)?),
            company: Arc::new(company),
        })
    }

    /// The order and the note that a name like `orders/{order}/deliveryNotes/{revision}` names.
    async fn note(
        &self,
        caller: &Caller,
        name: &str,
    ) -> Result<(Order, DeliveryNote), ServiceError> {
        const FORM: &str =
            "must be orders/{order}/deliveryNotes/{revision}, or - for the one in force";
        let (parent, revision) = name
            .split_once("/deliveryNotes/")
            .ok_or_else(|| ServiceError::invalid("name", FORM))?;
        let wanted: Option<u32> = match revision {
            "-" => None,
            number => Some(
                number
                    .parse()
                    .map_err(|_| ServiceError::invalid("name", FORM))?,
            ),
        };
        let (order, notes) = self.notes(caller, parent).await?;
        // An amended order has no note in force until the customer has agreed again.
        let wanted = wanted.unwrap_or(order.revision);
        let note = notes.into_iter().find(|note| note.revision == wanted);
        match note {
            Some(note) => Ok((order, note)),
            None => Err(ServiceError::not_found(name)),
        }
    }

    async fn notes(
        &self,
        caller: &Caller,
        parent: &str,
    ) -> Result<(Order, Vec<DeliveryNote>), ServiceError> {
        let deciding = &self.app.deciding;
        let order = deciding
            .get(deciding.find_id(caller, parent).await?)
            .await?;
        let notes = deciding.store.list_delivery_notes(order.id).await?;
        Ok((order, notes))
    }
}

/// A revision, a line number or a count of days and months for the wire.
fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn note_to_proto(note: &DeliveryNote, order: &Order) -> v1::DeliveryNote {
    let delivery = &note.delivery;
    v1::DeliveryNote {
        name: format!(
            "{}/deliveryNotes/{}",
            note.order_id.resource_name(),
            note.revision
        ),
        order_number: note.order_number.to_string(),
        revision: number(note.revision),
        consignee: delivery.consignee.clone(),
        phone: phone_of(note, order),
        address: Some(place::to_proto(&delivery.address)),
        requested_window: delivery.requested_window.map(time::window_to_proto),
        promised_delivery_time: note.promised_delivery_time.map(time::to_proto),
        wishes: delivery.wishes.clone(),
        payment_method: word::to_proto::<v1::PaymentMethod>(note.payment_method.as_str()),
        total: Some(money::to_proto(note.total)),
        collect: Some(money::to_proto(Money::new(
            note.collect_minor,
            note.total.currency,
        ))),
        lines: note
            .lines
            .iter()
            .map(|line| v1::DeliveryNoteLine {
                line_number: number(line.line_number),
                sku: line.sku.clone(),
                goods_name: line.goods_name.clone(),
                specification: line.specification.clone(),
                quantity: line.quantity,
                unit: line.unit.clone(),
                accessories: line.accessories.clone(),
                processing_instructions: line.processing_instructions.clone(),
                warehouse: line.warehouse.clone().unwrap_or_default(),
            })
            .collect(),
        create_time: Some(time::to_proto(note.create_time)),
        superseded: note.revision < order.revision,
    }
}

/// What the customer does to send goods back, in the order's language; empty where the type has no such time.
fn return_instructions(pack: &ServicePack, order: &Order) -> String {
    let (days, number) = (pack.return_days, &pack.order_number);
    if days == 0 {
        return String::new();
    }
    if order.terms.locale.template_locale() == "zh-CN" {
        format!("收货后{days}天内可退货：请将商品完整退回退货地址，并注明订单号{number}。")
    } else {
        format!(
            "Within {days} days of delivery: send the goods, complete, to the return address and name order {number}."
        )
    }
}

#[tonic::async_trait]
impl FulfillmentService for Fulfillment {
    async fn get_delivery_note(
        &self,
        request: Request<v1::GetDeliveryNoteRequest>,
    ) -> Answer<v1::DeliveryNote> {
        let caller = caller_of(&request)?;
        let (order, note) = self.note(&caller, &request.get_ref().name).await?;
        Ok(Response::new(note_to_proto(&note, &order)))
    }

    async fn list_delivery_notes(
        &self,
        request: Request<v1::ListDeliveryNotesRequest>,
    ) -> Answer<v1::ListDeliveryNotesResponse> {
        let caller = caller_of(&request)?;
        let (order, notes) = self.notes(&caller, &request.get_ref().parent).await?;
        Ok(Response::new(v1::ListDeliveryNotesResponse {
            delivery_notes: notes
                .iter()
                .map(|note| note_to_proto(note, &order))
                .collect(),
        }))
    }

    async fn render_delivery_note(
        &self,
        request: Request<v1::RenderDeliveryNoteRequest>,
    ) -> Answer<v1::RenderDeliveryNoteResponse> {
        let caller = caller_of(&request)?;
        let request = request.into_inner();
        let asked = if request.locale.is_empty() {
            None
        } else {
            let locale = Locale::parse(&request.locale)
                .map_err(|error| ServiceError::invalid("locale", error.to_string()))?;
            Some(locale)
        };
        let (order, note) = self.note(&caller, &request.name).await?;
        let language = asked.as_ref().unwrap_or(&order.terms.locale);
        let html = self
            .pages
            .render(&note, &order, language.template_locale())
            .map_err(ServiceError::internal)?;
        Ok(Response::new(v1::RenderDeliveryNoteResponse { html }))
    }

    async fn get_service_pack(
        &self,
        request: Request<v1::GetServicePackRequest>,
    ) -> Answer<v1::ServicePack> {
        let caller = caller_of(&request)?;
        let name = &request.get_ref().name;
        let parent = name
            .strip_suffix("/servicePack")
            .ok_or_else(|| ServiceError::invalid("name", "must be orders/{order}/servicePack"))?;
        let deciding = &self.app.deciding;
        let order = deciding
            .get(deciding.find_id(&caller, parent).await?)
            .await?;
        let pack = deciding
            .store
            .find_service_pack(order.id)
            .await
            .map_err(ServiceError::from)?
            .ok_or_else(|| ServiceError::not_found(name))?;
        Ok(Response::new(v1::ServicePack {
            name: format!("{}/servicePack", order.id.resource_name()),
            order_number: pack.order_number.to_string(),
            terms: pack.terms.clone(),
            warranties: pack
                .warranties
                .iter()
                .map(|warranty| v1::WarrantyTerm {
                    line_number: number(warranty.line_number),
                    sku: warranty.sku.clone(),
                    months: number(warranty.months),
                })
                .collect(),
            return_address: self.company.return_address.clone().unwrap_or_default(),
            return_instructions: return_instructions(&pack, &order),
            contacts: contacts(&self.company),
            create_time: Some(time::to_proto(pack.create_time)),
            return_end_time: pack.return_end_time.map(time::to_proto),
            return_days: number(pack.return_days),
        }))
    }

    async fn allocate_order(
        &self,
        request: Request<v1::AllocateOrderRequest>,
    ) -> Answer<v1::Order> {
        let app = &self.app;
        let (outcome, _) = command!(
            app,
            request,
            "AllocateOrder",
            name,
            |_inner, _violations| Some(Command::Allocate)
        );
        order_answer(outcome)
    }

    async fn record_order_progress(
        &self,
        request: Request<v1::RecordOrderProgressRequest>,
    ) -> Answer<v1::Order> {
        let app = &self.app;
        let (outcome, _) = command!(
            app,
            request,
            "RecordOrderProgress",
            name,
            |inner, violations| {
                let stage =
                    word::from_proto::<v1::ProgressStage, Stage>(inner.stage, "stage", violations);
                if inner.units.len() > UNITS_MAX {
                    violations.add("units", format!("must be at most {UNITS_MAX}"));
                }
                let units = inner
                    .units
                    .iter()
                    .map(|units| {
                        let line = u32::try_from(units.line_number).unwrap_or(0);
                        (line, units.quantity)
                    })
                    .collect();
                stage.map(|stage| Command::Progress { stage, units })
            }
        );
        order_answer(outcome)
    }
}
