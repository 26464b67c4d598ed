//! Surveys: when a customer is asked how it was, and when not (R39, R49).
//!
//! What customers of other systems complain about is being asked again and again, being asked while something is still
//! wrong, and being asked after they have said it already. So each subject is asked about once at most, and the rules
//! here say when not even that.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    code::codes,
    ids::OrderId,
    money::Money,
    order::{Channel, Order, OrderState},
    problem::Problems,
};

const DAY_SECONDS: u32 = 24 * 60 * 60;
const YEAR_SECONDS: u32 = 366 * DAY_SECONDS;
/// Whoever gave more stars than this was not unhappy.
const LOW_STARS_MAX: u32 = 4;

/// When customers of an order type are asked, as data of its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurveyRules {
    /// How long after the delivery. Whole days keep the hour of the day, so that nobody is asked at night.
    pub delay_seconds: u32,
    /// How long after the delivery an answer is taken.
    pub expire_seconds: u32,
    /// A customer who was asked about anything is left alone for so long.
    pub customer_pause_seconds: u32,
    /// Up to so many stars staff follow it up; 0: never.
    pub low_stars_max: u32,
    /// Orders below this total are not asked about; compared in its own currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_min: Option<Money>,
}

impl SurveyRules {
    pub(crate) fn check(&self, problems: &mut Problems) {
        problems.unless(
            self.expire_seconds <= YEAR_SECONDS,
            "survey.expire_seconds",
            "must be at most 366 days",
        );
        problems.unless(
            self.delay_seconds < self.expire_seconds,
            "survey.delay_seconds",
            "must be less than survey.expire_seconds, or nobody could answer",
        );
        problems.unless(
            self.customer_pause_seconds <= YEAR_SECONDS,
            "survey.customer_pause_seconds",
            "must be at most 366 days",
        );
        problems.unless(
            self.low_stars_max <= LOW_STARS_MAX,
            "survey.low_stars_max",
            "must be 0 to 4",
        );
        problems.unless(
            self.total_min.is_none_or(|min| !min.is_negative()),
            "survey.total_min",
            "must not be negative",
        );
    }

    pub(crate) fn until(&self, delivered: DateTime<Utc>) -> DateTime<Utc> {
        delivered + Duration::seconds(i64::from(self.expire_seconds))
    }
}

codes! {
    /// What a survey is about.
    pub enum SurveyKind {
        /// The goods and how they came.
        Delivery = "DELIVERY",
    }
}

/// One thing to be asked about once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Of what kind.
    pub kind: SurveyKind,
    /// Which one of the order's; 1 for its delivery.
    pub number: u32,
}

impl Subject {
    /// The delivery of an order.
    pub const DELIVERY: Self = Self {
        kind: SurveyKind::Delivery,
        number: 1,
    };
}

codes! {
    /// What was decided.
    pub enum SurveyState {
        /// The customer was asked.
        Asked = "ASKED",
        /// The customer was left alone.
        Withheld = "WITHHELD",
    }
}

codes! {
    /// Why a customer was left alone.
    pub enum WithheldReason {
        /// Said how it was before being asked.
        Answered = "ANSWERED",
        /// The order is not, or no longer, delivered.
        NotDelivered = "NOT_DELIVERED",
        /// Everything came back.
        Returned = "RETURNED",
        /// Something about the order is not settled: a hold, a complaint.
        Unsettled = "UNSETTLED",
        /// The time to answer is over.
        TooLate = "TOO_LATE",
        /// The order is too small.
        BelowMinimum = "BELOW_MINIMUM",
        /// Does not want to be written to.
        OptedOut = "OPTED_OUT",
        /// Has neither e-mail address nor phone number.
        Unreachable = "UNREACHABLE",
        /// Was asked not long ago, perhaps about another order.
        RecentlyAsked = "RECENTLY_ASKED",
    }
}

/// What was decided about asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// About which order.
    pub order_id: OrderId,
    /// About what of it.
    pub subject: Subject,
    /// Asked or not.
    pub state: SurveyState,
    /// Why not.
    pub reason: Option<WithheldReason>,
    /// Of the order.
    pub customer: String,
    /// Of the order.
    pub order_type: String,
    /// Of the order.
    pub source_channel: String,
    /// When it was decided, and so when the customer was asked.
    pub create_time: DateTime<Utc>,
    /// Until when an answer is taken.
    pub expire_time: DateTime<Utc>,
    /// When the customer answered first.
    pub answer_time: Option<DateTime<Utc>>,
    /// When the customer had been asked last, about anything: the decision stands only while this does.
    pub previous_ask_time: Option<DateTime<Utc>>,
}

/// By what way a survey goes: the preferred one, else by letter. Nobody is rung up for it.
pub fn survey_channel(order: &Order) -> Option<Channel> {
    order
        .terms
        .contact
        .preferred_channel
        .into_iter()
        .chain([Channel::Email, Channel::Sms])
        .find(|channel| *channel != Channel::Phone && order.reachable_by(*channel))
}

/// Whether the customer may say how it was at a moment.
pub fn takes_feedback_at(order: &Order, moment: DateTime<Utc>) -> bool {
    matches!(order.state, OrderState::Delivered | OrderState::Completed)
        && order
            .progress
            .feedback_until
            .is_some_and(|until| moment < until)
}
