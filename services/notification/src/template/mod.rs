//! Words of every message, per language. One page per kind holds all of its words (subject, letter, text message,
//! call); the layouts around them are shared. Pages and layouts are embedded; files in a folder override them:
//! `{locale}/{kind}.jinja`, `{locale}/_letter.txt`, `{locale}/_letter.mjml`.
//!
//! MJML is turned into HTML once per layout, when the templates are loaded; a message only fills it in. Order data
//! goes in as values, never as template source, so nothing that a customer typed is ever interpreted.

mod clean;
mod context;
mod filters;
mod kind;
pub(crate) mod library;
pub(crate) mod lint;
mod page;
pub(crate) mod sample;
mod sandbox;
pub(crate) mod segments;
pub(crate) mod version;

use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use minijinja::{
    AutoEscape, Environment, UndefinedBehavior, Value, syntax::SyntaxConfig, value::Serde,
};
use serde::Deserialize;

pub use context::{CompanyText, LineText, MessageContext, Silence, TotalsText};
pub use kind::{Locale, MessageKind};
pub use lint::{Finding, Severity};
pub(crate) use sandbox::Problem;
pub use segments::{Alphabet, Segments, segments};

use filters::{paragraphs, short, spell};
use page::{Page, order_label, values_for_gaps};

use crate::channel::{CallKey, Channel, Content};

