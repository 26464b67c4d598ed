//! A customer's order: what was asked for, how far it has come, and what stands in its way.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    audit::Finding,
    code::codes,
    confirmation::AnswerChannel,
    email::EmailAddress,
    hold::Hold,
    ids::OrderId,
    line::OrderLine,
    locale::{Locale, TimeZone},
    money::Money,
    number::OrderNumber,
    phone::PhoneNumber,
    place::PostalAddress,
    policy::PolicyVersion,
    priority::Priority,
};

codes! {
    /// Where an order stands in its life (DESIGN section 3).
    pub enum OrderState {
        /// Taken in, not yet judged. No order rests here: judging is part of taking it in.
        Received = "RECEIVED",
        /// A member of staff must look.
        UnderAudit = "UNDER_AUDIT",
        /// The customer was asked.
        AwaitingConfirmation = "AWAITING_CONFIRMATION",
        /// The customer said no; staff must talk to them.
        Objected = "OBJECTED",
        /// A formal order with a number.
        Confirmed = "CONFIRMED",
        /// All goods are reserved.
        Allocated = "ALLOCATED",
        /// Some goods are reserved.
        PartiallyAllocated = "PARTIALLY_ALLOCATED",
        /// No goods could be reserved.
        Backordered = "BACKORDERED",
        /// Some goods are picked.
        Picking = "PICKING",
        /// All goods that will go are packed.
        Packed = "PACKED",
        /// Goods are on their way.
        Dispatched = "DISPATCHED",
        /// All goods have arrived.
        Delivered = "DELIVERED",
        /// Delivered, and the time to complain without a reason is over.
        Completed = "COMPLETED",
        /// Refused by the audit.
        Rejected = "REJECTED",
        /// Called off.
        Cancelled = "CANCELLED",
        /// Went into another order.
        Merged = "MERGED",
    }
}

impl OrderState {
    /// Nothing may change any more.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Rejected | Self::Cancelled | Self::Merged
        )
    }

    /// The customer has not yet agreed.
    pub const fn is_before_confirmation(self) -> bool {
        matches!(
            self,
            Self::Received | Self::UnderAudit | Self::AwaitingConfirmation | Self::Objected
        )
    }

    /// From here on the state follows from the counters on the lines.
    pub const fn is_formal(self) -> bool {
        !self.is_before_confirmation() && !matches!(self, Self::Rejected | Self::Merged)
    }
}

codes! {
    /// The kind of business behind the order; it decides the documents that follow (T4).
    pub enum TransactionType {
        /// Delivered and invoiced.
        General = "GENERAL",
        /// Paid when handed over.
        CashSale = "CASH_SALE",
        /// The supplier ships.
        Indirect = "INDIRECT",
        /// Called off from a contract.
        Contract = "CONTRACT",
        /// Drawn from stock that the customer owns.
        Consignment = "CONSIGNMENT",
    }
}

codes! {
    /// How the customer pays. Only the method is checked (R8); no money is taken.
    pub enum PaymentMethod {
        /// Paid before delivery.
        Prepaid = "PREPAID",
        /// The driver collects.
        CashOnDelivery = "CASH_ON_DELIVERY",
        /// Invoiced against a credit limit.
        OnAccount = "ON_ACCOUNT",
        /// Card.
        Card = "CARD",
        /// Bank transfer.
        BankTransfer = "BANK_TRANSFER",
        /// Voucher.
        Voucher = "VOUCHER",
    }
}

codes! {
    /// What to do when the stock does not suffice (T12).
    pub enum ShortagePolicy {
        /// Ship what is there, the rest later.
        PartialNow = "PARTIAL_NOW",
        /// Ship when all is there.
        WaitAll = "WAIT_ALL",
        /// The rest goes with the next order.
        NextOrder = "NEXT_ORDER",
        /// Take something like it.
        Substitute = "SUBSTITUTE",
        /// Take it from an order of lower precedence.
        Reallocate = "REALLOCATE",
        /// Leave the short lines out.
        CancelLine = "CANCEL_LINE",
        /// All or nothing.
        CancelOrder = "CANCEL_ORDER",
    }
}

codes! {
    /// How a customer is reached.
    pub enum Channel {
        /// A letter.
        Email = "EMAIL",
        /// A text.
        Sms = "SMS",
        /// A call.
        Phone = "PHONE",
    }
}

/// A span of time; the start is inside, the end is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWindow {
    /// First instant inside.
    pub start: DateTime<Utc>,
    /// First instant after.
    pub end: DateTime<Utc>,
}

/// Whom to write to and call about the order, as given with the order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Name as the customer gave it.
    pub display_name: String,
    /// For letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailAddress>,
    /// For texts and calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<PhoneNumber>,
    /// Asked first on this channel where the policy allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_channel: Option<Channel>,
}

/// Where, to whom and how the goods go.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Ship-to.
    pub address: PostalAddress,
    /// Who receives the goods.
    pub consignee: String,
    /// Phone at the place of delivery; the contact's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<PhoneNumber>,
    /// When the customer wishes to receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_window: Option<TimeWindow>,
    /// Free words for the driver.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wishes: String,
}

