//! The words that stand in the database and in JSON for the values of closed vocabularies. Rows outlive programs: a word
//! that changes or goes makes stored orders unreadable. New words may be added.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Display, Write as _},
    path::Path,
    str::FromStr,
};

use countersign_domain as domain;
use serde::{Serialize, de::DeserializeOwned};

/// One line: name of the vocabulary and its words.
fn words<T>(name: &str, all: &[T]) -> String
where
    T: Copy + Debug + Display + FromStr + PartialEq + Serialize + DeserializeOwned,
{
    let mut line = format!("{name}:");
    for value in all {
        let word = value.to_string();
        assert_eq!(word.parse::<T>().ok(), Some(*value), "{name}");
        let json = serde_json::to_string(value).unwrap();
        assert_eq!(json, format!("{word:?}"), "{name}");
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *value);
        write!(line, " {word}").unwrap();
    }
    assert!("no such word".parse::<T>().is_err());
    line
}

macro_rules! vocabularies {
    ($($module:ident::$name:ident),+ $(,)?) => {
        vec![$((stringify!($name), words(stringify!($name), domain::$module::$name::ALL))),+]
    };
}

fn all() -> Vec<(&'static str, String)> {
    vocabularies![
        audit::AuditDimension,
        audit::Severity,
        chain::EntryKind,
        confirmation::ConfirmationMode,
        confirmation::ConfirmationState,
        confirmation::AnswerChannel,
        confirmation::ObjectionCategory,
        contact_hours::QuietDeadline,
        decide::CancelReason,
        decide::Initiator,
        decide::CallOutcome,
        decide::Stage,
        erasure::ErasureState,
        event::EventKind,
        event::MessageKind,
        feedback::FeedbackSource,
        feedback::FeedbackTag,
        feedback::FollowUp,
        hold::HoldReason,
        message::DeliveryState,
        message::AttemptOutcome,
        message::OptOutReason,
        message::GatewayState,
        operator::ActKind,
        operator::ActOutcome,
        operator::RequeueRefusal,
        operator::TemplateRefusal,
        order::OrderState,
        order::TransactionType,
        order::PaymentMethod,
        order::ShortagePolicy,
        order::Channel,
        reply::ReplyState,
        reply::GatewayStatus,
        reply::BounceKind,
        retention::Retained,
        safe_mode::SafeModeState,
        sending::SendingRefusal,
        survey::SurveyKind,
        survey::SurveyState,
        survey::WithheldReason,
        timer::TimerKind,
        tracking::TrackingStatus,
        tracking::Anomaly,
        webhook::WebhookEndpointState,
        webhook::WebhookDisabledReason,
        webhook::WebhookDeliveryState,
        webhook::WebhookFailure,
    ]
}

#[test]
fn stored_words_never_change() {
    let lines: Vec<String> = all().into_iter().map(|(_, line)| line).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn every_vocabulary_is_pinned_here() {
    let mut declared = BTreeSet::new();
    names_in(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut declared,
    );
    let pinned: BTreeSet<String> = all().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(pinned, declared);
}

/// Names of the enums that are declared with `codes!` in a folder.
fn names_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for declaration in text.split("codes! {").skip(1) {
                let Some((_, rest)) = declaration.split_once("pub enum ") else {
                    continue;
                };
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                if !name.is_empty() {
                    names.insert(name);
                }
            }
        }
    }
}
