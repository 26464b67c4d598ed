//! What a customer says about a delivery, and what staff did about it.

use chrono::{DateTime, Utc};

use super::{Change, Context, Decision, Refusal, require_text};
use crate::{
    event::EventKind,
    feedback::{
        ANSWERS_MAX, Feedback, FeedbackAnswer, FeedbackLine, FeedbackSource, FollowUp, Resolution,
        STARS_MAX, WORDS_CHARS_MAX,
    },
    ids::FeedbackId,
    order::{Order, OrderState},
    survey::{Subject, takes_feedback_at},
    text::{TextKind, checked_text},
};

/// What is known besides the order.
#[derive(Clone, Copy, Debug)]
pub struct FeedbackFacts<'a> {
    /// What was said before.
    pub known: Option<&'a Feedback>,
    /// For what is said first.
    pub new_id: FeedbackId,
    /// Up to so many stars staff follow it up.
    pub low_stars_max: u32,
    /// Who said or took it.
    pub given_by: &'a str,
    /// When it was received; it decides against the end of the time.
    pub receive_time: DateTime<Utc>,
}

/// Takes in what a customer says. Until the time is over a later answer takes the place of the one before; words that are
/// left out stay, and a digit by SMS leaves tags and lines as they were.
pub fn record_feedback(
    order: &Order,
    answer: &FeedbackAnswer,
    facts: &FeedbackFacts<'_>,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    check(order, answer)?;
    let delivered = matches!(order.state, OrderState::Delivered | OrderState::Completed);
    let in_time = takes_feedback_at(order, facts.receive_time);
    // Staff may put on record what they were told whenever they were told it.
    if !delivered || (answer.source != FeedbackSource::Staff && !in_time) {
        return Err(Refusal::Precondition(
            "feedback is taken once the goods have arrived, until the survey's time is over".into(),
        ));
    }
    let answer = match facts.known {
        Some(known) => beside(answer, known),
        None => answer.clone(),
    };
    if let Some(known) = facts.known
        && (says_the_same(&known.answer, &answer)
            || known.answer_time > facts.receive_time
            || known.answers >= ANSWERS_MAX)
    {
        return Ok(Decision::Already);
    }
    let lines = lines(order, &answer);
    let lowest = lines
        .iter()
        .map(|line| line.stars)
        .fold(answer.stars, u32::min);
    let low = lowest <= facts.low_stars_max;
    let follow_up = match (low, facts.known.map(|known| known.follow_up)) {
        (true, _) => FollowUp::Open,
        (false, Some(FollowUp::Resolved)) => FollowUp::Resolved,
        (false, _) => FollowUp::None,
    };
    let mut change = Change::of(order, EventKind::FeedbackReceived, context).reason(if low {
        "low score"
    } else {
        ""
    });
    tell_apart(&mut change, facts.known, &answer);
    change.feedback = Some(Feedback {
        id: facts.known.map_or(facts.new_id, |known| known.id),
        order_id: order.id,
        subject: Subject::DELIVERY,
        lines,
        answer,
        given_by: facts.given_by.to_owned(),
        customer: order.customer.clone(),
        order_type: order.order_type.clone(),
        source_channel: order.source_channel.clone(),
        answers: facts.known.map_or(0, |known| known.answers) + 1,
        follow_up,
        resolution: facts.known.and_then(|known| known.resolution.clone()),
        create_time: facts.known.map_or(context.now, |known| known.create_time),
        answer_time: facts.receive_time,
    });
    Ok(Decision::change(change))
}

/// Staff did something about a low score.
pub fn resolve_feedback(
    order: &Order,
    known: &Feedback,
    text: &str,
    resolved_by: &str,
    context: &Context<'_>,
) -> Result<Decision, Refusal> {
    require_text("resolution", text)?;
    match known.follow_up {
        FollowUp::Open => {}
        FollowUp::Resolved => return Ok(Decision::Already),
        FollowUp::None => {
            return Err(Refusal::Precondition(
                "there is nothing to follow up: the score was not low".into(),
            ));
        }
    }
    let mut change = Change::of(order, EventKind::FeedbackResolved, context).reason(text);
    change.feedback = Some(Feedback {
        follow_up: FollowUp::Resolved,
        resolution: Some(Resolution {
            text: text.to_owned(),
            resolved_by: resolved_by.to_owned(),
            resolve_time: context.now,
        }),
        ..known.clone()
    });
    Ok(Decision::change(change))
}

