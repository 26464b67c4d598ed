//! `template`: what staff do about the words of messages, by calls to the worker.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use countersign_proto::v1;
use countersign_runtime::config::Config;

use super::operator::{Why, Worker, moment, told};
use crate::console::say;

/// Longest file that is read; the worker takes less.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Which words.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Such as `ACKNOWLEDGEMENT`.
    kind: String,
    /// `EMAIL`, `SMS` or `PHONE`.
    channel: String,
    /// `en` or `zh-CN`.
    locale: String,
}

/// What to do with the words of messages.
#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// Shows where the words of all messages come from.
    List {
        #[command(flatten)]
        worker: Worker,
    },
    /// Shows the versions that were kept, newest first.
    Versions {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        worker: Worker,
    },
    /// Writes the words themselves to standard output: those in force, or a version.
    Show {
        #[command(flatten)]
        which: Which,
        /// 0: the words of the folder or the program.
        #[arg(long)]
        version: Option<i32>,
        #[command(flatten)]
        worker: Worker,
    },
    /// Shows a message as the customer would get it, with sample data.
    Preview {
        #[command(flatten)]
        which: Which,
        /// 0: the words of the folder or the program.
        #[arg(long, conflicts_with = "file")]
        version: Option<i32>,
        /// Words that are not kept yet.
        #[arg(long)]
        file: Option<PathBuf>,
        /// A letter's HTML instead of its text.
        #[arg(long)]
        html: bool,
        #[command(flatten)]
        worker: Worker,
    },
    /// Looks through the folder with the company's own words, as it stands now.
    Lint {
        #[command(flatten)]
        worker: Worker,
    },
    /// Keeps the words of a file as a new version. No message is written with it until it is activated.
    Create {
        #[command(flatten)]
        which: Which,
        /// With the words.
        file: PathBuf,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        worker: Worker,
    },
    /// Has messages written with a version from now on.
    Activate {
        #[command(flatten)]
        which: Which,
        /// From 1 on.
        version: i32,
        /// Only while this version is in force; 0: none.
        #[arg(long)]
        instead_of: Option<i32>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        worker: Worker,
    },
    /// Has messages written with the words of the folder or the program again.
    Deactivate {
        #[command(flatten)]
        which: Which,
        /// Only while this version is in force.
        #[arg(long)]
        instead_of: Option<i32>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        worker: Worker,
    },
}

impl Which {
    fn channel(&self) -> String {
        self.channel.to_uppercase()
    }

    fn kind(&self) -> String {
        self.kind.to_uppercase()
    }
}

