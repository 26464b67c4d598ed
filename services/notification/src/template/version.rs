//! Looks through words before they are kept as a version: whatever is wrong is named with its line.

use std::collections::BTreeSet;

use super::{
    Locale, MessageKind, RenderError, Severity, Templates, engine_errors,
    lint::{one_message, problem_of},
    sample,
    sandbox::{Outline, Piece, Problem, outline},
};
use crate::channel::{Channel, Content};

/// Longest words of a version.
pub(crate) const SOURCE_MAX_BYTES: usize = 64 * 1024;
/// What values of lists may be reached by; the sample tells the rest.
const LOOP: &str = "loop";

/// What was found in the words of a version.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Without any of these the words can be kept.
    pub(crate) errors: Vec<Problem>,
    /// To look at.
    pub(crate) warnings: Vec<Problem>,
}

/// Looks through the words of one message.
pub(crate) fn check(
    shipped: &Templates,
    kind: MessageKind,
    channel: Channel,
    locale: Locale,
    source: &str,
) -> Checked {
    let mut checked = Checked::default();
    if source.len() > SOURCE_MAX_BYTES {
        checked.errors.push(Problem {
            line: None,
            words: format!("has {} bytes, {SOURCE_MAX_BYTES} at most", source.len()),
        });
        return checked;
    }
    let outline = outline(source);
    missing_parts(channel, &outline, &mut checked.errors);
    literal_text(channel, &outline, &mut checked.errors);
    checked.errors.extend(outline.problems);
    let templates = match shipped.with_page(kind, locale, source) {
        Ok(templates) => templates,
        Err(error) => {
            checked.errors.push(located(&error));
            return checked;
        }
    };
    unknown_names(&templates, kind, locale, source, &mut checked.errors);
    // What is wrong already is not run.
    if !checked.errors.is_empty() {
        return checked;
    }
    match one_message(&templates, kind, channel, locale) {
        Some((Severity::Error, problem)) => {
            let full = templates.render(kind, channel, locale, &sample::full(locale));
            let bare = templates.render(kind, channel, locale, &sample::bare(locale));
            let failed = full.err().or_else(|| bare.err());
            let line = failed.and_then(|error| located(&error).line);
            checked.errors.push(Problem {
                line,
                words: problem,
            });
        }
        Some((Severity::Warning, words)) => checked.warnings.push(Problem { line: None, words }),
        None => {}
    }
    if let Ok(Content::Call(call)) = templates.render(kind, channel, locale, &sample::full(locale))
        && call.prompts.iter().any(|it| it.contains("://"))
    {
        checked.errors.push(Problem {
            line: line_of(source, "link"),
            words: "a link cannot be said; leave {{ link }} to letters and text messages"
                .to_owned(),
        });
    }
    checked
}

/// A letter needs its subject and its words (which make both the plain and the HTML part), a call its keys.
fn missing_parts(channel: Channel, outline: &Outline<'_>, errors: &mut Vec<Problem>) {
    let needed: &[&str] = match channel {
        Channel::Email => &["subject", "heading", "letter", "shows"],
        Channel::Sms => &["sms"],
        Channel::Phone => &["call", "keys"],
    };
    for part in needed {
        if !outline.parts.contains(part) {
            let words = match *part {
                "shows" | "keys" => format!("{{% set {part} = [ … ] %}} is missing"),
                _ => {
                    format!("the part {part} is missing: {{% macro {part}() %}} … {{% endmacro %}}")
                }
            };
            errors.push(Problem { line: None, words });
        }
    }
}

/// Words as they are go into text and HTML alike, so they hold no markup; and a link leads to a page that is encrypted.
fn literal_text(channel: Channel, outline: &Outline<'_>, errors: &mut Vec<Problem>) {
    for (first, piece) in &outline.pieces {
        let Piece::Text(text) = piece else { continue };
        for (line, row) in (*first..).zip(text.split('\n')) {
            let mut wrong = |words: String| {
                errors.push(Problem {
                    line: Some(line),
                    words,
                });
            };
            if channel != Channel::Sms
                && let Some(sign) = row.chars().find(|it| matches!(it, '<' | '>' | '&'))
            {
                wrong(format!(
                    "the sign {sign} stands for markup, which words do not hold; write it in words"
                ));
            }
            let lower = row.to_ascii_lowercase();
            if lower.contains("http://") {
                wrong("links begin with https://".to_owned());
            } else if channel == Channel::Phone && lower.contains("https://") {
                wrong("a link cannot be said; leave it to letters and text messages".to_owned());
            }
        }
    }
}

/// Names that stand for nothing.
fn unknown_names(
    templates: &Templates,
    kind: MessageKind,
    locale: Locale,
    source: &str,
    errors: &mut Vec<Problem>,
) {
    let known = known_names(locale);
    let mut unknown: Vec<String> = templates
        .names_used(kind, locale)
        .into_iter()
        .filter(|name| !known.contains(name) && name != LOOP)
        .collect();
    unknown.sort_unstable();
    for name in unknown {
        errors.push(Problem {
            line: line_of(source, &name),
            words: format!("nothing is called {name}"),
        });
    }
}

