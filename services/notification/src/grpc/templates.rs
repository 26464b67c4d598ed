//! The words of the messages: which there are, how they look, what is wrong with them.

use std::collections::HashMap;

use countersign_domain::order::Channel;
use countersign_proto::v1;
use countersign_store::{TemplateKey, TemplateRecord};
use tonic::{Request, Status};

use super::{
    Notifications,
    checks::{Violations, invalid, not_found, refused, unavailable},
    convert::{number, time},
};
use crate::{
    channel::Content,
    template::{
        Alphabet, CompanyText, Locale, MessageKind, Severity,
        library::{Unwritable, carried_by},
        lint, sample, segments,
    },
};

/// Which words are meant.
#[derive(Clone, Copy)]
pub(super) struct Meant {
    pub(super) kind: MessageKind,
    pub(super) channel: Channel,
    pub(super) locale: Locale,
}

impl Meant {
    pub(super) fn read(
        kind: &str,
        channel: &str,
        locale: &str,
        violations: &mut Violations,
    ) -> Option<Self> {
        let kind = violations.take("kind", kind.parse::<MessageKind>());
        let channel = violations.word("channel", channel, Channel::ALL);
        let locale = Locale::ALL.iter().find(|it| it.tag() == locale);
        if locale.is_none() {
            violations.add("locale", "must be en or zh-CN");
        }
        Some(Self {
            kind: kind?,
            channel: channel?,
            locale: *locale?,
        })
    }

    pub(super) fn key(self) -> TemplateKey {
        TemplateKey {
            kind: self.kind.as_str().to_owned(),
            channel: self.channel,
            locale: self.locale.tag().to_owned(),
        }
    }
}

impl Notifications {
    pub(super) async fn list_templates(
        &self,
        _request: Request<v1::ListTemplatesRequest>,
    ) -> Result<v1::ListTemplatesResponse, Status> {
        let kept = self.store.list_templates().await.map_err(unavailable)?;
        let kept: HashMap<TemplateKey, TemplateRecord> =
            kept.into_iter().map(|it| (it.key.clone(), it)).collect();
        let mut templates = Vec::new();
        for &kind in MessageKind::ALL {
            for &channel in Channel::ALL {
                for &locale in Locale::ALL {
                    let meant = Meant {
                        kind,
                        channel,
                        locale,
                    };
                    templates.push(self.template(meant, kept.get(&meant.key())));
                }
            }
        }
        Ok(v1::ListTemplatesResponse { templates })
    }

    /// How words stand.
    pub(super) fn template(&self, meant: Meant, kept: Option<&TemplateRecord>) -> v1::Template {
        let active = kept.map_or(0, |kept| kept.active_version);
        let origin = if active > 0 {
            "DATABASE"
        } else if self
            .library
            .shipped()
            .is_overridden(meant.kind, meant.locale)
        {
            "FOLDER"
        } else {
            "PROGRAM"
        };
        v1::Template {
            kind: meant.kind.to_string(),
            channel: meant.channel.to_string(),
            locale: meant.locale.tag().to_owned(),
            origin: origin.to_owned(),
            active_version: number(active),
            latest_version: kept.map_or(0, |kept| number(kept.latest_version)),
            change_time: kept.map(|kept| time(kept.change_time)),
        }
    }

    pub(super) async fn preview_template(
        &self,
        request: Request<v1::PreviewTemplateRequest>,
    ) -> Result<v1::PreviewTemplateResponse, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let meant = Meant::read(
            &request.kind,
            &request.channel,
            &request.locale,
            &mut violations,
        );
        let asked = violations.take("version", request.version.map(u32::try_from).transpose());
        if !request.source.is_empty() && request.version.is_some() {
            violations.add("source", "must be empty when a version is named");
        }
        let (meant, asked) = violations.finish(meant.zip(asked))?;
        let mut context = sample::full(meant.locale);
        context.company = CompanyText {
            name: self.company.name.clone(),
            phone: self.company.phone.clone().unwrap_or_default(),
        };
        let rendered = if request.source.is_empty() {
            let version = self.version_meant(meant, asked).await?;
            let words = self.library.words(&(meant.key(), version)).await;
            let kind = meant.kind.as_str();
            words
                .map_err(unavailable)?
                .write(kind, meant.channel, meant.locale, &context)
                .map_err(|(Unwritable::Unknown(problem) | Unwritable::Wrong(problem))| problem)
        } else {
            self.checked(meant, &request.source)
                .await?
                .render(
                    meant.kind,
                    carried_by(meant.channel),
                    meant.locale,
                    &context,
                )
                .map_err(|error| lint::problem_of(&error))
        };
        let rendered = rendered.map_err(|problem| refused("TEMPLATE_BROKEN", &problem))?;
        Ok(shown(rendered))
    }

    /// The version that is named; without one, that in force.
    pub(super) async fn version_meant(
        &self,
        meant: Meant,
        asked: Option<u32>,
    ) -> Result<u32, Status> {
        let key = meant.key();
        let kept = self.store.list_templates().await.map_err(unavailable)?;
        let kept = kept.into_iter().find(|it| it.key == key);
        let (active, latest) =
            kept.map_or((0, 0), |kept| (kept.active_version, kept.latest_version));
        match asked {
            None => Ok(active),
            Some(version) if version <= latest => Ok(version),
            Some(version) => Err(not_found(&format!(
                "{}/versions/{version}",
                key.resource_name()
            ))),
        }
    }

    pub(super) async fn lint_templates(
        &self,
        _request: Request<v1::LintTemplatesRequest>,
    ) -> Result<v1::LintTemplatesResponse, Status> {
        let Some(folder) = self.folder.clone() else {
            return Err(refused(
                "NO_FOLDER",
                "the company has no words of its own: templates.folder is not set",
            ));
        };
        let found = tokio::task::spawn_blocking(move || lint::folder(&folder))
            .await
            .map_err(|_| Status::internal("looking through the folder broke off"))?;
        let found = found.map_err(|error| invalid("templates.folder", error))?;
        Ok(v1::LintTemplatesResponse {
            findings: found
                .into_iter()
                .map(|finding| v1::TemplateFinding {
                    file: finding.file,
                    severity: match finding.severity {
                        Severity::Error => "ERROR".to_owned(),
                        Severity::Warning => "WARNING".to_owned(),
                    },
                    channel: finding.channel.map(|it| it.to_string()).unwrap_or_default(),
                    problem: finding.problem,
                    line: 0,
                })
                .collect(),
        })
    }
}

/// A message as the customer would get it.
fn shown(content: Content) -> v1::PreviewTemplateResponse {
    match content {
        Content::Email(letter) => v1::PreviewTemplateResponse {
            subject: letter.subject,
            text: letter.text,
            html: letter.html,
            ..v1::PreviewTemplateResponse::default()
        },
        Content::Sms(sms) => {
            let size = segments(&sms.text);
            let alphabet = match size.alphabet {
                Alphabet::Gsm7 => "GSM7",
                Alphabet::Ucs2 => "UCS2",
            };
            v1::PreviewTemplateResponse {
                text: sms.text,
                segments: i32::try_from(size.count).unwrap_or(i32::MAX),
                alphabet: alphabet.to_owned(),
                ..v1::PreviewTemplateResponse::default()
            }
        }
        Content::Call(call) => v1::PreviewTemplateResponse {
            text: call.prompts.join("\n"),
            keys: call
                .keys
                .into_iter()
                .map(|key| (key.digit, format!("{:?}", key.means).to_uppercase()))
                .collect(),
            ..v1::PreviewTemplateResponse::default()
        },
    }
}
