//! Orders, lines and events as rows, and back.

use countersign_domain::{
    chain::{EventFields, Hash, details_commitment, event_hash},
    event::{EventDetails, OrderEvent},
    ids::{CommitId, OrderId},
    line::{LineCounters, LineExtras, OrderLine},
    money::{Currency, Money},
    number::OrderNumber,
    order::Order,
    policy::PolicyVersion,
    priority::SCORE_MAX,
};
use sea_orm::Value;

use crate::{
    bulk::Bulk,
    chain::fresh_salt,
    data_keys::DataKeys,
    entity::{order_events, order_lines, orders},
    error::StoreError,
    rows::{At, int, json_text},
    sealed::{EVENTS_DETAILS, LINES_EXTRAS, ORDERS_PRIORITY, ORDERS_PROGRESS, ORDERS_TERMS},
};

pub(crate) const ORDERS: Bulk = Bulk {
    operation: "insert orders",
    table: "orders",
    columns: &[
        "id",
        "caller",
        "client_reference",
        "order_number",
        "revision",
        "version",
        "state",
        "order_type",
        "policy_version",
        "customer",
        "source_channel",
        "handler",
        "total_minor",
        "currency",
        "content_hash",
        "queue_rank",
        "hold_count",
        "promised_delivery_time",
        "create_time",
        "update_time",
        "confirm_time",
        "deliver_time",
        "priority",
        "terms",
        "progress",
    ],
};

/// Rank in a queue: the smallest first, so that one ascending index serves it on every database.
pub(crate) fn queue_rank(score: i32) -> i32 {
    SCORE_MAX - score
}

/// Appends a row of [`ORDERS`].
pub(crate) fn push_order(
    values: &mut Vec<Value>,
    keys: &DataKeys,
    order: &Order,
) -> Result<(), StoreError> {
    const DOING: &str = "insert orders";
    let id = order.id.as_uuid();
    values.extend([
        id.into(),
        order.caller.as_str().into(),
        order.client_reference.as_str().into(),
        order.order_number.as_ref().map(OrderNumber::digits).into(),
        int(DOING, order.revision)?.into(),
        order.version.into(),
        order.state.as_str().into(),
        order.order_type.as_str().into(),
        int(DOING, order.policy_version.version)?.into(),
        order.customer.as_str().into(),
        order.source_channel.as_str().into(),
        order.handler.clone().into(),
        order.total.minor.into(),
        order.total.currency.code().into(),
        order.content_hash().into(),
        queue_rank(order.priority.score).into(),
        hold_count(order).into(),
        order.promised_delivery_time.into(),
        order.create_time.into(),
        order.update_time.into(),
        order.confirm_time.into(),
        order.deliver_time.into(),
        ORDERS_PRIORITY
            .seal_json(keys, &id, &order.priority)?
            .into(),
        ORDERS_TERMS.seal_json(keys, &id, &order.terms)?.into(),
        ORDERS_PROGRESS
            .seal_json(keys, &id, &order.progress)?
            .into(),
    ]);
    Ok(())
}

pub(crate) fn hold_count(order: &Order) -> i32 {
    i32::try_from(order.progress.holds.len()).unwrap_or(i32::MAX)
}

pub(crate) const LINES: Bulk = Bulk {
    operation: "insert order lines",
    table: "order_lines",
    columns: &[
        "order_id",
        "line_number",
        "sku",
        "goods_name",
        "specification",
        "unit",
        "unit_price_minor",
        "warehouse",
        "ordered",
        "cancelled",
        "reserved",
        "picked",
        "packed",
        "shipped",
        "delivered",
        "returned",
        "extras",
    ],
};

/// Appends a row of [`LINES`].
pub(crate) fn push_line(
    values: &mut Vec<Value>,
    keys: &DataKeys,
    order: OrderId,
    line: &OrderLine,
) -> Result<(), StoreError> {
    const DOING: &str = "insert order lines";
    let counters = &line.counters;
    let row = (order.as_uuid(), int(DOING, line.line_number)?);
    let extras = if line.extras.is_empty() {
        None
    } else {
        Some(LINES_EXTRAS.seal_json(keys, &row, &line.extras)?)
    };
    values.extend([
        row.0.into(),
        row.1.into(),
        line.sku.as_str().into(),
        line.goods_name.as_str().into(),
        line.specification.as_str().into(),
        line.unit.as_str().into(),
        line.unit_price.minor.into(),
        line.warehouse.clone().into(),
        counters.ordered.into(),
        counters.cancelled.into(),
        counters.reserved.into(),
        counters.picked.into(),
        counters.packed.into(),
        counters.shipped.into(),
        counters.delivered.into(),
        counters.returned.into(),
        extras.into(),
    ]);
    Ok(())
}

pub(crate) const EVENTS: Bulk = Bulk {
    operation: "insert order events",
    table: "order_events",
    columns: &[
        "commit_id",
        "ordinal",
        "order_id",
        "version",
        "kind",
        "revision",
        "from_state",
        "to_state",
        "actor",
        "create_time",
        "details",
        "salt",
        "hash",
    ],
};

