//! What the words of a version may be made of: the parts of a message, questions, loops and values. Everything else that
//! the template language knows is refused before it is stored, so that no words can take a worker's time or memory.

/// Loops in loops that make sense.
const LOOPS_MAX: usize = 2;
/// What values may be put through.
const FILTERS: [&str; 9] = [
    "trim",
    "upper",
    "lower",
    "title",
    "capitalize",
    "first",
    "last",
    "short",
    "spell",
];
/// The parts that a page may have.
const PARTS: [&str; 6] = ["subject", "heading", "letter", "button", "sms", "call"];
/// What a page may settle for its layout.
const SETTINGS: [&str; 2] = ["shows", "keys"];

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// From 1 on; none: all of it.
    pub(crate) line: Option<usize>,
    pub(crate) words: String,
}

/// Something that stands on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Words as they are.
    Text(&'a str),
    /// `{{ … }}`
    Value(&'a str),
    /// `{% … %}`
    Tag(&'a str),
}

/// What a page is made of.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    /// With the line that it begins in.
    pub(super) pieces: Vec<(usize, Piece<'a>)>,
    /// Macros and settings.
    pub(super) parts: Vec<&'a str>,
    pub(super) problems: Vec<Problem>,
}

impl Outline<'_> {
    fn wrong(&mut self, line: usize, words: impl Into<String>) {
        self.problems.push(Problem {
            line: Some(line),
            words: words.into(),
        });
    }
}

/// Takes a page apart and names what may not stand on it.
pub(super) fn outline(source: &str) -> Outline<'_> {
    let mut outline = Outline::default();
    split(source, &mut outline);
    let pieces = outline.pieces.clone();
    let mut loops = 0_usize;
    let mut extends = false;
    for (line, piece) in pieces {
        match piece {
            Piece::Text(text) if !extends && !text.trim().is_empty() => {
                outline.wrong(line, "a page begins with {% extends layout %}");
                extends = true;
            }
            Piece::Text(_) => {}
            Piece::Value(value) => expression(line, value, &mut outline),
            Piece::Tag(tag) => {
                let (word, rest) = tag
                    .split_once(char::is_whitespace)
                    .map_or((tag, ""), |(word, rest)| (word, rest.trim()));
                match word {
                    "extends" if rest == "layout" => extends = true,
                    "macro" => part(line, rest, &mut outline),
                    "set" => setting(line, rest, &mut outline),
                    "for" => {
                        loops += 1;
                        if loops > LOOPS_MAX {
                            outline.wrong(line, format!("more than {LOOPS_MAX} loops in each other"));
                        }
                        expression(line, rest, &mut outline);
                    }
                    "endfor" => loops = loops.saturating_sub(1),
                    "if" | "elif" => expression(line, rest, &mut outline),
                    "else" | "endif" | "endmacro" => {}
                    other => outline.wrong(
                        line,
                        format!("{other:?} may not be used; tags are extends layout, macro, set, if, elif, else and for"),
                    ),
                }
            }
        }
    }
    if !extends {
        outline.wrong(1, "a page begins with {% extends layout %}");
    }
    outline
}

fn part<'a>(line: usize, rest: &'a str, outline: &mut Outline<'a>) {
    match rest.strip_suffix("()").map(str::trim) {
        Some(name) if PARTS.contains(&name) => {
            if outline.parts.contains(&name) {
                outline.wrong(line, format!("the part {name} stands here twice"));
            }
            outline.parts.push(name);
        }
        _ => outline.wrong(
            line,
            format!(
                "parts are {}, each as {{% macro name() %}}",
                PARTS.join(", ")
            ),
        ),
    }
}

fn setting<'a>(line: usize, rest: &'a str, outline: &mut Outline<'a>) {
    match rest.split_once('=') {
        Some((name, value)) if SETTINGS.contains(&name.trim()) => {
            outline.parts.push(name.trim());
            expression(line, value, outline);
        }
        _ => outline.wrong(
            line,
            "only shows and keys can be set, each as {% set name = … %}",
        ),
    }
}

/// Looks for what may not stand in an expression.
fn expression(line: usize, text: &str, outline: &mut Outline<'_>) {
    let mut rest = text;
    // The last word, and whether it was the name of a filter.
    let mut word: Option<bool> = None;
    let mut piped = false;
    let mut offset_line = line;
    while let Some(sign) = rest.chars().next() {
        let width = sign.len_utf8();
        if sign == '"' || sign == '\'' {
            let Some(end) = string_end(rest, sign) else {
                outline.wrong(offset_line, "a text in quotes has no end");
                return;
            };
            offset_line += lines_in(rest.get(..end).unwrap_or_default());
            rest = rest.get(end..).unwrap_or_default();
            word = None;
            continue;
        }
        if sign.is_alphanumeric() || sign == '_' {
            let end = rest
                .find(|it: char| !it.is_alphanumeric() && it != '_')
                .unwrap_or(rest.len());
            let name = rest.get(..end).unwrap_or_default();
            if piped && !FILTERS.contains(&name) {
                outline.wrong(
                    offset_line,
                    format!(
                        "the filter {name:?} may not be used; filters are {}",
                        FILTERS.join(", ")
                    ),
                );
            }
            word =
                Some(piped || matches!(name, "and" | "or" | "not" | "in" | "is" | "if" | "else"));
            piped = false;
            rest = rest.get(end..).unwrap_or_default();
            continue;
        }
        match sign {
            '(' if word == Some(false) => {
                outline.wrong(offset_line, "nothing can be called from here");
                return;
            }
            '~' | '*' | '+' => {
                outline.wrong(
                    offset_line,
                    format!("the sign {sign} may not be used; write one value after the other"),
                );
                return;
            }
            '|' => piped = true,
            '\n' => offset_line += 1,
            _ => {}
        }
        if !sign.is_whitespace() {
            word = None;
        }
        rest = rest.get(width..).unwrap_or_default();
    }
}

