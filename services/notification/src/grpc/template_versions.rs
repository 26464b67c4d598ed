//! The company's own words: kept, put in force, taken out of force.

use countersign_proto::v1;
use countersign_store::{Acted, TemplateVersion};
use tonic::{Request, Status};

use super::{
    Notifications,
    checks::{Violations, Who, invalid, not_found, open, other_request, refused, unavailable},
    convert::{number, time},
    deliveries::page_size,
    templates::Meant,
};
use crate::template::{Problem, Templates, library::carried_by, version};

impl Notifications {
    pub(super) async fn get_template(
        &self,
        request: Request<v1::GetTemplateRequest>,
    ) -> Result<v1::TemplateVersion, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let meant = Meant::read(
            &request.kind,
            &request.channel,
            &request.locale,
            &mut violations,
        );
        let asked = violations.take("version", request.version.map(u32::try_from).transpose());
        let (meant, asked) = violations.finish(meant.zip(asked))?;
        let version = self.version_meant(meant, asked).await?;
        let active = self.version_meant(meant, None).await?;
        if version == 0 {
            return Ok(v1::TemplateVersion {
                kind: meant.kind.to_string(),
                channel: meant.channel.to_string(),
                locale: meant.locale.tag().to_owned(),
                source: self.library.shipped().page(meant.kind, meant.locale),
                active: active == 0,
                ..v1::TemplateVersion::default()
            });
        }
        let key = meant.key();
        let found = self.store.find_template_version(&key, version).await;
        let found = found.map_err(unavailable)?;
        let found = found.ok_or_else(|| not_found(&key.resource_name()))?;
        Ok(told(found, active))
    }

    pub(super) async fn list_template_versions(
        &self,
        request: Request<v1::ListTemplateVersionsRequest>,
    ) -> Result<v1::ListTemplateVersionsResponse, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let meant = Meant::read(
            &request.kind,
            &request.channel,
            &request.locale,
            &mut violations,
        );
        let limit = page_size(request.page_size, &mut violations);
        let before = match request.page_token.as_str() {
            "" => None,
            token => {
                let number = token.parse::<u32>().ok();
                let number = number.filter(|it| i32::try_from(*it).is_ok());
                if number.is_none() {
                    let words = "must be the next_page_token of the call before";
                    violations.add("page_token", words);
                }
                number
            }
        };
        let meant = violations.finish(meant)?;
        let active = self.version_meant(meant, None).await?;
        let page = self
            .store
            .list_template_versions(&meant.key(), before, limit)
            .await
            .map_err(unavailable)?;
        let last = page.items.last().filter(|_| page.more);
        Ok(v1::ListTemplateVersionsResponse {
            next_page_token: last.map_or_else(String::new, |last| last.version.to_string()),
            versions: page
                .items
                .into_iter()
                .map(|it| v1::TemplateVersion {
                    source: String::new(),
                    ..told(it, active)
                })
                .collect(),
        })
    }

    pub(super) async fn create_template_version(
        &self,
        request: Request<v1::CreateTemplateVersionRequest>,
    ) -> Result<v1::CreateTemplateVersionResponse, Status> {
        let (caller, request) = open(request)?;
        let now = self.store.now().await.map_err(unavailable)?;
        let mut violations = Violations::default();
        let meant = Meant::read(
            &request.kind,
            &request.channel,
            &request.locale,
            &mut violations,
        );
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let content = [
            request.kind.as_str(),
            &request.channel,
            &request.locale,
            &request.source,
        ];
        let call = self.act_call(
            &who,
            "CreateTemplateVersion",
            &caller,
            &content,
            now,
            &mut violations,
        );
        let (meant, call) = violations.finish(meant.zip(call))?;
        let found = self.look_through(meant, &request.source).await?;
        refuse_wrong(&found.errors)?;
        let key = meant.key();
        let kept = self
            .store
            .create_template_version(&key, &request.source, &call, now)
            .await;
        match kept.map_err(unavailable)? {
            Acted::Answered(kept, _) => Ok(v1::CreateTemplateVersionResponse {
                version: Some(told(kept, 0)),
                warnings: found
                    .warnings
                    .into_iter()
                    .map(|it| v1::TemplateFinding {
                        severity: "WARNING".to_owned(),
                        channel: meant.channel.to_string(),
                        problem: it.words,
                        line: it.line.and_then(|it| i32::try_from(it).ok()).unwrap_or(0),
                        file: String::new(),
                    })
                    .collect(),
            }),
            Acted::NotFound => Err(not_found(&key.resource_name())),
            Acted::OtherRequest => Err(other_request()),
            Acted::Refused(never) => match never {},
        }
    }

    /// Looking through words takes some milliseconds of work, which keeps no call waiting.
    async fn look_through(&self, meant: Meant, source: &str) -> Result<version::Checked, Status> {
        let (shipped, source) = (self.library.shipped().clone(), source.to_owned());
        tokio::task::spawn_blocking(move || {
            let channel = carried_by(meant.channel);
            version::check(&shipped, meant.kind, channel, meant.locale, &source)
        })
        .await
        .map_err(|_| Status::internal("looking through the words broke off"))
    }

    /// Words that are not kept, ready to be used.
    pub(super) async fn checked(&self, meant: Meant, source: &str) -> Result<Templates, Status> {
        let found = self.look_through(meant, source).await?;
        refuse_wrong(&found.errors)?;
        self.library
            .shipped()
            .with_page(meant.kind, meant.locale, source)
            .map_err(|error| invalid("source", error))
    }

    pub(super) async fn activate_template_version(
        &self,
        request: Request<v1::ActivateTemplateVersionRequest>,
    ) -> Result<v1::ActivateTemplateVersionResponse, Status> {
        let (caller, request) = open(request)?;
        let mut violations = Violations::default();
        let meant = Meant::read(
            &request.kind,
            &request.channel,
            &request.locale,
            &mut violations,
        );
        let version = u32::try_from(request.version).ok().filter(|it| *it > 0);
        if version.is_none() {
            violations.add("version", "must be 1 or more");
        }
        let put = Put {
            version: version.unwrap_or(0),
            expected: request.expected_active_version,
            method: "ActivateTemplateVersion",
            caller: &caller,
        };
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let (template, outcome) = self.put_in_force(meant, &put, &who, violations).await?;
        Ok(v1::ActivateTemplateVersionResponse {
            template: Some(template),
            outcome,
        })
    }

    pub(super) async fn deactivate_template(
        &self,
        request: Request<v1::DeactivateTemplateRequest>,
    ) -> Result<v1::DeactivateTemplateResponse, Status> {
        let (caller, request) = open(request)?;
        let mut violations = Violations::default();
        let meant = Meant::read(
            &request.kind,
            &request.channel,
            &request.locale,
            &mut violations,
        );
        let put = Put {
            version: 0,
            expected: request.expected_active_version,
            method: "DeactivateTemplate",
            caller: &caller,
        };
        let who = Who {
            request_id: &request.request_id,
            actor: &request.actor,
            reason: &request.reason,
            approver: "",
        };
        let (template, outcome) = self.put_in_force(meant, &put, &who, violations).await?;
        Ok(v1::DeactivateTemplateResponse {
            template: Some(template),
            outcome,
        })
    }

    async fn put_in_force(
        &self,
        meant: Option<Meant>,
        put: &Put<'_>,
        who: &Who<'_>,
        mut violations: Violations,
    ) -> Result<(v1::Template, String), Status> {
        let now = self.store.now().await.map_err(unavailable)?;
        let expected = violations.take(
            "expected_active_version",
            put.expected.map(u32::try_from).transpose(),
        );
        let name = meant.map_or_else(String::new, |meant| meant.key().resource_name());
        let asked = format!("{} {:?}", put.version, put.expected);
        let content = [name.as_str(), &asked];
        let call = self.act_call(who, put.method, put.caller, &content, now, &mut violations);
        let all = meant.zip(call).zip(expected);
        let ((meant, call), expected) = violations.finish(all)?;
        let acted = self
            .store
            .activate_template_version(&meant.key(), put.version, expected, &call, now)
            .await;
        match acted.map_err(unavailable)? {
            Acted::Answered(record, outcome) => {
                // This worker need not wait for its next look.
                self.library.look().await.map_err(unavailable)?;
                Ok((self.template(meant, Some(&record)), outcome.to_string()))
            }
            Acted::NotFound => Err(not_found(&format!("{name}/versions/{}", put.version))),
            Acted::OtherRequest => Err(other_request()),
            Acted::Refused(refusal) => Err(refused(
                refusal.as_str(),
                "another version is in force than the caller expects",
            )),
        }
    }
}

/// What to put in force.
struct Put<'a> {
    /// 0: the words of the folder or the program.
    version: u32,
    expected: Option<i32>,
    method: &'static str,
    caller: &'a str,
}

/// Names what is wrong with words.
fn refuse_wrong(errors: &[Problem]) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let mut violations = Violations::default();
    for problem in errors {
        let line = problem.line.map(|line| format!("line {line}: "));
        let line = line.unwrap_or_default();
        violations.add("source", format!("{line}{}", problem.words));
    }
    violations.finish(None)
}

fn told(version: TemplateVersion, active: u32) -> v1::TemplateVersion {
    v1::TemplateVersion {
        kind: version.key.kind,
        channel: version.key.channel.to_string(),
        locale: version.key.locale,
        active: version.version == active,
        version: number(version.version),
        source: version.source,
        actor: version.actor,
        reason: version.reason,
        create_time: Some(time(version.create_time)),
    }
}