fn check(order: &Order, answer: &FeedbackAnswer) -> Result<(), Refusal> {
    let stars = 1..=STARS_MAX;
    if !stars.contains(&answer.stars) {
        return Err(Refusal::invalid("feedback.stars", "must be 1 to 5"));
    }
    checked_text(&answer.words, 0, WORDS_CHARS_MAX, TextKind::MultiLine)
        .map_err(|error| Refusal::invalid("feedback.words", error.to_string()))?;
    for (index, tag) in answer.tags.iter().enumerate() {
        if answer.tags.iter().take(index).any(|before| before == tag) {
            return Err(Refusal::invalid(
                format!("feedback.tags[{index}]"),
                format!("must not name {tag} a second time"),
            ));
        }
    }
    for (index, line) in answer.lines.iter().enumerate() {
        let at = |field: &str| format!("feedback.lines[{index}].{field}");
        if !stars.contains(&line.stars) {
            return Err(Refusal::invalid(at("stars"), "must be 1 to 5"));
        }
        let delivered = order
            .lines
            .iter()
            .any(|it| it.line_number == line.line_number && it.counters.delivered > 0);
        let mut before = answer.lines.iter().take(index);
        if !delivered || before.any(|it| it.line_number == line.line_number) {
            return Err(Refusal::invalid(
                at("line_number"),
                "must be a delivered line of the order, each once",
            ));
        }
    }
    Ok(())
}

/// By whatever way.
fn says_the_same(known: &FeedbackAnswer, answer: &FeedbackAnswer) -> bool {
    known
        == &FeedbackAnswer {
            source: known.source,
            ..answer.clone()
        }
}

/// A later answer, with what it leaves open filled in from the one before.
fn beside(answer: &FeedbackAnswer, known: &Feedback) -> FeedbackAnswer {
    let mut merged = answer.clone();
    if merged.words.is_empty() {
        merged.words.clone_from(&known.answer.words);
    }
    if answer.source == FeedbackSource::Sms {
        merged.tags.clone_from(&known.answer.tags);
        merged.lines.clone_from(&known.answer.lines);
    }
    merged
}

/// The delivered lines with their own stars or those of the whole.
fn lines(order: &Order, answer: &FeedbackAnswer) -> Vec<FeedbackLine> {
    order
        .lines
        .iter()
        .filter(|line| line.counters.delivered > 0)
        .map(|line| {
            let own = answer
                .lines
                .iter()
                .find(|it| it.line_number == line.line_number)
                .map(|it| it.stars);
            FeedbackLine {
                line_number: line.line_number,
                sku: line.sku.clone(),
                warehouse: line.warehouse.clone(),
                stars: own.unwrap_or(answer.stars),
                own: own.is_some(),
            }
        })
        .collect()
}

/// What changed, for the history. The customer's words are named, never shown.
fn tell_apart(change: &mut Change, known: Option<&Feedback>, answer: &FeedbackAnswer) {
    let before = known.map(|known| &known.answer);
    change.note(
        "feedback.stars",
        &before.map_or_else(String::new, |it| it.stars.to_string()),
        &answer.stars,
    );
    change.note("feedback.source", "", &answer.source);
    let tags = |of: &FeedbackAnswer| {
        let words: Vec<&str> = of.tags.iter().map(|tag| tag.as_str()).collect();
        words.join(" ")
    };
    let tags_before = before.map(tags).unwrap_or_default();
    if tags_before != tags(answer) {
        change.note("feedback.tags", &tags_before, &tags(answer));
    }
    for line in &answer.lines {
        let stars = before.and_then(|it| {
            it.lines
                .iter()
                .find(|old| old.line_number == line.line_number)
                .map(|old| old.stars)
        });
        if stars != Some(line.stars) {
            change.note(
                &format!("feedback.lines[{}]", line.line_number),
                &stars.map_or_else(String::new, |stars| stars.to_string()),
                &line.stars,
            );
        }
    }
    if before.is_none_or(|it| it.words != answer.words) && !answer.words.is_empty() {
        change.note("feedback.words", "", "changed");
    }
}
