//! What a message can tell. Texts arrive ready for the reader (amounts with their currency, times in the customer's
//! zone); the templates only arrange them. Empty options are left out, and a template that prints one fails.

use serde::Serialize;

/// Everything that a template may say about an order.
#[derive(Clone, Default, Serialize)]
pub struct MessageContext {
    /// The formal number, once the order has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_number: Option<String>,
    /// The customer's own reference, shown until there is a formal number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_reference: Option<String>,
    /// How the customer is addressed.
    pub customer_name: String,
    /// What was ordered, or what is in this parcel or delivery note.
    pub lines: Vec<LineText>,
    /// What it costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<TotalsText>,
    /// Delivery address with consignee, one entry a line.
    pub address: Vec<String>,
    /// Agreed delivery window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Promised delivery time, in the customer's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promised_time: Option<String>,
    /// When it was delivered, in the customer's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_time: Option<String>,
    /// Until when an answer counts, in the customer's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// What no answer means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
    /// The customer's order page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Confirmation code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why (problem, rejection, cancellation, delay), in words for the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of the delivery note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_note_number: Option<String>,
    /// Who delivers, with a telephone number if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    /// Who writes.
    pub company: CompanyText,
}

/// One line of goods.
#[derive(Clone, Default, Serialize)]
pub struct LineText {
    /// Name of the goods.
    pub goods_name: String,
    /// Size, colour, model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specification: Option<String>,
    /// Quantity with its unit.
    pub quantity: String,
    /// Price of one unit with its currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price: Option<String>,
    /// Price of the line with its currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
}

/// What the order costs, each with its currency.
#[derive(Clone, Default, Serialize)]
pub struct TotalsText {
    /// The goods alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goods: Option<String>,
    /// Delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// Taken off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discount: Option<String>,
    /// What is to be paid.
    pub total: String,
    /// How it is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<String>,
}

/// Who writes to the customer.
#[derive(Clone, Default, Serialize)]
pub struct CompanyText {
    /// Name.
    pub name: String,
    /// Telephone number for questions.
    pub phone: String,
}

/// What it means when the customer does not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Silence {
    /// The order counts as confirmed.
    Confirms,
    /// The order is not carried out.
    Expires,
}