/// Everything that words may name.
pub(crate) fn known_names(locale: Locale) -> BTreeSet<String> {
    let sample = serde_json::to_value(sample::full(locale)).unwrap_or_default();
    let mut known: BTreeSet<String> = ["layout", "order"].map(str::to_owned).into();
    for (name, value) in sample.as_object().into_iter().flatten() {
        known.insert(name.clone());
        for inner in value.as_object().into_iter().flat_map(|it| it.keys()) {
            known.insert(format!("{name}.{inner}"));
        }
    }
    known
}

/// The first line that holds a name.
fn line_of(source: &str, name: &str) -> Option<usize> {
    let part = |it: char| it.is_alphanumeric() || it == '_';
    let place = source.match_indices(name).map(|(at, _)| at).find(|&at| {
        let before = source.get(..at).and_then(|text| text.chars().next_back());
        let after = source
            .get(at + name.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })?;
    let before = source.get(..place)?;
    Some(before.bytes().filter(|byte| *byte == b'\n').count() + 1)
}

/// What went wrong, and in which line of the page.
fn located(error: &RenderError) -> Problem {
    let of_page = |inner: &&minijinja::Error| {
        inner.name().is_some_and(|name| !name.contains("/_")) && inner.line().is_some()
    };
    let errors = engine_errors(error);
    let line = errors.into_iter().rfind(of_page);
    let line = line.and_then(minijinja::Error::line);
    Problem {
        line,
        words: problem_of(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: [Channel; 3] = [Channel::Email, Channel::Sms, Channel::Phone];

    fn errors(channel: Channel, source: &str) -> Vec<Problem> {
        let shipped = Templates::embedded().unwrap();
        check(
            &shipped,
            MessageKind::Delivered,
            channel,
            Locale::En,
            source,
        )
        .errors
    }

    fn changed(channel: Channel, from: &str, to: &str) -> Vec<Problem> {
        let page = MessageKind::Delivered.embedded(Locale::En);
        assert!(page.contains(from), "{from}");
        errors(channel, &page.replacen(from, to, 1))
    }

    #[test]
    fn the_words_of_the_program_may_be_kept_as_versions() {
        let shipped = Templates::embedded().unwrap();
        for &kind in MessageKind::ALL {
            for &locale in Locale::ALL {
                for channel in CHANNELS {
                    let found = check(&shipped, kind, channel, locale, kind.embedded(locale));
                    assert_eq!(found.errors, [], "{kind} {channel} {locale:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let at = |line: usize| Some(line);
        for (channel, from, to, line, words) in [
            (
                Channel::Email,
                "{{ order }}",
                "{{ oder }}",
                at(4),
                "nothing is called oder",
            ),
            (
                Channel::Sms,
                "{{ order }}",
                "{{ oder }}",
                at(4),
                "nothing is called oder",
            ),
            (
                Channel::Email,
                "Your goods",
                "Your <b>goods</b>",
                at(8),
                "sign <",
            ),
            (
                Channel::Email,
                "Your goods",
                "Your goods & gifts",
                at(8),
                "sign &",
            ),
            (
                Channel::Email,
                "We should",
                "See http://example.com. We should",
                at(14),
                "https",
            ),
            (
                Channel::Phone,
                "Please check them, and",
                "Look at {{ link }} and",
                at(4),
                "cannot be said",
            ),
            (
                Channel::Email,
                "{% macro subject() %}",
                "{% macro heading() %}",
                None,
                "part subject",
            ),
            (
                Channel::Email,
                "{% set shows =",
                "{% set keys =",
                None,
                "shows",
            ),
            (
                Channel::Phone,
                "{% macro call() %}",
                "{% macro button() %}",
                None,
                "part call",
            ),
            (
                Channel::Phone,
                "{% set keys =",
                "{% set shows =",
                None,
                "keys",
            ),
            (
                Channel::Sms,
                "{% macro sms() %}",
                "{% macro call() %}",
                None,
                "part sms",
            ),
            (Channel::Email, "{% endmacro %}", "", None, ""),
            (
                Channel::Email,
                "{{ order }}",
                "{{ totals.sum }}",
                at(4),
                "nothing is called totals.sum",
            ),
            (
                Channel::Email,
                "{{ order }}",
                "{{ promised_time }}",
                at(4),
                "does not have everything",
            ),
        ] {
            let found = changed(channel, from, to);
            assert!(
                found.iter().any(|it| it.words.contains(words)
                    && (line.is_none() || it.line == line || words == "cannot be said")),
                "{channel} {from} → {to}: {found:?}"
            );
        }
        let long = format!("{{% macro sms() %}}\n{}", "long ".repeat(100));
        let found = changed(Channel::Sms, "{% macro sms() %}", &long);
        assert!(found[0].words.contains("segments"), "{found:?}");
        // The other channels do not say it.
        assert_eq!(changed(Channel::Email, "{% macro sms() %}", &long), []);
        let large = "x".repeat(SOURCE_MAX_BYTES + 1);
        assert!(errors(Channel::Sms, &large)[0].words.contains("bytes"));
    }

    #[test]
    fn text_messages_may_hold_signs_that_are_markup_elsewhere() {
        assert_eq!(
            changed(Channel::Sms, "was delivered", "was delivered & is yours"),
            []
        );
    }
}