/// Where a text in quotes ends, behind its last quote.
fn string_end(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (place, sign) in text.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == quote => return Some(place + 1),
            _ => {}
        }
    }
    None
}

fn lines_in(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Splits a page at its marks.
fn split<'a>(source: &'a str, outline: &mut Outline<'a>) {
    let mut rest = source;
    let mut line = 1;
    while !rest.is_empty() {
        let begin = ["{{", "{%", "{#"]
            .iter()
            .filter_map(|mark| rest.find(mark))
            .min()
            .unwrap_or(rest.len());
        let (text, tail) = rest.split_at(begin);
        if !text.is_empty() {
            outline.pieces.push((line, Piece::Text(text)));
            line += lines_in(text);
        }
        let Some(mark) = tail.get(..2) else { return };
        let end = match mark {
            "{{" => mark_end(tail, "}}"),
            "{%" => mark_end(tail, "%}"),
            _ => tail.find("#}").map(|at| at + 2),
        };
        let Some(end) = end else {
            outline.wrong(line, format!("{mark} has no end"));
            return;
        };
        let (inside, next) = tail.split_at(end);
        let inner = inside
            .get(2..end.saturating_sub(2))
            .unwrap_or_default()
            .trim_matches('-')
            .trim();
        match mark {
            "{{" => outline.pieces.push((line, Piece::Value(inner))),
            "{%" => outline.pieces.push((line, Piece::Tag(inner))),
            _ => {}
        }
        line += lines_in(inside);
        rest = next;
    }
}

/// Where a mark ends, not counting what looks like its end within a text in quotes.
fn mark_end(text: &str, end: &str) -> Option<usize> {
    let mut at = 2;
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with(end) {
            return Some(at + end.len());
        }
        let sign = rest.chars().next()?;
        at += match sign {
            '"' | '\'' => string_end(rest, sign)?,
            _ => sign.len_utf8(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Locale, MessageKind};

    fn problems(source: &str) -> Vec<(usize, String)> {
        outline(source)
            .problems
            .into_iter()
            .map(|it| (it.line.unwrap_or(0), it.words))
            .collect()
    }

    #[test]
    fn all_words_of_the_program_are_made_of_what_is_allowed() {
        for &kind in MessageKind::ALL {
            for &locale in Locale::ALL {
                assert_eq!(problems(kind.embedded(locale)), [], "{kind} {locale:?}");
            }
        }
    }

    #[test]
    fn what_could_take_time_or_memory_is_refused_with_its_line() {
        let page = |line: &str| format!("{{% extends layout %}}\n{{% macro sms() %}}\n{line}\n");
        for (line, words) in [
            ("{{ a ~ a }}", "sign ~"),
            ("{{ order * 1000000 }}", "sign *"),
            ("{{ range(1000) }}", "called"),
            ("{{ order.upper() }}", "called"),
            ("{{ sms() }}", "called"),
            ("{{ order | replace('a', 'aa') }}", "\"replace\""),
            ("{{ order | safe }}", "\"safe\""),
            ("{% set x = order %}", "only shows and keys"),
            ("{% set shows %}{% endset %}", "only shows and keys"),
            ("{% with x = order %}", "\"with\""),
            ("{% include 'en/_letter.txt' %}", "\"include\""),
            ("{% import 'x' as y %}", "\"import\""),
            ("{% raw %}", "\"raw\""),
            ("{% macro mine(x) %}", "parts are"),
            ("{% macro sms() %}", "twice"),
            ("{{ order", "no end"),
            ("{{ 'order }}", "no end"),
            (
                "{% for a in lines %}{% for b in lines %}{% for c in lines %}",
                "loops in each other",
            ),
        ] {
            let found = problems(&page(line));
            assert!(
                found.iter().any(|(at, it)| *at == 3 && it.contains(words)),
                "{line}: {found:?}"
            );
        }
        for line in [
            "{{ '~ {{ }} | safe(' }}",
            "{# {{ a ~ a }} #}",
            "{% if lines and (order is defined) %}",
            "{{ order | short(12) }}",
            "{%- if not (order) -%}",
        ] {
            assert_eq!(problems(&page(line)), [], "{line}");
        }
        assert!(problems("hello")[0].1.contains("extends layout"));
        assert!(problems("")[0].1.contains("extends layout"));
        assert!(problems("{% extends 'x' %}")[0].1.contains("\"extends\""));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_looked_at_to_its_end(source in "(\\{\\{|\\}\\}|\\{%|%\\}|#\\}|\\{#|\"|'|\\\\|\\PC|\n| ){0,60}") {
            let found = outline(&source);
            let most = source.lines().count() + 1;
            for problem in found.problems {
                proptest::prop_assert!(problem.line.is_some_and(|line| (1..=most).contains(&line)));
            }
        }
    }
}
