//! How an endpoint fares, and when it is given up.

use chrono::{DateTime, Utc};

use super::{
    FAILING_MAX, STREAK_GAP, WebhookDisabledReason, WebhookFailure, WebhookOutcome, pause,
};

/// How an endpoint has fared since its last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Rounds of tries that failed, one after the other.
    pub failures: u32,
    /// When the first of them was.
    pub failing_since: Option<DateTime<Utc>>,
    /// When the last try was.
    pub last_try_time: Option<DateTime<Utc>>,
    /// Until when it is left alone.
    pub paused_until: Option<DateTime<Utc>>,
}

impl EndpointHealth {
    /// After a round of tries, and whether the endpoint is disabled by it.
    #[must_use]
    pub fn after(
        self,
        outcomes: &[WebhookOutcome],
        now: DateTime<Utc>,
    ) -> (Self, Option<WebhookDisabledReason>) {
        let failed_by = |wanted: WebhookFailure| {
            outcomes.iter().any(
                |it| matches!(it, WebhookOutcome::Failed { failure, .. } if *failure == wanted),
            )
        };
        let longest = |failures: u32| {
            let waits = outcomes.iter().map(|it| pause(*it, failures));
            waits.max().filter(|wait| !wait.is_zero())
        };
        let gone = failed_by(WebhookFailure::Gone).then_some(WebhookDisabledReason::Gone);
        if outcomes.contains(&WebhookOutcome::Delivered) {
            // It lives; but when it also asked to be left alone, it is.
            let throttled = failed_by(WebhookFailure::Throttled);
            let health = Self {
                last_try_time: Some(now),
                paused_until: longest(1).filter(|_| throttled).map(|wait| now + wait),
                ..Self::default()
            };
            return (health, gone);
        }
        let goes_on = self
            .last_try_time
            .is_some_and(|last| now - last <= STREAK_GAP);
        let since = self.failing_since.filter(|_| goes_on).unwrap_or(now);
        let failures = if goes_on {
            self.failures.saturating_add(1)
        } else {
            1
        };
        let health = Self {
            failures,
            failing_since: Some(since),
            last_try_time: Some(now),
            paused_until: longest(failures).map(|wait| now + wait),
        };
        let failing = (now - since >= FAILING_MAX).then_some(WebhookDisabledReason::Failing);
        (health, gone.or(failing))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone as _};

    use super::*;

    const REFUSED: WebhookOutcome = WebhookOutcome::Failed {
        failure: WebhookFailure::Refused,
        retry_after: None,
    };

    fn noon() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 24, 12, 0, 0).unwrap()
    }

    #[test]
    fn five_days_of_nothing_but_failures_disable_it() {
        let mut health = EndpointHealth::default();
        for hour in 0..120 {
            let (next, disabled) = health.after(&[REFUSED], noon() + TimeDelta::hours(hour));
            assert_eq!(disabled, None, "{hour}");
            health = next;
        }
        assert_eq!(health.failing_since, Some(noon()));
        let (_, disabled) = health.after(&[REFUSED], noon() + TimeDelta::hours(120));
        assert_eq!(disabled, Some(WebhookDisabledReason::Failing));
        // One success in between, and it counts anew.
        let success = [WebhookOutcome::Delivered];
        let (health, _) = health.after(&success, noon() + TimeDelta::hours(119));
        assert_eq!(health.failing_since, None);
        let (health, disabled) = health.after(&[REFUSED], noon() + TimeDelta::hours(120));
        assert_eq!((health.failures, disabled), (1, None));
    }

    #[test]
    fn a_failure_long_after_the_last_one_begins_anew() {
        let (health, _) = EndpointHealth::default().after(&[REFUSED], noon());
        let later = noon() + TimeDelta::days(30);
        let (health, disabled) = health.after(&[REFUSED], later);
        assert_eq!(disabled, None);
        assert_eq!(health.failing_since, Some(later));
    }

    #[test]
    fn it_is_left_alone_longer_with_every_failure_and_not_after_a_success() {
        let mut health = EndpointHealth::default();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            (health, _) = health.after(&[REFUSED], noon());
            let until = noon() + TimeDelta::seconds(seconds);
            assert_eq!(health.paused_until, Some(until));
        }
        let (health, _) = health.after(&[REFUSED, WebhookOutcome::Delivered], noon());
        assert_eq!(health.paused_until, None);
        let throttled = WebhookOutcome::of_status(429, Some(TimeDelta::minutes(5)));
        let (health, _) = health.after(&[throttled, WebhookOutcome::Delivered], noon());
        assert_eq!(health.paused_until, Some(noon() + TimeDelta::minutes(5)));
    }

    #[test]
    fn gone_is_gone_at_once() {
        let gone = WebhookOutcome::of_status(410, None);
        let (_, disabled) =
            EndpointHealth::default().after(&[WebhookOutcome::Delivered, gone], noon());
        assert_eq!(disabled, Some(WebhookDisabledReason::Gone));
    }
}
