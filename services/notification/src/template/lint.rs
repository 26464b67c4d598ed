//! Looks through a folder of a company's own words before a customer reads them.

use std::{
    error::Error as _,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Locale, MAX_SMS_SEGMENTS, MessageKind, RenderError, Templates, sample, segments};
use crate::channel::{Channel, Content};

/// What a mailbox shows of a subject at most.
const SUBJECT_MAX: usize = 120;
/// Mail programs cut longer letters off.
const HTML_MAX_BYTES: usize = 100_000;
/// Sentences that nobody listens to the end of.
const PROMPTS_MAX_CHARACTERS: usize = 900;
/// Longest file that is looked at.
const FILE_MAX_BYTES: u64 = 256 * 1024;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Messages could not be sent.
    Error,
    /// Look at it.
    Warning,
}

/// Something about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Within the folder.
    pub file: String,
    /// How bad it is.
    pub severity: Severity,
    /// Of which channel; none: of all.
    pub channel: Option<Channel>,
    /// What is wrong.
    pub problem: String,
}

/// Looks through all files of a folder.
pub(crate) fn folder(folder: &Path) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files(folder)? {
        one_file(folder, &file, &mut findings);
    }
    Ok(findings)
}

/// Names within the folder, one level of folders deep, sorted.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            for inner in fs::read_dir(entry.path())? {
                names.push(format!("{name}/{}", inner?.file_name().to_string_lossy()));
            }
        } else {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What a file holds the words of.
enum Holds {
    Page(MessageKind),
    Layout,
}

fn meaning(file: &str) -> Option<(Locale, Holds)> {
    let (tag, name) = file.split_once('/')?;
    let locale = *Locale::ALL.iter().find(|locale| locale.tag() == tag)?;
    if name == "_letter.txt" || name == "_letter.mjml" {
        return Some((locale, Holds::Layout));
    }
    let page = name.strip_suffix(".jinja")?;
    let kind = MessageKind::ALL.iter().find(|kind| kind.file() == page)?;
    Some((locale, Holds::Page(*kind)))
}

fn one_file(folder: &Path, file: &str, findings: &mut Vec<Finding>) {
    let mut add = |severity, channel, problem: String| {
        findings.push(Finding {
            file: file.to_owned(),
            severity,
            channel,
            problem,
        });
    };
    let Some((locale, holds)) = meaning(file) else {
        let words = "this name stands for no message, so the file is never read; names are {en,zh-CN}/{kind}.jinja, _letter.txt and _letter.mjml";
        add(Severity::Warning, None, words.to_owned());
        return;
    };
    let path: PathBuf = folder.join(file);
    let source = match read(&path) {
        Ok(source) => source,
        Err(problem) => {
            add(Severity::Error, None, problem);
            return;
        }
    };
    let templates = match Templates::with_one(file, &source) {
        Ok(templates) => templates,
        Err(error) => {
            add(Severity::Error, None, problem_of(&error));
            return;
        }
    };
    let kinds = match holds {
        Holds::Page(kind) => vec![kind],
        Holds::Layout => vec![MessageKind::ConfirmationRequest, MessageKind::Delivered],
    };
    for kind in kinds {
        for channel in [Channel::Email, Channel::Sms, Channel::Phone] {
            if let Some((severity, problem)) = one_message(&templates, kind, channel, locale) {
                add(severity, Some(channel), problem);
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE_MAX_BYTES {
        return Err(format!("has {size} bytes, {FILE_MAX_BYTES} at most"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

/// The worst about one message.
pub(super) fn one_message(
    templates: &Templates,
    kind: MessageKind,
    channel: Channel,
    locale: Locale,
) -> Option<(Severity, String)> {
    let full = match templates.render(kind, channel, locale, &sample::full(locale)) {
        Ok(content) => content,
        Err(error) => return Some((Severity::Error, problem_of(&error))),
    };
    if let Err(error) = templates.render(kind, channel, locale, &sample::bare(locale)) {
        let problem = format!(
            "fails for an order that does not have everything; ask first with {{% if … is defined %}}: {}",
            problem_of(&error)
        );
        return Some((Severity::Error, problem));
    }
    let warning = match full {
        Content::Email(letter) => {
            let subject = letter.subject.chars().count();
            if letter.subject.is_empty() {
                Some("the subject is empty".to_owned())
            } else if subject > SUBJECT_MAX {
                Some(format!(
                    "the subject has {subject} characters, better {SUBJECT_MAX} at most"
                ))
            } else if letter.html.len() > HTML_MAX_BYTES {
                Some("the letter is so long that mail programs cut it off".to_owned())
            } else {
                None
            }
        }
        Content::Sms(sms) => {
            let count = segments(&sms.text).count;
            (count == MAX_SMS_SEGMENTS).then(|| {
                format!("{count} segments with sample data: a longer name or link makes it too long to send")
            })
        }
        Content::Call(call) => {
            let length: usize = call.prompts.iter().map(|it| it.chars().count()).sum();
            (length > PROMPTS_MAX_CHARACTERS)
                .then(|| format!("{length} characters take more than a minute to say"))
        }
    };
    warning.map(|problem| (Severity::Warning, problem))
}

/// An error with what it came from, in one line.
pub(crate) fn problem_of(error: &RenderError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    super::clean::one_line(&text)
}
