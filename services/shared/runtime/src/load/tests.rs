//! Calls at a server that has more to do than it can.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::{callers::Roles, config::CallerLimits};

fn request(path: &str, caller: &str, timeout: Option<&str>) -> http::Request<Body> {
    let mut request = http::Request::builder()
        .uri(path)
        .body(Body::empty())
        .unwrap();
    request
        .extensions_mut()
        .insert(Caller::new(caller, Roles::ALL));
    if let Some(timeout) = timeout {
        request
            .headers_mut()
            .insert("grpc-timeout", timeout.parse().unwrap());
    }
    request
}

/// A service that takes its time, and how many calls reached it.
fn slow(
    limits: &Limits,
    takes: Duration,
) -> (
    impl Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static,
    Arc<AtomicUsize>,
) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    let work = service_fn(move |_: http::Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(takes).await;
            Ok(http::Response::new(Body::empty()))
        }
    });
    (Load::new(limits).layer().layer(work), reached)
}

fn small() -> Limits {
    Limits {
        calls_at_once: 2,
        calls_waiting: 2,
        ..Limits::default()
    }
}

fn refused(answer: &http::Response<Body>) -> Status {
    Status::from_header_map(answer.headers()).unwrap_or_else(|| Status::ok(""))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_looks_through_all_there_is_has_more_time_than_others() {
    let limits = Limits::default();
    let takes = 2 * limits.call_deadline();
    let (service, _) = slow(&limits, takes);
    for (path, code) in [
        (
            "/countersign.v1.OrderService/GetOrder",
            Code::DeadlineExceeded,
        ),
        ("/countersign.v1.CustomerService/VerifyErasure", Code::Ok),
    ] {
        let answer = service.clone().oneshot(request(path, "shop", None)).await;
        assert_eq!(refused(&answer.unwrap()).code(), code, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn k_01_what_finds_no_place_is_told_at_once_and_when_to_come_again() {
    let (service, reached) = slow(&small(), Duration::from_millis(100));
    let calls = (0..10).map(|_| service.clone().oneshot(request("/s/M", "shop", None)));
    let begun = Instant::now();
    let timed = calls.map(|call| async {
        let answer = call.await.unwrap();
        (refused(&answer), begun.elapsed())
    });
    let answers = futures::future::join_all(timed).await;
    let shed: Vec<_> = answers
        .iter()
        .filter(|(status, _)| status.code() == Code::ResourceExhausted)
        .collect();
    assert_eq!(shed.len(), 6);
    for (status, after) in shed {
        assert_eq!(*after, Duration::ZERO, "it does not wait");
        let retry = status
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .unwrap();
        let told: u64 = status
            .metadata()
            .get(refusal::PUSHBACK)
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(u128::from(told).abs_diff(retry.as_millis()) <= 1);
    }
    assert_eq!(reached.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn k_03_a_call_whose_time_is_over_while_it_waits_reaches_nobody() {
    let (service, reached) = slow(&small(), Duration::from_millis(400));
    let patient = (0..2).map(|_| service.clone().oneshot(request("/s/M", "shop", Some("5S"))));
    let hurried = (0..2).map(|_| {
        service
            .clone()
            .oneshot(request("/s/M", "shop", Some("100m")))
    });
    let answers = futures::future::join_all(patient.chain(hurried)).await;
    let codes: Vec<Code> = answers
        .into_iter()
        .map(|answer| refused(&answer.unwrap()).code())
        .collect();
    let over = Code::DeadlineExceeded;
    assert_eq!(codes, [Code::Ok, Code::Ok, over, over]);
    assert_eq!(reached.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_given_up_by_its_own_limit_or_by_ours() {
    let (service, _) = slow(&small(), Duration::from_mins(1));
    for (timeout, least, most) in [(Some("1S"), 900, 1_000), (None, 9_900, 10_000)] {
        let begun = Instant::now();
        let answer = service
            .clone()
            .oneshot(request("/s/M", "shop", timeout))
            .await
            .unwrap();
        assert_eq!(refused(&answer).code(), Code::DeadlineExceeded);
        let took = begun.elapsed().as_millis();
        assert!((least..=most).contains(&took), "{took}");
    }
}

#[tokio::test(start_paused = true)]
async fn health_is_told_however_busy_the_server_is() {
    let (service, reached) = slow(
        &Limits {
            calls_at_once: 1,
            calls_waiting: 0,
            ..Limits::default()
        },
        Duration::from_secs(1),
    );
    let busy = service.clone().oneshot(request("/s/M", "shop", None));
    let health = async {
        tokio::task::yield_now().await;
        let shed = service
            .clone()
            .oneshot(request("/s/M", "shop", None))
            .await
            .unwrap();
        assert_eq!(refused(&shed).code(), Code::ResourceExhausted);
        let path = "/grpc.health.v1.Health/Check";
        service.clone().oneshot(request(path, "", None)).await
    };
    let (_, health) = tokio::join!(busy, health);
    assert_eq!(refused(&health.unwrap()).code(), Code::Ok);
    assert_eq!(reached.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn j_03_a_caller_over_its_quota_is_told_and_others_are_not_touched() {
    let mut limits = Limits::default();
    limits.callers.insert(
        "shop".to_owned(),
        CallerLimits {
            calls_per_second: 5,
            ..CallerLimits::default()
        },
    );
    let (service, reached) = slow(&limits, Duration::from_millis(1));
    let mut codes = Vec::new();
    for caller in ["shop", "market"].iter().cycle().take(40) {
        let answer = service
            .clone()
            .oneshot(request("/s/M", caller, None))
            .await
            .unwrap();
        let status = refused(&answer);
        if status.code() == Code::ResourceExhausted {
            let failure = status.get_details_quota_failure().unwrap();
            assert_eq!(failure.violations[0].subject, "callers/shop");
            assert!(
                status
                    .get_details_retry_info()
                    .unwrap()
                    .retry_delay
                    .is_some()
            );
        }
        codes.push((*caller, status.code()));
    }
    let done = |name: &str| codes.iter().filter(|it| **it == (name, Code::Ok)).count();
    assert_eq!(done("market"), 20);
    assert!((5..=6).contains(&done("shop")), "{}", done("shop"));
    assert_eq!(reached.load(Ordering::Relaxed), done("shop") + 20);
}
