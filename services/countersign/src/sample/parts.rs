//! Parts of the sample's orders.

use countersign_proto::v1::{Contact, Customer, OrderLine};

use super::shop::Article;
use crate::import::send::code_name;
use tonic::Status;

/// Whom a sample order is for.
pub(super) fn contact(customer: &Customer) -> Contact {
    Contact {
        display_name: customer.display_name.clone(),
        email: customer.email.clone(),
        phone: customer.phone.clone(),
        preferred_channel: customer.preferred_channel,
    }
}

/// A line over an article as the catalogue shows it.
pub(super) fn line_of(article: &Article, quantity: i64) -> OrderLine {
    let product = &article.product;
    OrderLine {
        sku: product.name.trim_start_matches("products/").to_owned(),
        goods_name: product.display_name.clone(),
        specification: product.specification.clone(),
        quantity,
        unit_price: article.price.unit_price.clone(),
        accessories: product.accessories.clone(),
        ..OrderLine::default()
    }
}

/// The same, made to a wish.
pub(super) fn customized(mut line: OrderLine, custom: bool) -> OrderLine {
    if custom {
        "engraved: “for Mara”".clone_into(&mut line.customization);
    }
    line
}

/// What went wrong with a step.
pub(super) fn told(step: &str, status: &Status) -> String {
    format!("{step}: {}: {}", code_name(status.code()), status.message())
}

/// Names a step of an order, the same whenever it is played.
pub(super) fn step_id(number: u32, step: &str) -> String {
    format!("sample-{number}-{step}")
}
