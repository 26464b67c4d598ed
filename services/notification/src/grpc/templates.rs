//! The words of the messages: which there are, how they look, what is wrong with them.

use countersign_proto::v1;
use tonic::{Request, Status};

use super::{
    Notifications,
    checks::{Violations, invalid, refused},
};
use crate::{
    channel::{Channel, Content},
    template::{Alphabet, CompanyText, Locale, MessageKind, Severity, lint, sample, segments},
};

const CHANNELS: [Channel; 3] = [Channel::Email, Channel::Sms, Channel::Phone];

impl Notifications {
    #[expect(clippy::unused_async, reason = "methods are alike")]
    pub(super) async fn list_templates(
        &self,
        _request: Request<v1::ListTemplatesRequest>,
    ) -> Result<v1::ListTemplatesResponse, Status> {
        let mut templates = Vec::new();
        for &kind in MessageKind::ALL {
            for &locale in Locale::ALL {
                templates.push(v1::Template {
                    kind: kind.to_string(),
                    locale: locale.tag().to_owned(),
                    overridden: self.templates.is_overridden(kind, locale),
                });
            }
        }
        Ok(v1::ListTemplatesResponse { templates })
    }

    #[expect(clippy::unused_async, reason = "methods are alike")]
    pub(super) async fn preview_template(
        &self,
        request: Request<v1::PreviewTemplateRequest>,
    ) -> Result<v1::PreviewTemplateResponse, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let kind = violations.take("kind", request.kind.parse::<MessageKind>());
        let channel = CHANNELS.iter().find(|it| it.as_str() == request.channel);
        if channel.is_none() {
            violations.add("channel", "must be one of EMAIL, SMS, PHONE");
        }
        let locale = Locale::ALL.iter().find(|it| it.tag() == request.locale);
        if locale.is_none() {
            violations.add("locale", "must be en or zh-CN");
        }
        let asked = (|| Some((kind?, *channel?, *locale?)))();
        let (kind, channel, locale) = violations.finish(asked)?;
        let mut context = sample::full(locale);
        context.company = CompanyText {
            name: self.company.name.clone(),
            phone: self.company.phone.clone().unwrap_or_default(),
        };
        let rendered = self.templates.render(kind, channel, locale, &context);
        let rendered =
            rendered.map_err(|error| refused("TEMPLATE_BROKEN", &lint::problem_of(&error)))?;
        Ok(match rendered {
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
        })
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
                })
                .collect(),
        })
    }
}
