//! From rows to an order as the API takes it.

use countersign_proto::v1;
use sha2::{Digest as _, Sha256};

use super::{
    fields::{Field, LineFields},
    grouping::Group,
    mapping::{Mapping, Orders, text},
    reader::{Reader, address, channel, list, shortage},
    reading::{Amount, Problem},
    record::Record,
};

/// The order of a group of rows.
pub(crate) struct Made {
    /// As the API takes it.
    pub(crate) request: v1::CreateOrderRequest,
    /// What of it cannot be said in the API.
    pub(crate) problems: Vec<Problem>,
    /// The rows name no customer: the order's is a guest, of this order alone.
    pub(crate) guest: bool,
}

/// The name under which a call is known for ever: made of who sends and their own number, not of the file.
pub(crate) fn request_id(source: &str, what: &str) -> String {
    use std::fmt::Write as _;
    let hash = Sha256::digest(format!("import:{source}:{what}"));
    hash.iter()
        .take(20)
        .fold(String::from("import-"), |mut id, byte| {
            // Writing into a String cannot fail.
            write!(id, "{byte:02x}").ok();
            id
        })
}

/// Makes the order of a group of rows.
pub(crate) fn order(mapping: &Mapping, orders: &Orders, group: &Group) -> Made {
    let mut reader = Reader::new(mapping);
    let nothing = Record::Tree(serde_json::Value::Null);
    let head = group.records.first().unwrap_or(&nothing);
    let fields = &orders.fields;
    let get = |field: &Option<Field>| text(field.as_ref(), head);
    let currency = mapping.currency(fields.currency.as_ref(), head);
    let lines: Vec<v1::OrderLine> = match &orders.lines_at {
        Some(path) => lines(&orders.lines, &head.entries(path), &currency, &mut reader),
        None => lines(&orders.lines, &group.records, &currency, &mut reader),
    };
    let freight = reader.amount(fields.freight.as_ref(), head, "freight");
    let discount = reader.amount(fields.discount.as_ref(), head, "discount");
    let total = reader
        .amount(fields.total.as_ref(), head, "total")
        .unwrap_or_else(|| {
            let goods: i128 = lines.iter().map(price_of).sum();
            Amount(goods + freight.unwrap_or_default().0 - discount.unwrap_or_default().0)
        });
    let money = |amount: Amount| amount.money(&currency);
    let window_start = reader.time(
        fields.window_start.as_ref(),
        head,
        "delivery.requested_window.start_time",
    );
    let window_end = reader.time(
        fields.window_end.as_ref(),
        head,
        "delivery.requested_window.end_time",
    );
    let source_channel = Some(get(&fields.source_channel)).filter(|channel| !channel.is_empty());
    let client_reference = get(&fields.client_reference);
    let request_id = request_id(&mapping.source, &client_reference);
    let named = get(&fields.customer);
    let guest = named.is_empty();
    let order = v1::Order {
        order_type: get(&fields.order_type),
        transaction_type: reader.word(
            fields.transaction_type.as_ref(),
            head,
            "transaction_type",
            "TRANSACTION_TYPE_",
            |name| v1::TransactionType::from_str_name(name).map(Into::into),
        ),
        source_channel: source_channel.unwrap_or_else(|| mapping.source.clone()),
        entered_by: get(&fields.entered_by),
        handler: get(&fields.handler),
        customer: if guest { get(&fields.guest) } else { named },
        locale: get(&fields.locale),
        time_zone: get(&fields.time_zone),
        contact: Some(v1::Contact {
            display_name: get(&fields.contact_name),
            email: get(&fields.email),
            phone: get(&fields.phone),
            preferred_channel: reader.word(
                fields.preferred_channel.as_ref(),
                head,
                "contact.preferred_channel",
                "CHANNEL_",
                channel,
            ),
        }),
        lines,
        delivery: Some(v1::Delivery {
            address: Some(address(
                [
                    &fields.country,
                    &fields.postal_code,
                    &fields.area,
                    &fields.city,
                    &fields.street,
                ],
                head,
            )),
            consignee: get(&fields.consignee),
            phone: get(&fields.delivery_phone),
            requested_window: (window_start.is_some() || window_end.is_some()).then_some(
                v1::TimeWindow {
                    start_time: window_start,
                    end_time: window_end,
                },
            ),
            wishes: get(&fields.wishes),
        }),
        payment_method: reader.word(
            fields.payment_method.as_ref(),
            head,
            "payment_method",
            "PAYMENT_METHOD_",
            |name| v1::PaymentMethod::from_str_name(name).map(Into::into),
        ),
        total: Some(money(total)),
        freight: freight.map(money),
        discount: discount.map(money),
        shortage_policy: reader.word(
            fields.shortage_policy.as_ref(),
            head,
            "shortage_policy",
            "SHORTAGE_POLICY_",
            shortage,
        ),
        place_time: reader.time(fields.place_time.as_ref(), head, "place_time"),
        promised_delivery_time: reader.time(
            fields.promised_time.as_ref(),
            head,
            "promised_delivery_time",
        ),
        annotations: orders
            .annotations
            .iter()
            .map(|(name, field)| (name.clone(), field.text(head)))
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        client_reference,
        ..v1::Order::default()
    };
    let request = v1::CreateOrderRequest {
        order: Some(order),
        request_id,
        validate_only: false,
    };
    Made {
        request,
        problems: reader.problems,
        guest,
    }
}

