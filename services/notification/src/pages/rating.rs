//! How it was: what the order page shows of it and what its form sends.

use countersign_domain::{
    feedback::{
        FeedbackAnswer, FeedbackSource, FeedbackTag, LineStars, STARS_MAX, WORDS_CHARS_MAX,
    },
    line::OrderLine,
    order::Order,
    survey::takes_feedback_at,
    text::display_safe,
};
use serde::Serialize;

use super::{
    answer::CustomerAnswer,
    form::FormFields,
    order_page::{number, words},
    render::Notice,
    view::Facts,
};

/// Lines that may be given stars of their own; with more of them a form would not fit into its limit.
const LINES_MAX: usize = 12;

/// The form, filled with what was said before. The customer's words are not shown again: they may name what a finder of
/// the link must not see. Words that are left empty stay as they were.
#[derive(Serialize)]
pub(super) struct RatingView {
    until: String,
    /// What was said waits for the order-service.
    recording: bool,
    /// What was said last; 0 when nothing was.
    stars: u32,
    tags: Vec<&'static str>,
    lines: Vec<RatedLine>,
}

#[derive(Serialize)]
struct RatedLine {
    line_number: u32,
    goods_name: String,
    specification: String,
    stars: u32,
}

impl RatingView {
    pub(super) fn of(facts: &Facts, until: String) -> Option<Self> {
        if !facts.takes_feedback() {
            return None;
        }
        let pending = facts.pending.iter().rev().find_map(|answer| match answer {
            CustomerAnswer::Rate { answer } => Some(answer),
            _ => None,
        });
        let known = facts.feedback.as_ref().map(|said| &said.answer);
        let said = pending.or(known);
        let own = |line: &OrderLine| {
            let lines = said.map(|said| said.lines.as_slice()).unwrap_or_default();
            lines
                .iter()
                .find(|it| it.line_number == line.line_number)
                .map_or(0, |it| it.stars)
        };
        let lines: Vec<RatedLine> = rated(&facts.order)
            .map(|line| RatedLine {
                line_number: line.line_number,
                goods_name: display_safe(&line.goods_name),
                specification: display_safe(&line.specification),
                stars: own(line),
            })
            .collect();
        Some(Self {
            until,
            recording: pending.is_some(),
            stars: said.map_or(0, |said| said.stars),
            tags: said
                .map(|said| said.tags.iter().map(|tag| tag.as_str()).collect())
                .unwrap_or_default(),
            // Of a single line the stars of the whole say it all.
            lines: if lines.len() > 1 { lines } else { Vec::new() },
        })
    }

    pub(super) const fn is_recording(&self) -> bool {
        self.recording
    }
}

impl Facts {
    /// Whether the customer may say how it was.
    pub(super) fn takes_feedback(&self) -> bool {
        takes_feedback_at(&self.order, self.now)
    }
}

fn rated(order: &Order) -> impl Iterator<Item = &OrderLine> {
    order
        .lines
        .iter()
        .filter(|line| line.counters.delivered > 0)
        .take(LINES_MAX)
}

/// The stars that a link chose; 0 for none or for what is no number of stars.
pub(super) fn stars(asked: Option<&str>) -> u32 {
    asked
        .and_then(|text| text.parse().ok())
        .filter(|stars| (1..=STARS_MAX).contains(stars))
        .unwrap_or(0)
}

/// What the form says.
pub(super) fn read(order: &Order, form: &FormFields) -> Result<FeedbackAnswer, Notice> {
    let stars = |name: &str| {
        let text = form.get(name);
        Some(stars(Some(text)))
            .filter(|stars| *stars > 0)
            .ok_or(Notice::BadForm)
    };
    let mut tags = form
        .all("tag")
        .map(number)
        .collect::<Result<Vec<FeedbackTag>, _>>()?;
    tags.sort_unstable();
    tags.dedup();
    let mut lines = Vec::new();
    for line in rated(order) {
        let name = format!("line-{}", line.line_number);
        if !form.get(&name).is_empty() {
            lines.push(LineStars {
                line_number: line.line_number,
                stars: stars(&name)?,
            });
        }
    }
    Ok(FeedbackAnswer {
        stars: stars("stars")?,
        tags,
        words: words(form, 0, WORDS_CHARS_MAX)?,
        lines,
        source: FeedbackSource::Page,
    })
}
