//! The lines of an order.

use countersign_domain::{
    decide::NewLine,
    line::LineExtras,
    money::Currency,
    text::{TextKind, checked_text},
};
use countersign_proto::v1;

use super::{amount, key, same_currency, short};
use crate::error::Violations;

/// Lines of an order at most.
const LINES_MAX: usize = 1_000;
/// Units of a line at most.
const QUANTITY_MAX: i64 = 1_000_000;

/// The lines of an order or of an amendment.
pub(crate) fn lines(
    lines: &[v1::OrderLine],
    path: &str,
    currency: Option<Currency>,
    violations: &mut Violations,
) -> Option<Vec<NewLine>> {
    if lines.is_empty() || lines.len() > LINES_MAX {
        violations.add(
            path,
            format!("must be 1 to {LINES_MAX} lines, not {}", lines.len()),
        );
        return None;
    }
    // Every line is looked at, also after a bad one: all that is wrong is named at once.
    let checked: Vec<Option<NewLine>> = lines
        .iter()
        .enumerate()
        .map(|(index, one)| line(one, &format!("{path}[{index}]"), currency, violations))
        .collect();
    checked.into_iter().collect()
}

fn line(
    line: &v1::OrderLine,
    path: &str,
    currency: Option<Currency>,
    violations: &mut Violations,
) -> Option<NewLine> {
    let at = |field: &str| format!("{path}.{field}");
    let sku = key(&line.sku, &at("sku"), violations);
    let goods_name = short(&line.goods_name, 1, 500, &at("goods_name"), violations);
    let specification = short(
        &line.specification,
        0,
        500,
        &at("specification"),
        violations,
    );
    let unit = if line.unit.is_empty() {
        Some("piece".to_owned())
    } else {
        short(&line.unit, 1, 32, &at("unit"), violations)
    };
    if !(1..=QUANTITY_MAX).contains(&line.quantity) {
        violations.add(
            at("quantity"),
            format!("must be 1 to {QUANTITY_MAX}, not {}", line.quantity),
        );
    }
    let unit_price = match &line.unit_price {
        Some(price) => amount(price, &at("unit_price"), violations),
        None => violations.require(at("unit_price"), None),
    };
    same_currency(unit_price, currency, &at("unit_price"), violations);
    if line.accessories.len() > 50 {
        violations.add(at("accessories"), "must be at most 50");
    }
    let accessories: Vec<Option<String>> = line
        .accessories
        .iter()
        .take(50)
        .enumerate()
        .map(|(index, part)| {
            short(
                part,
                1,
                200,
                &format!("{path}.accessories[{index}]"),
                violations,
            )
        })
        .collect();
    let words = |text: &str, field: &str, violations: &mut Violations| {
        violations.take(at(field), checked_text(text, 0, 1_000, TextKind::MultiLine))
    };
    let processing_instructions = words(
        &line.processing_instructions,
        "processing_instructions",
        violations,
    );
    let customization = words(&line.customization, "customization", violations);
    Some(NewLine {
        sku: sku?,
        goods_name: goods_name?,
        specification: specification?,
        quantity: line.quantity,
        unit: unit?,
        unit_price: unit_price?,
        extras: LineExtras {
            accessories: accessories.into_iter().collect::<Option<_>>()?,
            processing_instructions: processing_instructions?,
            customization: customization?,
        },
    })
}
