//! Products, prices and stock levels on the wire.

use countersign_domain::catalog::{Price, Product, ProductProfile, StockLevel};
use countersign_proto::v1;

use crate::{
    convert::{intake, money, time},
    error::{ServiceError, Violations},
    grpc::reference::etag,
};

pub(super) const PATHS: &[&str] = &[
    "display_name",
    "specification",
    "accessories",
    "weight_grams",
    "volume_millilitres",
    "usual_quantity_max",
    "discontinued",
    "warranty_months",
];
/// Units that a warehouse can hold of an article: sums of them stay far from the end of the numbers.
pub(super) const UNITS_MAX: i64 = 1_000_000_000_000;

pub(super) fn product_to_proto(product: &Product) -> v1::Product {
    let profile = &product.profile;
    v1::Product {
        name: format!("products/{}", product.sku),
        display_name: profile.display_name.clone(),
        specification: profile.specification.clone(),
        accessories: profile.accessories.clone(),
        weight_grams: profile.weight_grams,
        volume_millilitres: profile.volume_millilitres,
        usual_quantity_max: profile.usual_quantity_max,
        discontinued: profile.discontinued,
        warranty_months: i32::try_from(profile.warranty_months).unwrap_or(i32::MAX),
        etag: etag(product.version),
    }
}

pub(crate) fn read_product(
    sku: &str,
    field: &str,
    given: &v1::Product,
) -> Result<Product, ServiceError> {
    let mut v = Violations::new();
    let sku = intake::key(sku, field, &mut v);
    let at = |field: &str| format!("product.{field}");
    for (name, value) in [
        ("weight_grams", given.weight_grams),
        ("volume_millilitres", given.volume_millilitres),
        ("usual_quantity_max", given.usual_quantity_max),
    ] {
        if !(0..=UNITS_MAX).contains(&value) {
            v.add(at(name), format!("must be 0 to {UNITS_MAX}"));
        }
    }
    let months = u32::try_from(given.warranty_months)
        .ok()
        .filter(|months| *months <= 1_200);
    if months.is_none() {
        v.add(at("warranty_months"), "must be 0 to 1200");
    }
    if given.accessories.len() > 50 {
        v.add(at("accessories"), "must be at most 50");
    }
    for (index, part) in given.accessories.iter().take(50).enumerate() {
        intake::short(part, 1, 200, &at(&format!("accessories[{index}]")), &mut v);
    }
    intake::short(&given.display_name, 0, 500, &at("display_name"), &mut v);
    intake::short(&given.specification, 0, 500, &at("specification"), &mut v);
    let product = sku.zip(months).map(|(sku, warranty_months)| Product {
        sku,
        version: 1,
        profile: ProductProfile {
            display_name: given.display_name.clone(),
            specification: given.specification.clone(),
            accessories: given.accessories.clone(),
            weight_grams: given.weight_grams,
            volume_millilitres: given.volume_millilitres,
            usual_quantity_max: given.usual_quantity_max,
            discontinued: given.discontinued,
            warranty_months,
        },
    });
    v.finish(product)
}

pub(super) fn merge(old: &v1::Product, given: &v1::Product, paths: &[&str]) -> v1::Product {
    let mut new = old.clone();
    for path in paths {
        match *path {
            "display_name" => new.display_name.clone_from(&given.display_name),
            "specification" => new.specification.clone_from(&given.specification),
            "accessories" => new.accessories.clone_from(&given.accessories),
            "weight_grams" => new.weight_grams = given.weight_grams,
            "volume_millilitres" => new.volume_millilitres = given.volume_millilitres,
            "usual_quantity_max" => new.usual_quantity_max = given.usual_quantity_max,
            "discontinued" => new.discontinued = given.discontinued,
            "warranty_months" => new.warranty_months = given.warranty_months,
            // Paths come from PATHS only.
            _ => {}
        }
    }
    new
}

pub(super) fn price_to_proto(price: &Price) -> v1::Price {
    v1::Price {
        price_list: price.price_list.clone(),
        sku: price.sku.clone(),
        unit_price: Some(money::to_proto(price.unit_price)),
        quantity_min: price.quantity_min,
        start_time: price.start_time.map(time::to_proto),
        end_time: price.end_time.map(time::to_proto),
    }
}

pub(crate) fn read_price(given: &v1::Price) -> Result<Price, ServiceError> {
    let mut v = Violations::new();
    let price_list = intake::key(&given.price_list, "price.price_list", &mut v);
    let sku = intake::key(&given.sku, "price.sku", &mut v);
    let unit_price = match &given.unit_price {
        Some(price) => intake::amount(price, "price.unit_price", &mut v),
        None => v.require("price.unit_price", None),
    };
    if !(0..=UNITS_MAX).contains(&given.quantity_min) {
        v.add("price.quantity_min", format!("must be 0 to {UNITS_MAX}"));
    }
    let start_time = given
        .start_time
        .as_ref()
        .and_then(|moment| time::from_proto(moment, "price.start_time", &mut v));
    let end_time = given
        .end_time
        .as_ref()
        .and_then(|moment| time::from_proto(moment, "price.end_time", &mut v));
    if start_time
        .zip(end_time)
        .is_some_and(|(start, end)| end <= start)
    {
        v.add("price.end_time", "must be after start_time");
    }
    let price = (|| {
        Some(Price {
            price_list: price_list?,
            sku: sku?,
            quantity_min: given.quantity_min.max(1),
            unit_price: unit_price?,
            start_time,
            end_time,
        })
    })();
    v.finish(price)
}

pub(super) fn level_to_proto(level: &StockLevel) -> v1::StockLevel {
    v1::StockLevel {
        name: format!("warehouses/{}/stockLevels/{}", level.warehouse, level.sku),
        on_hand: level.on_hand,
        reserved: level.reserved,
        available: level.available(),
    }
}

/// Warehouse and SKU of `warehouses/{warehouse}/stockLevels/{sku}`.
pub(super) fn read_level_name(name: &str, field: &str) -> Result<(String, String), ServiceError> {
    let mut v = Violations::new();
    let parts = name
        .strip_prefix("warehouses/")
        .and_then(|rest| rest.split_once("/stockLevels/"));
    let Some((warehouse, sku)) = parts else {
        return Err(ServiceError::invalid(
            field,
            "must be warehouses/{warehouse}/stockLevels/{sku}",
        ));
    };
    let warehouse = intake::short(warehouse, 1, 32, field, &mut v);
    let sku = intake::key(sku, field, &mut v);
    v.finish(warehouse.zip(sku))
}

pub(super) fn read_units(units: i64, min: i64, field: &str) -> Result<i64, ServiceError> {
    if (min..=UNITS_MAX).contains(&units) {
        return Ok(units);
    }
    Err(ServiceError::invalid(
        field,
        format!("must be {min} to {UNITS_MAX}"),
    ))
}