/// What the customer asked for, apart from the lines. It changes by amendment only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// See [`TransactionType`].
    pub transaction_type: TransactionType,
    /// Person or system that entered the order (T1).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entered_by: String,
    /// Tier of the customer when the order came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_tier: Option<String>,
    /// Language of every message about the order.
    pub locale: Locale,
    /// Zone in which times are told to the customer.
    pub time_zone: TimeZone,
    /// Whom to ask.
    pub contact: Contact,
    /// Where to deliver.
    pub delivery: Delivery,
    /// See [`PaymentMethod`].
    pub payment_method: PaymentMethod,
    /// Freight within the total, minor units of its currency.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub freight_minor: i64,
    /// Discount within the total as a positive number, minor units of its currency.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub discount_minor: i64,
    /// What to do when the stock does not suffice.
    pub shortage_policy: ShortagePolicy,
    /// Whatever else the sender wanted kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When the customer placed the order, where that differs from its receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place_time: Option<DateTime<Utc>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_zero(minor: &i64) -> bool {
    *minor == 0
}

/// The total that the customer agreed to (R14). It holds for one revision only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceAgreement {
    /// What was agreed.
    pub amount: Money,
    /// When.
    pub agree_time: DateTime<Utc>,
    /// By what way.
    pub answer_channel: AnswerChannel,
    /// Revision of the order that it is about.
    pub revision: u32,
    /// "customer", "system" or the member of staff who took it.
    pub agreed_by: String,
}

/// How far the order has come, apart from its state and the counters on its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What stands in the way; each is released by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    /// What the last audit found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// When each state was reached first (R52).
    #[serde(default)]
    pub stage_times: BTreeMap<OrderState, DateTime<Utc>>,
    /// Set by the customer's yes, removed by an amendment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_agreement: Option<PriceAgreement>,
    /// Why the order was rejected or cancelled.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub end_reason: String,
    /// The order that this one went into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<OrderId>,
    /// Number of the last confirmation round; 0 before the first.
    #[serde(default)]
    pub last_round: u32,
    /// Number of the last message put into the outbox; 0 before the first.
    #[serde(default)]
    pub last_message_seq: u32,
    /// Until when the customer may say how it was; set when the goods arrive, where the policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback_until: Option<DateTime<Utc>>,
    /// When the customer's data were erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erase_time: Option<DateTime<Utc>>,
}

/// A customer's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Ours.
    pub id: OrderId,
    /// Who sent it: one caller never sees another's orders by reference.
    pub caller: String,
    /// The sender's own number, unique per caller for ever.
    pub client_reference: String,
    /// Given when the order is confirmed (R8, T7).
    pub order_number: Option<OrderNumber>,
    /// 1 for the order as received; each amendment adds one.
    pub revision: u32,
    /// Grows by one with every change; the condition of every UPDATE.
    pub version: i64,
    /// Where it stands.
    pub state: OrderState,
    /// Name of the policy that it follows.
    pub order_type: String,
    /// The policy and version that it was judged by (R18).
    pub policy_version: PolicyVersion,
    /// The seller's customer number.
    pub customer: String,
    /// How it came: "web", "phone", "edi" … (T1).
    pub source_channel: String,
    /// Member of staff who looks after it.
    pub handler: Option<String>,
    /// What the customer is to pay, freight and discount included.
    pub total: Money,
    /// How soon it is to be worked on.
    pub priority: Priority,
    /// What was promised; on-time is measured against it (R30).
    pub promised_delivery_time: Option<DateTime<Utc>>,
    /// What was asked for.
    pub terms: Terms,
    /// How far it has come.
    pub progress: Progress,
    /// The goods, by line number.
    pub lines: Vec<OrderLine>,
    /// When it was taken in.
    pub create_time: DateTime<Utc>,
    /// When it last changed.
    pub update_time: DateTime<Utc>,
    /// When it became a formal order.
    pub confirm_time: Option<DateTime<Utc>>,
    /// When the goods arrived, by the report of the driver or carrier, never by the time of a write (R30).
    pub deliver_time: Option<DateTime<Utc>>,
}

impl Order {
    /// The customer's data are gone, and nothing more happens to the order.
    pub const fn is_erased(&self) -> bool {
        self.progress.erase_time.is_some()
    }

    /// Moves to a state and notes when it was reached first.
    pub(crate) fn enter(&mut self, state: OrderState, now: DateTime<Utc>) {
        self.state = state;
        self.progress.stage_times.entry(state).or_insert(now);
    }

    /// Tells orders of the same goods and total: the first eight bytes of a SHA-256 over them.
    pub fn content_hash(&self) -> i64 {
        content_hash(
            self.lines
                .iter()
                .map(|line| (line.sku.as_str(), line.counters.ordered)),
            self.total,
        )
    }

    /// Phone at which the customer is reached: the contact's, else the one at the place of delivery.
    pub fn customer_phone(&self) -> Option<&PhoneNumber> {
        self.terms
            .contact
            .phone
            .as_ref()
            .or(self.terms.delivery.phone.as_ref())
    }

    /// Whether the customer can be reached by a channel.
    pub fn reachable_by(&self, channel: Channel) -> bool {
        match channel {
            Channel::Email => self.terms.contact.email.is_some(),
            Channel::Sms | Channel::Phone => self.customer_phone().is_some(),
        }
    }
}

/// See [`Order::content_hash`].
pub fn content_hash<'a>(lines: impl Iterator<Item = (&'a str, i64)>, total: Money) -> i64 {
    let mut hasher = Sha256::new();
    for (sku, quantity) in lines {
        hasher.update(sku.as_bytes());
        hasher.update([0]);
        hasher.update(quantity.to_be_bytes());
    }
    hasher.update(total.minor.to_be_bytes());
    hasher.update(total.currency.code().as_bytes());
    let digest = hasher.finalize();
    digest
        .iter()
        .take(8)
        .fold(0_i64, |hash, byte| (hash << 8) | i64::from(*byte))
}

crate::hidden::hidden!(Contact, Delivery, Terms);
