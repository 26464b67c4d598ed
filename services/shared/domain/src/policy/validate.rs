//! Whether a policy that somebody wrote can be used.

use super::OrderPolicy;
use crate::{
    audit::required,
    problem::{FieldProblem, Problems},
};

/// What [`is_order_type`] asks for, in words.
pub(crate) const ORDER_TYPE_FORM: &str =
    "must be 1 to 32 capital letters, digits, hyphens and underscores, beginning with a letter";

const DAY_SECONDS: u32 = 24 * 60 * 60;
const CONFIRMATION_WINDOW_SECONDS_MAX: u32 = 30 * DAY_SECONDS;
const DELIVERY_PROMISE_SECONDS_MAX: u32 = 366 * DAY_SECONDS;
const PRICE_TOLERANCE_PERCENT_MAX: u32 = 1000;
const RETURN_DAYS_MAX: u32 = 3660;
const DISPLAY_NAME_CHARS_MAX: usize = 100;
const SERVICE_TERM_CHARS_MAX: usize = 500;
const SERVICE_TERMS_MAX: usize = 50;

/// Whether a text can be the name of an order type.
pub(crate) fn is_order_type(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    name.len() <= 32 && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(rest)
}

impl OrderPolicy {
    /// Everything that keeps the policy from being used, by field.
    pub fn validate(&self) -> Result<(), Vec<FieldProblem>> {
        let mut problems = Problems::default();
        problems.unless(
            is_order_type(&self.order_type),
            "order_type",
            ORDER_TYPE_FORM,
        );
        problems.unless(self.version > 0, "version", "must be 1 or more");
        problems.line_of_text("display_name", &self.display_name, DISPLAY_NAME_CHARS_MAX);
        self.check_audit(&mut problems);
        self.check_confirmation(&mut problems);
        self.check_fulfilment(&mut problems);
        if let Some(rules) = &self.survey {
            rules.check(&mut problems);
        }
        problems.into_result()
    }

    fn check_audit(&self, problems: &mut Problems) {
        for (index, path) in self.required_fields.iter().enumerate() {
            if !required::is_known_path(path) {
                let known = required::known_paths().collect::<Vec<_>>().join(", ");
                problems.add(
                    format!("required_fields[{index}]"),
                    format!("must be one of {known}, annotations.NAME"),
                );
            }
        }
        problems.repeated("required_fields", &self.required_fields);
        for (index, rule) in self.disabled_rules.iter().enumerate() {
            problems.line_of_text(&format!("disabled_rules[{index}]"), rule, 64);
        }
        problems.repeated("disabled_rules", &self.disabled_rules);
        if let Some(max) = self.auto_approve_total_max {
            problems.unless(
                !max.is_negative(),
                "auto_approve_total_max",
                "must not be negative",
            );
        }
        if let Some(max) = self.bare_text_total_max {
            problems.unless(
                !max.is_negative(),
                "bare_text_total_max",
                "must not be negative",
            );
        }
        problems.unless(
            !self.payment_methods.is_empty(),
            "payment_methods",
            "must name at least one",
        );
        problems.repeated("payment_methods", &self.payment_methods);
        problems.unless(
            self.price_tolerance_percent <= PRICE_TOLERANCE_PERCENT_MAX,
            "price_tolerance_percent",
            "must be at most 1000",
        );
    }

    fn check_confirmation(&self, problems: &mut Problems) {
        let window = self.confirmation_window_seconds;
        problems.unless(
            (1..=CONFIRMATION_WINDOW_SECONDS_MAX).contains(&window),
            "confirmation_window_seconds",
            "must be 1 second to 30 days",
        );
        problems.unless(
            !self.channel_plan.is_empty(),
            "channel_plan",
            "must name at least one channel",
        );
        problems.repeated("channel_plan", &self.channel_plan);
        let steps = &self.channel_step_seconds;
        let wanted = self.channel_plan.len().saturating_sub(1);
        if steps.len() != wanted {
            problems.add(
                "channel_step_seconds",
                format!("must have {wanted}, one for each channel but the last"),
            );
        }
        let time_spent: u64 = steps.iter().copied().map(u64::from).sum();
        problems.unless(
            steps.iter().all(|step| *step > 0),
            "channel_step_seconds",
            "must each be at least 1",
        );
        problems.unless(
            steps.is_empty() || time_spent < u64::from(window),
            "channel_step_seconds",
            "must together be less than confirmation_window_seconds, or the last channel is never tried",
        );
    }

    fn check_fulfilment(&self, problems: &mut Problems) {
        problems.unless(
            (0..=crate::priority::TYPE_POINTS_MAX).contains(&self.priority_points),
            "priority_points",
            "must be 0 to 150",
        );
        problems.unless(
            (1..=DELIVERY_PROMISE_SECONDS_MAX).contains(&self.delivery_promise_seconds),
            "delivery_promise_seconds",
            "must be 1 second to 366 days",
        );
        problems.unless(
            self.completion_window_seconds <= DELIVERY_PROMISE_SECONDS_MAX,
            "completion_window_seconds",
            "must be at most 366 days",
        );
        problems.unless(
            self.service_terms.len() <= SERVICE_TERMS_MAX,
            "service_terms",
            "must be at most 50",
        );
        for (index, term) in self.service_terms.iter().enumerate() {
            problems.line_of_text(
                &format!("service_terms[{index}]"),
                term,
                SERVICE_TERM_CHARS_MAX,
            );
        }
        problems.unless(
            self.return_days <= RETURN_DAYS_MAX,
            "return_days",
            "must be at most 3660",
        );
    }
}