fn lines(
    fields: &LineFields,
    records: &[Record],
    currency: &str,
    reader: &mut Reader<'_>,
) -> Vec<v1::OrderLine> {
    records
        .iter()
        .enumerate()
        .map(|(at, record)| {
            let path = |name: &str| format!("lines[{at}].{name}");
            let get = |field: &Option<Field>| text(field.as_ref(), record);
            v1::OrderLine {
                sku: get(&fields.sku),
                goods_name: get(&fields.goods_name),
                specification: get(&fields.specification),
                quantity: reader.whole(fields.quantity.as_ref(), record, &path("quantity")),
                unit: get(&fields.unit),
                unit_price: reader
                    .amount(fields.unit_price.as_ref(), record, &path("unit_price"))
                    .map(|amount| amount.money(currency)),
                accessories: list(&get(&fields.accessories)),
                processing_instructions: get(&fields.processing_instructions),
                customization: get(&fields.customization),
                ..v1::OrderLine::default()
            }
        })
        .collect()
}

/// What a line costs, in thousandths of a millionth.
pub(crate) fn price_of(line: &v1::OrderLine) -> i128 {
    line.unit_price
        .as_ref()
        .map_or(0, |price| Amount::of(price).times(line.quantity).0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(records: Vec<serde_json::Value>) -> Group {
        Group {
            line: 2,
            records: records.into_iter().map(Record::Tree).collect(),
        }
    }

    fn uci(quantity: &str, price: &str) -> serde_json::Value {
        json!({
            "invoice": "489434", "stock_code": "85048", "description": " WHITE LIGHTS ", "quantity": quantity,
            "invoice_date": "2009-12-01 07:45:00", "unit_price": price, "customer_id": "13085",
            "country": "United Kingdom",
        })
    }

    #[test]
    fn invoice_lines_become_one_order_whose_total_is_their_sum() {
        let mapping = Mapping::load("uci-online-retail").unwrap();
        let orders = mapping.orders.as_ref().unwrap();

        let Made {
            request, problems, ..
        } = order(
            &mapping,
            orders,
            &group(vec![uci("12", "6.95"), uci("10", "2.1")]),
        );

        assert_eq!(problems, []);
        let order = request.order.unwrap();
        let total = order.total.unwrap();
        assert_eq!(
            (total.units, total.nanos, total.currency_code.as_str()),
            (104, 400_000_000, "GBP")
        );
        assert_eq!(order.lines.len(), 2);
        assert_eq!(order.lines[0].goods_name, "WHITE LIGHTS");
        assert_eq!(order.delivery.unwrap().address.unwrap().region_code, "GB");
        assert_eq!(order.place_time.unwrap().seconds, 1_259_653_500);
        assert_eq!(
            request.request_id,
            request_id("uci-online-retail", "489434")
        );
        assert_eq!(request.request_id.len(), 47);
    }

    #[test]
    fn an_order_without_a_customer_is_a_guests_of_its_own() {
        let mapping = Mapping::load("uci-online-retail").unwrap();
        let orders = mapping.orders.as_ref().unwrap();
        let mut row = uci("1", "2.5");
        row["customer_id"] = json!("");

        let made = order(&mapping, orders, &group(vec![row]));

        assert!(made.guest);
        assert_eq!(made.request.order.unwrap().customer, "guest-489434");
        assert!(!order(&mapping, orders, &group(vec![uci("1", "2.5")])).guest);
    }

    #[test]
    fn what_cannot_be_said_is_named_by_field_and_the_rest_is_left_to_the_service() {
        let mapping = Mapping::load("uci-online-retail").unwrap();
        let orders = mapping.orders.as_ref().unwrap();

        let Made {
            request, problems, ..
        } = order(
            &mapping,
            orders,
            &group(vec![uci("-3", "0"), uci("many", "1")]),
        );

        assert_eq!(request.order.unwrap().lines[0].quantity, -3);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].field, "lines[1].quantity");
        assert_eq!(problems[0].description, "\"many\" is not a whole number");
    }

    #[test]
    fn nested_items_and_payments_become_lines_and_a_total() {
        let mapping = Mapping::load("olist").unwrap();
        let orders = mapping.orders.as_ref().unwrap();
        let row = json!({
            "order_id": "o1", "status": "shipped", "purchased_at": "2016-09-04T21:15:19", "promised_at": "2016-10-20T00:00:00",
            "customer": {"unique_id": "u1", "zip": "69309", "city": "boa vista", "state": "RR"},
            "items": [{"product_id": "p1", "price": "39.99", "freight_value": "31.67", "category": null},
                      {"product_id": "p2", "price": "32.9", "freight_value": "31.67", "category": "toys"}],
            "payments": [{"type": "voucher", "value": "100.23"}, {"type": "credit_card", "value": "36"}],
        });

        let Made {
            request, problems, ..
        } = order(&mapping, orders, &group(vec![row]));

        assert_eq!(problems, []);
        let order = request.order.unwrap();
        assert_eq!(
            order.total.clone().unwrap(),
            Amount::parse("136.23", '.').unwrap().money("BRL")
        );
        assert_eq!(
            order.freight.clone().unwrap(),
            Amount::parse("63.34", '.').unwrap().money("BRL")
        );
        assert_eq!(order.payment_method(), v1::PaymentMethod::Voucher);
        assert_eq!(order.lines[0].goods_name, "uncategorised");
        assert_eq!(order.contact.unwrap().email, "u1@example.com");
        assert_eq!(order.annotations["status"], "shipped");
    }
}