/// Does it.
pub(crate) async fn run(command: &TemplateCommand, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        TemplateCommand::List { worker } => list(worker, config).await,
        TemplateCommand::Versions { which, worker } => versions(which, worker, config).await,
        TemplateCommand::Show {
            which,
            version,
            worker,
        } => show(which, *version, worker, config).await,
        TemplateCommand::Preview {
            which,
            version,
            file,
            html,
            worker,
        } => {
            let request = v1::PreviewTemplateRequest {
                kind: which.kind(),
                channel: which.channel(),
                locale: which.locale.clone(),
                version: *version,
                source: file.as_deref().map(read).transpose()?.unwrap_or_default(),
            };
            preview(request, *html, worker, config).await
        }
        TemplateCommand::Lint { worker } => lint(worker, config).await,
        TemplateCommand::Create {
            which,
            file,
            why,
            worker,
        } => create(which, read(file)?, why, worker, config).await,
        TemplateCommand::Activate {
            which,
            version,
            instead_of,
            why,
            worker,
        } => {
            let request = v1::ActivateTemplateVersionRequest {
                kind: which.kind(),
                channel: which.channel(),
                locale: which.locale.clone(),
                version: *version,
                expected_active_version: *instead_of,
                request_id: why.request_id(),
                actor: why.actor.clone(),
                reason: why.reason.clone(),
            };
            let mut client = worker.connect(config).await?;
            let done = client.activate_template_version(request).await;
            let done = done.map_err(told)?.into_inner();
            say(&line(&done.template.unwrap_or_default()));
            Ok(ExitCode::SUCCESS)
        }
        TemplateCommand::Deactivate {
            which,
            instead_of,
            why,
            worker,
        } => {
            let request = v1::DeactivateTemplateRequest {
                kind: which.kind(),
                channel: which.channel(),
                locale: which.locale.clone(),
                expected_active_version: *instead_of,
                request_id: why.request_id(),
                actor: why.actor.clone(),
                reason: why.reason.clone(),
            };
            let done = worker
                .connect(config)
                .await?
                .deactivate_template(request)
                .await;
            let done = done.map_err(told)?.into_inner();
            say(&line(&done.template.unwrap_or_default()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(worker: &Worker, config: &Config) -> anyhow::Result<ExitCode> {
    let mut client = worker.connect(config).await?;
    let listed = client.list_templates(v1::ListTemplatesRequest {}).await;
    for template in listed.map_err(told)?.into_inner().templates {
        say(&line(&template));
    }
    Ok(ExitCode::SUCCESS)
}

async fn versions(which: &Which, worker: &Worker, config: &Config) -> anyhow::Result<ExitCode> {
    let mut client = worker.connect(config).await?;
    let mut request = v1::ListTemplateVersionsRequest {
        kind: which.kind(),
        channel: which.channel(),
        locale: which.locale.clone(),
        ..v1::ListTemplateVersionsRequest::default()
    };
    loop {
        let page = client.list_template_versions(request.clone()).await;
        let page = page.map_err(told)?.into_inner();
        for version in &page.versions {
            say(&version_line(version));
        }
        if page.next_page_token.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        request.page_token = page.next_page_token;
    }
}

async fn show(
    which: &Which,
    version: Option<i32>,
    worker: &Worker,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let request = v1::GetTemplateRequest {
        kind: which.kind(),
        channel: which.channel(),
        locale: which.locale.clone(),
        version,
    };
    let found = worker.connect(config).await?.get_template(request).await;
    say(found.map_err(told)?.into_inner().source.trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn preview(
    request: v1::PreviewTemplateRequest,
    html: bool,
    worker: &Worker,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let shown = worker
        .connect(config)
        .await?
        .preview_template(request)
        .await;
    let shown = shown.map_err(told)?.into_inner();
    if html {
        say(&shown.html);
        return Ok(ExitCode::SUCCESS);
    }
    if !shown.subject.is_empty() {
        say(&format!("Subject: {}\n", shown.subject));
    }
    say(&shown.text);
    if shown.segments > 0 {
        say(&format!(
            "\n{} text message(s), {}",
            shown.segments, shown.alphabet
        ));
    }
    let mut keys: Vec<_> = shown.keys.into_iter().collect();
    keys.sort();
    for (digit, means) in keys {
        say(&format!("key {digit}: {means}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn lint(worker: &Worker, config: &Config) -> anyhow::Result<ExitCode> {
    let mut client = worker.connect(config).await?;
    let found = client.lint_templates(v1::LintTemplatesRequest {}).await;
    let found = found.map_err(told)?.into_inner().findings;
    for finding in &found {
        say(&finding_line(finding));
    }
    if found.iter().any(|it| it.severity == "ERROR") {
        return Ok(ExitCode::FAILURE);
    }
    if found.is_empty() {
        say("nothing is wrong");
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(
    which: &Which,
    source: String,
    why: &Why,
    worker: &Worker,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let request = v1::CreateTemplateVersionRequest {
        kind: which.kind(),
        channel: which.channel(),
        locale: which.locale.clone(),
        source,
        request_id: why.request_id(),
        actor: why.actor.clone(),
        reason: why.reason.clone(),
    };
    let mut client = worker.connect(config).await?;
    let made = client.create_template_version(request).await;
    let made = made.map_err(told)?.into_inner();
    for warning in &made.warnings {
        say(&finding_line(warning));
    }
    say(&version_line(&made.version.unwrap_or_default()));
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let about = std::fs::metadata(file).with_context(|| format!("read {shown}"))?;
    anyhow::ensure!(
        about.len() <= FILE_MAX_BYTES,
        "{shown} has {} bytes, which is no message",
        about.len()
    );
    std::fs::read_to_string(file).with_context(|| format!("read {shown}"))
}

fn line(template: &v1::Template) -> String {
    let version = match (template.active_version, template.latest_version) {
        (_, 0) => String::new(),
        (0, latest) => format!("  none of {latest} in force"),
        (active, latest) => format!("  {active} of {latest} in force"),
    };
    format!(
        "{:<22}  {:<5}  {:<5}  {}{version}",
        template.kind, template.channel, template.locale, template.origin
    )
}

fn version_line(version: &v1::TemplateVersion) -> String {
    let force = if version.active { "  in force" } else { "" };
    format!(
        "version {:<4}  {}  {}: {}{force}",
        version.version,
        moment(version.create_time.as_ref()),
        version.actor,
        version.reason
    )
}

fn finding_line(finding: &v1::TemplateFinding) -> String {
    let place = if finding.line > 0 {
        format!("line {}", finding.line)
    } else {
        finding.file.clone()
    };
    let parts = [
        finding.severity.as_str(),
        &place,
        &finding.channel,
        &finding.problem,
    ];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_listed_with_where_they_come_from() {
        let mut template = v1::Template {
            kind: "SURVEY".to_owned(),
            channel: "SMS".to_owned(),
            locale: "en".to_owned(),
            origin: "PROGRAM".to_owned(),
            ..v1::Template::default()
        };
        assert_eq!(
            line(&template),
            "SURVEY                  SMS    en     PROGRAM"
        );
        template.latest_version = 3;
        assert!(line(&template).ends_with("PROGRAM  none of 3 in force"));
        "DATABASE".clone_into(&mut template.origin);
        template.active_version = 2;
        assert!(line(&template).ends_with("DATABASE  2 of 3 in force"));
    }

    #[test]
    fn findings_name_their_file_or_their_line() {
        let mut finding = v1::TemplateFinding {
            file: "en/survey.jinja".to_owned(),
            severity: "ERROR".to_owned(),
            channel: "SMS".to_owned(),
            problem: "too long".to_owned(),
            line: 0,
        };
        assert_eq!(
            finding_line(&finding),
            "ERROR  en/survey.jinja  SMS  too long"
        );
        finding.line = 7;
        finding.channel.clear();
        assert_eq!(finding_line(&finding), "ERROR  line 7  too long");
    }
}