/// A text message may cost this many segments at most.
pub const MAX_SMS_SEGMENTS: usize = 3;
/// Steps that writing one message may take. An order of a thousand lines needs a twentieth of it.
const FUEL: u64 = 2_000_000;
/// Longest part of a message. An order of a thousand lines makes a letter of a quarter of it.
const OUTPUT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A template does not parse, names something unknown, or prints what the order does not have.
    #[error("template {name} failed")]
    Template {
        /// The template.
        name: String,
        /// Where and why.
        #[source]
        source: Box<minijinja::Error>,
    },
    /// The letter's layout is not MJML.
    #[error("layout {name} is not valid MJML: {problem}")]
    Mjml {
        /// The layout.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file of the override folder cannot be read.
    #[error("reading template {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A call page does not give prompts and keys.
    #[error("call script of {kind} is malformed")]
    CallScript {
        /// The kind.
        kind: MessageKind,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The context cannot be turned into values.
    #[error("message context cannot be serialised")]
    Context(#[source] serde_json::Error),
    /// The text message is too long to send.
    #[error("text message of {kind} has {count} segments, {MAX_SMS_SEGMENTS} at most")]
    SmsTooLong {
        /// The kind.
        kind: MessageKind,
        /// How many it would be.
        count: usize,
    },
    /// A name that is no kind of message.
    #[error("unknown kind of message {kind:?}")]
    UnknownKind {
        /// The name given.
        kind: String,
    },
}

/// All templates, compiled. Cheap to share, safe to use from many tasks.
#[derive(Clone, Debug)]
pub struct Templates {
    environment: Environment<'static>,
    overridden: BTreeSet<String>,
}

/// Where words come from that take the place of those in the program.
#[derive(Clone, Copy)]
enum Overrides<'a> {
    None,
    Folder(&'a Path),
    /// One file: its name within the folder, and what stands in it.
    One(&'a str, &'a str),
}

#[derive(Deserialize)]
struct CallPage {
    prompts: String,
    keys: Vec<CallKey>,
}

impl Templates {
    /// The templates that come with the program.
    pub fn embedded() -> Result<Self, RenderError> {
        Self::load(Overrides::None)
    }

    /// The embedded templates, with files of `folder` in place of those they name.
    ///
    /// Fails at once when a file does not parse.
    pub fn with_overrides(folder: &Path) -> Result<Self, RenderError> {
        Self::load(Overrides::Folder(folder))
    }

    /// The embedded templates with one file in place of the one that it names.
    pub(crate) fn with_one(file: &str, source: &str) -> Result<Self, RenderError> {
        Self::load(Overrides::One(file, source))
    }

    /// The same with other words for one kind of message in one language.
    pub(crate) fn with_page(
        &self,
        kind: MessageKind,
        locale: Locale,
        source: &str,
    ) -> Result<Self, RenderError> {
        let mut changed = self.clone();
        for ending in ["txt", "html"] {
            changed.add(&page_name(locale, kind, ending), source.to_owned())?;
        }
        Ok(changed)
    }

    /// The words of one kind of message in one language.
    pub(crate) fn page(&self, kind: MessageKind, locale: Locale) -> String {
        self.environment
            .get_template(&page_name(locale, kind, "txt"))
            .map_or_else(|_| String::new(), |page| page.source().to_owned())
    }

    /// What the words of a page name, with what of it: "order", "totals.total".
    fn names_used(&self, kind: MessageKind, locale: Locale) -> HashSet<String> {
        self.environment
            .get_template(&page_name(locale, kind, "txt"))
            .map_or_else(|_| HashSet::new(), |page| page.undeclared_variables(true))
    }

    /// Whether the company's own words are used.
    pub(crate) fn is_overridden(&self, kind: MessageKind, locale: Locale) -> bool {
        let file = format!("{}/{}.jinja", locale.tag(), kind.file());
        self.overridden.contains(&file)
    }

    fn load(overrides: Overrides<'_>) -> Result<Self, RenderError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| template_error("syntax", error))?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|name| {
            if name.ends_with("html") {
                AutoEscape::Html
            } else {
                AutoEscape::None
            }
        });
        environment.add_filter("paragraphs", paragraphs);
        environment.add_filter("short", short);
        environment.add_filter("spell", spell);
        let mut templates = Self {
            environment,
            overridden: BTreeSet::new(),
        };
        templates.add("_subject", "{{ subject() }}".to_owned())?;
        templates.add("_sms", "{{ sms() }}".to_owned())?;
        templates.add(
            "_call",
            r#"{{ {"prompts": call(), "keys": keys} | tojson }}"#.to_owned(),
        )?;
        for &locale in Locale::ALL {
            templates.load_locale(locale, overrides)?;
        }
        Ok(templates)
    }

    fn load_locale(&mut self, locale: Locale, overrides: Overrides<'_>) -> Result<(), RenderError> {
        let tag = locale.tag();
        let text = self.source(
            overrides,
            &format!("{tag}/_letter.txt"),
            locale.text_layout(),
        )?;
        self.add(&format!("{tag}/_letter.txt"), text)?;
        let name = format!("{tag}/_letter.mjml");
        let mjml = self.source(overrides, &name, locale.mjml_layout())?;
        let html = mjml_to_html(&name, &mjml)?;
        self.add(&format!("{tag}/_letter.html"), html)?;
        for &kind in MessageKind::ALL {
            let file = format!("{tag}/{}.jinja", kind.file());
            let page = self.source(overrides, &file, kind.embedded(locale))?;
            self.add(&page_name(locale, kind, "txt"), page.clone())?;
            self.add(&page_name(locale, kind, "html"), page)?;
        }
        Ok(())
    }

    /// The words of one file, and a note of it when they are the company's own.
    fn source(
        &mut self,
        overrides: Overrides<'_>,
        name: &str,
        embedded: &str,
    ) -> Result<String, RenderError> {
        let own = match overrides {
            Overrides::None => None,
            Overrides::One(file, source) => (file == name).then(|| source.to_owned()),
            Overrides::Folder(folder) => {
                let path = folder.join(name);
                match fs::read_to_string(&path) {
                    Ok(text) => Some(text),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(source) => return Err(RenderError::Read { path, source }),
                }
            }
        };
        Ok(own.map_or_else(
            || embedded.to_owned(),
            |text| {
                self.overridden.insert(name.to_owned());
                text
            },
        ))
    }

    fn add(&mut self, name: &str, source: String) -> Result<(), RenderError> {
        self.environment
            .add_template_owned(name.to_owned(), source)
            .map_err(|error| template_error(name, error))
    }

    /// Writes one message.
    pub fn render(
        &self,
        kind: MessageKind,
        channel: Channel,
        locale: Locale,
        context: &MessageContext,
    ) -> Result<Content, RenderError> {
        let mut data = serde_json::to_value(context).map_err(RenderError::Context)?;
        clean::clean_value(&mut data);
        let order = order_label(&data);
        let page = Page {
            templates: self,
            kind,
            locale,
            values: values_for_gaps(&data),
            order,
            data: Value::from(Serde(data)),
        };
        match channel {
            Channel::Email => page.email(),
            Channel::Sms => page.sms(),
            Channel::Phone => page.call(),
        }
    }
}

fn page_name(locale: Locale, kind: MessageKind, ending: &str) -> String {
    format!("{}/{}.{ending}", locale.tag(), kind.file())
}

fn template_error(name: &str, error: minijinja::Error) -> RenderError {
    RenderError::Template {
        name: name.to_owned(),
        source: Box::new(error),
    }
}

/// What the template engine said, from the outside in.
fn engine_errors(error: &RenderError) -> Vec<&minijinja::Error> {
    let RenderError::Template { source, .. } = error else {
        return Vec::new();
    };
    let mut found = vec![&**source];
    let mut next = std::error::Error::source(&**source);
    while let Some(cause) = next {
        found.extend(cause.downcast_ref::<minijinja::Error>());
        next = cause.source();
    }
    found
}

/// The layout's Jinja marks pass through MJML as text, so the HTML is itself a template.
fn mjml_to_html(name: &str, mjml: &str) -> Result<String, RenderError> {
    let failed = |problem: String| RenderError::Mjml {
        name: name.to_owned(),
        problem,
    };
    let parsed = mrml::parse(mjml).map_err(|error| failed(error.to_string()))?;
    parsed
        .element
        .render(&mrml::prelude::render::RenderOptions::default())
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests;
