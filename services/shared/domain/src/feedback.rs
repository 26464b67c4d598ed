//! What customers say about what they received: stars, tags and words, tied to the order, its goods and the warehouses
//! they came from (R39, R49).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    code::codes,
    ids::{FeedbackId, OrderId},
    survey::Subject,
};

/// The best that can be said; the worst is 1.
pub const STARS_MAX: u32 = 5;
/// Characters of the customer's words at most.
pub const WORDS_CHARS_MAX: usize = 1_000;
/// How often a customer may say something else; what comes after is not looked at.
pub const ANSWERS_MAX: u32 = 20;

codes! {
    /// By what way it came.
    pub enum FeedbackSource {
        /// The form on the order page.
        Page = "PAGE",
        /// A digit by text message.
        Sms = "SMS",
        /// Told to a member of staff.
        Staff = "STAFF",
    }
}

codes! {
    /// What stood out.
    pub enum FeedbackTag {
        /// The goods are good.
        GoodQuality = "GOOD_QUALITY",
        /// The goods are not good.
        PoorQuality = "POOR_QUALITY",
        /// Came when promised.
        OnTime = "ON_TIME",
        /// Came later than promised.
        Late = "LATE",
        /// Nothing could break.
        WellPacked = "WELL_PACKED",
        /// Something broke.
        Damaged = "DAMAGED",
        /// Something else came.
        WrongGoods = "WRONG_GOODS",
        /// Something did not come.
        MissingGoods = "MISSING_GOODS",
        /// The driver was kind.
        FriendlyDriver = "FRIENDLY_DRIVER",
        /// The driver was not kind.
        UnfriendlyDriver = "UNFRIENDLY_DRIVER",
    }
}

codes! {
    /// Whether staff have to do something about it.
    pub enum FollowUp {
        /// No.
        None = "NONE",
        /// Somebody has to.
        Open = "OPEN",
        /// Somebody did.
        Resolved = "RESOLVED",
    }
}

/// Stars for one line of goods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineStars {
    /// Which.
    pub line_number: u32,
    /// 1 to 5.
    pub stars: u32,
}

/// What a customer says. `Debug` leaves the words out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackAnswer {
    /// 1 to 5.
    pub stars: u32,
    /// What stood out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<FeedbackTag>,
    /// In the customer's words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
    /// Lines with stars of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineStars>,
    /// By what way.
    pub source: FeedbackSource,
}

impl FeedbackAnswer {
    /// Stars alone.
    pub const fn of_stars(stars: u32, source: FeedbackSource) -> Self {
        Self {
            stars,
            tags: Vec::new(),
            words: String::new(),
            lines: Vec::new(),
            source,
        }
    }
}

impl std::fmt::Debug for FeedbackAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedbackAnswer")
            .field("stars", &self.stars)
            .field("tags", &self.tags)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// One delivered line and what was said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackLine {
    /// Of the order.
    pub line_number: u32,
    /// The goods.
    pub sku: String,
    /// Where they came from.
    pub warehouse: Option<String>,
    /// The line's own stars; those of the whole where the customer gave none.
    pub stars: u32,
    /// Whether they are the line's own.
    pub own: bool,
}

/// How a low score was followed up.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolution {
    /// What was done.
    pub text: String,
    /// By whom.
    pub resolved_by: String,
    /// When.
    pub resolve_time: DateTime<Utc>,
}

/// What a customer said about one subject, as it stands now; what was said before is in the order's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Ours.
    pub id: FeedbackId,
    /// About which order.
    pub order_id: OrderId,
    /// About what of it.
    pub subject: Subject,
    /// What was said.
    pub answer: FeedbackAnswer,
    /// The delivered lines, as they were when it was said.
    pub lines: Vec<FeedbackLine>,
    /// "customer" or the member of staff who took it.
    pub given_by: String,
    /// Of the order.
    pub customer: String,
    /// Of the order.
    pub order_type: String,
    /// How the order came.
    pub source_channel: String,
    /// How often the customer said something.
    pub answers: u32,
    /// Whether staff have to do something.
    pub follow_up: FollowUp,
    /// What they did.
    pub resolution: Option<Resolution>,
    /// When it was said first.
    pub create_time: DateTime<Utc>,
    /// When the last of it was received.
    pub answer_time: DateTime<Utc>,
}

crate::hidden::hidden!(Resolution);
