//! One message, filled in.

use std::{collections::BTreeMap, io};

use minijinja::{ErrorKind, Value, context as values};

use super::{
    CallPage, Locale, MAX_SMS_SEGMENTS, MessageKind, OUTPUT_MAX_BYTES, RenderError, Templates,
    clean, filters::squeeze, page_name, segments, template_error,
};
use crate::channel::{CallScript, Content, EmailContent, Particulars, SmsContent, approved};

pub(super) struct Page<'a> {
    pub(super) templates: &'a Templates,
    pub(super) kind: MessageKind,
    pub(super) locale: Locale,
    /// What an approved text may have gaps for.
    pub(super) values: BTreeMap<&'static str, String>,
    pub(super) order: Value,
    pub(super) data: Value,
}

impl Page<'_> {
    pub(super) fn email(&self) -> Result<Content, RenderError> {
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

    pub(super) fn sms(&self) -> Result<Content, RenderError> {
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

    pub(super) fn call(&self) -> Result<Content, RenderError> {
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
                let mut written = Limited::default();
                let values = values! { layout, order => self.order.clone(), ..self.data.clone() };
                page.render_captured_to(values, &mut written)?;
                String::from_utf8(written.0).map_err(|_| ErrorKind::BadSerialization.into())
            })
            .map_err(|error| template_error(&name, error))
    }
}

/// What is written, up to [`OUTPUT_MAX_BYTES`].
#[derive(Default)]
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_MAX_BYTES {
            let text = format!("is longer than {OUTPUT_MAX_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What an approved text may have gaps for, out of the cleaned context.
pub(super) fn values_for_gaps(data: &serde_json::Value) -> BTreeMap<&'static str, String> {
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
pub(super) fn order_label(data: &serde_json::Value) -> Value {
    ["order_number", "client_reference"]
        .iter()
        .find_map(|field| data.get(field)?.as_str())
        .map_or(Value::UNDEFINED, Value::from)
}