/// Appends a row of [`EVENTS`] and answers its hash in the audit chain.
pub(crate) fn push_event(
    values: &mut Vec<Value>,
    keys: &DataKeys,
    commit: CommitId,
    ordinal: i32,
    event: &OrderEvent,
) -> Result<Hash, StoreError> {
    const DOING: &str = "insert order events";
    let revision = int(DOING, event.revision)?;
    // The chain vouches for the words, not for how they are sealed: a changed key leaves it as it was.
    let details = json_text(DOING, &event.details)?;
    let salt = fresh_salt();
    let fields = EventFields {
        order: event.order_id.as_uuid(),
        version: event.version,
        kind: event.kind.as_str(),
        revision,
        from_state: event.from_state.as_str(),
        to_state: event.to_state.as_str(),
        actor: &event.actor,
        create_time: event.create_time,
    };
    let hash = event_hash(&fields, &details_commitment(&salt, &details));
    values.extend([
        commit.as_uuid().into(),
        ordinal.into(),
        event.order_id.as_uuid().into(),
        event.version.into(),
        event.kind.as_str().into(),
        revision.into(),
        event.from_state.as_str().into(),
        event.to_state.as_str().into(),
        event.actor.as_str().into(),
        event.create_time.into(),
        EVENTS_DETAILS
            .seal_text(keys, &(commit.as_uuid(), ordinal), &details)?
            .into(),
        salt.to_vec().into(),
        hash.to_vec().into(),
    ]);
    Ok(hash)
}

/// Puts an order together from its row and its lines.
pub(crate) fn order(
    keys: &DataKeys,
    row: orders::Model,
    lines: Vec<order_lines::Model>,
) -> Result<Order, StoreError> {
    let at = At {
        table: "orders",
        row: &row.id,
    };
    let currency = Currency::parse(&row.currency).map_err(|error| at.wrong("currency", error))?;
    Ok(Order {
        id: OrderId::from_uuid(row.id),
        order_number: row
            .order_number
            .as_deref()
            .map(OrderNumber::parse)
            .transpose()
            .map_err(|error| at.wrong("order_number", error))?,
        revision: at.unsigned("revision", row.revision)?,
        version: row.version,
        state: at.word("state", &row.state)?,
        policy_version: PolicyVersion {
            order_type: row.order_type.clone(),
            version: at.unsigned("policy_version", row.policy_version)?,
        },
        total: Money::new(row.total_minor, currency),
        priority: ORDERS_PRIORITY.open_json(keys, &row.id, &row.priority)?,
        terms: ORDERS_TERMS.open_json(keys, &row.id, &row.terms)?,
        progress: ORDERS_PROGRESS.open_json(keys, &row.id, &row.progress)?,
        lines: lines
            .into_iter()
            .map(|line| order_line(keys, line, currency))
            .collect::<Result<_, _>>()?,
        caller: row.caller,
        client_reference: row.client_reference,
        order_type: row.order_type,
        customer: row.customer,
        source_channel: row.source_channel,
        handler: row.handler,
        promised_delivery_time: row.promised_delivery_time,
        create_time: row.create_time,
        update_time: row.update_time,
        confirm_time: row.confirm_time,
        deliver_time: row.deliver_time,
    })
}

fn order_line(
    keys: &DataKeys,
    row: order_lines::Model,
    currency: Currency,
) -> Result<OrderLine, StoreError> {
    let at = At {
        table: "order_lines",
        row: &row.order_id,
    };
    Ok(OrderLine {
        line_number: at.unsigned("line_number", row.line_number)?,
        unit_price: Money::new(row.unit_price_minor, currency),
        extras: match &row.extras {
            Some(sealed) => {
                LINES_EXTRAS.open_json(keys, &(row.order_id, row.line_number), sealed)?
            }
            None => LineExtras::default(),
        },
        sku: row.sku,
        goods_name: row.goods_name,
        specification: row.specification,
        unit: row.unit,
        warehouse: row.warehouse,
        counters: LineCounters {
            ordered: row.ordered,
            cancelled: row.cancelled,
            reserved: row.reserved,
            picked: row.picked,
            packed: row.packed,
            shipped: row.shipped,
            delivered: row.delivered,
            returned: row.returned,
        },
    })
}

/// An event from its row.
pub(crate) fn event(keys: &DataKeys, row: &order_events::Model) -> Result<OrderEvent, StoreError> {
    let at = At {
        table: "order_events",
        row: &row.order_id,
    };
    Ok(OrderEvent {
        order_id: OrderId::from_uuid(row.order_id),
        version: row.version,
        kind: at.word("kind", &row.kind)?,
        revision: at.unsigned("revision", row.revision)?,
        from_state: at.word("from_state", &row.from_state)?,
        to_state: at.word("to_state", &row.to_state)?,
        actor: row.actor.clone(),
        create_time: row.create_time,
        details: EVENTS_DETAILS.open_json::<EventDetails>(
            keys,
            &(row.commit_id, row.ordinal),
            &row.details,
        )?,
    })
}
