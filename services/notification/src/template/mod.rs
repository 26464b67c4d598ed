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
pub(crate) mod lint;
pub(crate) mod sample;
mod segments;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use minijinja::{
    AutoEscape, Environment, UndefinedBehavior, Value, context as values, syntax::SyntaxConfig,
    value::Serde,
};
use serde::Deserialize;

pub use context::{CompanyText, LineText, MessageContext, Silence, TotalsText};
pub use kind::{Locale, MessageKind};
pub use lint::{Finding, Severity};
pub use segments::{Alphabet, Segments, segments};

use filters::{paragraphs, short, spell, squeeze};

use crate::channel::{
    CallKey, CallScript, Channel, Content, EmailContent, Particulars, SmsContent, approved,
};

/// A text message may cost this many segments at most.
pub const MAX_SMS_SEGMENTS: usize = 3;

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
#[derive(Debug)]
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

    /// Whether the company's own words are used.
    pub(crate) fn is_overridden(&self, kind: MessageKind, locale: Locale) -> bool {
        let file = format!("{}/{}.jinja", locale.tag(), kind.file());
        self.overridden.contains(&file)
    }

    fn load(overrides: Overrides<'_>) -> Result<Self, RenderError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
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

struct Page<'a> {
    templates: &'a Templates,
    kind: MessageKind,
    locale: Locale,
    values: BTreeMap<&'static str, String>,
    order: Value,
    data: Value,
}

impl Page<'_> {
    fn email(&self) -> Result<Content, RenderError> {
        let tag = self.locale.tag();
        let text = self.fill("txt", &format!("{tag}/_letter.txt"))?;
        let html = self.fill("html", &format!("{tag}/_letter.html"))?;
        Ok(Content::Email(EmailContent {
            subject: clean::one_line(&self.fill("txt", "_subject")?),
            text: squeeze(&text),
            html,
            unsubscribe: None,
            kind: self.kind.file(),
        }))
    }

    fn sms(&self) -> Result<Content, RenderError> {
        let text = clean::one_line(&self.fill("txt", "_sms")?);
        let count = segments(&text).count;
        if count > MAX_SMS_SEGMENTS {
            return Err(RenderError::SmsTooLong {
                kind: self.kind,
                count,
            });
        }
        Ok(Content::Sms(SmsContent {
            text,
            particulars: Some(self.particulars()),
        }))
    }

    fn call(&self) -> Result<Content, RenderError> {
        let json = self.fill("txt", "_call")?;
        let page: CallPage =
            serde_json::from_str(&json).map_err(|source| RenderError::CallScript {
                kind: self.kind,
                source,
            })?;
        let prompts = page
            .prompts
            .lines()
            .map(clean::speakable)
            .filter(|line| !line.is_empty())
            .collect();
        let language = self.locale.tag().to_owned();
        Ok(Content::Call(CallScript {
            language,
            prompts,
            keys: page.keys,
            particulars: Some(self.particulars()),
        }))
    }

    fn particulars(&self) -> Particulars {
        Particulars {
            kind: self.kind,
            locale: self.locale,
            values: self.values.clone(),
        }
    }

    fn fill(&self, ending: &str, layout: &str) -> Result<String, RenderError> {
        let name = page_name(self.locale, self.kind, ending);
        self.templates
            .environment
            .get_template(&name)
            .and_then(|page| {
                page.render(values! { layout, order => self.order.clone(), ..self.data.clone() })
            })
            .map_err(|error| template_error(&name, error))
    }
}

/// What an approved text may have gaps for, out of the cleaned context.
fn values_for_gaps(data: &serde_json::Value) -> BTreeMap<&'static str, String> {
    let text = |path: &str| data.pointer(path).and_then(serde_json::Value::as_str);
    approved::VALUES
        .iter()
        .filter_map(|&name| {
            let value = match name {
                "order" => text("/order_number").or_else(|| text("/client_reference")),
                // The approved text itself holds the link up to here.
                "link_token" => text("/link").and_then(|link| Some(link.rsplit_once('/')?.1)),
                "total" => text("/totals/total"),
                "company_name" => text("/company/name"),
                "company_phone" => text("/company/phone"),
                other => text(&format!("/{other}")),
            };
            Some((name, clean::one_line(value?)))
        })
        .collect()
}

/// How the order is called: by its formal number, before that by the customer's own reference.
fn order_label(data: &serde_json::Value) -> Value {
    ["order_number", "client_reference"]
        .iter()
        .find_map(|field| data.get(field)?.as_str())
        .map_or(Value::UNDEFINED, Value::from)
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
