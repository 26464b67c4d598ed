//! From rows to customers, products, prices and stock levels as the API takes them.

use countersign_proto::v1;

use super::{
    fields::{CustomerFields, Field, PriceFields, ProductFields, StockFields},
    mapping::{Mapping, text},
    reader::{Reader, address, channel, list, shortage},
    reading::Problem,
    record::Record,
};

/// A yes in the words that people write.
fn yes(text: &str) -> bool {
    ["1", "true", "yes", "y", "x"].contains(&text.to_lowercase().as_str())
}

/// The customer of a row.
pub(crate) fn customer(
    mapping: &Mapping,
    fields: &CustomerFields,
    row: &Record,
) -> (v1::Customer, Vec<Problem>) {
    let mut reader = Reader::new(mapping);
    let get = |field: &Option<Field>| text(field.as_ref(), row);
    let currency = mapping.currency(fields.currency.as_ref(), row);
    let place = [
        &fields.country,
        &fields.postal_code,
        &fields.area,
        &fields.city,
        &fields.street,
    ];
    let place = address(place, row);
    let customer = v1::Customer {
        name: format!("customers/{}", get(&fields.code)),
        display_name: get(&fields.display_name),
        tier: get(&fields.tier),
        email: get(&fields.email),
        phone: get(&fields.phone),
        preferred_channel: reader.word(
            fields.preferred_channel.as_ref(),
            row,
            "preferred_channel",
            "CHANNEL_",
            channel,
        ),
        locale: get(&fields.locale),
        time_zone: get(&fields.time_zone),
        credit_limit: reader
            .amount(fields.credit_limit.as_ref(), row, "credit_limit")
            .map(|amount| amount.money(&currency)),
        shortage_policy: reader.word(
            fields.shortage_policy.as_ref(),
            row,
            "shortage_policy",
            "SHORTAGE_POLICY_",
            shortage,
        ),
        delivery_area: get(&fields.delivery_area),
        unloading_conditions: get(&fields.unloading_conditions),
        delivery_notes: get(&fields.delivery_notes),
        address: (!place.region_code.is_empty()).then_some(place),
        blocked: yes(&get(&fields.blocked)),
        block_reason: get(&fields.block_reason),
        ..v1::Customer::default()
    };
    (customer, reader.problems)
}

/// The product of a row.
pub(crate) fn product(
    mapping: &Mapping,
    fields: &ProductFields,
    row: &Record,
) -> (v1::Product, Vec<Problem>) {
    let mut reader = Reader::new(mapping);
    let get = |field: &Option<Field>| text(field.as_ref(), row);
    let mut whole = |field: &Option<Field>, path| reader.whole(field.as_ref(), row, path);
    let product = v1::Product {
        name: format!("products/{}", get(&fields.sku)),
        display_name: get(&fields.display_name),
        specification: get(&fields.specification),
        accessories: list(&get(&fields.accessories)),
        weight_grams: whole(&fields.weight_grams, "weight_grams"),
        volume_millilitres: whole(&fields.volume_millilitres, "volume_millilitres"),
        usual_quantity_max: whole(&fields.usual_quantity_max, "usual_quantity_max"),
        discontinued: yes(&get(&fields.discontinued)),
        warranty_months: i32::try_from(whole(&fields.warranty_months, "warranty_months"))
            .unwrap_or(i32::MAX),
        ..v1::Product::default()
    };
    (product, reader.problems)
}

/// The price of a row.
pub(crate) fn price(
    mapping: &Mapping,
    fields: &PriceFields,
    row: &Record,
) -> (v1::Price, Vec<Problem>) {
    let mut reader = Reader::new(mapping);
    let currency = mapping.currency(fields.currency.as_ref(), row);
    let price = v1::Price {
        price_list: text(fields.price_list.as_ref(), row),
        sku: text(fields.sku.as_ref(), row),
        unit_price: reader
            .amount(fields.unit_price.as_ref(), row, "unit_price")
            .map(|amount| amount.money(&currency)),
        quantity_min: reader.whole(fields.quantity_min.as_ref(), row, "quantity_min"),
        start_time: reader.time(fields.start_time.as_ref(), row, "start_time"),
        end_time: reader.time(fields.end_time.as_ref(), row, "end_time"),
    };
    (price, reader.problems)
}

/// The stock level of a row.
pub(crate) fn stock(
    mapping: &Mapping,
    fields: &StockFields,
    row: &Record,
) -> (v1::StockLevel, Vec<Problem>) {
    let mut reader = Reader::new(mapping);
    let level = stock_level(
        &text(fields.warehouse.as_ref(), row),
        &text(fields.sku.as_ref(), row),
        reader.whole(fields.on_hand.as_ref(), row, "on_hand"),
    );
    (level, reader.problems)
}

/// So many of an article in a warehouse.
pub(crate) fn stock_level(warehouse: &str, sku: &str, on_hand: i64) -> v1::StockLevel {
    v1::StockLevel {
        name: format!("warehouses/{warehouse}/stockLevels/{sku}"),
        on_hand,
        ..v1::StockLevel::default()
    }
}
