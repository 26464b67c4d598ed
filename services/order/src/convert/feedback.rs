//! Feedback on its way in and out.

use countersign_domain::{
    feedback::{Feedback, FeedbackAnswer, FeedbackSource, FeedbackTag, LineStars, WORDS_CHARS_MAX},
    text::{TextKind, checked_text},
};
use countersign_proto::v1;

use super::{policy::number, time, word};
use crate::error::Violations;

/// Lines of an order at most.
const LINES_MAX: usize = 1_000;

/// Feedback as callers see it.
pub(crate) fn to_proto(feedback: &Feedback) -> v1::Feedback {
    let answer = &feedback.answer;
    let resolution = feedback.resolution.as_ref();
    v1::Feedback {
        name: feedback.id.resource_name(),
        order: feedback.order_id.resource_name(),
        kind: word::to_proto::<v1::SurveyKind>(feedback.subject.kind.as_str()),
        stars: number(answer.stars),
        tags: answer
            .tags
            .iter()
            .map(|tag| word::to_proto::<v1::FeedbackTag>(tag.as_str()))
            .collect(),
        words: answer.words.clone(),
        lines: feedback
            .lines
            .iter()
            .map(|line| v1::FeedbackLine {
                line_number: number(line.line_number),
                sku: line.sku.clone(),
                warehouse: line.warehouse.clone().unwrap_or_default(),
                stars: number(line.stars),
                own: line.own,
            })
            .collect(),
        source: word::to_proto::<v1::FeedbackSource>(answer.source.as_str()),
        given_by: feedback.given_by.clone(),
        customer: format!("customers/{}", feedback.customer),
        order_type: feedback.order_type.clone(),
        source_channel: feedback.source_channel.clone(),
        answer_count: number(feedback.answers),
        follow_up: word::to_proto::<v1::FollowUp>(feedback.follow_up.as_str()),
        resolution: resolution.map(|it| it.text.clone()).unwrap_or_default(),
        resolved_by: resolution
            .map(|it| it.resolved_by.clone())
            .unwrap_or_default(),
        resolve_time: resolution.map(|it| time::to_proto(it.resolve_time)),
        create_time: Some(time::to_proto(feedback.create_time)),
        answer_time: Some(time::to_proto(feedback.answer_time)),
    }
}

/// What a customer says. Whether it fits the order is decided later.
pub(crate) fn from_proto(
    given: &v1::Feedback,
    violations: &mut Violations,
) -> Option<FeedbackAnswer> {
    let stars = stars(given.stars, "feedback.stars", violations);
    if given.tags.len() > FeedbackTag::ALL.len() || given.lines.len() > LINES_MAX {
        violations.add("feedback", "must name each tag and each line once at most");
        return None;
    }
    let tags: Option<Vec<FeedbackTag>> = given
        .tags
        .iter()
        .enumerate()
        .map(|(index, tag)| {
            let field = format!("feedback.tags[{index}]");
            word::from_proto::<v1::FeedbackTag, FeedbackTag>(*tag, &field, violations)
        })
        .collect();
    let words = violations.take(
        "feedback.words",
        checked_text(&given.words, 0, WORDS_CHARS_MAX, TextKind::MultiLine),
    );
    let lines: Option<Vec<LineStars>> = given
        .lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let field = format!("feedback.lines[{index}].stars");
            Some(LineStars {
                // No line has the number 0, so it is refused where the lines are known.
                line_number: u32::try_from(line.line_number).unwrap_or(0),
                stars: self::stars(line.stars, &field, violations)?,
            })
        })
        .collect();
    let source = match given.source {
        0 => Some(FeedbackSource::Staff),
        source => word::from_proto::<v1::FeedbackSource, FeedbackSource>(
            source,
            "feedback.source",
            violations,
        ),
    };
    Some(FeedbackAnswer {
        stars: stars?,
        tags: tags?,
        words: words?,
        lines: lines?,
        source: source?,
    })
}

fn stars(given: i32, field: &str, violations: &mut Violations) -> Option<u32> {
    let stars = u32::try_from(given)
        .ok()
        .filter(|stars| (1..=5).contains(stars));
    if stars.is_none() {
        violations.add(field, "must be 1 to 5");
    }
    stars
}
